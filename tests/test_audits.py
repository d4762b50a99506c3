"""Each audit passes a good warehouse, and catches each thing that it promises will not be there."""

import hashlib
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from quality.gate import run_audit
from tests.builders import build, call, fake, hint, put, rows_of, segment
from warehouse.models import AUDITS

ROW: dict[str, Any] = {
    "trajectory_id": "t1",
    "problem_id": "p1",
    "engine": "model@1",
    "segments": [
        segment("model", "Well.\n", 2, [1, 2]), segment("hint", "Wait, ```python\n", 3),
        segment("model", "print(5)\n```\n", 4),
        segment("tool", "```output\n5\n```\n", 5), segment("model", "So 5.", 1, [7]),
    ],
    "completion": "Well.\nWait, ```python\nprint(5)\n```\n```output\n5\n```\nSo 5.",
    "hints": [hint()],
    "tool_calls": [{k: v for k, v in call().items() if k != "wall_ms"}],
    "is_correct": True,
    "baseline_trajectory_id": "b1",
    "baseline_is_correct": False,
    "n_tokens_model": 7,
    "n_tokens_hint": 3,
    "n_tokens_tool": 5,
}  # fmt: skip
OTHER = ROW | {"trajectory_id": "t2", "problem_id": "p2", "baseline_trajectory_id": "b2"}


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """A good warehouse of two rows; `p3` and its trajectory `t3` were dropped."""
    with duckdb.connect() as con:
        put(con, "marts.snapshot_rows", ROW, OTHER)
        fake(
            con, "staging.trajectories",
            "trajectory_id text, arm text, engine text, problem_id text, is_candidate bool",
            *((f"b{n}", "baseline", "model@1", f"p{n}", False) for n in (1, 2, 3)),
            *((f"t{n}", "hint", "model@1", f"p{n}", True) for n in (1, 2, 3)),
        )  # fmt: skip
        fake(
            con, "staging.verdicts", "trajectory_id text, is_correct bool, verdict text",
            ("t1", True, "correct"), ("t2", True, "correct"), ("t3", False, "wrong"),
        )  # fmt: skip
        fake(
            con, "intermediate.problems_marked", "problem_id text, drop_reason text, benchmark text",
            ("p1", None, None), ("p2", None, None), ("p3", None, None), ("p4", "contaminated", "aime24"),
        )  # fmt: skip
        fake(con, "staging.problems", "problem_id text", *((p,) for p in ("p1", "p2", "p3", "p4")))
        fake(con, "marts.problems", "problem_id text, drop_reason text", *((p, None) for p in ("p1", "p2", "p3")))
        con.execute("insert into marts.problems values ('p4', 'contaminated')")
        fake(
            con, "marts.trajectories_scored", "trajectory_id text, problem_id text, domain text, drop_reason text",
            ("t1", "p1", "math", None), ("t2", "p2", "math", None), ("t3", "p3", "math", "wrong_answer"),
        )  # fmt: skip
        put(con, "raw.trajectories", *({"trajectory_id": t, "tool_calls": [call()]} for t in ("t1", "t2", "t3")))
        put(con, "derived.replays", replay("t1"), replay("t2"), replay("t2", environment_id="elsewhere/namespaces"))
        build(con, "marts.funnel", "marts.selected", "marts.replays")
        yield con


def replay(trajectory_id: str, **values: Any) -> dict[str, Any]:
    """A row of derived.replays that holds for `call()`."""
    recorded = '[["print(5)","5\\n",null,"ok"]][]'
    given = {
        "trajectory_id": trajectory_id, "calls_hash": hashlib.md5(recorded.encode()).hexdigest(),
        "environment_id": "here/namespaces", "n_calls": 1, "n_same": 1, "detail": "[]",
    }  # fmt: skip
    return given | values


def audit(con: duckdb.DuckDBPyConnection, name: str) -> int:
    check = run_audit(con, AUDITS / f"{name}.sql", {})
    assert "failed" not in check.detail, check.detail
    assert check.passed == (check.n_bad == 0)
    return check.n_bad


def change(con: duckdb.DuckDBPyConnection, **values: Any) -> None:
    """Other values in the first row of the candidate."""
    put(con, "marts.snapshot_rows", ROW | values, OTHER)


BAD_ROWS: list[tuple[str, dict[str, Any]]] = [
    ("baseline_is_wrong", {"baseline_is_correct": True}),
    ("baseline_is_wrong", {"baseline_trajectory_id": "nowhere"}),
    ("baseline_is_wrong", {"baseline_trajectory_id": "t3"}),
    ("baseline_is_wrong", {"engine": "model@2"}),
    ("has_tool_success", {"tool_calls": []}),
    ("has_tool_success", {"tool_calls": [call("error") | {"stdout": "5"}, call("ok", "")]}),
    ("not_contaminated", {"problem_id": "p4"}),
    ("not_contaminated", {"problem_id": "of no run"}),
    ("rows_are_distinct", {"problem_id": "p2"}),
    ("segments_concatenate", {"completion": ROW["completion"] + " "}),
    ("segments_concatenate", {"segments": [], "completion": ""}),
    ("segments_concatenate", {"segments": [*ROW["segments"][:-1], segment("teacher", "So 5.")]}),
    ("segments_concatenate", {"hints": []}),
    ("segments_concatenate", {"hints": [hint(), hint()]}),
    ("segments_concatenate", {"tool_calls": []}),
    ("segments_concatenate", {"segments": [segment("hint", "Wait"), segment("model", "5")], "completion": "Wait5"}),
    ("token_counts_agree", {"n_tokens_model": 8}),
    ("token_counts_agree", {"n_tokens_hint": 0}),
    ("token_counts_agree", {"n_tokens_tool": 6}),
    ("token_counts_agree", {"segments": [segment("model", "Well.\n", 2, [1]), *ROW["segments"][1:]]}),
    ("token_counts_agree", {"segments": [s for s in ROW["segments"] if s["origin"] != "hint"]}),
]


@pytest.mark.parametrize(("name", "values"), BAD_ROWS)
def test_a_bad_row_is_caught(con: duckdb.DuckDBPyConnection, name: str, values: dict[str, Any]) -> None:
    change(con, **{k: [_published(c) for c in v] if k == "tool_calls" else v for k, v in values.items()})
    assert audit(con, name) == 1


def _published(given: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k != "wall_ms"}


BAD_TABLES = [
    ("selected_is_correct", "update staging.verdicts set is_correct = false where trajectory_id = 't1'"),
    ("selected_is_correct", "update staging.verdicts set is_correct = null where trajectory_id = 't1'"),
    ("selected_is_correct", "delete from staging.verdicts where trajectory_id = 't1'"),
    ("funnel_ends_in_selection", "delete from marts.selected where trajectory_id = 't1'"),
    ("funnel_ends_in_selection", "insert into marts.selected values ('t3', 'p3', 'math')"),
    ("funnel_balances", "update marts.funnel set rows_dropped = rows_dropped + 1 where step = 'verdict'"),
    ("outputs_reproduce", "update derived.replays set classes = ['real', 'time'] where trajectory_id = 't1'"),
    ("outputs_reproduce", "delete from derived.replays where trajectory_id = 't1'"),
    ("outputs_reproduce", "update derived.replays set environment_id = 'hereabouts/none' where trajectory_id = 't1'"),
    ("outputs_reproduce", "update derived.replays set calls_hash = 'of other outputs' where trajectory_id = 't1'"),
    ("funnel_balances", "delete from marts.funnel where step = 'decontamination'"),  # the next one lacks its rows
    ("funnel_counts_every_row", "delete from marts.trajectories_scored where trajectory_id = 't3'"),
    ("funnel_counts_every_row", "insert into marts.trajectories_scored from marts.trajectories_scored limit 1"),
    ("funnel_counts_every_row", "delete from marts.problems where problem_id = 'p4'"),
    ("funnel_counts_every_row", "insert into marts.problems values ('p4', 'contaminated')"),
    ("funnel_counts_every_row", "insert into marts.problems values ('p5', 'contaminated')"),
    ("funnel_counts_every_row", "update marts.funnel set rows_in = 5, rows_dropped = 2 where step = 'gold check'"),
    ("funnel_counts_every_row", "delete from marts.funnel where unit = 'trajectory'"),
]


@pytest.mark.parametrize(("name", "statement"), BAD_TABLES)
def test_a_bad_table_is_caught(con: duckdb.DuckDBPyConnection, name: str, statement: str) -> None:
    con.execute(statement)
    assert audit(con, name) == 1


@pytest.mark.parametrize(
    ("params", "n_bad"),
    [
        ({}, 1),
        ({"tolerate": ["time"]}, 1),
        ({"tolerate": ["time", "real"]}, 0),
        ({"replay": False}, 0),
        ({"replay_environment": "elsewhere"}, 1),
    ],
)
def test_what_the_recipe_tolerates_is_no_fault(
    con: duckdb.DuckDBPyConnection, params: dict[str, Any], n_bad: int
) -> None:
    con.execute("update derived.replays set classes = ['real', 'time'] where trajectory_id = 't1'")
    build(con, "marts.replays", **params)
    assert audit(con, "outputs_reproduce") == n_bad


@pytest.mark.parametrize(
    ("table", "reason"),
    [("marts.problems", "bored"), ("marts.trajectories_scored", "contaminated"), ("marts.problems", "wrong_answer")],
)
def test_a_reason_without_a_place_in_the_funnel_is_caught(
    con: duckdb.DuckDBPyConnection, table: str, reason: str
) -> None:
    con.execute(f"update {table} set drop_reason = ? where drop_reason is not null", [reason])
    build(con, "marts.funnel")
    assert audit(con, "drop_reason_is_known") == 1


def test_every_audit_passes_a_good_warehouse_and_has_a_case_that_it_catches(con: duckdb.DuckDBPyConnection) -> None:
    names = {path.stem for path in AUDITS.glob("*.sql")}
    assert {name: audit(con, name) for name in names} == dict.fromkeys(names, 0)
    assert {name for name, _ in (*BAD_ROWS, *BAD_TABLES)} | {"drop_reason_is_known"} == names
    assert rows_of(con, "select count(*) from marts.selected") == [(2,)]


def test_every_audit_passes_an_empty_warehouse(con: duckdb.DuckDBPyConnection) -> None:
    for table in ("staging.problems", "staging.trajectories"):
        con.execute(f"delete from {table}")
    for table in ("marts.problems", "marts.trajectories_scored", "staging.verdicts", "marts.snapshot_rows"):
        con.execute(f"delete from {table}")
    build(con, "marts.funnel", "marts.selected")
    assert sum(audit(con, path.stem) for path in AUDITS.glob("*.sql")) == 0
