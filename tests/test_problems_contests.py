"""Contest problems as large collections publish them: columns, hidden tests, references, limits, release dates."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.problems import load_problems, load_source
from factory.problems.coded import is_shown
from factory.problems.contests import MAX_CHARS, MAX_HIDDEN
from factory.problems.formats import CODE_FORMATS
from factory.rollout.debug import debug_program, public_samples
from factory.rollout.hints import load_library
from quality.programs.judge import judge_program
from schemas.errors import ProblemsError
from schemas.protocols import Sandbox
from schemas.recipe import Problems, Source
from schemas.records import Problem
from schemas.vocabulary import ProblemFormat, SourceKind
from tests import shared_data

MARK = "7310461"
"""Stands in hidden tests alone."""
TEMPLATES = load_library("start").templates
CODE_CONTESTS: dict[str, Any] = {
    "name": "double", "description": "Print twice the number.\n\nInput\n3\n\nOutput\n6",
    "public_tests": {"input": ["3\n"], "output": ["6\n"]},
    "private_tests": {"input": ["5\n", "3\n"], "output": ["10\n", "6\n"]},
    "generated_tests": {"input": [MARK], "output": ["14620922"]},
    "solutions": {"language": [2, 3, 3, 1], "solution": ["int main() {}", "print 1", "print(2 * int(input()))", "x"]},
    "time_limit": {"seconds": 1, "nanos": 500000000}, "cf_rating": 800, "input_file": "", "source": 2,
}  # fmt: skip
CODEFORCES: dict[str, Any] = {
    "description": "Print twice the number.", "input_format": "A number.", "output_format": "Twice it.", "note": None,
    "examples": [{"input": "3\n", "output": "6\n"}], "official_tests": [{"input": MARK, "output": "14620922"}],
    "time_limit": 2.0, "contest_start": 1704067200, "rating": 900, "input_mode": "stdio", "interaction_format": None,
    "generated_checker": None,
}  # fmt: skip
TACO: dict[str, Any] = {
    "question": "Print twice the number.\n\n-----Input-----\nA number.\n\n-----Examples-----\nInput\n3\n\nOutput\n6",
    "input_output": json.dumps({"inputs": ["3\n", [MARK]], "outputs": ["6\n", ["14620922"]]}),
    "solutions": json.dumps(["print 2", "print(2 * int(input()))"]), "starter_code": "", "difficulty": "EASY",
    "time_limit": "2.5 seconds",
}  # fmt: skip
CALLED = {
    **TACO, "starter_code": "class Solution:\n    def double(self, n):\n        ",
    "input_output": json.dumps({"fn_name": "double", "inputs": [[3], [int(MARK)]], "outputs": [[6], [14620922]]}),
    "solutions": json.dumps(["class Solution:\n    def double(self, n):\n        return 2 * n"]),
}  # fmt: skip
LIVE: dict[str, Any] = {
    "statement": "Double.", "public": json.dumps([{"input": "3", "output": "6", "testtype": "functional"}]),
    "private": json.dumps([{"input": MARK, "output": "14620922", "testtype": "functional"}]),
    "metadata": '{"func_name": "double"}', "starter_code": "class Solution:\n    def double(self, n: int) -> int:\n",
    "released_at": "2024-05-04T00:00:00",
}  # fmt: skip
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "code_contests": ("code_contests", CODE_CONTESTS),
    "codeforces": ("codeforces", CODEFORCES),
    "taco": ("taco", TACO),
    "taco, called": ("taco", CALLED),
    "contest": ("contest", LIVE),
    "stdin": (
        "stdin",
        {"statement": "?", "tests": [{"input": "3", "output": "6"}, {"input": MARK, "output": "1", "hidden": True}]},
    ),
    "asserts": ("asserts", {"statement": "Double.", "tests": ["assert f(3) == 6", f"assert f({MARK}) == 14620922"]}),
    "function": (
        "function",
        {"prompt": "def f(n):\n", "tests": f"def check(f):\n    assert f({MARK}) == 14620922", "entry_point": "f"},
    ),
}  # fmt: skip


def load(folder: Path, kind: str, *rows: dict[str, Any], **more: Any) -> tuple[list[Problem], list[str]]:
    """Through a Parquet file, so that nested columns are those of Arrow."""
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "rows.parquet")
    source = Source(kind=SourceKind.FILE, path=str(folder / "rows.parquet"), format=ProblemFormat(kind), **more)
    loaded = load_source(source, base=folder)
    return loaded.problems, [row["detail"] for row in loaded.rejected]


def test_code_contests_from_parquet(tmp_path: Path) -> None:
    (problem,), rejected = load(tmp_path, "code_contests", CODE_CONTESTS, {**CODE_CONTESTS, "input_file": "input.txt"})
    assert rejected == ["ProblemsError: reads a file, not standard input"]
    assert json.loads(problem.tests or "") == [
        {"input": "3\n", "output": "6\n"},
        {"input": "5\n", "output": "10\n", "hidden": True},  # the private one that repeats the public is left out
        {"input": MARK, "output": "14620922", "hidden": True},
    ]
    assert problem.gold_answer == "print(2 * int(input()))"  # the first that parses as Python 3
    assert (json.loads(problem.meta), problem.difficulty) == ({"time_limit_s": 1.5}, "800")
    assert "standard input" in problem.statement


def test_codeforces_puts_its_statement_together(tmp_path: Path) -> None:
    (problem,), rejected = load(
        tmp_path, "codeforces", {**CODEFORCES, "generated_checker": "print(1)"}, {**CODEFORCES, "input_mode": "file"},
        {**CODEFORCES, "interaction_format": "Ask."}, CODEFORCES,
    )  # fmt: skip
    assert len(rejected) == 3
    assert problem.statement.startswith(
        "Print twice the number.\n\nInput\n\nA number.\n\nOutput\n\nTwice it.\n\nExample"
    )
    assert (problem.released_at, problem.gold_answer) == ("2024-01-01", None)
    assert [test.get("hidden") for test in json.loads(problem.tests or "")] == [None, True]


def test_taco_finds_the_tests_that_its_text_shows(tmp_path: Path) -> None:
    (problem,), _ = load(tmp_path, "taco", TACO)
    assert json.loads(problem.tests or "") == [
        {"input": "3\n", "output": "6\n"}, {"input": MARK, "output": "14620922", "hidden": True},
    ]  # fmt: skip
    assert (problem.gold_answer, json.loads(problem.meta)) == ("print(2 * int(input()))", {"time_limit_s": 2.5})
    (problem,), _ = load(tmp_path, "taco", CALLED)
    assert json.loads(problem.tests or "")[1] == {"args": f"[{MARK}]", "output": "14620922", "hidden": True}
    assert json.loads(problem.meta)["entry_point"] == "Solution.double"


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("Input\n3 4\n\nOutput\n7\n", True),
        ("Input\n3\n4\n\n-----Sample Output:-----\n7", True),
        ("add 3 4 to get 70", False),
        ("13 4 Output 7", False),
        ("of 3 4 one two three four five 7", False),
    ],
)
def test_a_test_is_shown_where_its_output_follows_its_input(statement: str, shown: bool) -> None:
    assert is_shown(statement, "3 4\n", "7") is shown


def test_a_build_keeps_so_many_hidden_tests(tmp_path: Path) -> None:
    many = {"input": [str(i) for i in range(10, 99)], "output": ["1"] * 89}
    (problem,), _ = load(tmp_path, "code_contests", {**CODE_CONTESTS, "generated_tests": many})
    assert len(json.loads(problem.tests or "")) == 1 + MAX_HIDDEN
    huge = {"input": ["9" * MAX_CHARS, "10"], "output": ["1", "2"]}
    (problem,), _ = load(tmp_path, "code_contests", {**CODE_CONTESTS, "generated_tests": huge})
    assert [test["input"] for test in json.loads(problem.tests or "")] == ["3\n", "5\n", "10"]
    live = {**LIVE, "private": json.dumps([{"input": str(i), "output": "1", "testtype": "stdin"} for i in range(90)])}
    assert (
        len(json.loads(CODE_FORMATS[ProblemFormat.CONTEST](live, "s", "x").tests or "")) == 91
    )  # a benchmark is whole


def test_release_dates_choose(tmp_path: Path) -> None:
    days = ("2024-06-30T00:00:00", "2024-07-01T00:00:00", None)
    rows = [{**LIVE, "statement": f"Double {i}.", "released_at": day} for i, day in enumerate(days)]
    (problem,), _ = load(tmp_path, "contest", *rows, released_before="2024-06-30")
    assert problem.released_at == "2024-06-30"
    (problem,), _ = load(tmp_path, "contest", *rows, released_after="2024-07-01", limit=1)
    assert problem.released_at == "2024-07-01"
    path = str(tmp_path / "rows.parquet")
    source = Source(kind=SourceKind.FILE, path=path, format=ProblemFormat.CONTEST, released_after=date(2025, 1, 1))
    with pytest.raises(ProblemsError, match="3 problems have no release date in its window"):
        load_problems(Problems(sources=(source,)), base=tmp_path)


@pytest.mark.parametrize("name", ROWS)
def test_no_hidden_test_is_ever_shown(tmp_path: Path, name: str) -> None:
    kind, row = ROWS[name]
    (problem,), _ = load(tmp_path, kind, row)
    assert MARK in (problem.tests or "")
    assert MARK not in problem.statement + (problem.starter_code or "")
    assert MARK not in debug_program(problem, TEMPLATES) + str(public_samples(problem))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["code_contests", "taco", "taco, called"])
async def test_references_pass_their_own_tests(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    (problem,), _ = load(tmp_path, ROWS[name][0], ROWS[name][1])
    assert (await judge_program(problem.gold_answer or "", problem, sandbox)).is_correct


def test_every_row_of_codeforces_and_taco_that_is_here_becomes_a_problem(tmp_path: Path) -> None:
    for name in ("code_codeforces_stdin", "code_taco_stdin_verified"):
        for row in shared_data.rows(name):
            mapped = {**row, "statement": row["problem"], "reference": row.get("reference_solution")}
            problem = CODE_FORMATS[ProblemFormat.STDIN](mapped, "s", "x", as_benchmark=False)
            shown = debug_program(problem, TEMPLATES)
            assert json.dumps(row["tests"][0]["input"])[1:-1] in shown
