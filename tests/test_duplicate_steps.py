"""The steps that look for repeats: what is signed, what is compared, what each drop says."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from factory.problems.rows import problem_id
from factory.progress import Reporter
from factory.run import Run, open_run
from factory.settings import load_recipe
from factory.steps.duplicates import mark_duplicate_statements, mark_duplicates
from factory.steps.reading import query
from schemas.records import Problem
from schemas.tables import GOLD_CHECKS, PROBLEMS, SIGNALS, SIGNATURES, TRAJECTORIES, VERDICTS
from schemas.vocabulary import Domain
from tests.builders import call, row, segment
from warehouse.duplicates import Rule, sign
from warehouse.store import Store

WORDS = [f"w{i}" for i in range(400)]


def text(start: int, n: int = 60) -> str:
    return " ".join(WORDS[start : start + n])


def problem(statement: str) -> Problem:
    identity = problem_id(Domain.MATH, statement, "1", None)
    given: dict[str, Any] = {"domain": Domain.MATH, "source": "s", "split": "train", "licence": "MIT"}
    return Problem(problem_id=identity, statement=statement, gold_answer="1", verifier="math_verify", **given)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "test.toml"
    path.write_text(
        '[problems]\nsources = [{ kind = "file", path = "none.jsonl" }]\n[engine]\nkind = "scripted"\n'
        "[duplicates]\nshingle_size = 3\n"
    )
    return path


def opened(home: Path, recipe: Path, problems: list[Problem], **overrides: Any) -> Run:
    settings = load_recipe(str(recipe), {key.replace("__", "."): value for key, value in overrides.items()})
    run = open_run("d_start", settings, Store(home), "model@1", problems, "none")
    run.store.append(PROBLEMS, [p.model_dump(mode="json") for p in problems])
    golds = [row(GOLD_CHECKS, problem_id=p.problem_id, recipe_id=run.ids.judge, is_accepted=True) for p in problems]
    run.store.append(GOLD_CHECKS, golds)
    return run


def put(run: Run, name: str, own: Problem, said: str, code: str = "print(5)", n_tokens: int = 9) -> None:
    run.store.append(TRAJECTORIES, [row(
        TRAJECTORIES, trajectory_id=name, problem_id=own.problem_id, recipe_id=run.ids.rollout, arm="self",
        stop_reason="end", segments=[segment("model", said)], tool_calls=[call() | {
            "code": code, "exit_code": 0, "survived": True, "diverged": False,
        }], n_tokens_model=n_tokens,
    )])  # fmt: skip
    run.store.append(VERDICTS, [row(
        VERDICTS, trajectory_id=name, recipe_id=run.ids.judge, verdict="correct", is_correct=True, step="exact",
        verifier="math_verify",
    )])  # fmt: skip
    version = {"signals_version": run.params["signals_version"]}
    run.store.append(SIGNALS, [row(SIGNALS, trajectory_id=name, n_tool_calls=1, n_tool_success=1, **version)])


def pairs(run: Run, subject: str) -> list[tuple[str, str]]:
    sql = f"from derived.duplicate_pairs where run_id = '{run.run_id}' and subject = '{subject}' order by dropped_id"
    return [(found["kept_id"], found["dropped_id"]) for found in query(run, sql)]


def drops(run: Run) -> dict[str, str | None]:
    return {found["trajectory_id"]: found["drop_reason"] for found in query(run, "from marts.trajectories_scored")}


def test_only_rows_without_a_signature_are_signed(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = [problem(f"What is {n}?") for n in range(2)]
    run = opened(tmp_path, recipe, problems)
    for i in range(5):
        put(run, f"t{i}", problems[i % 2], text(70 * (i % 4), 60 + i), n_tokens=i)
    mark_duplicates(run, Reporter())
    assert pairs(run, "response") == [("t0", "t4")]
    before = run.store.shards(SIGNATURES)
    signed: list[str] = []

    def watched(ids: pl.Series, texts: pl.Series, rule: Rule) -> pl.DataFrame:
        signed.extend(ids.to_list())
        return sign(ids, texts, rule)

    monkeypatch.setattr("factory.steps.duplicates.sign", watched)
    mark_duplicates(run, Reporter())
    assert signed == []
    for i in range(5, 15):
        put(run, f"t{i:02}", problems[0], text(i, 40 + i), n_tokens=i)
    mark_duplicates(run, Reporter())
    assert sorted(signed) == [f"t{i:02}" for i in range(5, 15)]
    assert set(before) < set(run.store.shards(SIGNATURES))


def test_other_shingles_are_another_scheme(tmp_path: Path, recipe: Path) -> None:
    problems = [problem("What is 1?")]
    for overrides in ({}, {"duplicates__shingle_size": 4}, {"duplicates__shingle": "character"}):
        run = opened(tmp_path, recipe, problems, **overrides)
        for name in ("a", "b"):
            put(run, name, problems[0], text(0))
        mark_duplicates(run, Reporter())
        assert pairs(run, "response") == [("a", "b")]
    assert query(run, "select count(distinct scheme) as n from derived.signatures") == [{"n": 3}]


def test_across_problems_is_a_switch(tmp_path: Path, recipe: Path) -> None:
    problems = [problem("What is 1?"), problem("What is 2?")]
    for across, found in ((True, [("a", "b"), ("a", "c")]), (False, [("a", "c")])):
        run = opened(tmp_path, recipe, problems, duplicates__across_problems=across)
        for name, own in (("a", problems[0]), ("b", problems[1]), ("c", problems[0])):
            put(run, name, own, text(0))
        mark_duplicates(run, Reporter())
        assert pairs(run, "response") == found


def test_code_is_compared_among_what_responses_left(tmp_path: Path, recipe: Path) -> None:
    problems = [problem("What is 1?")]
    code = "x = 1\ny = x + 2\nz = x * y\nprint(x, y, z)"
    for threshold, left in ((None, ["a", "c", "d"]), (0.9, ["a", "d"])):
        run = opened(
            tmp_path, recipe, problems, duplicates__code_similarity=threshold, d_start__selection__per_problem=9
        )
        put(run, "a", problems[0], text(0), code)
        put(run, "b", problems[0], text(0), "print(7)")  # repeats a's words: its code is compared with nobody's
        put(run, "c", problems[0], text(100), code.upper())
        put(run, "d", problems[0], text(200), "print(7)")
        mark_duplicates(run, Reporter())
        mark_duplicate_statements(run, Reporter())
        assert [name for name, reason in sorted(drops(run).items()) if reason is None] == left
    assert drops(run) == {"a": None, "b": "duplicate", "c": "duplicate_code", "d": None}
    told = {r["trajectory_id"]: r["duplicate_of"] for r in query(run, "from marts.trajectories_scored")}
    assert told == {"a": None, "b": "a", "c": "a", "d": None}


def test_statements_must_have_the_same_numbers(tmp_path: Path, recipe: Path) -> None:
    long = text(0, 40)
    statements = [f"{long} What is 12 + 30?", f"{long} What is 12 + 31?", f"{long}  what is 30 + 12?", "Another one?"]
    run = opened(tmp_path, recipe, [problem(s) for s in statements], duplicates__statement_similarity=0.8)
    mark_duplicate_statements(run, Reporter())
    ids = list(run.problems)
    assert pairs(run, "statement") == [(ids[0], ids[2])]
    marked = query(run, "select problem_id, drop_reason from marts.problems where drop_reason is not null")
    assert marked == [{"problem_id": ids[2], "drop_reason": "duplicate_statement"}]
    off = opened(tmp_path, recipe, [problem(s) for s in statements], duplicates__statement_similarity=None)
    mark_duplicate_statements(off, Reporter())
    assert pairs(off, "statement") == []
