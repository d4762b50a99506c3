"""The command line: help, bad input, messages without tracebacks."""

import gzip
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.readme import ROOT, others_may_enter
from tests.scripted_build import environment, factory, write_recipe

GOOD = '{"problem": "multiplication: 12 * 13. Give it.", "answer": "156"}\n'


def test_every_command_has_help_and_stands_in_the_readme() -> None:
    import typer.main

    from factory.cli import app
    from train.cli import app as train_app

    readme = (ROOT / "README.md").read_text()

    def walk(name: str, node: Any) -> None:
        assert node.help, name
        for child_name, child in getattr(node, "commands", {}).items():
            walk(f"{name} {child_name}", child)
        for parameter in node.params:
            if getattr(parameter, "opts", None) and parameter.param_type_name == "option":
                assert getattr(parameter, "help", None), f"{name} {parameter.opts}"
        if not getattr(node, "commands", {}):
            assert name in readme, f"README.md does not mention '{name}'"

    walk("factory", typer.main.get_command(app))
    walk("train", typer.main.get_command(train_app))


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys, factory.cli, typer.main; typer.main.get_command(factory.cli.app);"
        "heavy = {'torch', 'transformers', 'duckdb', 'polars', 'pyarrow', 'pandas', 'pydantic', 'rich'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def build(tmp_path: Path, problems: Path, *more: str) -> subprocess.CompletedProcess[str]:
    mapping = ("--map", "statement=problem", "--map", "gold_answer=answer")
    recipe = write_recipe(tmp_path)
    return factory(
        "build", "d_seed", "--recipe", recipe, "--problems", problems, *mapping, *more, home=tmp_path / "home"
    )


def bad_file(tmp_path: Path) -> Path:
    path = tmp_path / "bad.jsonl"
    lines = [
        GOOD.encode(),
        b'{"problem": "broken"\n',
        b'{"problem": "no answer column"}\n',
        b'{"problem": "  ", "answer": "1"}\n',
        GOOD.encode(),
        b'{"problem": "caf\xe9", "answer": "1"}\n',
    ]
    path.write_bytes(b"".join(lines))
    return path


def test_all_bad_rows_are_reported_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    done = build(tmp_path, bad_file(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for line in (2, 3, 4, 5, 6):
        assert f"line {line}" in done.stderr, done.stderr
    assert "bad.jsonl" in done.stderr
    assert "--skip-bad-rows" in done.stderr
    assert "nothing was written" in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_bad_rows_can_be_set_aside(tmp_path: Path) -> None:
    build(tmp_path, bad_file(tmp_path), "--skip-bad-rows")
    done = factory(
        "sql", "--csv", "select line, reason from raw.rejected_problems order by line", home=tmp_path / "home"
    )
    reasons = dict(line.split(",") for line in done.stdout.splitlines()[1:])
    assert reasons == {
        "2": "broken_row",
        "3": "missing_column",
        "4": "empty_statement",
        "5": "duplicate",
        "6": "not_utf8",
    }


@pytest.mark.slow
def test_a_gzipped_file_works(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    done = build(tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert "d_seed@v1: 1 rows" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--recipe", "nowhere"], 2, "recipe 'nowhere' does not exist. Known: arxiv_v1, demo, emnlp"),
        (["--set", "hint.branch=3"], 2, "did you mean 'branches'?"),
        (["--set", "hint.branches=none"], 2, "hint.branches"),
        (["--set", "nonsense"], 2, "section.key=value"),
        (["--model", "/no/such/folder"], 1, "does not exist"),
        (["--model", "no-such-org/no-such-model"], 1, "could not be looked up on the hub"),
        (["--problems", "/no/such/file.jsonl"], 2, "/no/such/file.jsonl"),
        (["--map", "statement=problem"], 2, "--problems"),
        (["--set", "repair.rules=['polish']"], 2, "polish"),
        (["--set", "hint.library=none"], 2, "hint library 'none' does not exist"),
    ],
)
def test_a_users_mistake_is_explained(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    done = factory("build", "d_seed", "--limit", "2", *arguments, home=tmp_path / "home")
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


AS_NOBODY = """
import os, sys
import reasoning_gym, factory.builds.d_seed, factory.overrides, factory.settings, factory.cli  # while they can be read
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
factory.cli.main()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
@pytest.mark.skipif(not others_may_enter(ROOT), reason="the checkout lies in a folder that other users cannot enter")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    recipe = write_recipe(tmp_path)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break  # that one is everybody's already
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "build", "d_seed", "--recipe", str(recipe)],
        env=environment(home),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Permission denied" in done.stderr
    assert "--home" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_loses_nothing_and_says_so(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)

    def small_files() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))

    done = factory("build", "d_seed", "--recipe", recipe, home=tmp_path / "home", preexec_fn=small_files)
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert factory("build", "d_seed", "--recipe", recipe, home=tmp_path / "home").returncode == 0


@pytest.mark.slow
def test_queries(tmp_path: Path) -> None:
    home = tmp_path / "home"
    nothing = factory("sql", "from marts.funnel", home=home)
    assert nothing.returncode == 1
    assert "factory build d_seed" in nothing.stderr
    assert factory("build", "d_seed", "--recipe", write_recipe(tmp_path), home=home).returncode == 0
    assert "wrong_answer" in factory("sql", "from marts.funnel", home=home).stdout
    assert "share_right" in factory("sql", "from marts.hint_yield", home=home).stdout
    assert "raw.trajectories" in factory("sql", home=home).stdout
    assert "d_seed@v1" in factory("status", home=home).stdout
    wrong = factory("sql", "select nothing from nowhere", home=home)
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
    (home / "factory.duckdb").unlink()
    assert "\r" not in factory("sql", "--csv", "select 1 as one", home=home).stdout  # so that shells can use it
    taken = factory(
        "sql", "--csv", "select problem_id from marts.problems where selected_trajectory_id is not null", home=home
    )
    problem_id = taken.stdout.splitlines()[1]
    story = factory("why", problem_id[:12], home=home).stdout
    for word in ("baseline t_", "hint t_", "tool |", "gold answer", "in the snapshot as t_"):
        assert word in story
    assert factory("why", "p_nothing", home=home).returncode == 2
