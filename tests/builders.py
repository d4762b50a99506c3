"""Rows for tests: whole ones of the stored tables, from the few fields that a test is about."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from schemas.tables import SNAPSHOT, STORED_TABLES, Table
from warehouse.models import build_model, model_files

START = datetime(2025, 3, 1, tzinfo=UTC)
PARAMS: dict[str, Any] = {
    "run_id": "r_1",
    "baseline_recipe_id": "base",
    "rollout_recipe_id": "hint",
    "repair_recipe_id": "repair",
    "judge_recipe_id": "judge",
    "contamination_recipe_id": "contamination",
    "per_problem_tried": 9,
    "rounds": 9,
    "signals_version": 2,
    "needs_baseline": True,
    "system": "",
    "suffix": "",
    "min_tool_success": 1,
    "drop_tool_errors": False,
    "drop_delayed_computation": False,
    "drop_distrust": False,
    "max_hand_calculations": None,
    "max_ngram_repetition": 0.3,
    "max_line_repetition": 0.5,
    "per_problem": 1,
    "quota_math": 100,
    "quota_code": 100,
    "quota_science": 100,
    "quota_source": "{}",
    "fill_by": "problems",
    "best_of": ["fewest_errors", "shortest"],
    "min_pass_rate": 0.0,
    "max_pass_rate": 1.0,
    "replay": True,
    "tolerate": [],
    "replay_environment": "here",
}
"""Of the models; a test changes those that it is about."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "raw.problems": {"domain": "math", "verifier": "math_verify"},
    "raw.run_problems": {"run_id": "r_1"},
    "raw.trajectories": {
        "run_id": "r_1", "recipe_id": "hint", "arm": "hint", "stop_reason": "end", "created_at": START,
    },
    "derived.gold_checks": {"recipe_id": "judge", "is_accepted": True, "verdict": "correct"},
    "derived.contamination": {"recipe_id": "contamination", "method": "exact"},
    "derived.verdicts": {
        "recipe_id": "judge", "is_correct": True, "verdict": "correct", "verifier": "math_verify", "step": "exact",
    },
    "derived.signals": {"signals_version": 2, "n_tool_calls": 1, "n_tool_success": 1},
    "derived.duplicate_pairs": {"run_id": "r_1", "subject": "response"},
}  # fmt: skip


def row(table: Table, **values: Any) -> dict[str, Any]:
    """A whole row: the values given, then the table's defaults, then null or the empty value of the type."""
    unknown = values.keys() - set(table.arrow_schema.names)
    assert not unknown, f"{table.name} has no {unknown}"
    given = DEFAULTS.get(table.name, {}) | values
    return {column.name: given.get(column.name, _empty(column.type, column.nullable)) for column in table.columns}


def _empty(kind: pa.DataType, nullable: bool) -> Any:
    if nullable:
        return None
    if pa.types.is_list(kind):
        return []
    if pa.types.is_timestamp(kind):
        return START
    if pa.types.is_binary(kind):
        return b""
    return False if pa.types.is_boolean(kind) else "" if pa.types.is_string(kind) else 0


def later(seconds: float) -> datetime:
    """A time after `START`."""
    return START + timedelta(seconds=seconds)


def segment(origin: str, text: str, n_tokens: int = 1, ids: Sequence[int] | None = None) -> dict[str, Any]:
    """One segment."""
    return {"origin": origin, "text": text, "n_tokens": n_tokens, "token_ids": ids}


def hint(function: str = "general", cut: str = "start", trigger: str = "", *, number: int = 1) -> dict[str, Any]:
    """One use of a hint."""
    return {
        "hint_id": f"{function}/{number}", "function": function, "cut": cut, "trigger": trigger, "char_offset": 0,
        "round": 1,
    }  # fmt: skip


def call(status: str = "ok", stdout: str = "5\n", error_type: str | None = None) -> dict[str, Any]:
    """One execution."""
    return {
        "code": "print(5)", "stdout": stdout, "error_type": error_type, "traceback": None, "status": status,
        "output_truncated": False, "wall_ms": 2.0,
    }  # fmt: skip


def snapshot_rows(n: int = 3) -> pa.Table:
    """Rows of a snapshot, with text that is not ASCII."""
    given: dict[str, Any] = {
        "completion": "It is 5 \u2014 so \u2603.",
        "segments": [segment("model", "It is ", 2, [1, 2]), segment("hint", "5 \u2014 so \u2603.", 1)],
        "hints": [hint()],
        "tool_calls": [{name: value for name, value in call().items() if name != "wall_ms"}],
        "messages": [{"role": "user", "content": "?"}],
        "is_correct": True,
    }
    rows = [row(SNAPSHOT, trajectory_id=f"t{i}", **given) for i in range(n)]
    return pa.Table.from_pylist(rows, schema=SNAPSHOT.arrow_schema)


def put(con: duckdb.DuckDBPyConnection, name: str, *rows: Mapping[str, Any]) -> None:
    """Make a table of these rows; the fields that a row leaves out are empty.

    Args:
        con: Where.
        name: A stored table, or `marts.snapshot_rows`.
        rows: In any order of fields.
    """
    table = SNAPSHOT if name == "marts.snapshot_rows" else STORED_TABLES[name]
    data = pa.Table.from_pylist([row(table, **given) for given in rows], schema=table.arrow_schema)  # noqa: F841
    con.execute(f"create schema if not exists {name.split('.', maxsplit=1)[0]}")
    con.execute(f"create or replace table {name} as from data")


def fake(con: duckdb.DuckDBPyConnection, name: str, types: str, *rows: Sequence[Any]) -> None:
    """Make a table in place of a model: `types` as in `create table`, rows in that order."""
    con.execute(f"create schema if not exists {name.split('.', maxsplit=1)[0]}")
    con.execute(f"create or replace table {name} ({types})")
    for values in rows:
        con.execute(f"insert into {name} values ({', '.join('?' * len(values))})", list(values))


def build(con: duckdb.DuckDBPyConnection, *names: str, **params: Any) -> None:
    """Run these models, in the order given."""
    by_name = {model.name: model for model in model_files()}
    for name in names:
        build_model(con, by_name[name], PARAMS | params)


def rows_of(con: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """All rows."""
    return con.sql(query).fetchall()
