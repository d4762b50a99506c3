"""Problems from several sources: identity, turns, limits, one report; columns; generated problems."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.problems import load_problems, load_source, normalise, problem_id
from schemas.errors import ProblemsError, RecipeError
from schemas.recipe import Problems, Source
from schemas.tables import PROBLEMS
from schemas.vocabulary import Domain, SourceKind


def source(path: object, **settings: Any) -> Source:
    return Source(kind=SourceKind.FILE, path=str(path), **settings)


def products(count: int, **settings: Any) -> Source:
    return Source(kind=SourceKind.REASONING_GYM, task="products", count=count, **settings)


def row(statement: object = "1 + 1?", gold: object = "2", **more: object) -> str:
    return json.dumps({"statement": statement, "gold_answer": gold, **more})


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


def rejections(path: Path, **settings: Any) -> list[tuple[int, str]]:
    return [(r["line"], r["reason"]) for r in load_source(source(path, **settings), base=path.parent).rejected]


def test_problem_id_never_changes() -> None:
    assert problem_id("math", "What is\n 1 + 1?", "2", None) == "p_fa6319d5c2710302"
    assert problem_id("science", "What is 1 + 1?", "2", None) != problem_id("math", "What is 1 + 1?", "2", None)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.sampled_from(["  ", "\n", "\t ", "\u00a0"]))
def test_problem_id_ignores_layout_and_unicode_form(text: str, blank: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert problem_id("math", f"caf\u00e9 {text}", "1", None) == problem_id(
        "math", f"cafe\u0301{blank}{text}", "1", None
    )


def test_one_report_lists_all_files_and_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", row(), "{", row("x", ""))
    write(tmp_path / "b.jsonl", row("y"), *[row("", "1")] * 12)
    with pytest.raises(ProblemsError) as caught:
        load_problems(Problems(sources=(source("a.jsonl"), source("b.jsonl"))), base=tmp_path)
    report = str(caught.value)
    assert caught.value.exit_code == 2
    assert "a.jsonl: 2 bad rows\n  line 2: broken_row: not JSON" in report
    assert "line 3: empty_gold" in report
    assert "b.jsonl: 12 bad rows" in report
    assert report.count("empty_statement: ") == 10
    assert "and 2 more: 2 empty_statement" in report
    assert "--skip-bad-rows: it goes on with the 2 good problems" in report
    assert report.endswith("nothing was written.")


def test_skip_bad_rows_returns_them(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", row(), "{")
    loaded = load_problems(Problems(sources=(source("a.jsonl"),), skip_bad_rows=True), base=tmp_path)
    assert [(r["source"], r["line"]) for r in loaded.rejected] == [("a.jsonl", 2)]
    assert len(loaded.problems) == 1
    write(tmp_path / "a.jsonl", "{")
    with pytest.raises(ProblemsError, match="no usable one"):
        load_problems(Problems(sources=(source("a.jsonl"),), skip_bad_rows=True), base=tmp_path)


def test_rows_behind_the_limit_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", *(row(f"s{i}", i) for i in range(12)), "broken")
    assert len(load_problems(Problems(sources=(source("a.jsonl"),), limit=12), base=tmp_path).problems) == 12
    assert len(load_problems(Problems(sources=(source("a.jsonl", limit=12),)), base=tmp_path).problems) == 12
    with pytest.raises(ProblemsError, match="line 13"):
        load_problems(Problems(sources=(source("a.jsonl"),), limit=13), base=tmp_path)


def test_sources_take_turns_and_a_raised_limit_only_adds(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", *(row(f"a{i}", i) for i in range(5)))
    write(tmp_path / "b.jsonl", row("a0", 0), row("b", 1))
    sources = (source("a.jsonl"), source("b.jsonl"))
    loaded = {n: load_problems(Problems(sources=sources, limit=n), base=tmp_path) for n in (3, 4, 100)}
    assert [p.statement for p in loaded[3].problems] == ["a0", "a1", "b"]
    assert loaded[4].problems[:3] == loaded[3].problems
    assert [p.statement for p in loaded[100].problems] == ["a0", "a1", "b", "a2", "a3", "a4"]
    assert loaded[100].n_folded == 1
    assert loaded[100].problems[0].source == "a.jsonl"


def test_generated_problems_carry_what_their_scorer_needs(tmp_path: Path) -> None:
    from reasoning_gym import get_score_answer_fn

    loaded = load_source(products(50, seed=3, params={"max_digits": 2}), base=tmp_path)
    problem = loaded.problems[0]
    assert (problem.source, problem.verifier, problem.licence) == (
        "reasoning-gym/products",
        "reasoning_gym",
        "Apache-2.0",
    )
    meta = json.loads(problem.meta)
    assert list(meta) == ["task", "params", "entry"]
    assert get_score_answer_fn(meta["task"])(problem.gold_answer, meta["entry"]) == 1.0
    assert len({p.problem_id for p in loaded.problems}) == len(loaded.problems)
    more = load_source(products(60, seed=3, params={"max_digits": 2}), base=tmp_path)
    assert more.problems[: len(loaded.problems)] == loaded.problems


def test_repeated_generated_problems_are_folded(tmp_path: Path) -> None:
    few = {"min_digits": 1, "max_digits": 1}
    assert len(load_source(products(200, params=few), base=tmp_path).problems) < 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "product"}, "Close names: products"),
        ({"params": {"max_digit": 3}}, "Close names: max_digits"),
        ({"params": {"max_digits": 0}}, "refuses"),
        ({"task": "rush_hour"}, "no reference answers"),
    ],
)
def test_a_wrong_generator_setting_says_what_there_is(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"kind": SourceKind.REASONING_GYM, "task": "products", "count": 3, **settings}
    with pytest.raises(RecipeError, match=message):
        load_source(Source(**given), base=Path())


@pytest.mark.parametrize(
    ("given", "mapping", "advice"),
    [
        ({"problem": "x", "answer": 1}, {}, "--map statement=problem --map gold_answer=answer"),
        ({"question": "x", "gold_answer": 1}, {}, "next:    --map statement=question\n"),
        ({"problem": "x", "answer": 1}, {"statement": "problm", "gold_answer": "answer"}, "--map statement=problem\n"),
        ({"statement": "x", "gold_answer": 1}, {"difficulty": "levl"}, "--map difficulty=COLUMN"),
    ],
)
def test_a_column_that_no_row_has_is_one_message_with_the_map_that_fits(
    tmp_path: Path, given: dict[str, Any], mapping: dict[str, str], advice: str
) -> None:
    write(tmp_path / "a.jsonl", *[json.dumps(given)] * 2000)
    settings = Problems(sources=(source("a.jsonl", map=mapping),), skip_bad_rows=True)
    with pytest.raises(ProblemsError) as caught:
        load_problems(settings, base=tmp_path)
    report = str(caught.value)
    assert advice in report + "\n"
    assert f"columns: {', '.join(given)}" in report
    assert report.count("\n") == 3


def test_mapping_an_unknown_column_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", row())
    with pytest.raises(RecipeError, match="Did you mean 'statement'"):
        load_source(source("a.jsonl", map={"statment": "problem"}), base=tmp_path)


def test_columns_licence_and_small_extras(tmp_path: Path) -> None:
    write(
        tmp_path / "a.jsonl",
        row(
            "a",
            "1",
            license="MIT",
            difficulty=5.0,
            year=1983,
            flag=True,
            long="x" * 101,
            nested={"a": 1},
            nan=float("nan"),
        ),
        row("b", "2", topic="science", domain="algebra"),
    )
    first, second = load_source(source("a.jsonl", licence="CC0-1.0"), base=tmp_path).problems
    assert (first.licence, first.difficulty, first.source, first.split) == ("MIT", "5.0", "a.jsonl", "train")
    assert json.loads(first.meta) == {"columns": {"year": 1983, "flag": True}}
    assert (second.licence, second.domain) == ("CC0-1.0", Domain.MATH)
    assert [c.name for c in PROBLEMS.columns] == list(first.model_dump())
    mapped = load_source(source("a.jsonl", map={"domain": "topic"}), base=tmp_path)
    assert [p.domain for p in mapped.problems] == [Domain.SCIENCE]
    assert rejections(tmp_path / "a.jsonl", map={"domain": "domain"}) == [(1, "missing_column"), (2, "bad_value")]


def test_code_problems_need_a_format() -> None:
    with pytest.raises(RecipeError, match=r"need a format .*: asserts, function, contest, stdin"):
        load_source(source("a.jsonl", domain="code"), base=Path())
