"""What the warehouse says, for people: `factory status`, `factory sql`, `factory why`."""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.text import Text

from factory.progress import make_console, make_table, shown
from factory.rollout.live import look
from factory.run import rebuild_database
from schemas.errors import SqlError, UsageError
from schemas.tables import STORED_TABLES
from schemas.vocabulary import DropReason
from warehouse.models import model_files
from warehouse.snapshots import read_manifest, versions
from warehouse.store import Store, fetch

MAX_ROWS = 1000
COLOURS = {"model": "default", "hint": "yellow", "tool": "cyan"}


def open_warehouse(home: Path) -> duckdb.DuckDBPyConnection:
    """The DuckDB file, made anew from the shards where it is missing."""
    store = Store(home)
    if not store.database.is_file() and any(store.shards(table) for table in STORED_TABLES.values()):
        rebuild_database(store)
    return store.read()


def show_query(home: Path, query: str | None, file: Path | None, *, as_csv: bool) -> None:
    """Print the rows of a query.

    Raises:
        SqlError: DuckDB refuses it.
    """
    if query is not None and file is not None:
        raise UsageError("give a query or --file, not both.")
    if file is not None:
        try:
            query = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {file}: {error}") from None
    with open_warehouse(home) as con:
        if query is None:
            _print(("table", "rows", "what it is"), _tables(con))
            return
        try:
            cursor = con.execute(query)
            if cursor.description is None:
                return
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall() if as_csv else cursor.fetchmany(MAX_ROWS + 1)
        except duckdb.Error as error:
            raise SqlError(f"{error}\n  tables:  factory sql") from None
        if as_csv:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(rows)
            return
        _print(names, rows[:MAX_ROWS])
        if len(rows) > MAX_ROWS:
            print(f"(the first {MAX_ROWS:,} rows; --csv prints all)")


def _tables(con: duckdb.DuckDBPyConnection) -> list[tuple[str, int, str]]:
    order = [*STORED_TABLES, *(model.name for model in model_files())]
    found = con.execute(
        "select schema_name || '.' || table_name, estimated_size, comment from duckdb_tables()"
    ).fetchall()
    rank = {name: i for i, name in enumerate(order)}
    return sorted(((n, int(size), comment or "") for n, size, comment in found), key=lambda row: rank.get(row[0], 999))


def show_status(home: Path) -> None:
    """Print what is under way, and what the home holds."""
    if now := look(home):
        print(f"under way: {now}")
    with open_warehouse(home) as con:
        runs = con.execute(
            "select r.run_id, r.build, r.recipe ->> '$.name', r.engine, "
            "(select count(*) from raw.run_problems as p where p.run_id = r.run_id), "
            "strftime(r.started_at, '%Y-%m-%d %H:%M') from raw.runs as r order by r.started_at"
        ).fetchall()
        _print(("run", "build", "recipe", "engine", "problems", "last start (UTC)"), runs, "Runs")
        totals = con.execute(
            "select arm, count(*), count(*) filter (where stop_reason in ('engine_error', 'sandbox_lost')), "
            "sum(n_tokens_model)::bigint, round(sum(wall_s), 1) from raw.trajectories group by arm order by arm"
        ).fetchall()
        _print(("arm", "trajectories", "failed", "tokens", "rollout seconds"), totals, "Trajectories, all runs")
    snapshots = []
    for folder in sorted((home / "snapshots").glob("*")):
        for number in versions(home, folder.name):
            manifest = read_manifest(folder / f"v{number}")
            made = f"{manifest.created_at:%Y-%m-%d %H:%M}"
            snapshots.append((manifest.snapshot, manifest.n_rows, manifest.content_hash[:16], manifest.run_id, made))
    _print(("snapshot", "rows", "content hash", "run", "made (UTC)"), snapshots, "Snapshots")


def show_story(home: Path, wanted: str) -> None:
    """Print everything that happened to one problem.

    Raises:
        UsageError: no problem or trajectory has this id, or several do.
    """
    with open_warehouse(home) as con:
        problem_id = _find_problem(con, wanted)
        problem = fetch(con, "select * from marts.problems where problem_id = ?", [problem_id])[0]
        trajectories = fetch(
            con,
            "select t.*, v.is_correct, v.verdict, v.detail, s.drop_reason, s.duplicate_of "
            "from staging.trajectories as t left join staging.verdicts as v on v.trajectory_id = t.trajectory_id "
            "left join marts.trajectories_scored as s on s.trajectory_id = t.trajectory_id "
            "where t.problem_id = ? order by t.arm, t.sample_index, t.is_repaired",
            [problem_id],
        )
        contaminated = fetch(
            con, "select * from staging.contamination where problem_id = ? order by score desc", [problem_id]
        )
    out = make_console()
    _line(out, f"problem {problem_id}  ({problem['domain']}, {problem['source']})", "bold")
    _line(out, f"  {problem['statement']}")
    _line(out, f"  gold answer: {problem['gold_answer']}")
    for row in contaminated:
        _line(out, f"  repeats {row['benchmark']} item {row['item']} ({row['method']}, {row['score']:.2f})", "red")
    for row in trajectories:
        _show_trajectory(out, row)
    taken = problem["selected_trajectory_id"]
    fate = f"in the snapshot as {taken}" if taken else f"not in the snapshot: {_reason(problem, trajectories)}"
    _line(out, f"\n{fate}", "bold")


def _reason(problem: Mapping[str, Any], trajectories: Sequence[Mapping[str, Any]]) -> str:
    if problem["drop_reason"]:
        detail = problem["gold_detail"] if problem["drop_reason"] == DropReason.GOLD_UNVERIFIED else None
        return f"{problem['drop_reason']}: {detail}" if detail else str(problem["drop_reason"])
    reasons = [str(row["drop_reason"]) for row in trajectories if row["is_candidate"]]
    return "every candidate was dropped: " + ", ".join(reasons)


def _find_problem(con: duckdb.DuckDBPyConnection, wanted: str) -> str:
    found = con.execute(
        "select distinct problem_id from (select problem_id, problem_id as id from marts.problems union all "
        "select problem_id, trajectory_id from staging.trajectories) where starts_with(id, ?) order by 1 limit 6",
        [wanted],
    ).fetchall()
    if not found:
        raise UsageError(
            f"no problem and no trajectory of the current run has an id that begins with '{wanted}'.\n"
            '  look:  factory sql "select problem_id, drop_reason, statement from marts.problems"'
        )
    if len(found) > 1:
        raise UsageError(
            f"'{wanted}' fits several problems: {', '.join(row[0] for row in found)}. Give more of the id."
        )
    return str(found[0][0])


def _show_trajectory(out: Console, row: Mapping[str, Any]) -> None:
    verdict = row["verdict"] or "not judged"
    kind = "repaired copy" if row["is_repaired"] else str(row["arm"])
    _line(out, f"\n{kind} {row['trajectory_id']}: {verdict}, stopped by {row['stop_reason']}", "bold")
    for hint in row["hints"]:
        where = f" at '{hint['trigger']}'" if hint["trigger"] else ""
        _line(out, f"  hint {hint['hint_id']}, cut {hint['cut']}{where} after {hint['char_offset']} characters")
    if row["repairs"]:
        _line(out, f"  repaired from {row['parent_id']}: {', '.join(row['repairs'])}")
    if row["error"]:
        _line(out, f"  {row['error']}", "red")
    for segment in row["segments"]:
        for text in segment["text"].splitlines():
            out.print(Text.assemble((f"  {segment['origin']:>5} | ", "dim"), (shown(text), COLOURS[segment["origin"]])))
    _line(out, f"  answer: {row['answer_text'] or '(none)'}   {row['detail'] or ''}")
    if row["drop_reason"]:
        also = f" of {row['duplicate_of']}" if row["duplicate_of"] else ""
        _line(out, f"  dropped: {row['drop_reason']}{also}")


def _line(out: Console, text: str, style: str = "") -> None:
    out.print(Text(shown(text), style))


def _print(names: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    make_console().print(make_table(names, rows, title=title))
