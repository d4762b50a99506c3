"""`train eval` on the scripted engine: arms, rounds of hints, resuming, and what it must leave alone."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.records import Trajectory
from tests.scripted_build import environment, factory
from tests.scripted_build import write_recipe as write_build
from tests.scripted_eval import ask, recipe_file, run_eval


def train(*arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "train.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home with an evaluation of all arms, and its recipe."""
    folder = tmp_path_factory.mktemp("eval")
    recipe = recipe_file(folder)
    run_eval(recipe, folder / "home", "plain", "tools", "hint", label="base")
    return folder / "home", recipe


def trajectories(home: Path, where: str) -> list[Trajectory]:
    import duckdb

    with duckdb.connect(str(home / "factory.duckdb"), read_only=True) as con:
        cursor = con.execute(f"from raw.trajectories where {where}")
        names = [column[0] for column in cursor.description]
        return [Trajectory.model_validate(dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def test_the_leaderboard_shows_test_time_scaling(done: tuple[Path, Path]) -> None:
    rows = ask(
        done[0],
        "select arm, n_rounds, n_problems, pass_at_1, tool_use_rate, round(calls_per_problem, 1), tool_error_rate "
        "from marts.leaderboard where label = 'base' order by arm, n_rounds",
    )
    [n_cut_off] = ask(
        done[0], "select count(*) from raw.trajectories where stop_reason = 'length' and arm = 'baseline'"
    )
    share = (8 - n_cut_off[0]) / 8  # what has no stop token gets no hint, and stays as it was
    assert 0 < n_cut_off[0] < 8
    assert rows == [
        ("hint", 1, 8, share, share, round(share, 1), 0.0),  # computed: right
        ("hint", 2, 8, 0.0, share, round(2 * share, 1), 0.0),  # talked out of it by x + 1, so x was there
        ("hint", 3, 8, share, share, round(3 * share, 1), 0.0),  # and back: the last answer counts
        ("plain", 0, 8, 0.0, 0.0, 0.0, None),
        ("tools", 0, 8, 0.0, 0.0, 0.0, None),
    ]


def test_each_round_continues_the_one_before_token_by_token(done: tuple[Path, Path]) -> None:
    last = trajectories(done[0], "len(hints) = 3")
    assert last
    for third in last:
        [second] = trajectories(done[0], f"trajectory_id = '{third.parent_id}'")
        [first] = trajectories(done[0], f"trajectory_id = '{second.parent_id}'")
        [plain] = trajectories(done[0], f"trajectory_id = '{first.parent_id}'")
        assert plain.arm == "baseline"
        for before, after in ((plain, first), (first, second), (second, third)):
            n = len(before.segments)
            assert after.segments[:n] == before.segments  # texts and ids as they were
            assert after.segments[n].origin == "hint"
            assert after.segments[n].text.endswith("```python\n")
            assert after.hints[:-1] == before.hints
            assert after.tool_calls[:-1] == before.tool_calls
            assert after.prompt == before.prompt
            assert bytes(i for s in after.segments for i in s.token_ids or ()).decode() == after.text
        assert [hint.round for hint in third.hints] == [1, 2, 3]
        assert [hint.function for hint in third.hints] == ["complex_calculation", "self_reflection", "deeper_thinking"]
        assert [hint.cut for hint in third.hints] == ["end"] * 3
        assert third.hints[2].char_offset == len(second.text)
        assert third.tool_calls[2].stdout == third.tool_calls[0].stdout


def test_what_cannot_be_continued_keeps_its_result(done: tuple[Path, Path]) -> None:
    rows = ask(
        done[0],
        "select count(distinct e.trajectory_id), count(*) from raw.evaluations as e "
        "join raw.trajectories as t on t.trajectory_id = e.trajectory_id "
        "where t.arm = 'baseline' and t.stop_reason = 'length' group by e.problem_id",
    )
    assert set(rows) == {(1, 4)}  # plain and three rounds are one text


def test_the_same_command_makes_nothing_new(done: tuple[Path, Path]) -> None:
    home, recipe = done
    before = sorted((home / "raw" / "evaluations").iterdir())
    assert run_eval(recipe, home, "plain", "tools", "hint", label="base").n_generated == 0
    assert sorted((home / "raw" / "evaluations").iterdir()) == before


@pytest.mark.slow
def test_more_samples_and_problems_keep_the_first_ones(tmp_path: Path) -> None:
    recipe, home = recipe_file(tmp_path), tmp_path / "home"
    sampled = {"baseline.temperature": 0.6}
    assert run_eval(recipe, home, limit=3, samples=2, settings=sampled).n_generated == 6
    assert run_eval(recipe, home, limit=3, samples=4, settings=sampled).n_generated == 6
    assert run_eval(recipe, home, limit=5, samples=4, settings=sampled).n_generated == 8
    rows = ask(
        home, "select problem_id, count(distinct sample_index), max(sample_index) from raw.evaluations group by 1"
    )
    assert [row[1:] for row in rows] == [(4, 3)] * 5
    assert len(ask(home, "select distinct seed from raw.trajectories")) == 20
    assert ask(home, "select n_problems, n_samples from marts.leaderboard") == [(5, 4)]


def test_other_settings_are_another_evaluation(done: tuple[Path, Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(done[0], home)
    assert run_eval(done[1], home, "plain", settings={"baseline.max_tokens": 3}).n_generated == 8
    rows = ask(home, "select label, evaluation_id from marts.leaderboard where arm = 'plain' order by 1")
    assert [row[0] for row in rows] == ["base", "scripted-script"]
    assert rows[0][1] != rows[1][1]


def test_a_lost_result_is_made_from_what_is_stored(done: tuple[Path, Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(done[0], home)
    want = ask(home, "select * exclude (created_at, evaluation_id) from marts.leaderboard")
    shutil.rmtree(home / "raw" / "evaluations")
    shutil.rmtree(home / "derived" / "verdicts")
    assert run_eval(done[1], home, "plain", "tools", "hint", label="base").n_generated == 0
    assert ask(home, "select * exclude (created_at, evaluation_id) from marts.leaderboard") == want


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on(done: tuple[Path, Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    options = ("--on", "held-out", "--recipe", done[1], "--model", done[1].parent / "script.jsonl", "--limit", "8")
    command = [
        sys.executable,
        "-m",
        "train.cli",
        "eval",
        *map(str, options),
        "--arms",
        "plain,tools,hint",
        "--rounds",
        "3",
    ]
    for delay_s in (4.0, 7.0):
        process = subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert train(*command[3:], home=home).returncode == 0
    columns = "arm, n_rounds, n_problems, pass_at_1, mean_tokens, calls_per_problem"
    want = ask(done[0], f"select {columns} from marts.leaderboard order by all")
    assert ask(home, f"select {columns} from marts.leaderboard order by all") == want


def test_failed_rollouts_count_as_not_correct_and_are_tried_again(tmp_path: Path) -> None:
    rules = [
        {"pattern": r"multiplication: (\d+) \* (\d*[13579])\..*<assistant>\n\Z", "reply": "It is 1.", "finished": True}
    ]
    recipe, home = recipe_file(tmp_path, rules), tmp_path / "home"
    allowed = {"gate.max_failed_share": 1.0}
    run_eval(recipe, home, settings=allowed)
    [(n, undecided, correct)] = ask(home, "select n_problems, undecided_share, pass_at_1 from marts.leaderboard")
    failed = ask(home, "select count(*) from raw.trajectories where stop_reason = 'engine_error'")[0][0]
    assert (n, undecided, correct) == (8, failed / 8, 0.0)
    assert 0 < failed < 8
    assert run_eval(recipe, home, settings=allowed).n_generated == failed


def test_programs_are_tested_in_the_sandbox(tmp_path: Path) -> None:
    def row(name: str) -> dict[str, Any]:
        head = f"def {name}(x):\n    '''Add one.'''\n"
        return {"prompt": head, "test": "def check(f):\n    assert f(1) == 2\n", "entry_point": name}

    (tmp_path / "code.jsonl").write_text("".join(json.dumps(row(name)) + "\n" for name in ("right", "wrong", "exits")))
    programs = {"right": "def right(x):\n    return x + 1", "wrong": "def wrong(x):\n    return x", "exits": "exit(0)"}
    rules = [
        {"pattern": rf"def {name}.*<assistant>\n\Z", "reply": f"```python\n{code}\n```\n", "finished": True}
        for name, code in programs.items()
    ]
    rules += [  # a hint turns the wrong one right, and the right one wrong: the last program counts
        {"pattern": r"def wrong.*```python\n\Z", "reply": "def wrong(x):\n    return x + 1\n```\n"},
        {"pattern": r"def right.*```python\n\Z", "reply": "def right(x):\n    return x + 2\n```\n"},
        {"pattern": r"def exits.*```python\n\Z", "reply": "1 / 0\n```\n"},
        {"pattern": r"```output\n.*```\n\Z", "reply": "Done.", "finished": True},
    ]
    recipe, home = recipe_file(tmp_path, rules), tmp_path / "home"
    run_eval(recipe, home, "plain", "hint", on=["humaneval=code.jsonl"], rounds=1)
    hinted = ask(home, "select item, is_correct, n_tool_errors from raw.evaluations where n_rounds = 1 order by item")
    assert hinted == [("1", False, 0), ("2", True, 0), ("3", False, 1)]
    assert ask(home, "select item, is_correct, answer_text from raw.evaluations where n_rounds = 0 order by item") == [
        ("1", True, None), ("2", False, None), ("3", False, None),
    ]  # fmt: skip
    assert ask(home, "select benchmark, majority_at_k from marts.leaderboard") == [("humaneval", None)] * 2


@pytest.mark.slow
def test_an_evaluation_never_becomes_what_the_warehouse_shows(tmp_path: Path) -> None:
    """Not even on the very problems that a build trains on."""
    home, recipe = tmp_path / "home", write_build(tmp_path, count=10)
    assert factory("build", "d_seed", "--recipe", recipe, home=home).returncode == 0
    problems = ask(home, "select statement, gold_answer from raw.problems")
    lines = [json.dumps({"statement": statement, "gold_answer": gold}) for statement, gold in problems]
    (tmp_path / "same.jsonl").write_text("\n".join(lines))
    shown = {
        name: ask(home, f"select * from {name} order by all")
        for (name,) in ask(
            home,
            "select schema_name || '.' || table_name from duckdb_tables() "
            "where schema_name in ('staging', 'intermediate', 'marts') and table_name <> 'leaderboard'",
        )
    }
    assert len(shown) > 10
    run_eval(recipe, home, "plain", "hint", on=["mine=same.jsonl"], limit=None, rounds=1)
    assert ask(home, "select count(*) > 0 from marts.leaderboard") == [(True,)]
    assert sorted(ask(home, "select statement, gold_answer from raw.problems")) == sorted(problems)
    for name, rows in shown.items():
        assert ask(home, f"select * from {name} order by all") == rows, name
    (home / "factory.duckdb").unlink()
    assert "eval" in factory("status", home=home).stdout
    assert ask(home, "from marts.problems order by all") == shown["marts.problems"]
    again = factory("build", "d_seed", "--recipe", recipe, home=home)
    assert "unchanged, d_seed@v1" in again.stdout
    assert "0 newly generated" in again.stdout
    assert ask(home, "select count(*) > 0 from marts.leaderboard") == [(True,)]


@pytest.mark.slow
def test_the_command_from_outside(done: tuple[Path, Path], tmp_path: Path) -> None:
    """A home that no build has seen."""
    home = tmp_path / "home"
    options = ("--on", "held-out", "--recipe", done[1], "--model", done[1].parent / "script.jsonl", "--limit", "4")
    first = train("eval", *options, "--arms", "plain,hint", "--rounds", "2", "--label", "base", home=home)
    assert first.returncode == 0, first.stderr
    assert "pass@1" in first.stdout
    assert "reasoning-gym/products@900" in first.stdout
    again = train("eval", *options, "--arms", "plain,hint", "--rounds", "2", "--label", "base", home=home)
    assert "0 newly generated" in again.stdout
    assert "pass_at_1" in factory("sql", "from marts.leaderboard", home=home).stdout
    (home / "factory.duckdb").unlink()
    assert "pass_at_1" in factory("sql", "from marts.leaderboard", home=home).stdout
    assert factory("status", home=home).returncode == 0
    assert factory("sql", "--csv", "select count(*) from marts.problems", home=home).stdout.splitlines()[1] == "0"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--on", "aime42"), "no benchmark is called 'aime42'. Did you mean 'aime25'"),
        (("--on", "held-out", "--arms", "plain,tool"), "'tool' is no arm. Known: plain, tools, hint."),
        (("--on", "held-out", "--arms", ","), "names none of plain"),
        (("--on", "held-out", "--samples", "4"), "4 times the same"),
        (("--on", "held-out", "--label", "base:plain"), "without ':'"),
        (("--on", "held-out", "--released-after", "last May"), "write a date as 2024-08-01"),
        (("--on", "held-out", "--released-after", "2024-01-01"), "it has no release dates"),
        (("--on", "held-out,held-out"), "twice"),
        (("--on", "math500=/no/such/file.jsonl"), "/no/such/file.jsonl"),
        (("--on", "held-out", "--map", "statement"), "ours=theirs"),
        (("--on", "reasoning-gym:products?seed=x"), "whole numbers"),
        (("--on", "reasoning-gym:product"), "Close names: products"),
        (("--on", "reasoning-gym:products?seed=3"), "those problems are not held out"),
        (("--on", "aime24?splt=train"), "unknown setting splt"),
    ],
)
def test_a_users_mistake_is_explained(
    done: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    from factory.cli import run_app
    from train.cli import app

    home = tmp_path / "home"
    with pytest.raises(SystemExit) as ended:
        run_app(lambda: app(["eval", "--recipe", str(done[1]), "--home", str(home), *arguments], standalone_mode=False))
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
    assert not home.exists()


@pytest.mark.slow
def test_the_embedded_model_is_evaluated(tmp_path: Path) -> None:
    home = tmp_path / "home"
    options = ("--on", "held-out", "--limit", "6", "--arms", "plain,tools,hint", "--rounds", "2", "--max-tokens", "64")
    first = train("eval", *options, "--label", "base", home=home)
    assert first.returncode == 0, first.stderr
    got = dict(ask(home, "select arm || n_rounds, avg(pass_at_1) from marts.leaderboard group by all"))
    assert set(got) == {"plain0", "tools0", "hint1", "hint2"}
    assert got["plain0"] <= 0.2
    assert got["hint1"] > got["plain0"]
    assert "0 newly generated" in train("eval", *options, "--label", "base", home=home).stdout
    out = tmp_path / "plots"
    shown = train("compare", "base", "--out", out, home=home)
    assert shown.returncode == 0, shown.stderr
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")
