"""`factory rebuild`: a snapshot's rows made again from the shards under its run, held against its manifest."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from factory.versions.frozen import frozen, name_of
from schemas.errors import SnapshotError
from schemas.records import Manifest
from schemas.tables import SNAPSHOTS
from warehouse.files import cannot_write, flush, locked
from warehouse.inputs import sha256_of
from warehouse.models import model_files
from warehouse.snapshots import read_manifest, resolve, rows_to_publish, write_rows


@dataclass(frozen=True)
class Rebuilt:
    """What came out."""

    n_rows: int
    content_hash: str
    other_bytes: tuple[str, ...]
    """Files of `data/` whose bytes are not those of the manifest."""


def rebuild(home: Path, reference: str, *, verify: bool) -> str:
    """Make a snapshot's rows again; without `verify` put right a snapshot whose files were lost or damaged.

    Returns:
        What to say.

    Raises:
        SnapshotError: the rows are not those of the manifest, or cannot be made; says what differs. Nothing changed.
    """
    folder = resolve(home, reference)
    manifest = read_manifest(folder)
    if verify:
        with _made(home, folder, manifest, None) as (_, done):
            _check(manifest, done)
            damaged = _damaged(folder, manifest)
        if damaged:
            raise SnapshotError(
                f"{manifest.snapshot} can be made again ({done.n_rows:,} rows, content hash {done.content_hash}), but "
                f"files in {folder} are not those of its manifest: {', '.join(damaged)}.\n"
                f"  next:   factory rebuild {manifest.snapshot}\n  state:  nothing was changed."
            )
        return f"{manifest.snapshot}: {done.n_rows:,} rows, {_said(manifest, done)}\ncontent hash {done.content_hash}"
    with locked(home):
        damaged = _damaged(folder, manifest)
        data = [path for path in damaged if path.startswith("data/")]
        if not data:
            others = f"; not made anew: {', '.join(damaged)}" if damaged else ""
            return f"{manifest.snapshot}: its data are whole, nothing to restore{others}"
        with _made(home, folder, manifest, folder) as (made, done):
            _check(manifest, done)
            _put_right(folder, made, [entry.path for entry in manifest.files if entry.path.startswith("data/")])
        left = [path for path in damaged if not path.startswith("data/")]
        others = f"\nnot made anew: {', '.join(left)}" if left else ""
        return (
            f"{manifest.snapshot}: {len(data):,} files restored, {done.n_rows:,} rows, {_said(manifest, done)}{others}"
        )


@contextmanager
def _made(home: Path, folder: Path, manifest: Manifest, beside: Path | None) -> Iterator[tuple[Path, Rebuilt]]:
    """The rows in a hidden folder: beside the snapshot where they may take its place, else among temporary files."""
    draft: Path | None = None
    try:
        draft = Path(tempfile.mkdtemp(dir=beside.parent if beside else None, prefix=".draft-"))
        with frozen(home, manifest, "marts.snapshot_rows") as con:
            n_rows, digest = write_rows(draft, rows_to_publish(con, SNAPSHOTS[name_of(manifest)]))
        found = {path.relative_to(draft).as_posix(): sha256_of(path) for path in (draft / "data").glob("*.parquet")}
        wanted = {entry.path: entry.sha256 for entry in manifest.files if entry.path.startswith("data/")}
        other = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
        yield draft, Rebuilt(n_rows, digest, tuple(other))
    except OSError as error:
        raise cannot_write(draft or folder, error) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def _check(manifest: Manifest, done: Rebuilt) -> None:
    if done.content_hash == manifest.content_hash:
        return
    changed = changed_models(manifest)
    lines = [
        f"{manifest.snapshot} comes out otherwise: {done.n_rows:,} rows with content hash {done.content_hash};",
        f"  its manifest says {manifest.n_rows:,} rows with {manifest.content_hash}.",
    ]
    if changed:
        lines.append(f"  why:    SQL models differ from those that made it: {', '.join(changed)}")
        lines.append(f"  next:   use the code that made it (factory {manifest.factory_version}, {manifest.code_hash})")
    elif manifest.inputs is None:
        lines.append("  why:    its manifest lists no shards, and rows of its recipe were added since")
    else:
        lines.append("  why:    the shards and SQL models are those that made it, so its manifest was changed by hand")
    raise SnapshotError("\n".join([*lines, "  state:  nothing was changed."]))


def changed_models(manifest: Manifest) -> list[str]:
    """SQL models whose text is not what it was when a snapshot was made."""
    now = {model.name: model.sha256 for model in model_files()}
    return sorted(n for n in now.keys() | manifest.sql_hashes.keys() if now.get(n) != manifest.sql_hashes.get(n))


def _said(manifest: Manifest, done: Rebuilt) -> str:
    if not done.other_bytes:
        return "the same rows and the same bytes of data/*.parquet"
    why = ""
    if manifest.pyarrow_version != pa.__version__:
        why = f" (pyarrow {manifest.pyarrow_version or 'unknown'} wrote them, this is {pa.__version__})"
    return f"the same rows, other bytes of {', '.join(done.other_bytes)}{why}"


def _damaged(folder: Path, manifest: Manifest) -> list[str]:
    """Files of a snapshot that are missing or are not what its manifest says."""
    return [
        entry.path
        for entry in manifest.files
        if not (folder / entry.path).is_file() or sha256_of(folder / entry.path) != entry.sha256
    ]


def _put_right(folder: Path, made: Path, paths: list[str]) -> None:
    """Move files in, each whole at once: a kill leaves some restored, and the same command goes on."""
    (folder / "data").mkdir(exist_ok=True)
    for path in sorted((made / "data").glob("*.parquet")):
        flush(path)
        os.replace(path, folder / "data" / path.name)
    for path in (folder / "data").glob("*.parquet"):
        if f"data/{path.name}" not in paths:
            path.unlink()
    flush(folder / "data")
