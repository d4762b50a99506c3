"""Where a snapshot lies, whatever it is called by: `d_seed@v3`, a folder, or `hf://org/name@revision` on the hub.

A snapshot from the hub is taken for what its manifest says, and for nothing else. The manifest comes first; then the
files that it names, and no others, so that nothing comes along that no hash covers; then every size, every SHA-256 and
the hash over the rows are checked, in a hidden folder. Only then does it get its place,
`pulled/<org>--<name>/<commit>`: a folder there is complete and was right when it came.

Not covered: who wrote the manifest. A commit hash in the reference pins that; a branch trusts whoever may write to it.
"""

import glob
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from factory.release.hub_errors import explained
from schemas.errors import FactoryError, SnapshotError
from schemas.records import FileEntry, Manifest
from warehouse.files import cannot_write
from warehouse.snapshots import MANIFEST, content_hash, read_manifest, resolve

HUB = "hf://"
_REFERENCE = re.compile(r"hf://(?:datasets/)?([\w.-]+)/([\w.-]+?)(?:@([\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
SHOWN_FILES = 5


def locate(home: Path, reference: str) -> Path:
    """Folder of a snapshot; one on the hub is pulled and checked first, unless that commit was pulled before.

    Args:
        home: The home.
        reference: `d_seed@latest`, `d_seed@v3`, `d_seed`, a folder, or `hf://org/name@revision`. Without a revision the
            default branch counts. With a full commit hash that was pulled before, no network is needed.

    Raises:
        SnapshotError: there is none, the hub cannot be reached or refuses, or what came is not what its manifest says.
            Nothing of it is kept.
        HomeError: the home cannot be written.
    """
    if not reference.startswith(HUB):
        return resolve(home, reference)
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise SnapshotError(f"'{reference}' is no dataset on the hub: write hf://org/name or hf://org/name@revision.")
    repo, revision = f"{match[1]}/{match[2]}", match[3]
    shelf = home / "pulled" / f"{match[1]}--{match[2]}"
    commit = revision if revision and _COMMIT.fullmatch(revision) else _commit(repo, revision, shelf)
    target = shelf / commit
    return target if (target / MANIFEST).is_file() else _pull(repo, commit, target)


def _commit(repo: str, revision: str | None, shelf: Path) -> str:
    """The commit that a branch or tag stands at now."""
    from huggingface_hub import HfApi  # a second of imports

    try:
        commit = HfApi().repo_info(repo, repo_type="dataset", revision=revision, timeout=20).sha or ""
    except Exception as error:  # whatever the client's http library raises
        have = sorted(path.parent.name for path in shelf.glob(f"*/{MANIFEST}"))
        raise SnapshotError(explained(error, repo, revision, have)) from error
    if not _COMMIT.fullmatch(commit):
        raise SnapshotError(f"{HUB}{repo}: the hub names '{commit[:80]}' as its commit, which is none.")
    return commit


def _pull(repo: str, commit: str, target: Path) -> Path:
    draft: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=".draft-"))
        draft.chmod(0o755)
        _download(repo, commit, draft)
        shutil.rmtree(draft / ".cache", ignore_errors=True)  # the client's notes
        _place(draft, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def _download(repo: str, commit: str, draft: Path) -> None:
    """Manifest, files, checks."""
    from huggingface_hub import hf_hub_download, snapshot_download

    name = f"{HUB}{repo}@{commit}"
    try:
        hf_hub_download(repo, MANIFEST, repo_type="dataset", revision=commit, local_dir=draft)
        manifest = _manifest(draft, name)
        wanted = [glob.escape(entry.path) for entry in manifest.files]
        snapshot_download(repo, repo_type="dataset", revision=commit, local_dir=draft, allow_patterns=wanted)
    except SnapshotError:
        raise
    except Exception as error:  # whatever the client's http library raises, and errors of the disk
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise
        raise SnapshotError(explained(error, repo, commit, ())) from error
    check_files(draft, manifest, name)


def _manifest(folder: Path, name: str) -> Manifest:
    try:
        manifest = read_manifest(folder)
    except FactoryError as error:  # says where the draft lay, which is gone when it is read
        said = str(error).replace(f"{folder}{os.sep}", "")
        raise SnapshotError(f"{name}: {said}\n  state:  nothing was kept.") from error
    strange = [entry.path for entry in manifest.files if not _is_plain(entry.path)]
    if strange:
        raise SnapshotError(
            f"{name}: its manifest names files outside of its folder: {_some(strange)}. Nothing was kept."
        )
    return manifest


def _is_plain(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path and parts[0] != ".cache"


def check_files(folder: Path, manifest: Manifest, name: str) -> None:
    """Hold a folder against its manifest: sizes and SHA-256 of its files, then the hash over the rows.

    Raises:
        SnapshotError: something differs; names it.
    """
    wrong = {entry.path: fault for entry in manifest.files if (fault := _fault(folder, entry))}
    if wrong:
        raise SnapshotError(
            f"{name}: {len(wrong):,} of {len(manifest.files):,} files are not those of its manifest: "
            f"{_some([f'{path} ({fault})' for path, fault in wrong.items()])}.\n"
            "  why:    they were changed after the snapshot was made, or the download was cut\n"
            "  next:   the same command again; if it says the same, ask whoever published it\n"
            "  state:  nothing was kept."
        )
    try:
        rows = pa.concat_tables([pq.read_table(path) for path in sorted((folder / "data").glob("*.parquet"))])
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise SnapshotError(f"{name}: its data cannot be read: {reason}. Nothing was kept.") from error
    found = content_hash(rows)
    if found != manifest.content_hash:
        raise SnapshotError(
            f"{name}: its rows (data/*.parquet) hash to {found}, its manifest says {manifest.content_hash}.\n"
            "  state:  nothing was kept."
        )


def _fault(folder: Path, entry: FileEntry) -> str | None:
    path = folder / entry.path
    if not path.is_file():
        return "missing"
    if path.stat().st_size != entry.n_bytes:
        return f"{path.stat().st_size:,} bytes, not {entry.n_bytes:,}"
    with path.open("rb") as file:
        return None if hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256 else "another SHA-256"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_FILES:,} more" if len(names) > SHOWN_FILES else ""
    return ", ".join(names[:SHOWN_FILES]) + more


def _place(draft: Path, target: Path) -> None:
    try:
        os.replace(draft, target)
    except OSError:
        if not (target / MANIFEST).is_file():  # otherwise another process has just pulled the same commit
            raise
