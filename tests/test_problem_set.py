"""`--format grpo`: problems with pass rates, in a warehouse of stand-ins."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from schemas.errors import FactoryError, HomeError
from tests.builders import fake
from tests.made_snapshots import make_snapshot, trajectory
from tests.test_export import export


def d_start(home: Path, *rates: tuple[Any, ...], run_id: str = "r_1") -> None:
    """A home whose warehouse holds three problems and these pass rates."""
    recipe = {"prompt": {"system": "Use Python.", "suffix": " Be brief."}}
    make_snapshot(home, [trajectory(0)], name="d_start", run_id=run_id, recipe=recipe)
    with duckdb.connect(str(home / "factory.duckdb")) as con:
        fake(con, "raw.runs", "run_id text, started_at timestamp", ("r_0", "2025-01-01"), ("r_1", "2025-01-02"))
        types = "problem_id text, statement text, gold_answer text, domain text, source text, verifier text, meta text"
        problems = [(f"p{i}", f"Question {i}?", f"{i}", "math", "s", "math_verify", "{}", "MIT") for i in range(3)]
        fake(con, "raw.problems", f"{types}, licence text", *problems)
        if rates:
            fake(con, "marts.pass_rates", "problem_id text, n_samples int, n_correct int, pass_rate double", *rates)


RATES = (("p0", 4, 0, 0.0), ("p1", 4, 2, 0.5), ("p2", 4, 0, None))


def test_problems_with_pass_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from datasets import load_dataset

    d_start(tmp_path, *RATES)
    out = tmp_path / "problems.parquet"
    rows = export(tmp_path, "grpo", out, "d_start")
    assert "2 of 3 problems" in capsys.readouterr().out  # of the third nothing is known
    assert rows[1] == {
        "prompt": [{"role": "system", "content": "Use Python."}, {"role": "user", "content": "Question 1? Be brief."}],
        "answer": "1", "problem_id": "p1", "domain": "math", "source": "s", "verifier": "math_verify", "meta": "{}",
        "pass_rate": 0.5, "n_samples": 4, "n_correct": 2, "licence": "MIT",
    }  # fmt: skip
    loaded = load_dataset("parquet", data_files=str(out), cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded.to_list() == rows


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["p0", "p1"]),
        ({"min_pass_rate": 0.01}, ["p1"]),
        ({"max_pass_rate": 0.49}, ["p0"]),
        ({"min_pass_rate": 0.5, "max_pass_rate": 0.5}, ["p1"]),
        ({"min_pass_rate": 0.6}, []),
    ],
)
def test_bounds_of_the_pass_rate_are_included(tmp_path: Path, options: dict[str, float], expected: list[str]) -> None:
    d_start(tmp_path, *RATES)
    rows = export(tmp_path, "grpo", tmp_path / "o.jsonl", "d_start", **options)
    assert [row["problem_id"] for row in rows] == expected


def test_pass_rates_must_exist_and_be_of_the_snapshots_run(tmp_path: Path) -> None:
    d_start(tmp_path / "a")
    with pytest.raises(HomeError, match="build d_start first"):
        export(tmp_path / "a", "grpo", tmp_path / "o.jsonl", "d_start")
    d_start(tmp_path / "b", *RATES, run_id="r_0")
    with pytest.raises(HomeError, match="shows run r_1; d_start@v1 is of r_0"):
        export(tmp_path / "b", "grpo", tmp_path / "o.jsonl", "d_start")
    make_snapshot(tmp_path / "c", [trajectory(0)], name="d_start")
    with pytest.raises(FactoryError, match="holds no warehouse"):
        export(tmp_path / "c", "grpo", tmp_path / "o.jsonl", "d_start")
