"""`train compare`: which columns are meant, what is held against what, and the plots."""

import csv
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import UsageError
from schemas.tables import EVALUATIONS
from tests.builders import later, row
from train.compare import collect, paired_rows, show_comparison
from warehouse.store import Store

PATTERNS = {  # per problem, whether it is right
    ("base", "plain", 0): "1000000000", ("base", "hint", 1): "1111000000", ("base", "hint", 2): "1111110000",
    ("start", "plain", 0): "1100000000", ("start", "tools", 0): "1111111100",
}  # fmt: skip


def evaluation(label: str, arm: str, n_rounds: int, problem: int, right: bool, **more: Any) -> dict[str, Any]:
    given = {
        "evaluation_id": f"e_{label}_{arm}", "model": f"{label}-model@1", "label": label, "benchmark": "sums",
        "item": str(problem), "problem_id": f"p{problem}", "domain": "math", "arm": arm, "n_rounds": n_rounds,
        "verdict": "correct" if right else "wrong", "is_correct": right, "answer_key": str(right), "n_tokens": 10,
        "called_python": arm != "plain",
        "n_tool_calls": 0 if arm == "plain" else 2, "n_tool_errors": 0 if arm == "plain" else 1, "created_at": later(0),
    }  # fmt: skip
    return row(EVALUATIONS, **(given | more))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    rows = [evaluation(*key, i, right == "1") for key, pattern in PATTERNS.items() for i, right in enumerate(pattern)]
    rows += [evaluation("base", "plain", 0, i, True, evaluation_id="e_old", created_at=later(-9)) for i in range(3)]
    rows += [evaluation("start", "plain", 0, i, True, benchmark="code", domain="code") for i in range(4)]
    Store(tmp_path).append(EVALUATIONS, rows)
    return tmp_path


def titles(home: Path, *entries: str, on: tuple[str, ...] = ("sums",)) -> dict[str, float]:
    return {cell.column.title: cell.accuracy.mean for cell in collect(home, entries, on)}


def test_a_model_stands_for_all_its_arms_and_one_arm_can_be_named(home: Path) -> None:
    assert titles(home, "base") == {"base:plain": 0.1, "base:hint1": 0.4, "base:hint2": 0.6}  # of the latest evaluation
    assert titles(home, "start:tools", "base:hint2") == {"start:tools": 0.8, "base:hint2": 0.6}
    assert list(titles(home, "base:hint", "base:hint1")) == ["base:hint1", "base:hint2"]
    assert titles(home, "base-model@1:plain") == {"base-model@1:plain": 0.1}
    assert titles(home, "start-model:plain") == {"start-model:plain": 0.2}


def test_differences_are_paired_over_shared_problems(home: Path) -> None:
    first, second = paired_rows(collect(home, ["base:plain", "start"], ["sums"]))
    assert (first["model"], first["shared problems"], first["difference"]) == ("start:plain", 10, "+0.100")
    assert (second["model"], second["difference"]) == ("start:tools", "+0.700")
    low, high = (float(part) for part in second["95 % interval"].split(" to "))
    assert 0.3 < low < 0.7 < high <= 1
    Store(home).append(EVALUATIONS, [evaluation("more", "plain", 0, i, True) for i in (8, 9, 10, 11)])
    [only] = paired_rows(collect(home, ["base:plain", "more"], ["sums"]))
    assert (only["shared problems"], only["difference"], only["95 % interval"]) == (2, "+1.000", "no spread")
    Store(home).append(EVALUATIONS, [evaluation("other", "plain", 0, i, True) for i in (77, 78)])
    [none] = paired_rows(collect(home, ["base:plain", "other"], ["sums"]))
    assert (none["shared problems"], none["difference"]) == (0, "")


def test_all_pools_the_problems_of_every_benchmark(home: Path) -> None:
    rows = [evaluation("base", "plain", 0, i, i < 6, benchmark="products") for i in range(30)]
    Store(home).append(EVALUATIONS, rows)  # the same problem ids as in sums: they stay apart
    cells = collect(home, ["base"], ["sums", "products"])
    pooled = [(cell.column.title, len(cell.rates), cell.accuracy.mean) for cell in cells if cell.benchmark == "all"]
    assert pooled == [("base:plain", 40, (1 + 6) / 40)]  # the other arms were not evaluated on products
    assert not [cell for cell in collect(home, ["base"], ["sums"]) if cell.benchmark == "all"]


def test_the_table_is_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(["base", "start"], [], None, home)
    printed = capsys.readouterr().out
    for words in ("base:hint2", "start:tools", "0.800", "0.50", "code", "difference from", "+0.500"):
        assert words in printed


@pytest.mark.parametrize(
    ("entries", "on", "says"),
    [
        (["bse"], [], "(?s)'bse' was not evaluated here. Did you mean 'base'.*there are:  base, start.*train eval"),
        (["base:tools"], [], "There are: base:hint1, base:hint2, base:plain"),
        (["base:hint7"], [], "'base:hint7' was not evaluated"),
        (["base"], ["gsm8k"], "nothing was evaluated on gsm8k. There is: code, sums"),
        (["base"], ["code"], "none of base was evaluated on code"),
    ],
)
def test_what_is_not_there_is_explained(home: Path, entries: list[str], on: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        collect(home, entries, on)


def test_an_empty_home_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train eval --on held-out"):
        collect(tmp_path, ["base"], [])


def test_plots_come_with_their_numbers(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plots"
    show_comparison(["base", "start"], ["sums"], out, home)
    assert {path.name for path in out.iterdir()} == {
        f"{name}.{kind}" for name in ("accuracy", "tool_use", "scaling") for kind in ("png", "csv")
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))
    with (out / "scaling.csv").open() as file:
        lines = [(line["model"], line["n_rounds"], float(line["pass_at_1"])) for line in csv.DictReader(file)]
    assert lines == [("base", "0", 0.1), ("base", "1", 0.4), ("base", "2", 0.6)]  # start was never hinted
    assert str(out / "scaling.png") in capsys.readouterr().out
    without = tmp_path / "without"
    show_comparison(["start"], [], without, home)
    assert not (without / "scaling.png").exists()
