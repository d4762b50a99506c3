"""A build with code problems beside mathematics: gold checks, the debug hint, hidden tests, quotas; and MBPP."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tests import scripted_build
from tests.shared_data import DATA

MARK = "7310461"
"""Stands in hidden tests alone."""
RULES: list[dict[str, Any]] = [
    {
        "pattern": r'gives "6"\n```python\n\Z',
        "reply": "def double(n):\n    return 2 * n\nprint(double(3))\n```\n",
    },
    {"pattern": r"double\(3\)\)\n```.*```output\n6\n```\n\Z", "reply": "It is right now.", "finished": True},
    {
        "pattern": r"twice.*<assistant>\n\Z",
        "reply": "Let me see. Wait, so.\n```python\ndef double(n):\n    return n\n```\n",
        "finished": True,
    },
]
ROWS = [
    {
        "statement": f"Return twice the number, {name}.",
        "tests": ["assert double(3) == 6", f"assert double({MARK}) == 14620922"],
        "reference": f"def double(n):\n    return {factor} * n",
    }
    for name, factor in (("please", 2), ("quickly", 2), ("wrongly", 3))
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build of math and code problems; the reference of the last code problem fails its tests."""
    folder = tmp_path_factory.mktemp("code")
    recipe = scripted_build.write_recipe(folder, count=12)
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps(rule) + "\n" for rule in RULES) + script.read_text())
    (folder / "code.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    code = f'{{ kind = "file", path = "{folder / "code.jsonl"}", format = "asserts", domain = "code" }}'
    text = recipe.read_text().replace("sources = [", f"sources = [{code}, ")
    text = text.replace("[prompt]\n", '[prompt]\nsuffix = " Box it."\n')
    recipe.write_text(text + "[selection]\nquota_math = 3\nquota_code = 1\n")
    done = scripted_build.factory("build", "d_seed", "--recipe", recipe, home=folder / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "home"


def ask(home: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home / "factory.duckdb"), read_only=True) as con:
        return con.sql(sql).fetchall()


def rows_of(home: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(home / "snapshots/d_seed/v1/data").to_pylist()
    return rows


def test_each_domain_fills_its_own_quota(home: Path) -> None:
    rows = rows_of(home)
    assert sorted(row["domain"] for row in rows) == ["code", "math", "math", "math"]
    over = dict(
        ask(home, "select domain, count(*) from marts.trajectories_scored where drop_reason = 'over_quota' group by 1")
    )
    assert over["code"] == 1
    assert over["math"] >= 1


def test_a_solved_program_came_from_the_debug_hint(home: Path) -> None:
    (row,) = (r for r in rows_of(home) if r["domain"] == "code")
    assert [hint["function"] for hint in row["hints"]] == ["debug"]
    assert "print(double(3))" in row["completion"]
    assert row["messages"][1]["content"] == row["statement"]  # the suffix asks for an answer, not for a program
    maths = next(r for r in rows_of(home) if r["domain"] == "math")
    assert maths["messages"][1]["content"] == maths["statement"] + " Box it."


def test_no_trajectory_ever_saw_a_hidden_test(home: Path) -> None:
    seen = ask(home, "select prompt, segments::text, hints::text, tool_calls::text from raw.trajectories")
    assert len(seen) > 10
    assert not any(MARK in str(row) for row in seen)
    assert len(ask(home, f"select 1 from raw.problems where contains(tests, '{MARK}')")) == 3


def test_a_reference_that_fails_is_named_with_its_reason(home: Path) -> None:
    (found,) = ask(home, "select problem_id, gold_detail from marts.problems where drop_reason = 'gold_unverified'")
    assert found[1].startswith("the reference solution: 0 of 2 tests; error: AssertionError; the call gave 9")
    told = scripted_build.factory("why", found[0], home=home)
    assert "not in the snapshot: gold_unverified: the reference solution: 0 of 2 tests" in " ".join(told.stdout.split())
    assert ask(home, f"select count(*) from raw.trajectories where problem_id = '{found[0]}'") == [(0,)]


def test_the_first_failing_test_is_stored(home: Path) -> None:
    stored = ask(home, "select failed_test from derived.verdicts where failed_test is not null")
    assert stored
    assert {json.loads(text)["expected"] for (text,) in stored} == {"assert double(3) == 6"}


@pytest.mark.slow
def test_the_demo_recipe_with_mbpp(tmp_path: Path) -> None:
    """The real model solves few of them: whatever comes out is said, and exit code 1 means no row, no snapshot."""
    file = DATA / "code_mbpp.jsonl.gz"
    if not file.exists():
        pytest.skip("no MBPP here")
    with gzip.open(file) as lines:
        assert sum(1 for _ in lines) == 974
    done = scripted_build.factory(
        "build", "d_seed", "--recipe", "demo", "--problems", file, "--format", "asserts", "--map", "statement=text",
        "--map", "tests=test_list", "--map", "setup=test_setup_code", "--map", "reference=code", "--limit", "3",
        "--set", "hint.branches=1", home=tmp_path / "home", seconds=600,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    funnel = dict(ask(tmp_path / "home", "select step, rows_in from marts.funnel"))
    assert (funnel["gold check"], funnel["decontamination"], funnel["baseline"]) == (3, 3, 3)
    assert re.search(r"verdict +trajectory +\d", done.stdout + done.stderr)
    verdicts = ask(tmp_path / "home", "select verifier, count(*) from derived.verdicts group by 1")
    assert [name for name, _ in verdicts] == ["code_tests"]
    assert (tmp_path / "home/snapshots/d_seed/v1").exists() is (done.returncode == 0)
