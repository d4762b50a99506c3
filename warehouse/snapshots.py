"""Snapshots: immutable folders `snapshots/<name>/v<N>/`, addressed by the hash of their rows.

A snapshot is made in a hidden folder of the home and renamed when it is whole; its manifest is written last. So
every visible folder is complete, and a killed build leaves nothing but a hidden folder that the next one removes.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas.errors import SnapshotError
from schemas.records import FileEntry, Manifest
from schemas.tables import Table
from warehouse.files import cannot_write, flush, readable_json
from warehouse.pointer import latest

MANIFEST = "manifest.json"
ROWS_PER_FILE = 50_000
ROWS_AT_ONCE = 2_000
"""On their way out of the database, some 20 KB each."""
ROWS_PER_GROUP = 5_000
"""Of a Parquet row group: what is in memory at a time, some 100 MB. Divides `ROWS_PER_FILE`."""


def content_hash(rows: pa.Table) -> str:
    """SHA-256 over column names and rows, in the order given; independent of files, compression and time."""
    digest = hashlib.sha256(json.dumps(rows.schema.names).encode())
    for batch in rows.to_batches(max_chunksize=1024):
        _add_rows(digest, batch)
    return digest.hexdigest()


def rows_to_publish(con: duckdb.DuckDBPyConnection, table: Table) -> pa.RecordBatchReader:
    """The rows of a snapshot as the models make them, in its order, with exactly the promised columns and types.

    Args:
        con: With marts.snapshot_rows; it is in use until the reader is read to its end.
        table: Of `schemas.tables.SNAPSHOTS`.
    """
    names = ", ".join(column.name for column in table.columns)
    rows = con.sql(f"select {names} from marts.snapshot_rows order by trajectory_id").to_arrow_reader(ROWS_AT_ONCE)
    return rows.cast(pa.schema([field.with_nullable(True) for field in table.arrow_schema]))


def write_rows(folder: Path, rows: pa.RecordBatchReader) -> tuple[int, str]:
    """Write `data/*.parquet` of a snapshot, never holding more than a row group.

    The same rows give the same bytes, however they come in batches.

    Args:
        folder: Of the snapshot; `data` must not exist.
        rows: In the order of the dataset.

    Returns:
        How many they are, and their `content_hash`.
    """
    data = folder / "data"
    data.mkdir()
    digest = hashlib.sha256(json.dumps(rows.schema.names).encode())
    n_rows, drafts = 0, list[Path]()
    writer: pq.ParquetWriter | None = None
    try:
        for group in row_groups(rows):
            if n_rows % ROWS_PER_FILE == 0:
                if writer is not None:
                    writer.close()
                drafts.append(data / f"{len(drafts)}.draft")
                writer = pq.ParquetWriter(drafts[-1], rows.schema, compression="zstd")
            assert writer is not None
            writer.write_table(group)
            for batch in group.to_batches(max_chunksize=1024):
                _add_rows(digest, batch)
            n_rows += group.num_rows
    finally:
        if writer is not None:
            writer.close()
    for i, draft in enumerate(drafts):
        draft.rename(data / f"train-{i:05d}-of-{len(drafts):05d}.parquet")
    return n_rows, digest.hexdigest()


def row_groups(rows: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Tables of exactly `ROWS_PER_GROUP` rows, but for the last."""
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for batch in rows:
        at = 0
        while at < batch.num_rows:
            part = batch.slice(at, ROWS_PER_GROUP - n_waiting)
            waiting.append(part)
            n_waiting, at = n_waiting + part.num_rows, at + part.num_rows
            if n_waiting == ROWS_PER_GROUP:
                yield pa.Table.from_batches(waiting).combine_chunks()
                waiting, n_waiting = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _add_rows(digest: "hashlib._Hash", batch: pa.RecordBatch) -> None:
    for row in batch.to_pylist():
        digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass"))
        digest.update(b"\n")


def versions(home: Path, name: str) -> list[int]:
    """Version numbers of a snapshot, ascending."""
    folder = home / "snapshots" / name
    found = (re.fullmatch(r"v(\d+)", path.parent.name) for path in folder.glob(f"v*/{MANIFEST}"))
    return sorted(int(match[1]) for match in found if match)


def resolve(home: Path, reference: str) -> Path:
    """Folder of `d_seed@v3`, `d_seed@latest`, `d_seed`, or of a path.

    Raises:
        SnapshotError: there is none; says which there are.
    """
    name, _, version = reference.partition("@")
    known = versions(home, name)
    if version in {"", "latest"} and known:
        version = f"v{latest(home, name, known)}"
    folder = home / "snapshots" / name / version
    if version and re.fullmatch(r"v\d+", version) and (folder / MANIFEST).is_file():
        return folder
    if (Path(reference) / MANIFEST).is_file():
        return Path(reference)
    have = ", ".join(f"{name}@v{number}" for number in known) or "none"
    raise SnapshotError(f"snapshot '{reference}' does not exist in {home}. There is: {have}.")


def version_of(home: Path, name: str, digest: str) -> int | None:
    """The version whose rows have this content hash: the latest where it has, else the newest of the others."""
    known = versions(home, name)
    order = sorted(known, key=lambda number: (number == latest(home, name, known), number), reverse=True)
    shelf = home / "snapshots" / name
    return next((n for n in order if read_manifest(shelf / f"v{n}").content_hash == digest), None)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a snapshot folder.

    Raises:
        FactoryError: it cannot be read.
        SnapshotError: it lacks something that a manifest has, or has something else.
    """
    try:
        return Manifest.model_validate(readable_json(folder / MANIFEST))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SnapshotError(f"{folder / MANIFEST} is no manifest: {where}: {first['msg']}") from error


@dataclass(frozen=True)
class Draft:
    """A version that nobody sees yet: its rows are written, everything else may be added to its folder."""

    folder: Path
    reference: str
    """What it will be called: `d_seed@v3`."""
    n_rows: int
    content_hash: str
    target: Path

    def place(self, manifest: Callable[[tuple[FileEntry, ...]], Manifest]) -> Path:
        """Write the manifest, which gets the list of files, and give the folder its name; returns it."""
        text = manifest(describe_files(self.folder)).model_dump_json(indent=2)
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        for path in (*self.folder.rglob("*"), self.folder):
            flush(path)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.folder, self.target)
        flush(self.target.parent)
        return self.target


@contextlib.contextmanager
def drafted(home: Path, name: str, rows: pa.RecordBatchReader) -> Iterator[Draft]:
    """The next version as a draft, which goes away unless it is placed. Disk errors in the block are its own.

    Args:
        home: The home.
        name: `d_seed`.
        rows: The dataset, in order; read once.

    Raises:
        HomeError: it cannot be written; no version was added.
    """
    shelf = home / "snapshots" / name
    taken = [int(match[1]) for path in shelf.glob("v*") if (match := re.fullmatch(r"v(\d+)", path.name))]
    number = max(taken, default=0) + 1  # a folder that lost its manifest keeps its number
    target = shelf / f"v{number}"
    folder: Path | None = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=home, prefix=".draft-"))
        folder.chmod(0o755)
        n_rows, digest = write_rows(folder, rows)
        yield Draft(folder, f"{name}@v{number}", n_rows, digest, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def describe_files(folder: Path) -> tuple[FileEntry, ...]:
    """Every file below a folder but the manifest, with size and hash."""
    entries = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        n_rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        relative = path.relative_to(folder).as_posix()
        entries.append(FileEntry(path=relative, n_rows=n_rows, n_bytes=path.stat().st_size, sha256=digest))
    return tuple(entries)
