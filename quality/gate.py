"""The gate: every promise is checked on the candidate before anything is promoted.

Column promises are a Great Expectations suite (`quality.suites`); promises across rows or tables are audits: SQL files
that select the bad rows, whose first line says what they promise. No rows, no problem.
"""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from quality.suites import validate_columns
from schemas.records import GateCheck
from schemas.tables import SNAPSHOT, Table

AUDIT = "audit"
_SHOWN_ROWS = 3
_SHOWN_CHARS = 80


def run_gate(
    candidate: pathlib.Path | pa.Table,
    connection: duckdb.DuckDBPyConnection,
    audits_dir: pathlib.Path,
    *,
    table: Table = SNAPSHOT,
    docs_dir: pathlib.Path | None = None,
    params: dict[str, Any] | None = None,
) -> list[GateCheck]:
    """Check the candidate's columns and run every audit.

    Args:
        candidate: What would be promoted: an Arrow table, a Parquet file or a folder of them.
        connection: Where the audits run; the caller makes the candidate visible to them there.
        audits_dir: Folder of `*.sql`, run in the order of their names.
        table: The column promises.
        docs_dir: Where the Data Docs go, or None.
        params: Named parameters of the audits; each gets those it mentions.

    Returns:
        All checks, passed or not. Nothing is raised for bad rows: see `gate_failure_message`.
    """
    return [*validate_columns(candidate, table, docs_dir), *run_audits(connection, audits_dir, params or {})]


def run_audits(
    connection: duckdb.DuckDBPyConnection, audits_dir: pathlib.Path, params: dict[str, Any]
) -> list[GateCheck]:
    """Run every audit of a folder. An audit that cannot run has not passed."""
    return [run_audit(connection, path, params) for path in sorted(audits_dir.glob("*.sql"))]


def run_audit(connection: duckdb.DuckDBPyConnection, path: pathlib.Path, params: dict[str, Any]) -> GateCheck:
    """Run one audit: a query for bad rows."""
    sql = path.read_text(encoding="utf-8")
    mentioned = {name: value for name, value in params.items() if f"${name}" in sql}
    try:
        cursor = connection.execute(sql, mentioned)
        rows = cursor.fetchmany(_SHOWN_ROWS)
        n_bad = len(rows)
        while batch := cursor.fetchmany(10_000):
            n_bad += len(batch)
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0][:300]
        return GateCheck(name=path.stem, kind=AUDIT, passed=False, n_bad=0, detail=f"the audit itself failed: {reason}")
    detail = "" if n_bad == 0 else f"{promise(sql)}; first rows: {', '.join(_shown(row) for row in rows)}"
    return GateCheck(name=path.stem, kind=AUDIT, passed=n_bad == 0, n_bad=n_bad, detail=detail)


def promise(sql: str) -> str:
    """What an audit promises: its first line, a comment."""
    first = sql.lstrip().partition("\n")[0]
    return first.removeprefix("--").strip() if first.startswith("--") else "(the audit does not say what it promises)"


def next_steps(path: pathlib.Path) -> list[str]:
    """What an audit says can be done, in lines of its own: `-- next: ...`."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line.removeprefix("-- next: ") for line in lines if line.startswith("-- next: ")]


def _shown(row: Sequence[object]) -> str:
    text = " ".join(str(value) for value in row)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "\u2026"


def gate_failure_message(
    checks: Iterable[GateCheck], *, name: str, n_rows: int, current: str | None, audits_dir: pathlib.Path | None = None
) -> str | None:
    """The text of `GateFailed`, or None where every check passed.

    Args:
        checks: Of `run_gate`.
        name: Of the candidate, such as `d_seed`.
        n_rows: Of the candidate.
        current: The snapshot that stays, such as `d_seed@v3`; None where there is none.
        audits_dir: Named in the command that shows all bad rows of an audit.
    """
    failed = [check for check in checks if not check.passed]
    if not failed:
        return None
    lines = [f"{name}: the candidate of {n_rows:,} rows fails {len(failed)} of the gate's checks."]
    for check in failed:
        lines.append(f"  {check.kind} '{check.name}': {check.n_bad:,} bad. {check.detail}".rstrip())
        if check.kind == AUDIT and audits_dir is not None:
            path = audits_dir / f"{check.name}.sql"
            lines.append(f"    look at all: factory sql --file {path}")
            lines += [f"    next: {line}" for line in next_steps(path)]
    stays = f"the current snapshot is still {current}" if current else f"there is no snapshot of {name} yet"
    lines.append(f"  state: nothing was promoted; {stays}.")
    return "\n".join(lines)
