"""Snapshots: immutable folders `snapshots/<name>/v<N>/`, addressed by the hash of their rows.

A snapshot is made in a hidden folder beside its place and renamed when it is whole; its manifest is written last. So
every visible folder is complete, and a killed build leaves nothing but a hidden folder that the next one removes.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas.errors import SnapshotError
from schemas.records import FileEntry, Manifest
from warehouse.files import cannot_write, flush, readable_json

MANIFEST = "manifest.json"
ROWS_PER_FILE = 50_000


def content_hash(rows: pa.Table) -> str:
    """SHA-256 over column names and rows, in the order given; independent of files, compression and time."""
    digest = hashlib.sha256(json.dumps(rows.schema.names).encode())
    for batch in rows.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass"))
            digest.update(b"\n")
    return digest.hexdigest()


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
        version = f"v{known[-1]}"
    folder = home / "snapshots" / name / version
    if version and re.fullmatch(r"v\d+", version) and (folder / MANIFEST).is_file():
        return folder
    if (Path(reference) / MANIFEST).is_file():
        return Path(reference)
    have = ", ".join(f"{name}@v{number}" for number in known) or "none"
    raise SnapshotError(f"snapshot '{reference}' does not exist in {home}. There is: {have}.")


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


def write_snapshot(
    home: Path,
    name: str,
    rows: pa.Table,
    decorate: Callable[[Path, str], None],
    manifest: Callable[[str, tuple[FileEntry, ...]], Manifest],
) -> Path:
    """Write the next version.

    Args:
        home: The home.
        name: `d_seed`.
        rows: The dataset.
        decorate: Gets the folder and `d_seed@v<N>`, and adds everything but data and manifest.
        manifest: Gets `d_seed@v<N>` and the files, and makes the manifest.

    Returns:
        The folder.

    Raises:
        HomeError: it cannot be written; no version was added.
    """
    shelf = home / "snapshots" / name
    taken = [int(match[1]) for path in shelf.glob("v*") if (match := re.fullmatch(r"v(\d+)", path.name))]
    number = max(taken, default=0) + 1  # a folder that lost its manifest keeps its number
    reference, target = f"{name}@v{number}", shelf / f"v{number}"
    draft: Path | None = None
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        for left in shelf.glob(".draft-*"):
            shutil.rmtree(left, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(dir=shelf, prefix=".draft-"))
        draft.chmod(0o755)
        (draft / "data").mkdir()
        n_files = -(-rows.num_rows // ROWS_PER_FILE)
        for i in range(n_files):
            part = rows.slice(i * ROWS_PER_FILE, ROWS_PER_FILE)
            pq.write_table(part, draft / "data" / f"train-{i:05d}-of-{n_files:05d}.parquet", compression="zstd")
        decorate(draft, reference)
        text = manifest(reference, describe_files(draft)).model_dump_json(indent=2)
        (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
        for path in (*draft.rglob("*"), draft):
            flush(path)
        os.replace(draft, target)
        flush(shelf)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return target


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
