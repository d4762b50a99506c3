"""Snapshots: addressed by their rows, whole or absent, and open to anybody's tools."""

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from schemas.errors import FactoryError, HomeError, SnapshotError
from schemas.records import FileEntry, Manifest
from schemas.tables import SNAPSHOT
from tests.builders import snapshot_rows
from tests.made_snapshots import write_snapshot
from warehouse import snapshots
from warehouse.snapshots import content_hash, describe_files, read_manifest, resolve, versions
from warehouse.store import Store


def nothing(folder: Path, reference: str) -> None:
    (folder / "README.md").write_text(f"# {reference}\n")


def manifest_of(rows: pa.Table, **values: Any) -> Any:
    def make(reference: str, files: tuple[FileEntry, ...]) -> Manifest:
        return Manifest(
            snapshot=reference, parent=None, content_hash=content_hash(rows), created_at=datetime.now(UTC),
            factory_version="0", run_id="r_1", recipe={"name": "\u2603"}, engine="model@1", sandbox="none",
            n_rows=rows.num_rows, columns=tuple(rows.schema.names), funnel=(), gate=(), sql_hashes={}, files=files,
            **values,
        )  # fmt: skip

    return make


def write(home: Path, rows: pa.Table | None = None, name: str = "d_seed", decorate: Any = nothing) -> Path:
    rows = snapshot_rows() if rows is None else rows
    return write_snapshot(home, name, rows, decorate, manifest_of(rows))


# Writing


def test_write_resolve_and_read(tmp_path: Path) -> None:
    rows = snapshot_rows()
    assert versions(tmp_path, "d_seed") == []
    folder = write(tmp_path, rows)
    assert folder == tmp_path / "snapshots" / "d_seed" / "v1"
    assert folder.stat().st_mode & 0o777 == 0o755
    manifest = read_manifest(folder)
    assert (manifest.snapshot, manifest.n_rows, manifest.recipe["name"]) == ("d_seed@v1", 3, "\u2603")
    assert manifest.content_hash == content_hash(rows)
    for _ in range(10):
        write(tmp_path, rows)
    write(tmp_path, rows, name="d_start")
    assert versions(tmp_path, "d_seed") == list(range(1, 12))
    shelf = folder.parent
    wanted = {"d_seed": "v11", "d_seed@latest": "v11", "d_seed@v11": "v11", "d_seed@v2": "v2"}
    assert {name: resolve(tmp_path, name) for name in wanted} == {name: shelf / v for name, v in wanted.items()}
    assert resolve(tmp_path, "d_start").parent.name == "d_start"
    assert resolve(tmp_path / "elsewhere", str(folder)) == folder
    for name in ("d_seed@v12", "d_seed@3", "d_seed@v0", "d_other", "d_other@latest", "", "@v1", "d_seed@v1/data"):
        with pytest.raises(SnapshotError, match="does not exist"):
            resolve(tmp_path, name)
    with pytest.raises(SnapshotError, match=r"There is: d_start@v1\."):
        resolve(tmp_path, "d_start@v9")


def test_the_manifest_tells_the_hash_of_every_file(tmp_path: Path) -> None:
    def decorate(folder: Path, reference: str) -> None:
        nothing(folder, reference)
        (folder / "quality" / "docs").mkdir(parents=True)
        (folder / "quality" / "docs" / "index.html").write_bytes(b"\x00" * 3_000_000)

    folder = write(tmp_path, decorate=decorate)
    entries = {entry.path: entry for entry in read_manifest(folder).files}
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(entries) == found - {"manifest.json"}
    for name, entry in entries.items():
        content = (folder / name).read_bytes()
        assert (entry.n_bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert entries["data/train-00000-of-00001.parquet"].n_rows == 3
    assert entries["README.md"].n_rows is None
    (folder / "README.md").write_text("changed")
    assert describe_files(folder) != read_manifest(folder).files


def test_the_manifest_is_written_last_and_only_then_the_name(tmp_path: Path) -> None:
    seen: list[tuple[set[str], list[int]]] = []
    rows = snapshot_rows()

    def look(folder: Path) -> None:
        seen.append(({p.name for p in folder.rglob("*") if p.is_file()}, versions(tmp_path, "d_seed")))

    def decorate(folder: Path, reference: str) -> None:
        look(folder)
        assert reference == "d_seed@v1"
        nothing(folder, reference)

    def manifest(reference: str, files: tuple[FileEntry, ...]) -> Manifest:
        look(next(tmp_path.glob(".draft-*")))
        made: Manifest = manifest_of(rows)(reference, files)
        return made

    write_snapshot(tmp_path, "d_seed", rows, decorate, manifest)
    data = "train-00000-of-00001.parquet"
    assert seen == [({data}, []), ({data, "README.md"}, [])]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["decorate", "manifest"])
def test_an_error_leaves_nothing(tmp_path: Path, where: str, error: BaseException) -> None:
    write(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def fail(*_: object) -> Any:
        raise error

    rows = snapshot_rows()
    steps = {"decorate": nothing, "manifest": manifest_of(rows)} | {where: fail}
    with pytest.raises(HomeError if isinstance(error, OSError) else type(error)):
        write_snapshot(tmp_path, "d_seed", rows, steps["decorate"], steps["manifest"])
    assert sorted(tmp_path.rglob("*")) == before
    assert write(tmp_path).name == "v2"


def test_a_draft_of_a_killed_build_is_never_seen_and_soon_removed(tmp_path: Path) -> None:
    folder = write(tmp_path)
    draft = tmp_path / ".draft-killed"
    shutil.copytree(folder, draft)  # killed after its manifest was written, before it got its name
    assert versions(tmp_path, "d_seed") == [1]
    assert resolve(tmp_path, "d_seed@latest") == folder
    with pytest.raises(SnapshotError):
        resolve(tmp_path, "d_seed@.draft-killed")
    Store(tmp_path).tidy()  # as every build begins
    assert write(tmp_path).name == "v2"
    assert {path.name for path in folder.parent.iterdir()} == {"v1", "v2"}
    assert [path.name for path in tmp_path.iterdir()] == ["snapshots"]


def test_a_folder_without_manifest_is_no_snapshot_and_keeps_its_number(tmp_path: Path) -> None:
    write(tmp_path)
    lost = write(tmp_path)
    (lost / "manifest.json").unlink()
    assert versions(tmp_path, "d_seed") == [1]
    with pytest.raises(SnapshotError, match=r"There is: d_seed@v1\."):
        resolve(tmp_path, "d_seed@v2")
    assert write(tmp_path).name == "v3"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"snapshot": "d_seed@v1"}', "\x00"])
def test_a_manifest_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(FactoryError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_a_manifest_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "red"}))
    with pytest.raises(SnapshotError, match="colour"):
        read_manifest(folder)


# Reading from outside


def test_duckdb_and_datasets_read_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "ROWS_PER_FILE", 2)
    rows = snapshot_rows(5)
    folder = write(tmp_path / "home", rows)
    pattern = str(folder / "data" / "*.parquet")
    with duckdb.connect() as con:
        got = con.read_parquet(pattern).order("trajectory_id").to_arrow_table()
        text = con.execute(
            "select distinct array_to_string([s.text for s in segments], '') = completion from read_parquet(?)",
            [pattern],
        ).fetchall()
    assert got.to_pylist() == rows.to_pylist()
    assert text == [(True,)]

    from datasets import load_dataset

    loaded = load_dataset("parquet", data_files=pattern, cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded.column_names == [column.name for column in SNAPSHOT.columns]
    assert loaded.to_list() == rows.to_pylist()
