"""`kill -9` at random moments: nothing is lost, nothing doubled, and no finished turn is generated twice."""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.scripted_build import command, environment, factory
from warehouse.snapshots import read_manifest

N, N_KILLS = 300, 20
RECIPE = """
description = "test"
[problems]
sources = [{ kind = "file", path = "PROBLEMS", licence = "Apache-2.0" }]
[engine]
kind = "scripted"
model = "SCRIPT"
max_running = 24
[d_start]
samples = 1
max_tokens = 4000
[d_start.selection]
min_tool_success = 1
[judge]
n_workers = 1
"""
WORDS = ("add", "take", "half", "twice", "third", "count", "check", "sum", "guess", "find", "prove", "show", "lift")


def write_build(folder: Path) -> tuple[Path, Path]:
    """A recipe of 300 trajectories with state between their calls, and the log of its engine's answers."""
    draw, log = random.Random(8), folder / "turns.log"
    problems: list[dict[str, str]] = []
    script: list[dict[str, Any]] = [{"log": str(log)}]
    for i in range(N):
        n_calls = draw.randint(1, 5)
        start = draw.randrange(1000)
        texts = [f"I {' '.join(draw.choices(WORDS, k=30))}.\n```python\nx = {start}\nprint(x)\n```"]
        texts += [
            f"Now {' '.join(draw.choices(WORDS, k=30))}.\n```python\nx += {step}\nprint(x)\n```"
            for step in range(1, n_calls)
        ]
        answer = start + sum(range(1, n_calls))
        texts.append(f"So it is \\boxed{{{answer}}}.")
        turns = [{"text": text, "seconds": draw.lognormvariate(0, 0.6) * 0.3} for text in texts]
        script.append({"tale": f"t{i}", "turns": turns})
        problems.append({"statement": f"Follow the tale of {i}.\ntale: t{i}", "gold_answer": str(answer)})
    for name, rows in (("problems.jsonl", problems), ("script.jsonl", script)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = folder / "kills.toml"
    text = RECIPE.replace("PROBLEMS", str(folder / "problems.jsonl")).replace("SCRIPT", str(folder / "script.jsonl"))
    recipe.write_text(text)
    return recipe, log


def build(recipe: Path) -> list[str | Path]:
    return ["build", "d_start", "--recipe", recipe, "--engine", "scripted", "--model", recipe.parent / "script.jsonl"]


@pytest.mark.slow
def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    recipe, log = write_build(tmp_path)
    done = factory(*build(recipe), home=tmp_path / "calm")
    assert done.returncode == 0, done.stderr[-2000:]
    calm = Counter(log.read_text().split())
    assert set(calm.values()) == {1}
    log.unlink()

    draw, home, in_the_middle = random.Random(9), tmp_path / "killed", 0
    for _ in range(N_KILLS):
        process = subprocess.Popen(
            command(*build(recipe)), env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        before = len(log.read_text()) if log.exists() else 0
        deadline = time.monotonic() + 30
        while (len(log.read_text()) if log.exists() else 0) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        in_the_middle += any((home / "journal").glob("*.jsonl"))
    assert in_the_middle > N_KILLS // 2
    done = factory(*build(recipe), home=home)
    assert done.returncode == 0, done.stderr[-2000:]

    assert Counter(log.read_text().split()) == calm
    calm_manifest, manifest = (read_manifest(h / "snapshots" / "d_start" / "v1") for h in (tmp_path / "calm", home))
    assert manifest.content_hash == calm_manifest.content_hash
    with duckdb.connect(str(home / "factory.duckdb"), read_only=True) as con:
        total = con.execute(
            "select count(*), count(distinct trajectory_id), count(*) filter (where stop_reason = 'end') "
            "from raw.trajectories"
        )
        assert total.fetchone() == (N, N, N)
        reasons = con.execute("select distinct drop_reason from marts.trajectories_scored").fetchall()
        assert ("nondeterministic",) not in reasons
    assert not (home / "journal").exists()
