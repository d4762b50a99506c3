"""Rollouts on a Ray cluster give what one process gives, whoever dies."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripted_build import command, environment, factory
from tests.test_kills import build, write_build
from warehouse.snapshots import read_manifest

pytestmark = pytest.mark.slow
TOKEN = "0123456789abcdef" * 2
"""Who knows it may use the cluster; without it any program of this machine could."""


def hash_of(home: Path, name: str) -> str:
    return read_manifest(home / "snapshots" / name / "v1").content_hash


def test_a_ray_worker_that_dies_costs_what_it_had_in_hand(tmp_path: Path) -> None:
    recipe, log = write_build(tmp_path)
    done = factory(*build(recipe), home=tmp_path / "local")
    assert done.returncode == 0, done.stderr[-2000:]
    calm = Counter(log.read_text().split())
    log.unlink()

    home = tmp_path / "ray"
    process = subprocess.Popen(
        command(*build(recipe), "--executor", "ray", "--set", "executor.shard_rows=60"),
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    killed: list[int] = []
    deadline = time.monotonic() + 120
    while len(killed) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(1.5)
        files = [f for f in (home / "journal").rglob("*.jsonl") if f.stat().st_size > 20_000]
        pids = [int(f.stem.rpartition("-")[2]) for f in files]
        for pid in [pid for pid in pids if pid not in killed][:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    assert len(killed) == 2
    assert Counter(log.read_text().split()) == calm
    assert hash_of(home, "d_start") == hash_of(tmp_path / "local", "d_start")
    assert not (home / "journal").exists()


@contextlib.contextmanager
def ray_node(*options: str, log: Path) -> Iterator[int]:
    """A node of a Ray cluster on this machine, in the foreground; gives its process id and ends it."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats", *options]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.3)
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_a_cluster_that_others_started_and_a_wrong_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, log = write_build(tmp_path)
    done = factory(*build(recipe), "--limit", "60", home=tmp_path / "local")
    assert done.returncode == 0, done.stderr[-2000:]
    calm = Counter(log.read_text().split())
    log.unlink()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.2:{port}"
    options = ["--num-cpus", "2", "--node-ip-address", "127.0.0.2"]
    head = [*options, "--head", "--port", str(port), "--include-dashboard", "false"]
    arguments = [*build(recipe), "--limit", "60", "--executor", "ray", "--ray-address", address]
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with ray_node(*head, log=tmp_path / "head.log"):
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
        refused = factory(*arguments, home=tmp_path / "wrong")
        assert refused.returncode != 0
        assert "RAY_AUTH_TOKEN" in refused.stderr
        assert "Traceback" not in refused.stderr

        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
        done = factory(*arguments, home=tmp_path / "ray")
        assert done.returncode == 0, done.stderr[-3000:]
    assert Counter(log.read_text().split()) == calm
    assert hash_of(tmp_path / "ray", "d_start") == hash_of(tmp_path / "local", "d_start")


def processes(name: str) -> list[int]:
    """Ids of the processes that call themselves so."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().startswith(name.encode()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_real_engine_in_an_actor_that_dies(tmp_path: Path) -> None:
    local = factory("build", "d_seed", "--limit", "6", home=tmp_path / "local", seconds=600)
    assert local.returncode == 0, local.stderr[-2000:]
    home = tmp_path / "ray"
    home.mkdir()
    (home / "models").symlink_to(tmp_path / "local" / "models")
    process = subprocess.Popen(
        command("build", "d_seed", "--limit", "6", "--executor", "ray"),
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((home / "journal").rglob("*.jsonl")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for pid in processes("ray::Replica"):
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    assert hash_of(home, "d_seed") == hash_of(tmp_path / "local", "d_seed")


def test_more_engines_than_cores_are_refused(tmp_path: Path) -> None:
    done = factory(
        "build", "d_seed", "--limit", "2", "--executor", "ray", "--set", "executor.replicas=2", home=tmp_path
    )
    assert done.returncode != 0
    assert "2 engines and at least one task need 3" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_does_not_load_is_one_clear_error(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    done = factory("build", "d_seed", "--limit", "2", "--executor", "ray", "--model", model, home=tmp_path / "h")
    assert done.returncode != 0
    assert "cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr
