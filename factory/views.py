"""What the warehouse says, for people: `factory status`, `factory sql`, `factory why`."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.text import Text

from factory.progress import make_console, make_table, shown
from factory.rollout.live import look
from factory.run import RecipeIds, rebuild_database, run_params
from factory.versions.frozen import frozen
from schemas.errors import SqlError, UsageError
from schemas.recipe import Recipe
from schemas.tables import STORED_TABLES
from schemas.vocabulary import DropReason
from warehouse.models import build_models, model_files
from warehouse.pointer import latest, read_pointer
from warehouse.snapshots import read_manifest, resolve, versions
from warehouse.store import Store, fetch

MAX_ROWS = 1000
STORY = "marts.problems marts.trajectories_scored staging.contamination"
FITS = (
    "select 1 from (select problem_id as id from marts.problems union all select trajectory_id from "
    "staging.trajectories) where starts_with(id, $id) limit 1"
)
RANKED = (
    "select trajectory_id, drop_reason, duplicate_of, "
    "coalesce(drop_reason in ('not_best', 'over_quota'), true) as is_live, "
    "count(*) over (partition by is_live) as n_live, row_number() over (partition by is_live "
    "order by n_tool_errors, n_tokens_model, trajectory_id) as place "
    "from marts.trajectories_scored where problem_id = $problem"
)
"""Of a problem's candidates that nothing speaks against, the order in which they are preferred."""
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
    snapshots, rolled = [], list[str]()
    for folder in sorted((home / "snapshots").glob("*")):
        known = versions(home, folder.name)
        pointer = read_pointer(home, folder.name, known)
        for number in known:
            manifest = read_manifest(folder / f"v{number}")
            made = f"{manifest.created_at:%Y-%m-%d %H:%M}"
            name = manifest.snapshot + (" (latest)" if number == latest(home, folder.name, known) else "")
            snapshots.append((name, manifest.n_rows, manifest.content_hash[:16], manifest.run_id, made))
        if pointer:
            why = f": {pointer.reason}" if pointer.reason else ""
            rolled.append(f"{folder.name}@latest was set to v{pointer.version} on {pointer.since}{why}")
    _print(("snapshot", "rows", "content hash", "run", "made (UTC)"), snapshots, "Snapshots")
    for line in rolled:
        print(shown(line))


@contextmanager
def _as_seen_by(home: Path, wanted: str, snapshot: str | None) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """The warehouse in which to look for an id, and what to say of it: a snapshot's, the last run's, or another's."""
    if snapshot is not None:
        manifest = read_manifest(resolve(home, snapshot))
        with frozen(home, manifest, STORY) as con:
            yield con, f"as {manifest.snapshot} saw it"
        return
    with open_warehouse(home) as con:
        if con.execute(FITS, {"id": wanted}).fetchone():
            yield con, ""
            return
    store = Store(home)
    with store.connect() as con:
        run = con.execute(
            "select r.run_id, r.build, r.recipe, r.recipe_ids from raw.runs as r where r.build <> 'eval' and exists ("
            "select 1 from raw.run_problems as p where p.run_id = r.run_id and (starts_with(p.problem_id, $id) or "
            "p.problem_id in (select problem_id from raw.trajectories where starts_with(trajectory_id, $id) "
            "and list_contains(map_values(cast(from_json(r.recipe_ids, '\"MAP(VARCHAR, VARCHAR)\"') "
            "as map(text, text))), recipe_id)))) order by r.started_at desc limit 1",
            {"id": wanted},
        ).fetchone()
        if run:
            run_id, build, recipe, ids = run
            params = run_params(build, Recipe.model_validate_json(recipe), RecipeIds(**json.loads(ids)), run_id)
            build_models(con, params, needed_by=STORY)
            yield con, f"not of the last run; as {build} run {run_id} has it"
            return
    raise UsageError(
        f"no problem and no trajectory of a run in {home} has an id that begins with '{wanted}'.\n"
        '  look:  factory sql "select problem_id, drop_reason, statement from marts.problems"'
    )


def show_story(home: Path, wanted: str, snapshot: str | None = None) -> None:
    """Print everything that happened to one problem.

    Args:
        home: The home.
        wanted: A problem_id or trajectory_id, or how it begins.
        snapshot: As whose run saw it; None for the last run, else the newest run that has it.

    Raises:
        UsageError: no problem or trajectory has this id, or several do.
        SnapshotError: there is no such snapshot, or its run is not in this home.
    """
    with _as_seen_by(home, wanted, snapshot) as (con, said):
        problem_id = _find_problem(con, wanted)
        problem = fetch(con, "select * from marts.problems where problem_id = ?", [problem_id])[0]
        trajectories = fetch(
            con,
            "select t.*, v.is_correct, v.verdict, v.detail, s.drop_reason, s.duplicate_of, d.similarity, "
            "if(s.is_live, s.place, null) as place, if(s.is_live, s.n_live, null) as n_live "
            "from staging.trajectories as t left join staging.verdicts as v on v.trajectory_id = t.trajectory_id "
            f"left join ({RANKED}) as s on s.trajectory_id = t.trajectory_id "
            "left join derived.duplicate_pairs as d on d.dropped_id = t.trajectory_id and d.kept_id = s.duplicate_of "
            "where t.problem_id = $problem order by t.arm, t.sample_index, t.is_repaired",
            {"problem": problem_id},
        )
        contaminated = fetch(
            con, "select * from staging.contamination where problem_id = ? order by score desc", [problem_id]
        )
    out = make_console()
    if said:
        _line(out, said)
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
        also = f" of {row['duplicate_of']} (similarity {row['similarity']:.3f})" if row["similarity"] else ""
        _line(out, f"  dropped: {row['drop_reason']}{also}")
    if row["place"]:
        _line(out, f"  rank {row['place']} of {row['n_live']} of its problem, by failing calls, then model tokens")


def _line(out: Console, text: str, style: str = "") -> None:
    out.print(Text(shown(text), style))


def _print(names: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    make_console().print(make_table(names, rows, title=title))
