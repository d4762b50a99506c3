"""Replays of whole snapshots, and the gate that asks for them; the sandbox is the real one."""

import gzip
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.tables import REPLAYS, TRAJECTORIES
from tests.made_snapshots import make_snapshot, trajectory
from tests.scripted_build import command, environment, factory, write_recipe
from warehouse.store import Store

RECIPE = {"name": "made", "problems": {"sources": [{"kind": "file", "path": "p.jsonl"}]}}


def row(number: int, code: str, output: str) -> dict[str, Any]:
    """A row whose text shows what its call holds."""
    texts = (("model", f"```python\n{code}\n```\n"), ("tool", f"```output\n{output}```\n"))
    segments = [{"origin": origin, "text": text, "n_tokens": 1, "token_ids": None} for origin, text in texts]
    call = {
        "code": code, "stdout": output, "error_type": None, "traceback": None, "status": "ok",
        "output_truncated": False,
    }  # fmt: skip
    return trajectory(number, segments, tool_calls=[call], sandbox="namespaces")


def replays(home: Path) -> list[dict[str, Any]]:
    store = Store(home)
    return [one for path in store.shards(REPLAYS) for one in pq.read_table(path).to_pylist()]


def test_a_folder_is_replayed_and_a_changed_output_is_found(tmp_path: Path) -> None:
    rows = [row(1, "print(6 * 7)", "42\n"), row(2, "import time\nprint(time.time_ns())", "1700000000000000000\n")]
    good = make_snapshot(tmp_path / "made", rows, recipe=RECIPE)
    done = factory("replay", good, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert "differs: time" in done.stdout
    again = factory("replay", good, home=tmp_path / "home")
    assert "2 of 2 rows were replayed in this environment before" in again.stderr
    assert again.stdout == done.stdout

    bad = make_snapshot(tmp_path / "made", [row(1, "print(6 * 7)", "43\n"), rows[1]], recipe=RECIPE)
    out = tmp_path / "differs.jsonl.gz"
    done = factory("replay", bad, "--out", out, home=tmp_path / "home")  # the same trajectory_id: not taken for known
    assert done.returncode == 1
    assert "t1 block 1: real" in done.stdout
    assert "-43" in done.stdout
    assert "1 outputs are not what their code prints" in done.stderr
    with gzip.open(out, "rt") as file:
        found = [json.loads(line) for line in file]
    assert [(one["trajectory_id"], one["block"], one["class"]) for one in found] == [
        ("t1", 1, "real"),
        ("t2", 1, "time"),
    ]
    assert (found[0]["recorded"], found[0]["again"], found[0]["code"]) == ("43", "42", "print(6 * 7)")
    assert len(replays(tmp_path / "home")) == 3


@pytest.mark.slow
def test_an_interrupted_replay_goes_on(tmp_path: Path) -> None:
    rows = [row(i, f"import time\ntime.sleep(0.5)\nprint({i})", f"{i}\n") for i in range(60)]
    folder = make_snapshot(tmp_path / "made", rows, recipe=RECIPE)
    home = tmp_path / "home"
    process = subprocess.Popen(command("replay", str(folder)), env=environment(home), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    assert "the same command goes on" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    n = len(replays(home))
    assert 0 < n < 60
    done = factory("replay", folder, home=home)
    assert done.returncode == 0, done.stderr
    assert f"{n} of 60 rows were replayed in this environment before" in done.stderr
    assert sorted(one["trajectory_id"] for one in replays(home)) == sorted(f"t{i}" for i in range(60))


def test_a_snapshot_that_cannot_be_replayed_says_why(tmp_path: Path) -> None:
    folder = make_snapshot(tmp_path / "made", [row(1, "print(1)", "1\n")])
    done = factory("replay", folder, home=tmp_path / "home")
    assert done.returncode == 1
    assert "the recipe in its manifest is none of this version" in done.stderr
    assert "Traceback" not in done.stderr
    done = factory("replay", folder, "--out", "differs.txt", home=tmp_path / "home")
    assert done.returncode == 2


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home in which the outputs of one selected row were changed before it was ever promoted, and its recipe."""
    folder = tmp_path_factory.mktemp("replay")
    recipe = write_recipe(folder, count=8, extra="[gate]\nmin_rows = 1000\n")
    home = folder / "home"
    assert factory("build", "d_seed", "--recipe", recipe, home=home).returncode == 1  # too small, all is stored
    store = Store(home)
    with store.read() as con:
        chosen = con.sql("select min(trajectory_id) from marts.selected").fetchall()[0][0]
    for path in store.shards(TRAJECTORIES):
        rows = pq.read_table(path).to_pylist()
        for one in rows:
            if one["trajectory_id"] == chosen:
                for call in one["tool_calls"]:
                    call["stdout"] = "1" + call["stdout"]
        pq.write_table(pq.read_table(path).from_pylist(rows, schema=TRAJECTORIES.arrow_schema), path)
    return home, recipe


@pytest.mark.slow
def test_a_snapshot_with_an_output_that_does_not_come_out_is_promoted_only_if_the_recipe_says_so(
    tampered: tuple[Path, Path],
) -> None:
    home, recipe = tampered
    args = ("build", "d_seed", "--recipe", recipe, "--set", "gate.min_rows=1")
    done = factory(*args, home=home)
    assert done.returncode == 1
    assert "audit 'outputs_reproduce': 1 bad" in done.stderr
    assert "differs real t_" in done.stderr
    assert "gate.tolerate=" in done.stderr
    assert "nothing was promoted" in done.stderr
    assert not list((home / "snapshots").glob("*/v*"))
    assert factory(*args, "--set", 'gate.tolerate=["bad luck"]', home=home).returncode == 2
    done = factory(*args, "--set", 'gate.tolerate=["real"]', home=home)
    assert done.returncode == 0, done.stderr
    n_rows = pq.read_table(home / "snapshots" / "d_seed" / "v1" / "data").num_rows
    assert len(replays(home)) == n_rows + 1  # each was run once, and the changed one again
    done = factory("replay", "d_seed@latest", home=home)
    assert done.returncode == 1
    assert f"{n_rows} of {n_rows} rows were replayed in this environment before" in done.stderr
