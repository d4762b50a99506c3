"""D_START and its ablation, whole builds on the scripted engine, looked at from outside."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from schemas.tables import SNAPSHOTS
from tests.scripted_build import RULES, command, environment, factory, write_recipe
from warehouse.snapshots import read_manifest

PAIRS = [(12, 10), (13, 10), (14, 17), (15, 18), (16, 13), (17, 19)]
WITH_TOOLS: list[dict[str, Any]] = [
    RULES[0],
    # a question that it gets wrong in spite of Python, one that it answers by itself, and the others
    {"pattern": r"multiplication: (\d+) \* 13\..*<assistant>\n\Z", "reply": "It is \\1.", "finished": True},
    {"pattern": r"multiplication: (\d+) \* 10\..*<assistant>\n\Z", "reply": "It is \\g<1>0.", "finished": True},
    {
        "pattern": r"multiplication: (\d+) \* (\d+)\..*<assistant>\n\Z",
        "reply": "I let Python do it.\n```python",
    },
    {"pattern": r"multiplication: (\d+) \* (\d+)\..*```python\Z", "reply": "\nprint(\\1 * \\2)\n```\n"},
]
SECTIONS = """
[d_start]
samples = 3
[d_rft]
samples = 2
max_calls = 0
"""


def prepare(folder: Path) -> list[str]:
    """A recipe, a problems file and the model with tools; returns the options of a build."""
    recipe = write_recipe(folder, extra=SECTIONS)
    (folder / "start0.jsonl").write_text("".join(json.dumps(rule) + "\n" for rule in WITH_TOOLS))
    problems = [{"statement": f"multiplication: {a} * {b}. Give it.", "gold_answer": str(a * b)} for a, b in PAIRS]
    (folder / "own.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    return ["--recipe", str(recipe), "--problems", str(folder / "own.jsonl"), "--model", str(folder / "start0.jsonl")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    folder = tmp_path_factory.mktemp("d_start")
    options = prepare(folder)
    done = factory("build", "d_start", *options, home=folder / "home")
    assert done.returncode == 0, done.stderr
    return folder / "home", options, done.stdout + done.stderr


def rows_of(home: Path, build: str) -> list[dict[str, Any]]:
    table = pq.read_table(home / "snapshots" / build / "v1" / "data")
    assert table.column_names == [column.name for column in SNAPSHOTS[build].columns]
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_at_most_one_right_trajectory_per_problem_and_no_hint(built: tuple[Path, list[str], str]) -> None:
    rows = rows_of(built[0], "d_start")
    assert len(rows) == len({row["problem_id"] for row in rows}) == len(PAIRS) - 1  # one is never solved
    for row in rows:
        a, b = (int(word.strip(".")) for word in row["statement"].split()[1:4:2])
        assert int(row["answer_text"]) == a * b
        assert (row["n_samples"], row["n_correct"]) == (3, 3)
        assert row["hints"] == []
        origins = [segment["origin"] for segment in row["segments"]]
        assert origins == (["model"] if b == 10 else ["model", "tool", "model"])
        assert json.loads(row["sampling"]) == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 1024}


def test_pass_rates_are_kept_for_every_problem(built: tuple[Path, list[str], str]) -> None:
    with duckdb.connect(str(built[0] / "factory.duckdb"), read_only=True) as con:
        rates = con.sql(
            "select n_samples, n_correct, pass_rate, count(*) from marts.pass_rates group by all"
        ).fetchall()
        steps = con.sql("select step, rows_in, rows_kept, rows_dropped from marts.funnel order by step_no").fetchall()
        arms = con.sql("select distinct arm from raw.trajectories").fetchall()
    assert sorted(rates) == [(3, 0, 0.0, 1), (3, 3, 1.0, len(PAIRS) - 1)]
    assert all(n_in == n_kept + n_dropped for _, n_in, n_kept, n_dropped in steps)
    assert "baseline" not in {step[0] for step in steps}
    assert arms == [("self",)]


@pytest.mark.slow
def test_the_same_command_again_changes_nothing_and_more_samples_keep_the_others(
    built: tuple[Path, list[str], str],
) -> None:
    home, options, _ = built
    again = factory("build", "d_start", *options, home=home)
    assert "unchanged, d_start@v1" in again.stdout
    assert "0 newly generated" in again.stdout
    more = factory("build", "d_start", *options, "--set", "d_start.samples=4", home=home)
    assert more.returncode == 0, more.stderr
    assert f"sampling: {len(PAIRS)} trajectories" in more.stderr


@pytest.mark.slow
def test_the_ablation_runs_no_code(tmp_path: Path) -> None:
    options = prepare(tmp_path)
    done = factory("build", "d_rft", *options, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "home", "d_rft")
    assert sorted(row["answer_text"] for row in rows) == ["120", "130"]
    assert all(row["sandbox"] is None and row["tool_calls"] == [] for row in rows)
    manifest = read_manifest(tmp_path / "home" / "snapshots" / "d_rft" / "v1")
    assert (manifest.snapshot, manifest.sandbox) == ("d_rft@v1", "")
    assert "without Python" in (tmp_path / "home" / "snapshots" / "d_rft" / "v1" / "README.md").read_text()


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on_to_the_same_bytes(built: tuple[Path, list[str], str]) -> None:
    home, options, _ = built
    want = read_manifest(home / "snapshots" / "d_start" / "v1").content_hash
    for delay_s in (1.0, 2.5):
        other = home.parent / f"killed-{delay_s}"
        build = command("build", "d_start", *options)
        process = subprocess.Popen(build, env=environment(other), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = factory("build", "d_start", *options, home=other)
        assert done.returncode == 0, done.stderr
        assert read_manifest(other / "snapshots" / "d_start" / "v1").content_hash == want


def test_a_build_that_solves_nothing_says_what_to_try(tmp_path: Path) -> None:
    options = prepare(tmp_path)
    done = factory("build", "d_start", *options, "--limit", "1", "--set", "gate.min_rows=2", home=tmp_path / "home")
    assert done.returncode == 1
    assert "d_start.samples=6" in done.stderr
    assert "marts.pass_rates" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_opening_hint_is_the_first_segment_and_no_branch(tmp_path: Path) -> None:
    options = [*prepare(tmp_path), "--set", "d_start.opening=true"]
    rules = [
        {**rule, "pattern": rule["pattern"].replace(r"<assistant>\n\Z", r"<assistant>\n[^\n]+\n\Z")}
        for rule in WITH_TOOLS
    ]
    (tmp_path / "start0.jsonl").write_text("".join(json.dumps(rule) + "\n" for rule in rules))
    done = factory("build", "d_start", *options, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = rows_of(tmp_path / "home", "d_start")
    assert len(rows) > 3
    assert {row["segments"][0]["origin"] for row in rows} == {"hint"}
    assert {(row["hints"][0]["function"], row["hints"][0]["cut"]) for row in rows} == {("opening", "start")}
    assert len({row["segments"][0]["text"] for row in rows}) == 2  # both wordings
