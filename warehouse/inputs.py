"""The shards that a snapshot was made from, found again however later work and `factory gc` arranged them.

A manifest lists every shard by hash, and a rebuild reads those alone. So rows that come later under the same settings
(a failed rollout tried again, a copy that another run repaired, pairs compared anew) do not change an old snapshot.
`factory gc` joins shards into one, whose Parquet metadata names the hashes of its members; it joins only shards that
the same snapshots list. Shards that a step writes in place of older ones are kept for manifests under a hidden name.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from schemas.errors import SnapshotError
from schemas.records import InputShard, Manifest
from schemas.tables import CONTAMINATION, DUPLICATE_PAIRS, EVALUATIONS, STORED_TABLES, Table
from warehouse.files import cannot_write, flush
from warehouse.models import model_files
from warehouse.store import Store

MEMBERS = b"start.members"
KEPT = ".kept-"
REPLACED = (DUPLICATE_PAIRS, CONTAMINATION)
"""Tables that a step writes a whole shard of, in place of what it held."""


def input_tables() -> tuple[Table, ...]:
    """The stored tables that models of a build read."""
    read = {name for model in model_files() for name in model.reads}
    return tuple(table for name, table in STORED_TABLES.items() if name in read and name != EVALUATIONS.name)


def record_inputs(store: Store) -> tuple[InputShard, ...]:
    """All shards that a snapshot made now is made from. Only for who holds the home's lock.

    Raises:
        HomeError: a shard that may be replaced cannot be kept.
    """
    found = []
    for table in input_tables():
        for path in store.shards(table):
            digest, n_rows = sha256_of(path), pq.read_metadata(path).num_rows
            found.append(InputShard(table=table.name, name=path.stem, n_rows=n_rows, sha256=digest))
            if table in REPLACED:
                _keep(path, path.with_name(f"{KEPT}{digest}.parquet"))
    return tuple(found)


def _keep(path: Path, kept: Path) -> None:
    if kept.exists():
        return
    draft = kept.with_suffix(".part")
    try:
        try:
            os.link(path, kept)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, draft)
            os.replace(draft, kept)
        flush(kept.parent)
    except OSError as error:
        raise cannot_write(kept, error) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def members(path: Path) -> set[str]:
    """Hashes of the shards that a shard holds: its own, and those it was joined from."""
    metadata = pq.read_schema(path).metadata or {}
    return {sha256_of(path), *json.loads(metadata.get(MEMBERS, b"[]"))}


class FrozenStore(Store):
    """The store as it was when a snapshot was made; for reading only."""

    def __init__(self, home: Path, manifest: Manifest) -> None:
        """Find its shards.

        Args:
            home: The home.
            manifest: Of the snapshot. One without `inputs` reads whatever there is now.

        Raises:
            SnapshotError: shards of it are not in this home; says how many and which.
        """
        super().__init__(home)
        self._files: dict[str, list[Path]] = {}
        if manifest.inputs is None:
            return
        missing: list[InputShard] = []
        for table in input_tables():
            wanted = [shard for shard in manifest.inputs if shard.table == table.name]
            holders = self._holders(table) if wanted else {}
            missing += [shard for shard in wanted if shard.sha256 not in holders and shard.n_rows]
            self._files[table.name] = sorted({holders[s.sha256] for s in wanted if s.sha256 in holders})
        if missing:
            raise SnapshotError(_missing(manifest, missing, home))

    def shards(self, table: Table) -> list[Path]:
        """Those of the snapshot."""
        return self._files.get(table.name, []) if self._files else super().shards(table)

    def _holders(self, table: Table) -> dict[str, Path]:
        """By hash, the file that holds a shard; of two the joined one, which an interrupted gc has finished."""
        files: Iterable[Path] = (*super().shards(table), *sorted(self.folder(table).glob(f"{KEPT}*.parquet")))
        found: dict[str, Path] = {}
        for path in files:
            for digest in members(path):
                found.setdefault(digest, path)
        return found


def _missing(manifest: Manifest, missing: list[InputShard], home: Path) -> str:
    names = ", ".join(f"{shard.table}/{shard.name} ({shard.n_rows:,} rows)" for shard in missing[:5])
    more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
    return (
        f"{manifest.snapshot}: {len(missing):,} of its {len(manifest.inputs or ()):,} shards are not in {home}, "
        f"or were changed: {names}{more}.\n"
        "  why:    the snapshot was made in another home, or files were removed by hand\n"
        "  next:   --home with the home that made it\n"
        "  state:  nothing was changed."
    )
