"""The commands of docs/versions.md run as written, on three made snapshots."""

import re
import shlex
from pathlib import Path

import pytest

from factory.run import rebuild_database
from tests.made_versions import World
from tests.readme import ROOT
from tests.scripted_build import factory

COMMANDS = re.findall(r"^\$ factory (.*)$", (ROOT / "docs" / "versions.md").read_text(), re.MULTILINE)


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.snapshot("r1", world.run("r1", ["p1", "p2"]), per_problem=2)
    world.snapshot("r2", world.run("r2", ["p1", "p2"]))
    world.snapshot("r3", world.run("r3", ["p1", "p2", "p3"]))
    rebuild_database(world.store)
    assert {command.split()[0] for command in COMMANDS} == {"diff", "lineage", "why", "rollback", "rebuild", "gc"}
    for command in COMMANDS:
        words = ["hint-p1-0" if word.startswith("t_") else word for word in shlex.split(command)]
        done = factory(*words, home=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if words[0] == "rebuild":
            assert "the same rows and the same bytes" in done.stdout
