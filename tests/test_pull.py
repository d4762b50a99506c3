"""Snapshots from a hub on loopback: what arrives is what the manifest says, or nothing. Asked in a process of its own,
since `huggingface_hub` reads its environment once, when it is imported."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factory.release.pull import check_files, locate
from schemas.errors import SnapshotError
from schemas.records import FileEntry
from tests.loopback_hub import Hub, Repo, repo_files, serve
from tests.made_snapshots import make_snapshot, trajectory
from warehouse.snapshots import describe_files, read_manifest

CHILD = """
import json, sys
from pathlib import Path
from factory.release.pull import locate
from schemas.errors import FactoryError
answers = []
for reference in sys.argv[2:]:
    try:
        answers.append(["found", str(locate(Path(sys.argv[1]), reference))])
    except FactoryError as error:
        answers.append([type(error).__name__, str(error)])
print("ANSWERS" + json.dumps(answers))
"""
DATA = "data/train-00000-of-00001.parquet"


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub(repos={"org/set": Repo()})
    with serve(made):
        yield made


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return make_snapshot(tmp_path / "publisher", [trajectory(0), trajectory(1, seed=1)])


def ask(hub: Hub, home: Path, *references: str, **env: str) -> list[tuple[str, str]]:
    """What locate said to each reference: ("found", folder) or (error, message)."""
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home.parent / "hf"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(home), *references],
        env={**os.environ, **own, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "ANSWERS" in done.stdout, done.stderr
    return [(kind, said) for kind, said in json.loads(done.stdout.split("ANSWERS")[1])]


def kept(home: Path) -> list[str]:
    """Files below the folder of pulled snapshots."""
    return sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file())


def test_a_snapshot_is_pulled_checked_and_used_again(tmp_path: Path, hub: Hub, snapshot: Path) -> None:
    home = tmp_path / "home"
    commit = hub.repos["org/set"].push(repo_files(snapshot))
    hub.repos["org/set"].refs["v1.0"] = commit
    references = ("hf://org/set", "hf://org/set@main", "hf://datasets/org/set@v1.0", f"hf://org/set@{commit}")
    target = home / "pulled" / "org--set" / commit
    assert ask(hub, home, *references) == [("found", str(target))] * 4
    assert read_manifest(target) == read_manifest(snapshot)
    assert describe_files(target) == read_manifest(snapshot).files  # and nothing besides: no notes of the client's
    assert {p.name for p in target.parent.iterdir()} == {commit}
    n_downloads = [line for line in hub.asked if line.startswith("GET /datasets")]
    assert len(n_downloads) == 1 + len(read_manifest(snapshot).files), "each file once, for four references"


@pytest.mark.slow
def test_a_commit_that_is_here_needs_no_network_and_a_branch_says_so(tmp_path: Path, hub: Hub, snapshot: Path) -> None:
    home = tmp_path / "home"
    commit = hub.repos["org/set"].push(repo_files(snapshot))
    assert ask(hub, home, "hf://org/set")[0][0] == "found"
    n_asked = len(hub.asked)
    for env in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        here, unknown = f"hf://org/set@{commit}", f"hf://org/set@{'1' * 40}"
        by_hash, by_branch, by_unknown, other = ask(
            hub, home, here, "hf://org/set@main", unknown, "hf://org/new", **env
        )
        assert by_hash == ("found", str(home / "pulled" / "org--set" / commit))
        assert by_branch[0] == "SnapshotError"
        assert "cannot be reached" in by_branch[1]
        assert f"hf://org/set@{commit}" in by_branch[1]
        assert "cannot be reached" in by_unknown[1]
        assert "cannot be reached" in other[1]
    assert len(hub.asked) == n_asked


def test_what_the_hub_does_not_have_is_explained(tmp_path: Path, hub: Hub, snapshot: Path) -> None:
    home = tmp_path / "home"
    hub.gated.add("org/gated")
    hub.repos["org/plain"] = Repo()
    hub.repos["org/plain"].push({"train.jsonl": b"{}\n"})
    hub.repos["org/set"].push(repo_files(snapshot))
    answers = ask(
        hub, home, "hf://org/none", "hf://org/gated", "hf://org/set@no-such", f"hf://org/set@{'0' * 40}",
        "hf://org/plain", "hf://org", "hf://org/set@", "hf://org/--a",
    )  # fmt: skip
    for (kind, said), words in zip(
        answers,
        [
            "the hub has no such dataset",
            "wants a login",
            "no such revision",
            "no such revision",
            "holds no manifest.json",
            "write hf://org/name",
            "write hf://org/name",
            "no name of a dataset",
        ],
        strict=True,
    ):
        assert kind == "SnapshotError"
        assert words in said
    assert kept(home) == []


def changed(files: dict[str, bytes], /, **values: Any) -> dict[str, bytes]:
    """The same files with some fields of the manifest replaced."""
    manifest = json.loads(files["manifest.json"]) | values
    return files | {"manifest.json": json.dumps(manifest).encode()}


def test_whatever_differs_from_the_manifest_is_named_and_nothing_is_kept(
    tmp_path: Path, hub: Hub, snapshot: Path
) -> None:
    home = tmp_path / "home"
    good = repo_files(snapshot)
    other = repo_files(make_snapshot(tmp_path / "other", [trajectory(0), trajectory(1, seed=2)]))
    flipped = bytes([good[DATA][0] ^ 1]) + good[DATA][1:]
    outside = [*json.loads(good["manifest.json"])["files"]]
    outside[0] = outside[0] | {"path": "../../../stolen"}
    repo = hub.repos["org/set"]
    repo.push(good | {DATA: flipped}, "flipped")
    repo.push(good | {"README.md": b"# longer than before, by a lot\n"}, "readme")
    repo.push({path: data for path, data in good.items() if path != DATA}, "missing")
    # a forged manifest: every file's hash holds, but the rows are others than it says
    repo.push(changed(other, content_hash=json.loads(good["manifest.json"])["content_hash"]), "rows")
    repo.push(changed(good, files=outside), "outside")
    repo.push(good | {"manifest.json": b"{}"}, "empty")
    repo.push(good | {"manifest.json": b"\x00"}, "broken")
    refs = ["flipped", "readme", "missing", "rows", "outside", "empty", "broken"]
    answers = dict(zip(refs, ask(hub, home, *(f"hf://org/set@{ref}" for ref in refs)), strict=True))
    assert f"1 of 3 files are not those of its manifest: {DATA} (another SHA-256)" in answers["flipped"][1]
    assert "README.md (31 bytes, not" in answers["readme"][1]
    assert f"{DATA} (missing)" in answers["missing"][1]
    assert "its rows (data/*.parquet) hash to" in answers["rows"][1]
    assert "outside of its folder: ../../../stolen" in answers["outside"][1]
    assert "is no manifest" in answers["empty"][1]
    assert "cannot read" in answers["broken"][1]
    assert {kind for kind, _ in answers.values()} == {"SnapshotError"}
    assert not any(".draft-" in said for _, said in answers.values())
    assert kept(home) == []


def test_files_that_no_hash_covers_are_not_fetched(tmp_path: Path, hub: Hub, snapshot: Path) -> None:
    home = tmp_path / "home"
    more = {"data/train-00001-of-00001.parquet": b"PAR1", "../../escaped": b"x", "quality/page x.html": b"x"}
    hub.repos["org/set"].push(repo_files(snapshot) | more)
    ((kind, folder),) = ask(hub, home, "hf://org/set")
    assert kind == "found"
    assert describe_files(Path(folder)) == read_manifest(snapshot).files
    assert not any(path in line for path in ("00001-of-00001", "escaped", "page%20x") for line in hub.asked)


def test_a_broken_download_leaves_nothing_and_the_next_one_works(tmp_path: Path, hub: Hub, snapshot: Path) -> None:
    home = tmp_path / "home"
    hub.repos["org/set"].push(repo_files(snapshot))
    hub.truncated.add("manifest.json")
    ((kind, said),) = ask(hub, home, "hf://org/set")
    assert (kind, kept(home)) == ("SnapshotError", []), said
    assert "nothing was kept" in said
    hub.truncated.clear()
    assert ask(hub, home, "hf://org/set")[0][0] == "found"


def test_a_home_that_cannot_be_written(tmp_path: Path, hub: Hub, snapshot: Path) -> None:
    hub.repos["org/set"].push(repo_files(snapshot))
    (tmp_path / "file").write_text("")
    ((kind, said),) = ask(hub, tmp_path / "file" / "home", "hf://org/set", HF_HOME=str(tmp_path / "hf"))
    assert kind == "HomeError"
    assert "cannot write" in said


def test_local_references_need_no_hub(tmp_path: Path, snapshot: Path) -> None:
    home = tmp_path / "publisher"
    for reference in ("d_seed", "d_seed@latest", "d_seed@v1", str(snapshot)):
        assert locate(home, reference) == snapshot
    with pytest.raises(SnapshotError, match=r"There is: d_seed@v1\."):
        locate(home, "d_seed@v7")


def test_a_manifest_may_not_claim_other_rows(snapshot: Path) -> None:
    manifest = read_manifest(snapshot)
    check_files(snapshot, manifest, "it")
    with pytest.raises(SnapshotError, match="it: its rows"):
        check_files(snapshot, manifest.model_copy(update={"content_hash": "0" * 64}), "it")
    ghost = FileEntry(path="data/ghost.parquet", n_rows=1, n_bytes=1, sha256="0")
    many = manifest.model_copy(update={"files": (ghost,)})
    with pytest.raises(SnapshotError, match=r"data/ghost.parquet \(missing\)"):
        check_files(snapshot, many, "it")
