"""SQL of the intermediate models, with given and expected rows: why a row is dropped, and which reason is first."""

import itertools
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from schemas.tables import STORED_TABLES
from tests.builders import build, fake, put, rows_of, segment

PROBLEMS_MARKED = "problem_id text, drop_reason text"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """Every stored table, empty."""
    with duckdb.connect() as con:
        for name in STORED_TABLES:
            put(con, name)
        yield con


def problems(con: duckdb.DuckDBPyConnection, *ids: str) -> None:
    put(con, "raw.problems", *({"problem_id": p, "statement": p} for p in ids))
    put(con, "raw.run_problems", *({"problem_id": p, "position": i} for i, p in enumerate(ids)))
    build(con, "staging.problems")


# staging.contamination, marts.contamination


def test_contamination_is_counted_per_benchmark_and_method(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, "p1", "p2")
    put(
        con, "derived.contamination",
        {"problem_id": "p1", "benchmark": "a", "item": "1", "score": 1.0},
        {"problem_id": "p1", "benchmark": "a", "item": "1", "method": "ngram_lcs", "score": 0.7},
        {"problem_id": "p2", "benchmark": "a", "item": "1", "method": "ngram_lcs", "score": 0.6},
        {"problem_id": "p2", "benchmark": "b", "item": "1", "method": "ngram_lcs", "score": 0.8},
        {"problem_id": "of another run", "benchmark": "b", "item": "2"},
        {"problem_id": "p1", "benchmark": "b", "item": "2", "recipe_id": "another rule"},
    )  # fmt: skip
    build(con, "staging.contamination", "marts.contamination")
    assert rows_of(con, "from marts.contamination") == [
        ("a", "ngram_lcs", 2, 1, 0.6, "p2"), ("a", "exact", 1, 1, 1.0, "p1"), ("b", "ngram_lcs", 1, 1, 0.8, "p2"),
    ]  # fmt: skip


# intermediate.problems_marked


def marked(con: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    build(con, "staging.trajectories", "staging.verdicts", "staging.contamination", "intermediate.baselines")
    build(con, "intermediate.problems_marked")
    rows = rows_of(con, "select problem_id, drop_reason from intermediate.problems_marked order by position")
    assert len(rows) == len(dict(rows))
    return dict(rows)


def baseline(problem_id: str, stop_reason: str = "end", **values: Any) -> dict[str, Any]:
    return {
        "trajectory_id": f"b-{problem_id}", "problem_id": problem_id, "arm": "baseline", "recipe_id": "base",
        "stop_reason": stop_reason, **values,
    }  # fmt: skip


def test_problems_marked_gives_every_reason(con: duckdb.DuckDBPyConnection) -> None:
    names = [
        "unchecked", "refused", "other_judge", "seen", "seen_by_other_rule", "not_run", "engine", "sandbox",
        "other_recipe", "unjudged", "undecided", "right", "wrong",
    ]  # fmt: skip
    problems(con, *names)
    put(
        con, "derived.gold_checks",
        *({"problem_id": p} for p in names if p not in {"unchecked", "refused", "other_judge"}),
        {"problem_id": "refused", "is_accepted": False},
        {"problem_id": "other_judge", "recipe_id": "a judge of another run"},
    )  # fmt: skip
    put(
        con, "derived.contamination",
        {"problem_id": "seen", "benchmark": "aime25", "item": "3", "method": "ngram_lcs", "score": 1.0},
        {"problem_id": "seen", "benchmark": "aime24", "item": "7", "method": "near_exact", "score": 0.9},
        {"problem_id": "seen_by_other_rule", "recipe_id": "a rule of another run"},
    )  # fmt: skip
    put(
        con, "raw.trajectories",
        *(baseline(p) for p in ("refused", "seen", "seen_by_other_rule", "unjudged", "undecided", "right", "wrong")),
        baseline("engine", "engine_error"),
        baseline("sandbox", "sandbox_lost"),
        baseline("other_recipe", recipe_id="another recipe"),
    )  # fmt: skip
    put(
        con, "derived.verdicts",
        {"trajectory_id": "b-undecided", "is_correct": None, "verdict": "timeout"},
        {"trajectory_id": "b-unjudged", "recipe_id": "a judge of another run"},
        {"trajectory_id": "b-right", "is_correct": True},
        {"trajectory_id": "b-wrong", "is_correct": False},
        {"trajectory_id": "b-seen_by_other_rule", "is_correct": False},
    )  # fmt: skip
    assert marked(con) == {
        "unchecked": "gold_unverified",
        "refused": "gold_unverified",
        "other_judge": "gold_unverified",
        "seen": "contaminated",
        "seen_by_other_rule": None,
        "not_run": "baseline_failed",
        "engine": "baseline_failed",
        "sandbox": "baseline_failed",
        "other_recipe": "baseline_failed",
        "unjudged": "baseline_undecided",
        "undecided": "baseline_undecided",
        "right": "baseline_correct",
        "wrong": None,
    }
    evidence = "select benchmark, benchmark_item from intermediate.problems_marked where problem_id = 'seen'"
    assert rows_of(con, evidence) == [("aime24", "7")]


def test_problems_marked_gives_the_first_reason(con: duckdb.DuckDBPyConnection) -> None:
    """Every combination of the four things that can be wrong; the first in the order of the steps counts."""
    cases = list(itertools.product((False, True), (False, True), ("end", "engine_error"), (None, True, False)))
    problems(con, *(f"p{i}" for i in range(len(cases))))
    golds, seen, runs, verdicts, expected = [], [], [], [], []
    for i, (gold_holds, contaminated, stop, is_correct) in enumerate(cases):
        golds.append({"problem_id": f"p{i}", "is_accepted": gold_holds})
        seen += [{"problem_id": f"p{i}"}] if contaminated else []
        runs.append(baseline(f"p{i}", stop))
        verdicts.append({"trajectory_id": f"b-p{i}", "is_correct": is_correct})
        reasons = [
            (not gold_holds, "gold_unverified"), (contaminated, "contaminated"), (stop != "end", "baseline_failed"),
            (is_correct is None, "baseline_undecided"), (is_correct is True, "baseline_correct"),
        ]  # fmt: skip
        expected.append(next((reason for holds, reason in reasons if holds), None))
    put(con, "derived.gold_checks", *golds)
    put(con, "derived.contamination", *seen)
    put(con, "raw.trajectories", *runs)
    put(con, "derived.verdicts", *verdicts)
    assert list(marked(con).values()) == expected


def test_a_run_has_its_own_problems_alone(con: duckdb.DuckDBPyConnection) -> None:
    put(con, "raw.problems", {"problem_id": "p1"}, {"problem_id": "p2"})
    put(con, "raw.run_problems", {"problem_id": "p1"}, {"problem_id": "p2", "run_id": "another run"})
    build(con, "staging.problems")
    assert marked(con) == {"p1": "gold_unverified"}


# staging.trajectories


def test_staging_leaves_out_what_the_recipe_would_not_make(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, "p")
    put(
        con, "raw.trajectories",
        baseline("p", segments=[segment("model", "one, "), segment("hint", "two")]),
        {"trajectory_id": "h0", "problem_id": "p"},
        {"trajectory_id": "h1", "problem_id": "p", "sample_index": 1},
        {"trajectory_id": "h2", "problem_id": "p", "sample_index": 2},
        {"trajectory_id": "h1r", "problem_id": "p", "sample_index": 1, "recipe_id": "repair", "repairs": ["cut_loop"]},
        {"trajectory_id": "old", "problem_id": "p", "recipe_id": "before"},
        {"trajectory_id": "other", "problem_id": "not of this run"},
    )  # fmt: skip
    build(con, "staging.trajectories", per_problem_tried=2)
    got = rows_of(
        con, "select trajectory_id, is_candidate, is_repaired, completion from staging.trajectories order by 1"
    )
    assert got == [
        ("b-p", False, False, "one, two"), ("h0", True, False, ""), ("h1", True, False, ""), ("h1r", True, True, ""),
    ]  # fmt: skip


def test_a_build_without_baselines_tries_every_problem_that_holds(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, "refused", "seen", "new")
    put(con, "derived.gold_checks", {"problem_id": "seen"}, {"problem_id": "new"})
    put(con, "derived.contamination", {"problem_id": "seen"})
    put(
        con, "raw.trajectories",
        baseline("new"), {"trajectory_id": "s0", "problem_id": "new", "arm": "baseline", "recipe_id": "sample"},
    )  # fmt: skip
    build(con, "staging.trajectories", "staging.verdicts", baseline_recipe_id="", rollout_recipe_id="sample")
    build(con, "staging.contamination")
    build(con, "intermediate.baselines", "intermediate.problems_marked", needs_baseline=False)
    got = rows_of(con, "select problem_id, drop_reason from intermediate.problems_marked order by position")
    assert got == [("refused", "gold_unverified"), ("seen", "contaminated"), ("new", None)]
    assert rows_of(con, "select trajectory_id, is_candidate from staging.trajectories") == [("s0", True)]


# intermediate.trajectories_judged


def judged(con: duckdb.DuckDBPyConnection, **params: Any) -> dict[str, str | None]:
    build(con, "staging.problems", "staging.trajectories", "staging.verdicts")
    build(con, "intermediate.trajectories_judged", **params)
    return dict(rows_of(con, "select trajectory_id, drop_reason from intermediate.trajectories_judged order by 1"))


GOOD: dict[str, Any] = {"n_tool_calls": 2, "n_tool_success": 1}
CASES: dict[str, tuple[str, bool | None, dict[str, Any], str | None]] = {
    "good": ("end", True, GOOD, None),
    "long": ("length", True, GOOD, None),
    "engine": ("engine_error", True, GOOD, "rollout_failed"),
    "sandbox": ("sandbox_lost", False, GOOD, "rollout_failed"),
    "undecided": ("end", None, GOOD, "undecided"),
    "wrong": ("end", False, {"ngram_repetition": 0.9}, "wrong_answer"),
    "no_tool": ("end", True, {"n_tool_success": 0, "n_tool_errors": 2, "line_repetition": 0.9}, "no_tool_success"),
    "one_error": ("end", True, GOOD | {"n_tool_errors": 1}, None),
    "delayed": ("end", True, GOOD | {"delayed_computation": True, "n_hand_calculations": 2}, None),
    "doubts": ("end", True, GOOD | {"distrusts_output": True}, None),
    "by_hand": ("end", True, GOOD | {"n_hand_calculations": 3}, None),
    "at_the_limit": ("end", True, GOOD | {"ngram_repetition": 0.3, "line_repetition": 0.5}, None),
    "words_again": ("end", True, GOOD | {"ngram_repetition": 0.31}, "repetitive"),
    "lines_again": ("end", True, GOOD | {"line_repetition": 0.51}, "repetitive"),
}


def given(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, "p", "easy")
    fake(con, "intermediate.problems_marked", PROBLEMS_MARKED, ("p", None), ("easy", "baseline_correct"))
    put(
        con, "raw.trajectories",
        *({"trajectory_id": name, "problem_id": "p", "stop_reason": case[0]} for name, case in CASES.items()),
        {"trajectory_id": "of_an_easy_problem", "problem_id": "easy"},
        {"trajectory_id": "unjudged", "problem_id": "p"},
        {"trajectory_id": "unmeasured", "problem_id": "p"},
        baseline("p"),
    )  # fmt: skip
    verdicts: dict[str, bool | None] = {name: case[1] for name, case in CASES.items()} | {"unmeasured": True}
    put(con, "derived.verdicts", *({"trajectory_id": n, "is_correct": correct} for n, correct in verdicts.items()))
    put(con, "derived.signals", *({"trajectory_id": name, **case[2]} for name, case in CASES.items()))


def test_trajectories_judged_gives_the_first_reason(con: duckdb.DuckDBPyConnection) -> None:
    given(con)
    expected = {name: case[3] for name, case in CASES.items()}
    assert judged(con) == expected | {"unjudged": "undecided", "unmeasured": "no_tool_success"}


def test_trajectories_judged_heeds_the_recipe(con: duckdb.DuckDBPyConnection) -> None:
    given(con)
    got = judged(con, drop_tool_errors=True, min_tool_success=0)
    assert (got["one_error"], got["no_tool"], got["unmeasured"]) == ("tool_error", "tool_error", None)
    got = judged(con, min_tool_success=2)
    assert {got[name] for name in ("good", "long", "at_the_limit")} == {"no_tool_success"}
    got = judged(con, drop_delayed_computation=True, drop_distrust=True, max_hand_calculations=2)
    assert (got["delayed"], got["doubts"], got["by_hand"]) == (
        "delayed_computation", "distrusts_output", "hand_computation",
    )  # fmt: skip
    assert judged(con, max_hand_calculations=3)["by_hand"] is None
    got = judged(con, max_ngram_repetition=1.0, max_line_repetition=1.0, min_tool_success=0)
    assert "repetitive" not in got.values()


# intermediate.trajectories_live


def test_trajectories_live_are_those_without_a_reason_and_without_a_repaired_copy(
    con: duckdb.DuckDBPyConnection,
) -> None:
    types = (
        "trajectory_id text, parent_id text, problem_id text, is_repaired bool, drop_reason text, n_tokens_model int"
    )
    fake(
        con, "intermediate.trajectories_judged", types,
        ("good", "b", "p", False, None, 10),
        ("wrong", "b", "p", False, "wrong_answer", 10),
        ("broken", "b", "p", False, None, 30),
        ("mended", "broken", "p", True, None, 20),
        ("loop", "b", "p", False, "repetitive", 90),
        ("unlooped", "loop", "p", True, None, 15),
        ("sibling", "good", "p", False, None, 40),  # a parent is replaced by a repaired child alone
    )  # fmt: skip
    build(con, "intermediate.trajectories_live")
    got = rows_of(con, "from intermediate.trajectories_live order by trajectory_id")
    assert got == [("good", "p", 10), ("mended", "p", 20), ("sibling", "p", 40), ("unlooped", "p", 15)]
