"""Versions: rebuild reads what a snapshot read, gc takes nothing that is needed, diff names each reason."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from factory.run import rebuild_database
from factory.versions.diff import diff
from factory.versions.gc import collect_garbage
from factory.versions.lineage import lineage
from factory.versions.rebuild import rebuild
from factory.versions.rollback import rollback
from factory.views import show_status, show_story
from schemas.errors import HomeError, SnapshotError, UsageError
from schemas.tables import DUPLICATE_PAIRS, SIGNALS, TRAJECTORIES
from tests.builders import row
from tests.made_versions import World, random_world
from warehouse.files import locked
from warehouse.models import model_files
from warehouse.pointer import POINTER
from warehouse.snapshots import MANIFEST, resolve, versions
from warehouse.store import Store

HINT_1 = "hint-p1-0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """v1: two problems; v2: the same with two rows of each problem allowed; v3: p2 and p3."""
    world = World(tmp_path_factory.mktemp("made"))
    world.snapshot("r1", world.run("r1", ["p1", "p2"]))
    world.snapshot("r2", world.run("r2", ["p1", "p2"]), per_problem=2)
    world.snapshot("r3", world.run("r3", ["p2", "p3"]))
    return world


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    """A copy of it."""
    shutil.copytree(made.home, tmp_path / "home")
    return World(tmp_path / "home", made.clock, copy.deepcopy(made.known))


def names(home: Path) -> list[str]:
    return [f"d_seed@v{number}" for number in versions(home, "d_seed")]


def test_a_rebuild_gives_the_same_rows_and_bytes(world: World) -> None:
    for name in names(world.home):
        assert "the same rows and the same bytes" in rebuild(world.home, name, verify=True)


@pytest.mark.parametrize(
    "late", ["repaired row", "failed row tried again", "pairs compared anew", "verdict and signals"]
)
def test_what_comes_later_changes_no_older_snapshot(tmp_path: Path, late: str) -> None:
    world = World(tmp_path)
    ids = world.run("r1", ["p1", "p2"])
    failed = world.trajectory("hint-p2-9", "p2", "hint", stop_reason="engine_error", n_tokens_model=1)
    unjudged = world.trajectory("hint-p1-1b", "p1", "hint", sample_index=1, n_tokens_model=1)
    world.add(TRAJECTORIES, [failed, unjudged])
    name = world.snapshot("r1", ids)
    if late == "repaired row":
        world.add(TRAJECTORIES, [world.trajectory("fixed", "p1", ids.repair, parent_id=HINT_1, repairs=["cut"])])
        world.judge(["fixed"])
        world.add(SIGNALS, [{"trajectory_id": "fixed"}])
    elif late == "failed row tried again":
        again = world.trajectory("hint-p2-9", "p2", "hint", n_tokens_model=1)
        world.store.replace(TRAJECTORIES, "again", [row(TRAJECTORIES, **again)])
        world.judge(["hint-p2-9"])
        world.add(SIGNALS, [{"trajectory_id": "hint-p2-9"}])
    elif late == "pairs compared anew":
        pair = {"run_id": "r1", "kept_id": "hint-p2-0", "dropped_id": HINT_1, "similarity": 1.0}
        world.store.replace(DUPLICATE_PAIRS, "r1", [row(DUPLICATE_PAIRS, **pair)])
    else:
        world.judge(["hint-p1-1b"])
        world.add(SIGNALS, [{"trajectory_id": "hint-p1-1b"}])
    assert "the same rows and the same bytes" in rebuild(tmp_path, name, verify=True)
    manifest = tmp_path / "snapshots/d_seed/v1" / MANIFEST
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(value | {"inputs": None}))  # as older manifests are: then it does
    with pytest.raises(SnapshotError, match=r"comes out otherwise(.|\n)*lists no shards"):
        rebuild(tmp_path, name, verify=True)


def test_a_lost_or_damaged_file_is_restored(world: World) -> None:
    path = next((world.home / "snapshots/d_seed/v1/data").glob("*.parquet"))
    whole = path.read_bytes()
    for damage in (b"", whole[:-10]):
        path.write_bytes(damage)
        with pytest.raises(SnapshotError, match=r"train-00000(.|\n)*next:   factory rebuild d_seed@v1"):
            rebuild(world.home, "d_seed@v1", verify=True)
        assert "1 files restored" in rebuild(world.home, "d_seed@v1", verify=False)
        assert path.read_bytes() == whole
    assert "nothing to restore" in rebuild(world.home, "d_seed@v1", verify=False)


def test_a_rebuild_says_what_is_missing_or_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import factory.versions.rebuild as module

    manifest = world.home / "snapshots/d_seed/v1" / MANIFEST
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(value | {"content_hash": "0" * 64}))
    with pytest.raises(SnapshotError, match="changed by hand"):
        rebuild(world.home, "d_seed@v1", verify=True)
    monkeypatch.setattr(module, "model_files", lambda: model_files()[1:])
    with pytest.raises(SnapshotError, match=f"SQL models differ.*: {model_files()[0].name}"):
        rebuild(world.home, "d_seed@v1", verify=True)
    lost = world.store.shards(TRAJECTORIES)[0]
    lost.unlink()
    with pytest.raises(SnapshotError, match=f"1 of its .* shards are not in(.|\n)*raw.trajectories/{lost.stem}"):
        rebuild(world.home, "d_seed@v1", verify=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_after_gc_every_snapshot_rebuilds_and_the_last_run_reads_the_same(tmp_path: Path, seed: int) -> None:
    world = random_world(tmp_path, seed)

    def scored() -> list[tuple[object, ...]]:
        if not rebuild_database(world.store):
            return []
        with world.store.read() as con:
            return con.execute("from marts.trajectories_scored order by trajectory_id").fetchall()

    before = scored()
    looked = collect_garbage(tmp_path, apply=False)
    assert scored() == before
    assert collect_garbage(tmp_path, apply=True) == looked
    for name in names(tmp_path):
        assert "the same bytes" in rebuild(tmp_path, name, verify=True)
    assert scored() == before
    assert collect_garbage(tmp_path, apply=False) == []
    world.snapshot("last", world.run("last", ["p1", "p9"]))  # and again, over joined shards
    collect_garbage(tmp_path, apply=True)
    for name in names(tmp_path):
        assert "the same bytes" in rebuild(tmp_path, name, verify=True)


def test_gc_removes_rows_of_runs_that_nothing_needs(world: World) -> None:
    ids = world.run("old", ["p7", "p8"], rollout="gone")
    world.snapshot("old", ids)
    folder = resolve(world.home, "d_seed@latest")
    (folder / MANIFEST).unlink()  # its snapshot was thrown away
    world.snapshot("now", world.run("now", ["p1"]))
    draft = world.home / "raw/trajectories/.draft-x"
    draft.mkdir()
    collect_garbage(world.home, apply=True)
    assert not draft.exists()
    ids_left = world.store.ids(TRAJECTORIES, "trajectory_id")
    assert HINT_1 in ids_left
    assert not [id_ for id_ in ids_left if id_.startswith("gone") or id_ in {"b-p7", "b-p8"}]
    assert world.store.ids(TRAJECTORIES, "problem_id") == {"p1", "p2", "p3"}
    for name in names(world.home):
        assert "the same bytes" in rebuild(world.home, name, verify=True)


def test_a_journal_of_an_unfinished_trajectory_stays(world: World) -> None:
    folder = world.home / "journal"
    folder.mkdir()
    (folder / "1.jsonl").write_text(json.dumps({"t": HINT_1, "k": "a", "v": {}}) + "\n")
    open_one = folder / "2.jsonl"
    open_one.write_text(json.dumps({"t": "unfinished", "k": "a", "v": {}}) + "\n")
    collect_garbage(world.home, apply=True)
    assert open_one.is_file()
    open_one.unlink()
    collect_garbage(world.home, apply=True)
    assert not list(folder.glob("*.jsonl"))


@pytest.mark.slow
def test_gc_killed_at_any_time_loses_nothing(tmp_path: Path) -> None:
    random_world(tmp_path, 3)
    code = (
        "import sys, pathlib, factory.versions.gc as g\n"
        "print('go', flush=True)\n"
        "g.collect_garbage(pathlib.Path(sys.argv[1]), apply=True)"
    )
    for wait in (0.02, 0.05, 0.08, 0.12, 0.2, 0.3):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for name in names(tmp_path):
            assert "the same bytes" in rebuild(tmp_path, name, verify=True)
    collect_garbage(tmp_path, apply=True)
    assert collect_garbage(tmp_path, apply=False) == []


def test_diff_names_the_reason_of_every_row(world: World) -> None:
    assert diff(world.home, "d_seed@v1", "d_seed@v1").rows == []
    more = diff(world.home, "d_seed@v1", "d_seed@v2")
    assert more.counts() == {"added": 2, "removed": 0, "replaced": 0, "changed": 0}
    assert {(r["reason"], r["detail"]) for r in more.rows} == {
        ("not_best", "hint-p1-0 was preferred"), ("not_best", "hint-p2-0 was preferred"),
    }  # fmt: skip
    assert ("recipe", "selection.per_problem", "1", "2") in more.settings
    moved = diff(world.home, "d_seed@v1", "d_seed@v3")
    assert {(r["trajectory_id"], r["change"], r["reason"]) for r in moved.rows} == {
        (HINT_1, "removed", "problem_not_in_run"), ("hint-p3-0", "added", "problem_not_in_run"),
    }  # fmt: skip
    assert json.loads(moved.as_json())["same"] == moved.n_same == 1


def test_diff_shows_replaced_and_changed_rows(world: World) -> None:
    ids = world.run("r4", ["p1", "p2"])
    pair = {"run_id": "r4", "kept_id": "hint-p1-1", "dropped_id": HINT_1, "similarity": 0.9}
    world.store.replace(DUPLICATE_PAIRS, "r4", [row(DUPLICATE_PAIRS, **pair)])
    other = world.trajectory("hint-p2-0", "p2", "hint", text="another text")
    world.store.replace(TRAJECTORIES, "anew", [row(TRAJECTORIES, **other)])
    name = world.snapshot("r4", ids)
    found = {row["change"]: row for row in diff(world.home, "d_seed@v1", name).rows}
    assert found["replaced"]["by"] == "hint-p1-1"
    assert (found["replaced"]["reason"], found["replaced"]["detail"]) == ("duplicate", "of hint-p1-1")
    assert (found["changed"]["trajectory_id"], found["changed"]["detail"]) == (
        "hint-p2-0", "messages, completion, segments",
    )  # fmt: skip


def test_diff_of_folders_elsewhere_does_not_guess(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    found = diff(elsewhere, str(resolve(world.home, "d_seed@v1")), str(resolve(world.home, "d_seed@v2")))
    assert {row["reason"] for row in found.rows} == {"unknown"}
    assert "d_seed@v1 are unknown" in found.note


def test_rollback_changes_what_latest_means_and_nothing_else(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    home = world.home
    for bad in ("d_seed", "d_seed@latest"):
        with pytest.raises(UsageError, match="name the version"):
            rollback(home, bad, "")
    with pytest.raises(SnapshotError, match="There is: d_seed@v1, d_seed@v2, d_seed@v3"):
        rollback(home, "d_seed@v9", "")
    with locked(home), pytest.raises(HomeError, match="in use"):
        rollback(home, "d_seed@v1", "")
    assert "was v3" in rollback(home, "d_seed@v1", "v3 lost p1")
    assert [resolve(home, f"d_seed@{v}").name for v in ("latest", "v3")] == ["v1", "v3"]
    rebuild_database(world.store)
    show_status(home)
    shown = capsys.readouterr().out
    assert "d_seed@v1 (latest)" in shown
    assert "v3 lost p1" in shown
    assert "now, was v1" in rollback(home, "d_seed@v3", "")
    assert resolve(home, "d_seed").name == "v3"
    rollback(home, "d_seed@v2", "")
    world.snapshot("r1", world.run("r1", ["p1", "p2"]), per_problem=1)
    assert resolve(home, "d_seed").name == "v4"  # the next promotion ends it
    (home / "snapshots/d_seed" / POINTER).write_text("{")
    with pytest.raises(SnapshotError, match=r"does not say(.|\n)*factory rollback d_seed@v4"):
        resolve(home, "d_seed")
    rollback(home, "d_seed@v4", "")
    assert resolve(home, "d_seed").name == "v4"


def test_gc_waits_for_no_other_process(world: World) -> None:
    before = world.store.shards(TRAJECTORIES)
    with locked(world.home), pytest.raises(HomeError, match="in use"):
        collect_garbage(world.home, apply=True)
    assert world.store.shards(TRAJECTORIES) == before


def test_why_finds_rows_of_older_runs_and_snapshots(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    rebuild_database(world.store)
    show_story(world.home, "hint-p1-1")  # of r1 and r2, not of the last run
    assert "not of the last run; as d_seed run r2 has it" in capsys.readouterr().out
    show_story(world.home, "hint-p1-1", "d_seed@v1")
    told = capsys.readouterr().out
    assert "as d_seed@v1 saw it" in told
    assert "dropped: not_best" in told
    assert "rank 2 of 2" in told
    with pytest.raises(UsageError, match="no problem and no trajectory"):
        show_story(world.home, "nothing")


def test_lineage_goes_back_through_the_model_that_a_snapshot_trained(world: World) -> None:
    graph = lineage(world.home, "d_seed@v2")
    kinds = {node.kind for node in graph.nodes.values()}
    assert kinds >= {"snapshot", "run", "recipe", "sql", "model", "shards", "parent"}
    held = next(n for n in graph.nodes.values() if (n.kind, n.name) == ("shards", "raw.trajectories"))
    assert held.facts["rows"] == 4
    model = world.home / "models/start-0"
    model.mkdir(parents=True)
    digest = json.loads((resolve(world.home, "d_seed@v2") / MANIFEST).read_text())["content_hash"]
    said = {"snapshot": "d_seed@v2", "content_hash": digest, "base_model": "base@1"}
    (model / "provenance.json").write_text(json.dumps(said))
    path = resolve(world.home, "d_seed@v3") / MANIFEST
    value = json.loads(path.read_text())
    value["recipe"]["engine"]["model"] = str(model)
    path.write_text(json.dumps(value | {"engine": 'start-0 "x" <b>@1'}))
    graph = lineage(world.home, "d_seed@v3")
    assert {"snapshot_d_seed_v3", "snapshot_d_seed_v2", "model_base_1"} <= graph.nodes.keys()
    check_mermaid(graph.mermaid(), set(graph.nodes))


def check_mermaid(text: str, nodes: set[str]) -> None:
    """The part of Mermaid's grammar that we write: a header, quoted labels without markup, arrows between nodes."""
    import re

    header, *lines = text.splitlines()
    assert header == "flowchart LR"
    label = r'    (\w+)\["((?:[^"<>&\[\]{}|`\\]|<br/>)*)"\]'
    defined = {match[1] for line in lines if (match := re.fullmatch(label, line))}
    arrows = [match for line in lines if (match := re.fullmatch(r"    (\w+) --> (\w+)", line))]
    assert defined == nodes
    assert len(defined) + len(arrows) == len(lines)
    assert {end for match in arrows for end in match.groups()} <= defined


def test_a_shard_of_gc_that_cannot_be_written_leaves_all_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import factory.versions.gc as module

    def full(*_: object) -> None:
        raise HomeError(f"cannot write: {os.strerror(28)}")

    monkeypatch.setattr(module, "write_atomically", full)
    before = world.store.ids(TRAJECTORIES, "trajectory_id")
    with pytest.raises(HomeError, match="No space left"):
        collect_garbage(world.home, apply=True)
    assert Store(world.home).ids(TRAJECTORIES, "trajectory_id") == before
