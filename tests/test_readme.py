"""The README cannot lie: its commands are run as written, in a fresh clone with a fresh environment."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from factory.settings import load_recipe
from tests.demo_rows import check_rows, check_token_ids
from tests.readme import ROOT, blocks
from warehouse.snapshots import read_manifest


def test_the_commands_that_are_not_run_exist() -> None:
    import typer.main

    from factory.cli import app
    from train.cli import app as train_app

    roots: dict[str, Any] = {"factory": typer.main.get_command(app), "train": typer.main.get_command(train_app)}
    lines = [line for body in blocks(run=False) for line in body.splitlines() if line]
    assert any("--recipe arxiv_v1 --engine vllm" in line for line in lines)
    for line in lines:
        words = shlex.split(line)
        if words[0] == "make":
            assert f"{words[1]}:" in (ROOT / "Makefile").read_text()
            continue
        if words[0] == "accelerate":
            assert (ROOT / words[3]).is_file()
            assert words[4:6] == ["-m", "train.cli"]
            words = ["train", *words[6:]]
        command = roots[words.pop(0)]
        while words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
    for name in ("arxiv_v1", "emnlp", "demo", "loop"):
        assert load_recipe(name, {}).problems.sources


def test_the_examples_of_replaced_values_are_accepted() -> None:
    from factory.settings import parse_overrides

    values = parse_overrides(['hint.cuts=["conjunction", "end"]', "hint.code_start=", "hint.branches=4"])
    recipe = load_recipe("demo", values)
    assert (len(recipe.hint.cuts), recipe.hint.code_start, recipe.hint.branches) == (2, "", 4)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of what is committed."""
    folder = tmp_path_factory.mktemp("clone") / "checkout"
    for parent in (folder.parent, *folder.parents[1:3]):
        parent.chmod(0o755)  # so that the tests that become another user run in it
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def shell(script: str, folder: Path, timeout_s: float = 1500) -> str:
    not_a_users = {"FACTORY_HOME", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS"}
    environment = {key: value for key, value in os.environ.items() if key not in not_a_users}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_readmes_commands_run_as_written(clone: Path) -> None:
    first, *rest = blocks(run=True)
    assert first.strip() == "make d_seed"
    started = time.monotonic()
    printed = shell(first, clone)
    print(printed)
    assert time.monotonic() - started < 15 * 60
    assert "d_seed@v1" in printed
    assert "wrong_answer" in printed
    started = time.monotonic()
    again = shell(first, clone)
    assert "unchanged, d_seed@v1" in again
    assert "0 newly generated" in again
    assert time.monotonic() - started < 20
    rest.remove("make test\n")  # which CI gives first, on a clone of its own
    print(shell("\n".join(rest), clone))  # one shell, as a reader has: the environment stays active


@pytest.mark.slow
def test_the_demos_rows_are_what_they_say(clone: Path) -> None:
    home = clone / "warehouse" / "data"
    if not (home / "snapshots").is_dir():
        shell("make d_seed", clone)
    check_rows(home / "snapshots" / "d_seed" / "v1", at_least=20)
    check_token_ids(home / "snapshots" / "d_seed" / "v1", home / "models" / "SmolLM2-135M-Instruct")


@pytest.mark.slow
def test_the_real_engine_killed_three_times_ends_in_the_same_bytes(clone: Path) -> None:
    if not (clone / "warehouse" / "data" / "models").is_dir():
        shell("make d_seed ARGS='--limit 2 --set gate.min_rows=1' || true", clone)
    models = clone / "warehouse" / "data" / "models"
    build = "exec .venv/bin/factory build d_seed --limit 10 --home {home}"
    homes = [clone / "whole", clone / "killed"]
    for home in homes:
        home.mkdir()
        (home / "models").symlink_to(models)
    shell(build.format(home=homes[0]), clone)
    for delay_s in (12, 18, 24):
        process = subprocess.Popen(
            ["bash", "-c", build.format(home=homes[1])],
            cwd=clone,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
    shell(build.format(home=homes[1]), clone)
    hashes = [read_manifest(home / "snapshots" / "d_seed" / "v1").content_hash for home in homes]
    assert hashes[0] == hashes[1]
