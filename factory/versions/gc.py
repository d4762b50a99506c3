"""`factory gc`: removes what no snapshot, no evaluation and no build's last run needs, and joins small shards.

A row is needed if the settings and the problems of a run that is kept can reach it; that is a little more than the run
reads. Shards are joined only with those that the same snapshots list (warehouse.inputs), so a rebuild still reads what
it read. A joined shard is whole before its members go, so a kill at any time leaves at most both, which read as one.
"""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from factory.rollout.journal import read as read_journal
from factory.rollout.writer import finished_ids
from factory.run import EVAL
from schemas.records import InputShard, Manifest
from schemas.tables import (
    CONTAMINATION,
    DUPLICATE_PAIRS,
    GOLD_CHECKS,
    IMPORTED_ROWS,
    PROBLEMS,
    REPAIRS,
    REPLAYS,
    RUN_PROBLEMS,
    RUNS,
    SIGNALS,
    SIGNATURES,
    STORED_TABLES,
    TRAJECTORIES,
    VERDICTS,
    Table,
)  # fmt: skip
from warehouse.attach import literal
from warehouse.files import locked, write_atomically
from warehouse.inputs import KEPT, MEMBERS, members, sha256_of
from warehouse.snapshots import MANIFEST, read_manifest
from warehouse.store import Store

SMALL_BYTES, JOINED_BYTES = 16 << 20, 32 << 20
"""Smaller shards are joined, up to so much: what is in memory at a time is a multiple of it."""
JOINED_PREFIX = "joined-"
NEEDED = {
    RUN_PROBLEMS.name: "run_id in (select run_id from kept_runs)",
    PROBLEMS.name: "problem_id in (select problem_id from kept_problems)",
    TRAJECTORIES.name: "trajectory_id in (select trajectory_id from kept_trajectories)",
    VERDICTS.name: "trajectory_id in (select trajectory_id from kept_trajectories) and "
    "(recipe_id in (select id from kept_ids) or trajectory_id in (select trajectory_id from of_evaluations))",
    SIGNALS.name: "trajectory_id in (select trajectory_id from kept_trajectories)",
    REPLAYS.name: "trajectory_id in (select trajectory_id from kept_trajectories)",
    REPAIRS.name: "trajectory_id in (select trajectory_id from kept_trajectories)",
    IMPORTED_ROWS.name: "trajectory_id in (select trajectory_id from kept_trajectories)",
    SIGNATURES.name: "row_id in (select trajectory_id from kept_trajectories union all "
    "select problem_id from kept_problems)",
    GOLD_CHECKS.name: "recipe_id in (select id from kept_ids) and problem_id in (select problem_id from kept_problems)",
    CONTAMINATION.name: "recipe_id in (select id from kept_ids)",
    DUPLICATE_PAIRS.name: "run_id in (select run_id from kept_runs)",
    RUNS.name: "run_id in (select run_id from kept_runs)",
}
"""Per table, which rows are needed. Tables that are not here are left alone."""
BY_NAME = (CONTAMINATION, DUPLICATE_PAIRS, RUNS)
"""Tables whose shards are found by name: removed whole, and never joined."""


@dataclass(frozen=True)
class Removal:
    """One line of what goes."""

    what: str
    why: str
    n_files: int
    n_rows: int | None
    n_bytes: int
    """Of the files that go; a joined shard takes up some of them again."""


def collect_garbage(home: Path, *, apply: bool) -> list[Removal]:
    """Find what may go, and remove it if `apply`.

    Raises:
        HomeError: another process holds the home, a shard cannot be read, or the disk is full. All rows are there.
        FactoryError: a manifest cannot be read: what it needs is not known, so nothing is removed.
    """
    store = Store(home)
    with locked(home) if apply or home.exists() else nullcontext():
        manifests = [read_manifest(path.parent) for path in sorted(home.glob(f"snapshots/*/v*/{MANIFEST}"))]
        found = [*_drafts(store), *_journals(store)]
        with store.connect() as con:
            _mark_kept(con, manifests)
            plans = [plan for name in NEEDED for plan in _plans(con, store, _table(name), manifests)]
            kept = _unneeded_copies(store, manifests)
            removals = [_sum(plan.table.name, plan.why, plans) for plan in _first_of_each(plans)]
            removals += [Removal("kept shards", "no manifest names them", len(kept), None, _size(kept))] if kept else []
            removals += [Removal(what, why, len(paths), None, _size(paths)) for what, why, paths in found]
            if apply:
                for plan in plans:
                    plan.carry_out(con)
        for path in [*kept, *(path for _, _, paths in found for path in paths)] if apply else ():
            _remove(path)
        return removals


def _table(name: str) -> Table:
    return STORED_TABLES[name]


def _mark_kept(con: duckdb.DuckDBPyConnection, manifests: Iterable[Manifest]) -> None:
    """Tables of what is kept: runs, the hashes of their steps, problems, trajectories."""
    con.execute("create temp table of_snapshots (run_id text)")
    con.execute("create temp table kept_ids (id text)")
    for manifest in manifests:
        con.execute("insert into of_snapshots values (?)", [manifest.run_id])
        con.executemany(
            "insert into kept_ids values (?)", [[id_] for id_ in (manifest.recipe_ids or {}).values()] or [[""]]
        )
    con.execute(
        f"create temp table kept_runs as select run_id from of_snapshots union select run_id from raw.runs "
        f"where build = '{EVAL}' union (select run_id from raw.runs "
        "qualify row_number() over (partition by build order by started_at desc) = 1)"
    )
    con.execute(
        "insert into kept_ids select unnest(map_values(cast(recipe_ids as map(text, text)))) "
        "from (select from_json(recipe_ids, '\"MAP(VARCHAR, VARCHAR)\"') as recipe_ids from raw.runs "
        "where run_id in (select run_id from kept_runs))"
    )
    con.execute("delete from kept_ids where id = ''")
    con.execute(
        "create temp table of_evaluations as select trajectory_id from raw.trajectories "
        f"where run_id in (select run_id from raw.runs where build = '{EVAL}') "
        "union select trajectory_id from raw.evaluations"
    )
    con.execute(
        "create temp table kept_problems as select problem_id from raw.run_problems "
        "where run_id in (select run_id from kept_runs) union select problem_id from raw.evaluations"
    )
    con.execute(
        "create temp table kept_trajectories as select trajectory_id from raw.trajectories "
        "where recipe_id in (select id from kept_ids) and problem_id in (select problem_id from kept_problems) "
        "union select trajectory_id from of_evaluations"
    )


@dataclass(frozen=True)
class _Plan:
    """Files of one table that become one file, or none."""

    store: Store
    table: Table
    paths: list[Path]
    n_rows: int
    """Of these files."""
    n_kept: int
    is_listed: bool
    """A manifest names them: what becomes of them must be found again, even if no row is left."""

    @property
    def why(self) -> str:
        return "small shards joined" if self.n_kept == self.n_rows else "no kept run needs the rows"

    def carry_out(self, con: duckdb.DuckDBPyConnection) -> None:
        if self.n_kept or self.is_listed:
            digests = sorted({digest for path in self.paths for digest in members(path)})
            name = JOINED_PREFIX + _hash(digests)
            schema = self.table.arrow_schema.with_metadata({MEMBERS: json.dumps(digests).encode()})
            reader = con.sql(_needed(self.table, self.paths)).to_arrow_reader(2048)

            def write(path: Path) -> None:
                with pq.ParquetWriter(path, schema) as writer:
                    for batch in reader:
                        writer.write_table(pa.Table.from_batches([batch]).cast(schema))

            target = self.store.folder(self.table) / f"{name}.parquet"
            write_atomically(target, write)
        for path in self.paths:
            path.unlink()


def _hash(digests: list[str]) -> str:
    return hashlib.sha256(repr(digests).encode()).hexdigest()[:20]


def _needed(table: Table, paths: list[Path], what: str = "") -> str:
    """The needed rows of files, of each key the newest, as `Store.connect` reads them."""
    files = ", ".join(literal(str(path)) for path in paths)
    newest = "created_at desc, " if "created_at" in table.arrow_schema.names else ""
    columns = ", ".join(table.arrow_schema.names)
    rows = (
        f"select {columns} from read_parquet([{files}], filename = true) where {NEEDED[table.name]} "
        f"qualify row_number() over (partition by {', '.join(table.key)} order by {newest}filename) = 1"
    )
    return f"select {what} from ({rows})" if what else f"{rows} order by {', '.join(table.key)}"


def _plans(con: duckdb.DuckDBPyConnection, store: Store, table: Table, manifests: list[Manifest]) -> Iterator[_Plan]:
    for paths in _groups(store, table, manifests):
        n_rows = sum(pq.read_metadata(path).num_rows for path in paths)
        n_kept = int(con.execute(_needed(table, paths, "count(*)")).fetchall()[0][0])
        by_name = table in BY_NAME
        if by_name and (n_kept or not n_rows or _is_listed(paths[0], table, manifests)):
            continue
        if n_kept < n_rows or (len(paths) > 1):
            listed = any(_reads(manifest, table, members(paths[0])) for manifest in manifests)
            yield _Plan(store, table, paths, n_rows, n_kept, listed and not by_name)


def _is_listed(path: Path, table: Table, manifests: list[Manifest]) -> bool:
    return any(_reads(manifest, table, {sha256_of(path)}) for manifest in manifests) and table != RUNS


def _groups(store: Store, table: Table, manifests: list[Manifest]) -> Iterator[list[Path]]:
    """Shards that may be joined: of one table, listed by the same snapshots; a large one stands alone."""
    by_readers: defaultdict[tuple[bool, ...], list[Path]] = defaultdict(list)
    for path in store.shards(table):
        if table in BY_NAME or path.stat().st_size >= SMALL_BYTES:
            yield [path]
            continue
        held = members(path)
        by_readers[tuple(_reads(manifest, table, held) for manifest in manifests)].append(path)
    for paths in by_readers.values():
        group: list[Path] = []
        for path in paths:
            if group and sum(p.stat().st_size for p in group) + path.stat().st_size > JOINED_BYTES:
                yield group
                group = []
            group.append(path)
        yield group


def _reads(manifest: Manifest, table: Table, held: set[str]) -> bool:
    if manifest.inputs is None:
        return True
    return any(shard.sha256 in held for shard in _of(manifest, table))


def _of(manifest: Manifest, table: Table) -> Iterator[InputShard]:
    return (shard for shard in manifest.inputs or () if shard.table == table.name)


def _unneeded_copies(store: Store, manifests: list[Manifest]) -> list[Path]:
    named = {shard.sha256 for manifest in manifests for shard in manifest.inputs or ()}
    copies = [path for name in NEEDED for path in store.folder(_table(name)).glob(f"{KEPT}*.parquet")]
    return [path for path in copies if path.stem.removeprefix(KEPT) not in named]


def _drafts(store: Store) -> Iterator[tuple[str, str, list[Path]]]:
    if folders := store.left_behind():
        yield "hidden drafts", "their writers were killed", folders


def _journals(store: Store) -> Iterator[tuple[str, str, list[Path]]]:
    """Journals of which every trajectory is in a shard; that of an unfinished run stays."""
    paths = sorted((store.home / "journal").rglob("*.jsonl"), key=lambda path: path.name)
    if paths and not read_journal(paths).keys() - finished_ids(store):
        yield "journals", "all their trajectories are in shards", paths


def _first_of_each(plans: list[_Plan]) -> list[_Plan]:
    first: dict[tuple[str, str], _Plan] = {}
    for plan in plans:
        first.setdefault((plan.table.name, plan.why), plan)
    return list(first.values())


def _sum(table: str, why: str, plans: list[_Plan]) -> Removal:
    own = [plan for plan in plans if plan.table.name == table and plan.why == why]
    paths = [path for plan in own for path in plan.paths]
    return Removal(table, why, len(paths), sum(plan.n_rows - plan.n_kept for plan in own), _size(paths))


def _size(paths: list[Path]) -> int:
    files = [f for path in paths for f in (path.rglob("*") if path.is_dir() else [path]) if f.is_file()]
    return sum(file.stat().st_size for file in files)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def describe(removals: list[Removal]) -> list[tuple[Any, ...]]:
    """Rows of a table."""
    return [(r.what, r.why, r.n_files, "" if r.n_rows is None else r.n_rows, r.n_bytes) for r in removals]
