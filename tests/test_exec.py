"""`factory exec`: what a user sees of a program in the sandbox, through the real command line."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory import execute
from factory.cli import app
from factory.sandbox import pool
from factory.sandbox.results import CUT_MARKER
from schemas.errors import UsageError
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus, SandboxLevel
from tests.readme import ROOT
from tests.sandbox.tools import descendants, processes
from tests.scripted_build import command

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
BACKWARDS = "import sys\nsys.stdout.write(sys.stdin.read()[::-1])\nsys.stderr.write('é\\r\\n')\nsys.exit(3)\n"


@pytest.fixture(scope="module")
def isolated() -> None:
    problems = pool.probe()
    if all(problems.values()):
        pytest.skip(f"no level of isolation here: {problems}")


def run(*arguments: str | Path, stdin: bytes = b"", folder: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        command("exec", *arguments),
        input=stdin,
        capture_output=True,
        cwd=folder,
        env=ENVIRONMENT,
        timeout=120,
        check=False,
    )
    assert b"execute.py" not in done.stderr, done.stderr.decode()  # no traceback of ours
    return done


def write(folder: Path, **files: str) -> None:
    for name, code in files.items():
        (folder / f"{name}.py").write_text(code)


@pytest.mark.usefixtures("isolated")
def test_a_program_prints_and_exits_as_itself(tmp_path: Path) -> None:
    write(tmp_path, own=BACKWARDS)
    done = run("own.py", stdin="olé".encode(), folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "élo".encode(), "é\r\n".encode())


@pytest.mark.usefixtures("isolated")
def test_where_input_comes_from(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"a\r\nb")
    raw = b"import sys; sys.stdout.buffer.write(sys.stdin.buffer.read() + b'.')"
    assert run("-", stdin=raw).stdout == b"."  # stdin held the code
    assert run("-", "--stdin", "in.txt", stdin=raw, folder=tmp_path).stdout == b"a\r\nb."
    write(tmp_path, raw=raw.decode())
    without_stdin = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command("exec", "raw.py")]
    closed = subprocess.run(without_stdin, capture_output=True, cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert (closed.stdout, closed.returncode) == (b".", 0)


@pytest.mark.usefixtures("isolated")
@pytest.mark.parametrize(
    ("options", "code", "exit_code", "says"),
    [
        ("--wall-s 0.5", "print('kept'); import time; time.sleep(9)", 124, "timeout after 0."),
        ("--cpu-s 1", "while True: pass", 124, "cpu: "),
        ("--memory-mb 64", "'a' * (1 << 28)", 137, "memory: "),
        ("--output-bytes 100", "print('kept' * 100)", 125, "output: "),
        ("", "import os; os.abort()", 134, "signal 6 (SIGABRT) after 0."),
        ("", "import os; os.kill(os.getpid(), 40)", 168, "signal 40 after 0."),
    ],
)
def test_an_end_that_is_not_the_programs_own(options: str, code: str, exit_code: int, says: str) -> None:
    done = run(*options.split(), "-", stdin=code.encode())
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith(f"factory exec: {says}"), done.stderr.decode()
    assert f"(limit: {options}" in last or not options
    assert done.returncode == exit_code
    assert done.stdout.startswith(b"kept" if "kept" in code else b"")
    assert len(done.stdout) <= 100 + len(CUT_MARKER)


@pytest.mark.usefixtures("isolated")
def test_a_session_runs_every_block_and_ends_as_the_first_that_failed(tmp_path: Path) -> None:
    write(tmp_path, one="x = 1\nx", two="x = 5\nraise SystemExit(7)", three="while True: pass", four="x += 1\nx")
    done = run("--session", "--wall-s", "1", "one.py", "two.py", "three.py", "four.py", folder=tmp_path)
    assert (done.returncode, done.stdout) == (7, b"1\n6\n")  # rebuilt from the blocks that it survived
    assert b"factory exec: three.py: timeout after 1.0 s" in done.stderr


@pytest.mark.usefixtures("isolated")
def test_json_has_every_field_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    write(tmp_path, one="print('\\u2028')", two="import numpy; int(numpy.arange(3).sum())", three="1/0")
    done = run("--json", "--session", "one.py", "two.py", "three.py", folder=tmp_path)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["status"] for one in results] == ["ok", "ok", "error"]
    assert [one["stdout"] for one in results] == ["\u2028\n", "3\n", ""]
    assert results[2]["stderr"].endswith("ZeroDivisionError: division by zero\n")
    for one in results:
        assert one.pop("level") in ("namespaces", "landlock")
        assert set(one) == set(ExecResult.__dataclass_fields__)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("nowhere.py", "nowhere.py cannot be read: No such file or directory."),
        (".", ". cannot be read: Is a directory."),
        ("latin.py", "the code in latin.py is not UTF-8: byte 0xe9 at offset 7."),
        ("own.py --stdin latin.py", "the input in latin.py is not UTF-8"),
        ("own.py --stdin nowhere.txt", "nowhere.txt cannot be read"),
        ("own.py own.py", "2 files, and no --session."),
        ("--session - -", "'-' is there twice"),
        ("--session own.py --stdin own.py", "the blocks of a session have no stdin"),
        ("own.py --wall-s 0", "--wall-s is 0.0; it must be above 0 and at most 1,000,000."),
        ("own.py --wall-s nan", "--wall-s is nan; it must be"),
        ("own.py --cpu-s inf", "--cpu-s is inf; it must be"),
        ("own.py --memory-mb -5", "--memory-mb is -5; it must be"),
        ("own.py --output-bytes 0", "--output-bytes is 0; it must be"),
    ],
)
def test_a_users_mistake_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, own="print('ran')")
    (tmp_path / "latin.py").write_bytes(b"print('\xe9')")
    error = CliRunner().invoke(app, ["exec", *arguments.split()]).exception
    assert isinstance(error, UsageError)  # `run_app` prints it, and exits with its code
    first, following, state = str(error).splitlines()
    assert says in first
    assert following.startswith("  next:  ")
    assert state == "  state: nothing was executed."


def test_a_mistake_ends_in_its_message(tmp_path: Path) -> None:
    done = run("nowhere.py", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: nowhere.py cannot be read: No such file or directory.\n")


def test_without_isolation_nothing_runs_but_on_the_users_word(tmp_path: Path) -> None:
    write(tmp_path, own="print('ran')")
    refused = run("own.py", "--level", "none", folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"--i-trust-this-code" in refused.stderr
    assert refused.stderr.endswith(b"nothing was executed.\n")
    trusted = run("own.py", "--level", "none", "--i-trust-this-code", folder=tmp_path)
    assert (trusted.returncode, trusted.stdout) == (0, b"ran\n")
    assert trusted.stderr == b"factory exec: warning: nothing isolates this code (level none)\n"


def test_a_kernel_that_refuses_is_explained(tmp_path: Path) -> None:
    write(tmp_path, own="print('ran')")
    script = (
        "import sys, factory.cli, factory.sandbox.pool as pool\n"
        "async def refuse(level): return f'refused {level}'\n"
        "pool._try = refuse\n"
        "sys.argv = ['factory', 'exec', 'own.py']\n"
        "factory.cli.main()"
    )
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "cwd": tmp_path, "env": ENVIRONMENT, "text": True}
    done = subprocess.run([sys.executable, "-c", script], check=False, **options)  # type: ignore[call-overload]
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Model-written code is not run")
    assert "namespaces: refused namespaces" in done.stderr


@pytest.mark.usefixtures("isolated")
@pytest.mark.parametrize("wait_for_output", [True, False], ids=["running", "starting"])
def test_ctrl_c_kills_the_program(wait_for_output: bool) -> None:
    code = b"import sys\nwhile True: sys.stdout.write('x' * 9)"
    command_line = command("exec", "--wall-s", "60", "--output-bytes", "1000000000", "-")
    with subprocess.Popen(
        command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdin is not None
        process.stdin.write(code)
        process.stdin.close()
        process.stdin = None
        while len(started := descendants(process.pid)) < (2 if wait_for_output else 1):
            time.sleep(0.01)
        time.sleep(1.5 if wait_for_output else 0)
        started |= descendants(process.pid)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (130, b"factory exec: interrupted; the program was killed.\n")
    assert not started & processes().keys()


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("import math, os.path as p\nfrom collections.abc import Sequence", False),
        ("print('nothing')", False),
        ("import os, numpy as np", True),
        ("if True:\n    from sympy.abc import x", True),
        ("import json; import sympy", True),
    ],
)
def test_libraries_are_loaded_for_code_that_imports_any(code: str, more: bool) -> None:
    assert execute._imports_more(code) is more


def test_every_status_has_an_exit_code_and_a_line() -> None:
    for status in ExecStatus:
        result = ExecResult(status, -11 if status is ExecStatus.SIGNAL else 0, "", "sandbox: why\n", False, 0, 0, 0)
        said = execute._describe(result, Limits())
        assert (said is None) is (status in (ExecStatus.OK, ExecStatus.ERROR))
        assert (execute._exit_code(result) == 0) is (status is ExecStatus.OK)
    assert said == "lost, and nothing is known of the program: sandbox: why"
    assert {level.value for level in SandboxLevel} == {"namespaces", "landlock", "none"}


INSIDE = """
import asyncio
from factory.sandbox.canonical import canonical_json
from factory.sandbox.pool import open_sandbox
from factory.sandbox.reproduce import reproduce
async def main():
    sandbox = await open_sandbox(preload=())
"""


@pytest.mark.usefixtures("isolated")
def test_the_documentation_shows_what_happens(tmp_path: Path) -> None:
    text = (ROOT / "docs/sandbox.md").read_text()
    example, *inside = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", example], env=ENVIRONMENT, cwd=tmp_path, check=True, timeout=120)
    whole = f"{INSIDE}{textwrap.indent(''.join(inside), '    ')}    await sandbox.aclose()\nasyncio.run(main())"
    subprocess.run([sys.executable, "-c", whole], env=ENVIRONMENT, cwd=tmp_path, check=True, timeout=120)
    (tmp_path / "factory").write_text(f"#!/bin/sh\nexec '{sys.executable}' -m factory.cli \"$@\"\n")
    (tmp_path / "factory").chmod(0o755)
    write(tmp_path, square="print(int(input()) ** 2)\n")
    write(tmp_path, first='import sympy; x = sympy.symbols("x")\n', second="sympy.factor(x**2 - 5*x + 6)\n")
    path = {**ENVIRONMENT, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for step in block.removeprefix("$ ").split("\n$ "):
            line, _, shown = step.partition("\n")
            done = subprocess.run(
                f"exec 2>&1; {line}", shell=True, capture_output=True, text=True, env=path, cwd=tmp_path, check=False
            )
            measured = re.compile(r'(?<=_ms": )[\d.]+|(?<=_kb": )\d+|(?<="level": )"\w+"')
            assert measured.sub("?", done.stdout.strip()) == measured.sub("?", shown.strip()), line
