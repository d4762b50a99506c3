"""Code problems from files: each format, what is public, and bad rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from factory.problems import load_source
from schemas.errors import ProblemsError, RecipeError
from schemas.recipe import Source
from schemas.records import Problem
from schemas.vocabulary import Domain, ProblemFormat, SourceKind, VerifierName

ADD = {
    "text": "Add two numbers.", "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == Z"],
    "test_setup_code": "Z = 0",
    "code": "def add(a, b):\n    return a + b",
}  # fmt: skip
MBPP = {"statement": "text", "tests": "test_list", "setup": "test_setup_code", "reference": "code"}
SUM = {
    "statement": "Sum.",
    "tests": [{"input": "1 2", "output": "3"}, {"input": "5 5", "output": "10", "hidden": True}],
}
HUMANEVAL = {
    "prompt": "def inc(x):\n    'One more.'\n", "tests": "def check(f):\n    assert f(1) == 2\n", "entry_point": "inc",
    "reference": "    return x + 1\n",
}  # fmt: skip


def load(folder: Path, kind: str, *rows: Any, **more: Any) -> tuple[list[Problem], list[tuple[int, str]]]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source(kind=SourceKind.FILE, path=str(path), format=ProblemFormat(kind), **more)
    loaded = load_source(source, base=folder)
    return loaded.problems, [(row["line"], row["reason"]) for row in loaded.rejected]


def test_asserts_show_the_first_and_hide_the_others(tmp_path: Path) -> None:
    (problem,), rejected = load(tmp_path, "asserts", ADD, map=MBPP, licence="CC-BY-4.0")
    assert not rejected
    assert (problem.domain, problem.verifier, problem.licence) == (Domain.CODE, VerifierName.CODE_TESTS, "CC-BY-4.0")
    assert problem.gold_answer == ADD["code"]
    assert "add(1, 2)" in problem.statement
    assert "add(0, 0)" not in problem.statement
    assert json.loads(problem.tests or "") == [
        {"code": "assert add(1, 2) == 3", "call": "add(1, 2)", "output": "3"},
        {"code": "assert add(0, 0) == Z", "hidden": True},
    ]
    assert json.loads(problem.meta) == {"entry_point": "add", "setup": "Z = 0"}


def test_standard_input_and_functions(tmp_path: Path) -> None:
    (problem,), _ = load(tmp_path, "stdin", {**SUM, "reference": "print(1)", "special_judge": True})
    assert json.loads(problem.tests or "") == SUM["tests"]
    assert (problem.gold_answer, json.loads(problem.meta)) == ("print(1)", {"special_judge": True})
    (problem,), _ = load(tmp_path, "function", HUMANEVAL)
    assert problem.gold_answer == str(HUMANEVAL["prompt"]) + str(HUMANEVAL["reference"])
    assert [test.get("hidden") for test in json.loads(problem.tests or "")] == [True]


def test_bad_rows_have_their_line_and_reason(tmp_path: Path) -> None:
    bad = [
        {**ADD, "test_list": []},
        {**ADD, "text": ""},
        ADD,
        {**ADD, "code": "other"},
        {**ADD, "text": "B", "test_list": 5},
    ]
    problems, rejected = load(tmp_path, "asserts", *bad, map=MBPP)
    assert len(problems) == 1
    assert rejected == [(1, "empty_gold"), (2, "empty_statement"), (4, "duplicate"), (5, "bad_value")]


def test_wrong_columns_and_mappings_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match=r"'statement' nor 'tests'(.|\n)*--map statement=COLUMN"):
        load(tmp_path, "asserts", ADD)
    with pytest.raises(RecipeError, match="format 'asserts' has no column 'gold_answer'"):
        load(tmp_path, "asserts", ADD, map={"gold_answer": "code"})
    with pytest.raises(ValueError, match="a reasoning-gym source has no format"):
        Source(kind=SourceKind.REASONING_GYM, task="products", count=1, format=ProblemFormat.STDIN)


@pytest.mark.parametrize(
    ("tests", "entry"),
    [
        (["assert add(1, 2) == 3", "assert add(0, len([1])) == 1"], "add"),
        (["assert set(pick((1, 2))) == set((1,))", "assert sorted(pick((3,))) == [3]"], "pick"),
        (["assert math.isclose(area(2), 4.0)", "assert (area(1) == 1)"], "area"),
        (["assert a(1) == 1", "assert b(1) == 1"], None),  # two functions: the tests run beside the program
    ],
)
def test_without_a_reference_the_tests_say_what_they_call(tmp_path: Path, tests: list[str], entry: str | None) -> None:
    (problem,), _ = load(tmp_path, "asserts", {"statement": "?", "tests": tests})
    assert json.loads(problem.meta)["entry_point"] == entry
