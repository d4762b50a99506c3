"""The whole build, looked at from outside: plain readers over the files that it leaves."""

import ast
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.readme import ROOT
from tests.scripted_build import command, environment, factory, write_recipe
from warehouse.snapshots import read_manifest


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A home with a finished build, its recipe, and what the build printed."""
    folder = tmp_path_factory.mktemp("build")
    recipe = write_recipe(folder)
    done = factory("build", "d_seed", "--recipe", recipe, home=folder / "home")
    assert done.returncode == 0, done.stderr
    return folder / "home", recipe, done.stdout + done.stderr


def rows_of(home: Path, version: str = "v1") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(home / "snapshots" / "d_seed" / version / "data").to_pylist()
    return rows


def test_every_row_is_a_wrong_baseline_that_python_turned_right(built: tuple[Path, Path, str]) -> None:
    rows = rows_of(built[0])
    assert len(rows) >= 10
    assert len({row["problem_id"] for row in rows}) == len(rows)
    for row in rows:
        a, b = map(int, re.findall(r"\d+", row["statement"])[:2])
        assert int(row["answer_text"]) == a * b == int(row["gold_answer"])
        assert row["is_correct"]
        assert row["baseline_is_correct"] is False
        assert row["baseline_answer"] != row["answer_text"]
        assert any(call["status"] == "ok" and call["stdout"] == f"{a * b}\n" for call in row["tool_calls"])


def test_segments_concatenate_and_name_their_authors(built: tuple[Path, Path, str]) -> None:
    for row in rows_of(built[0]):
        segments = row["segments"]
        assert "".join(segment["text"] for segment in segments) == row["completion"]
        origins = [segment["origin"] for segment in segments]
        assert origins[-4:] == ["hint", "model", "tool", "model"]
        assert origins[:-4] in ([], ["model"])
        hint, tool = (next(s for s in segments if s["origin"] == origin) for origin in ("hint", "tool"))
        assert hint["text"].endswith("```python\nprint(")
        assert tool["text"].lstrip("\n").startswith("```output\n")
        assert row["baseline_text"].startswith(segments[0]["text"]) or origins[0] == "hint"
        for segment in segments:
            assert bytes(segment["token_ids"]).decode() == segment["text"]
            assert len(segment["token_ids"]) == segment["n_tokens"]
        assert row["messages"][-1] == {"role": "assistant", "content": row["completion"]}


def test_datasets_loads_the_snapshot(built: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    folder = built[0] / "snapshots" / "d_seed" / "v1"
    loaded = load_dataset(str(folder), split="train", cache_dir=str(built[0].parent / "cache"))
    assert len(loaded) == len(rows_of(built[0]))
    assert loaded[0]["messages"][0]["role"] == "system"


def test_the_funnel_is_printed_and_balances(built: tuple[Path, Path, str]) -> None:
    home, _, printed = built
    assert "baseline_correct" in printed
    assert "wrong_answer" in printed
    assert str(home / "snapshots" / "d_seed" / "v1") in printed
    with duckdb.connect(str(home / "factory.duckdb"), read_only=True) as con:
        steps = con.sql("from marts.funnel order by step_no").fetchall()
    assert all(step[3] == step[4] + step[5] for step in steps)
    assert steps[-1][4] == len(rows_of(home))


def test_the_manifest_tells_how_it_was_made(built: tuple[Path, Path, str]) -> None:
    manifest = read_manifest(built[0] / "snapshots" / "d_seed" / "v1")
    assert manifest.snapshot == "d_seed@v1"
    assert manifest.n_rows == len(rows_of(built[0]))
    assert manifest.sandbox in {"namespaces", "landlock"}
    assert all(check.passed for check in manifest.gate)
    assert {check.kind for check in manifest.gate} >= {"audit", "expectation"}
    assert {"README.md", "quality/index.html"} < {entry.path for entry in manifest.files}


def test_the_same_command_again_changes_nothing(built: tuple[Path, Path, str]) -> None:
    home, recipe, _ = built
    before = sorted((path, path.stat().st_mtime_ns) for path in (home / "snapshots").rglob("*"))
    again = factory("build", "d_seed", "--recipe", recipe, home=home)
    assert again.returncode == 0
    assert "unchanged, d_seed@v1" in again.stdout
    assert "0 newly generated" in again.stdout
    assert before == sorted((path, path.stat().st_mtime_ns) for path in (home / "snapshots").rglob("*"))


@pytest.mark.slow
def test_a_raised_limit_generates_only_the_new_problems(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)

    def baselines() -> set[tuple[str, str]]:
        with duckdb.connect(str(tmp_path / "home" / "factory.duckdb"), read_only=True) as con:
            return set(con.sql("select trajectory_id, created_at::text from raw.trajectories").fetchall())

    assert factory("build", "d_seed", "--recipe", recipe, "--limit", "6", home=tmp_path / "home").returncode == 0
    first = baselines()
    assert factory("build", "d_seed", "--recipe", recipe, "--limit", "12", home=tmp_path / "home").returncode == 0
    second = baselines()
    assert first < second
    assert len(rows_of(tmp_path / "home", "v2")) > len(rows_of(tmp_path / "home", "v1"))


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on_to_the_same_bytes(built: tuple[Path, Path, str]) -> None:
    home, recipe, _ = built
    want = read_manifest(home / "snapshots" / "d_seed" / "v1").content_hash
    for delay_s in (0.5, 2.0, 3.5, 5.0):
        other = home.parent / f"killed-{delay_s}"
        build = command("build", "d_seed", "--recipe", recipe)
        process = subprocess.Popen(build, env=environment(other), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = factory("build", "d_seed", "--recipe", recipe, home=other)
        assert done.returncode == 0, done.stderr
        assert read_manifest(other / "snapshots" / "d_seed" / "v1").content_hash == want
        assert not list((other / "snapshots" / "d_seed").glob(".draft-*"))


def test_an_interrupted_build_says_that_it_can_go_on(tmp_path: Path) -> None:
    build = command("build", "d_seed", "--recipe", write_recipe(tmp_path))
    process = subprocess.Popen(build, env=environment(tmp_path / "home"), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("gold check"):
            break
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait() == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said


def test_an_empty_dataset_is_not_promoted(tmp_path: Path) -> None:
    problems = tmp_path / "own.jsonl"
    problems.write_text('{"statement": "multiplication: 12 * 13. Give it.", "gold_answer": "157"}\n')
    recipe = write_recipe(tmp_path)
    done = factory("build", "d_seed", "--recipe", recipe, "--problems", problems, home=tmp_path / "home")
    assert done.returncode == 1
    assert "0 rows were accepted" in done.stderr
    assert "wrong_answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home" / "snapshots" / "d_seed" / "v1").exists()


def test_a_failing_engine_is_loud_and_loses_nothing(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    script = tmp_path / "script.jsonl"
    whole = script.read_text()
    script.write_text("\n".join(line for line in whole.splitlines() if "assistant" in line))  # knows baselines only
    done = factory("build", "d_seed", "--recipe", recipe, home=tmp_path / "home")
    assert done.returncode == 1
    assert "rollouts failed" in done.stderr
    assert "the script has no turn" in done.stderr
    assert "Traceback" not in done.stderr
    with duckdb.connect() as con:
        kept = con.sql(f"from read_parquet('{tmp_path}/home/raw/trajectories/*.parquet')").to_df()
    assert (kept["stop_reason"] == "engine_error").sum() > 0
    assert (kept["arm"] == "baseline").sum() > 0


def test_code_of_the_model_ran_in_the_sandbox(built: tuple[Path, Path, str]) -> None:
    with duckdb.connect(str(built[0] / "factory.duckdb"), read_only=True) as con:
        rows = con.sql("select distinct sandbox from raw.trajectories where arm = 'hint'").fetchall()
        failed = con.sql("select error_type, n_calls from marts.tool_health where status = 'error'").fetchall()
    assert rows in ([("namespaces",)], [("landlock",)])
    assert not failed or failed[0][0] == "NameError"


def test_no_file_of_the_snapshot_names_this_machine(built: tuple[Path, Path, str]) -> None:
    folder = built[0] / "snapshots" / "d_seed" / "v1"
    for path in folder.rglob("*"):
        if path.suffix in {".md", ".html", ".json"} and path.name != "manifest.json":  # the test's script has a path
            assert str(built[0]) not in path.read_text(errors="replace"), path


def test_card_names_the_first_row(built: tuple[Path, Path, str]) -> None:
    card = (built[0] / "snapshots" / "d_seed" / "v1" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert ast.literal_eval(repr(rows_of(built[0])[0]["statement"])) in card


@pytest.mark.slow
def test_a_branch_that_is_still_wrong_is_hinted_again(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    home = tmp_path / "home"
    once = factory("build", "d_seed", "--recipe", recipe, home=home)
    assert once.returncode == 0, once.stderr[-2000:]
    twice = factory("build", "d_seed", "--recipe", recipe, "--set", "hint.rounds=2", home=home)
    assert twice.returncode == 0, twice.stderr[-2000:]
    with duckdb.connect(str(home / "factory.duckdb"), read_only=True) as con:
        rounds = con.execute(
            "select round, sum(n_tried), sum(n_right) from marts.hint_yield group by round order by round"
        ).fetchall()
        both = con.execute(
            "from staging.trajectories as t join staging.trajectories as p on p.trajectory_id = t.parent_id "
            "where len(t.hints) = 2 and starts_with(t.completion, p.completion)"
        ).fetchall()
    (first, tried, right), (second, tried_again, right_again) = rounds
    assert (first, second) == (1, 2)
    assert tried_again == tried - right > 0  # no wrong one is left out, no right one touched
    assert right_again > 0
    assert len(both) == tried_again
    back = factory("build", "d_seed", "--recipe", recipe, home=home)
    assert f"content hash {once.stdout.split('content hash ')[1].split()[0]}" in back.stdout


def test_the_cookbook_of_queries_runs_as_printed(
    built: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/sql.md: each block parses, runs, and gives rows where a build of this kind has something to say."""
    queries = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "docs" / "sql.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(queries) == 20
    monkeypatch.chdir(built[0])
    silent = []
    with duckdb.connect("factory.duckdb", read_only=True) as con:
        for number, query in enumerate(queries, 1):
            if not con.execute(query).fetchall():
                silent.append(number)
    # nothing to repair, no benchmark repeated, judges that agree, and a last build that was promoted
    assert set(silent) <= {14, 15, 16, 17, 19}
    assert pq.read_table("short_rows.parquet").num_rows > 0
    Path("short_rows.parquet").unlink()
