"""`factory replay`: every block of a snapshot is run again, and what differs is shown. Its folder is enough."""

import asyncio
import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from factory.progress import Reporter, make_console, make_table, shown
from factory.release.pull import locate
from factory.release.row_files import check_ending, write_rows
from factory.replay.environment import Environment, environment_of, limits_of
from factory.replay.experiments import Laboratory
from factory.replay.rows import CALLS_HASH, PER_SLOT, REPLAYED, WORST_FIRST, Where, replay_rows
from factory.sandbox.pool import open_sandbox
from factory.workbench import n_cores
from schemas.errors import SnapshotError
from schemas.recipe import Recipe
from schemas.records import Manifest
from schemas.vocabulary import OutputDifference
from warehouse.attach import literal
from warehouse.files import locked
from warehouse.snapshots import read_manifest
from warehouse.store import Store, fetch

BATCH = 64
DIFF_LINES = 12
EVIDENCE = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("trajectory_id", "class", "why", "code", "recorded", "again")),
        pa.field("block", pa.int64()),
        pa.field("environment", pa.string()),
    ]
)


def replay_snapshot(
    home: Path, reference: str, *, out: Path | None, n_shown: int, fresh: bool, trust: bool, ui: Reporter
) -> int:
    """Replay a snapshot, print the tables, store derived.replays in the home.

    Args:
        home: Where results are kept, and where `d_seed@v1` is looked for.
        reference: As `factory.release.pull.locate` takes it.
        out: Evidence as rows: one per block that differs.
        n_shown: Differing blocks to show, at most.
        fresh: Run again what was replayed in this environment before.
        trust: Run without isolation where the kernel refuses it.
        ui: Shows progress.

    Returns:
        How many blocks differ for real.

    Raises:
        SnapshotError, HomeError, SandboxError, UsageError.
    """
    if out is not None:
        check_ending(out)
    folder = locate(home, reference)
    manifest = read_manifest(folder)
    recipe = _recipe(folder, manifest)
    environment = environment_of(recipe)
    with locked(home):
        store = Store(home)
        store.tidy()
        asyncio.run(_replay_missing(store, folder, recipe, environment, ui, fresh=fresh, trust=trust))
    with store.connect() as con:
        _attach_rows(con, folder)
        found = fetch(con, _FOUND.format(rules=environment.rules))
        evidence = list(_evidence(con, found))
    _show(reference, manifest, found, evidence, n_shown)
    if out is not None:
        write_rows(out, evidence, EVIDENCE)
        ui.say(f"{len(evidence):,} differing blocks in {out}")
    return sum(one["class"] == OutputDifference.REAL for one in evidence)


_NEWEST = (
    "select * from derived.replays where starts_with(environment_id, '{rules}/') "
    "qualify row_number() over (partition by trajectory_id, calls_hash order by replayed_at desc) = 1"
)
_FOUND = (
    f"select s.trajectory_id, r.n_calls, r.n_same, r.worst, r.detail, r.environment from snapshot_calls as s "
    f"join ({_NEWEST}) as r on r.trajectory_id = s.trajectory_id and r.calls_hash = s.calls_hash "
    "order by s.trajectory_id"
)


def _recipe(folder: Path, manifest: Manifest) -> Recipe:
    try:
        return Recipe.model_validate(manifest.recipe)
    except ValueError as error:
        reason = str(error).splitlines()[1:2]
        raise SnapshotError(
            f"{folder}: the recipe in its manifest is none of this version: {' '.join(reason)}"
        ) from error


def _attach_rows(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    files = literal(str(folder / "data" / "*.parquet"))
    con.execute(
        f"create or replace temp view snapshot_calls as select t.*, {CALLS_HASH.format(row='t')} as calls_hash "
        f"from (select trajectory_id, sandbox, segments, tool_calls from read_parquet({files})) as t"
    )


async def _replay_missing(
    store: Store, folder: Path, recipe: Recipe, environment: Environment, ui: Reporter, *, fresh: bool, trust: bool
) -> None:
    """Replay the rows that have no result yet."""
    known = "false" if fresh else REPLAYED.format(row="s", rules=environment.rules)
    with store.connect() as con:
        _attach_rows(con, folder)
        rows = f"from snapshot_calls as s where not {known}"
        n = fetch(con, f"select count(*) as n {rows}")[0]["n"]
        n_all = fetch(con, "select count(*) as n from snapshot_calls")[0]["n"]
        if n < n_all:
            ui.say(f"{n_all - n:,} of {n_all:,} rows were replayed in this environment before")
        if not n:
            return
        limits, slots = limits_of(recipe), n_cores()
        sandbox = await open_sandbox(n_slots=slots, trust=trust, limits=limits)
        try:
            async with Laboratory(sandbox, limits) as lab:
                where = Where(store, environment, sandbox.level)
                with ui.step("replay", n, "rows") as advance:
                    batches = con.sql(f"select s.* {rows} order by s.trajectory_id").to_arrow_reader(BATCH)
                    stream = (row for batch in batches for row in batch.to_pylist())
                    await replay_rows(lab, where, stream, slots * PER_SLOT, advance)
        finally:
            await sandbox.aclose()


def _evidence(con: duckdb.DuckDBPyConnection, found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row per block that differs, the worst first."""
    differing = {row["trajectory_id"]: row for row in found if row["worst"]}
    codes = con.execute(
        "select trajectory_id, [c.code for c in tool_calls] from snapshot_calls "
        "semi join (select unnest(?::varchar[]) as trajectory_id) using (trajectory_id)",
        [list(differing)],
    )
    code_of = dict(codes.fetchall())
    rows = [
        {
            "trajectory_id": trajectory_id,
            **{name: one[name] for name in ("class", "why", "recorded", "again", "block")},
            "code": code_of[trajectory_id][one["block"] - 1],
            "environment": row["environment"],
        }
        for trajectory_id, row in differing.items()
        for one in json.loads(row["detail"])
    ]
    yield from sorted(rows, key=lambda row: (WORST_FIRST.index(row["class"]), row["trajectory_id"], row["block"]))


def _show(
    reference: str, manifest: Manifest, found: list[dict[str, Any]], evidence: list[dict[str, Any]], n_shown: int
) -> None:
    """The tables, then some of the differences; the classes take turns."""
    console = make_console()
    by_class = Counter(one["class"] for one in evidence)
    rows_by_class = Counter(row["worst"] for row in found if row["worst"])
    n_calls, n_same = sum(row["n_calls"] for row in found), sum(row["n_same"] for row in found)
    classes = [kind for kind in WORST_FIRST if by_class[kind]]
    lines: list[list[object]] = [["all", len(found), n_calls, "100.0 %"]]
    lines.append(["reproduced", len(found) - sum(rows_by_class.values()), n_same, _share(n_same, n_calls)])
    lines += [
        [f"differs: {kind}", rows_by_class[kind], by_class[kind], _share(by_class[kind], n_calls)] for kind in classes
    ]
    title = f"{manifest.snapshot} run again; a row counts under its worst difference"
    console.print(make_table(["", "rows", "calls", "of calls"], lines, title=title))
    if found:
        console.print(f"environment: {found[0]['environment']}", markup=False)
    queues = {kind: [one for one in evidence if one["class"] == kind] for kind in classes}
    for place in range(n_shown):
        for kind in classes:
            if place < len(queues[kind]) and n_shown > 0:
                n_shown -= 1
                console.print(_difference(queues[kind][place]), markup=False)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}".replace("%", " %") if whole else ""


def _difference(one: Mapping[str, Any]) -> str:
    """A block that differs, with a small diff."""
    diff = list(
        difflib.unified_diff(
            one["recorded"].splitlines(), one["again"].splitlines(), "recorded", "again", "", "", 1, ""
        )
    )
    more = [f"[{len(diff) - DIFF_LINES:,} more lines]"] if len(diff) > DIFF_LINES else []
    head = f"\n{one['trajectory_id']} block {one['block']}: {one['class']}, {one['why']}"
    return "\n".join([head, *(f"  {shown(line)[:160]}" for line in [*diff[:DIFF_LINES], *more])])
