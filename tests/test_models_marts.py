"""SQL of the marts, with given and expected rows: best of the problem, quotas, the funnel, the yield of hints."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from schemas.vocabulary import DropReason
from tests.builders import build, fake, hint, put, rows_of

JUDGED = (
    "trajectory_id text, parent_id text, problem_id text, is_repaired bool, is_correct bool, verdict text, "
    "n_tool_calls int, n_tool_success int, n_tool_errors int, ngram_repetition double, line_repetition double, "
    "n_tokens_model int, drop_reason text, delayed_computation bool, distrusts_output bool, n_hand_calculations int"
)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """No duplicates; each test adds the rest."""
    with duckdb.connect() as con:
        put(con, "derived.duplicate_pairs")
        yield con


def problems(con: duckdb.DuckDBPyConnection, *given: tuple[str, str]) -> None:
    """Problems in the run's order, with their domains."""
    put(con, "raw.problems", *({"problem_id": p, "domain": domain} for p, domain in given))
    put(con, "raw.run_problems", *({"problem_id": p, "position": i} for i, (p, _) in enumerate(given)))
    build(con, "staging.problems")


def trajectories(con: duckdb.DuckDBPyConnection, *given: dict[str, Any]) -> None:
    """Judged hint trajectories of the fields id, problem, tokens, errors, drop, mends."""
    put(
        con, "raw.trajectories",
        *(
            {
                "trajectory_id": t["id"], "problem_id": t["problem"], "n_tokens_model": t.get("tokens", 10),
                "repairs": ["cut_loop"] if "mends" in t else [], "hints": [t.get("hint", hint())],
                "recipe_id": "repair" if "mends" in t else "hint",
            }
            for t in given
        ),
    )  # fmt: skip
    build(con, "staging.trajectories")
    fake(
        con, "intermediate.trajectories_judged", JUDGED,
        *(
            (
                t["id"], t.get("mends", "b"), t["problem"], "mends" in t,
                None if t.get("drop") == "undecided" else t.get("drop") != "wrong_answer", "correct", 2,
                t.get("success", 1), t.get("errors", 0), 0.12345, 0.0, t.get("tokens", 10), t.get("drop"),
                False, False, 0,
            )
            for t in given
        ),
    )  # fmt: skip
    build(con, "intermediate.trajectories_live")


def scored(con: duckdb.DuckDBPyConnection, **params: Any) -> dict[str, str | None]:
    build(con, "marts.trajectories_scored", "marts.selected", **params)
    rows = dict(rows_of(con, "select trajectory_id, drop_reason from marts.trajectories_scored order by 1"))
    selected = rows_of(con, "select trajectory_id from marts.selected order by 1")
    assert [name for (name,) in selected] == [name for name, reason in rows.items() if reason is None]
    return rows


# marts.trajectories_scored, marts.selected


def test_the_best_has_the_fewest_errors_then_the_fewest_tokens_then_the_first_id(
    con: duckdb.DuckDBPyConnection,
) -> None:
    problems(con, ("p1", "math"), ("p2", "math"), ("p3", "math"), ("p4", "math"))
    trajectories(
        con,
        {"id": "a1", "problem": "p1", "errors": 1, "tokens": 5},
        {"id": "a2", "problem": "p1", "errors": 0, "tokens": 50},
        {"id": "b1", "problem": "p2", "tokens": 50},
        {"id": "b2", "problem": "p2", "tokens": 40},
        {"id": "c2", "problem": "p3"},
        {"id": "c1", "problem": "p3"},  # a tie: the smaller id, in whatever order they come
        {"id": "d1", "problem": "p4", "tokens": 1, "drop": "wrong_answer"},  # shortest, but dropped before
        {"id": "d2", "problem": "p4", "tokens": 9},
    )
    assert scored(con) == {
        "a1": "not_best", "a2": None, "b1": "not_best", "b2": None, "c1": None, "c2": "not_best", "d1": "wrong_answer",
        "d2": None,
    }  # fmt: skip
    two = scored(con, per_problem=2)
    assert [name for name, reason in two.items() if reason] == ["d1"]


def test_quotas_are_filled_by_domain_in_the_order_of_the_problems(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, ("z", "math"), ("c", "code"), ("y", "math"), ("s", "science"), ("x", "math"), ("r", "science"))
    trajectories(
        con,
        {"id": "x1", "problem": "x", "tokens": 1},
        {"id": "y1", "problem": "y", "tokens": 9},
        {"id": "y2", "problem": "y", "tokens": 8},
        {"id": "z1", "problem": "z", "drop": "repetitive"},  # takes no place
        {"id": "c1", "problem": "c"},
        {"id": "s1", "problem": "s"},
        {"id": "r1", "problem": "r"},
    )
    assert scored(con, quota_math=1, quota_code=0, quota_science=1) == {
        "c1": "over_quota", "r1": "over_quota", "s1": None, "x1": "over_quota", "y1": "not_best", "y2": None,
        "z1": "repetitive",
    }  # fmt: skip
    got = scored(con, quota_math=2, per_problem=2)
    assert [got[name] for name in ("y1", "y2", "x1")] == [None, None, "over_quota"]  # both of y come before x


def test_duplicates_and_repaired_rows_make_room(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, ("p1", "math"), ("p2", "math"), ("p3", "math"))
    trajectories(
        con,
        {"id": "a1", "problem": "p1", "tokens": 1},  # the best of p1, but repeats another
        {"id": "a2", "problem": "p1", "tokens": 9},
        {"id": "b1", "problem": "p2", "tokens": 30},
        {"id": "b1r", "problem": "p2", "tokens": 20, "mends": "b1"},
        {"id": "c1", "problem": "p3", "drop": "repetitive"},
        {"id": "c1r", "problem": "p3", "mends": "c1"},
        {"id": "c2", "problem": "p3", "drop": "wrong_answer"},
    )
    put(
        con, "derived.duplicate_pairs",
        {"dropped_id": "a1", "kept_id": "b1r"},
        {"dropped_id": "c2", "kept_id": "b1r"},  # of an earlier state: the first reason stays
        {"dropped_id": "a2", "kept_id": "b1r", "run_id": "another run"},
    )  # fmt: skip
    assert scored(con) == {
        "a1": "duplicate", "a2": None, "b1": "repaired", "b1r": None, "c1": "repetitive", "c1r": None,
        "c2": "wrong_answer",
    }  # fmt: skip
    kept = "select trajectory_id, duplicate_of from marts.trajectories_scored where duplicate_of is not null order by 1"
    assert rows_of(con, kept) == [("a1", "b1r"), ("c2", "b1r")]


def test_the_wide_row(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, ("p1", "code"))
    trajectories(con, {"id": "a1", "problem": "p1", "hint": hint("debug", "conjunction", "Wait"), "errors": 3})
    scored(con)
    names = "hint_id, hint_function, cut, trigger, domain, is_correct, n_tool_errors, ngram_repetition, parent_id"
    assert rows_of(con, f"select {names} from marts.trajectories_scored") == [
        ("debug/1", "debug", "conjunction", "Wait", "code", True, 3, 0.1235, "b")
    ]


# marts.funnel


def funnel(con: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    build(con, "marts.funnel")
    return rows_of(con, "select step, rows_in, rows_kept, rows_dropped, reasons from marts.funnel order by step_no")


def outcomes(con: duckdb.DuckDBPyConnection, table: str, **counts: int) -> None:
    reasons = [None if reason == "kept" else reason for reason, n in counts.items() for _ in range(n)]
    fake(con, table, "drop_reason text", *([reason] for reason in reasons))


def test_the_funnel_balances_and_names_its_reasons(con: duckdb.DuckDBPyConnection) -> None:
    outcomes(con, "marts.problems", baseline_correct=3, baseline_failed=1, gold_unverified=2, no_cut=1, kept=4)
    outcomes(
        con, "marts.trajectories_scored",
        wrong_answer=2, undecided=2, no_tool_success=1, tool_error=3, repaired=1, over_quota=1, kept=5,
    )  # fmt: skip
    assert funnel(con) == [
        ("gold check", 11, 9, 2, "gold_unverified 2"),
        ("decontamination", 9, 9, 0, ""),
        ("problem duplicates", 9, 9, 0, ""),
        ("baseline", 9, 5, 4, "baseline_correct 3, baseline_failed 1"),
        ("hint placement", 5, 4, 1, "no_cut 1"),
        ("rollout", 15, 15, 0, ""),
        ("verdict", 15, 11, 4, "undecided 2, wrong_answer 2"),
        ("tool use", 11, 7, 4, "tool_error 3, no_tool_success 1"),
        ("repetition", 7, 7, 0, ""),
        ("repair", 7, 6, 1, "repaired 1"),
        ("duplicates", 6, 6, 0, ""),
        ("selection", 6, 5, 1, "over_quota 1"),
    ]


def test_the_funnel_of_nothing(con: duckdb.DuckDBPyConnection) -> None:
    outcomes(con, "marts.problems", gold_unverified=1)
    outcomes(con, "marts.trajectories_scored")
    got = funnel(con)
    assert len(got) == 12
    assert {row[1:] for row in got[1:]} == {(0, 0, 0, "")}


def test_the_funnel_of_a_build_without_hints_has_no_steps_of_hint_infer(con: duckdb.DuckDBPyConnection) -> None:
    outcomes(con, "marts.problems", contaminated=1, kept=2)
    outcomes(con, "marts.trajectories_scored", wrong_answer=2, not_best=3, kept=2)
    build(con, "marts.funnel", needs_baseline=False)
    steps = rows_of(con, "select step, rows_in, rows_kept from marts.funnel order by step_no")
    first = [("gold check", 3, 3), ("decontamination", 3, 2), ("problem duplicates", 2, 2), ("rollout", 7, 7)]
    assert steps[:4] == first
    assert "baseline" not in {step[0] for step in steps}


@pytest.mark.parametrize("reason", DropReason)
def test_every_reason_has_one_step(con: duckdb.DuckDBPyConnection, reason: DropReason) -> None:
    for table in ("marts.problems", "marts.trajectories_scored"):
        outcomes(con, table, **{reason: 2, "kept": 1})
    dropped = [(step, n, reasons) for step, _, _, n, reasons in funnel(con) if n]
    assert len(dropped) == 1  # under its own unit: a reason for problems is none for trajectories
    assert dropped[0][1:] == (2, f"{reason} 2")


# marts.pass_rates


def test_pass_rates_count_neither_repaired_copies_nor_what_could_not_be_judged(con: duckdb.DuckDBPyConnection) -> None:
    fake(
        con, "marts.trajectories_scored", "problem_id text, is_repaired bool, is_correct bool, n_tool_calls int",
        ("p1", False, True, 1), ("p1", False, False, 0), ("p1", False, None, 0), ("p1", True, True, 1),
        ("p2", False, None, 0),
    )  # fmt: skip
    build(con, "marts.pass_rates")
    assert rows_of(con, "from marts.pass_rates order by 1") == [
        ("p1", 3, 1, 1, 0.5, 0.3333),
        ("p2", 1, 0, 1, None, 0.0),
    ]


# marts.disagreements


def test_disagreements_are_shown_with_their_evidence(con: duckdb.DuckDBPyConnection) -> None:
    fake(
        con, "staging.verdicts",
        "trajectory_id text, verdict text, step text, second_opinion bool, disagreement bool, detail text",
        ("t1", "correct", "value", False, True, "why"), ("t2", "correct", "exact", None, False, ""),
    )  # fmt: skip
    fake(
        con, "staging.trajectories", "trajectory_id text, problem_id text, arm text, answer_text text",
        ("t1", "p1", "hint", "5"), ("t2", "p1", "hint", "6"),
    )  # fmt: skip
    fake(con, "staging.problems", "problem_id text, gold_answer text, statement text", ("p1", "6", "?"))
    build(con, "marts.disagreements")
    assert rows_of(con, "from marts.disagreements") == [
        ("t1", "p1", "hint", "correct", "value", False, "6", "5", "why", "?")
    ]


# marts.hint_yield


def test_hint_yield_counts_by_what_was_said_and_where(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, ("p1", "math"), ("p2", "math"))
    at_wait = hint("general", "conjunction", "Wait")
    trajectories(
        con,
        {"id": "a1", "problem": "p1", "hint": at_wait},
        {"id": "a2", "problem": "p1", "hint": at_wait | {"hint_id": "general/2"}, "tokens": 90},
        {"id": "a3", "problem": "p2", "hint": at_wait, "drop": "wrong_answer", "success": 0},
        {"id": "a4", "problem": "p2", "hint": at_wait, "drop": "undecided", "success": 0},  # neither right nor wrong
        {"id": "b1", "problem": "p2", "hint": hint("debug", "start"), "drop": "wrong_answer"},
        {"id": "c1", "problem": "p2", "hint": hint("general", "end")},
    )
    scored(con)
    build(con, "marts.hint_yield")
    assert rows_of(con, "from marts.hint_yield") == [
        ("general", "end", "", 1, 1, 1, 1.0, 1, 1),
        ("general", "conjunction", "Wait", 1, 4, 2, 0.667, 2, 1),
        ("debug", "start", "", 1, 1, 0, 0.0, 1, 0),
    ]


def test_hint_yield_counts_a_repaired_copy_as_its_parent(con: duckdb.DuckDBPyConnection) -> None:
    problems(con, ("p1", "math"))
    trajectories(con, {"id": "a1", "problem": "p1"}, {"id": "a1r", "problem": "p1", "mends": "a1"})
    assert scored(con) == {"a1": "repaired", "a1r": None}
    build(con, "marts.hint_yield")
    assert rows_of(con, "select n_tried, n_right, n_selected from marts.hint_yield") == [(1, 1, 1)]
