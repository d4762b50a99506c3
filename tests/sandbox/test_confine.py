"""Confinement of our own checker processes."""

import multiprocessing
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from factory.sandbox import kernel
from factory.sandbox.confine import confine_process
from schemas.errors import SandboxError
from tests.sandbox.tools import CANARY

pytestmark = pytest.mark.asyncio(loop_scope="package")


def _checker(pipe: "multiprocessing.connection.Connection", folder: str) -> None:
    import sympy

    early = threading.Thread(target=threading.Event().wait, args=(30,), daemon=True)
    early.start()
    pipe.send(confine_process().value)
    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: Path(f"{folder}/secret.txt").read_text(),
        "passwd": lambda: Path("/etc/passwd").read_text(),
        "write": lambda: Path(f"{folder}/new").write_text("x"),
        "append": lambda: os.open(f"{folder}/secret.txt", os.O_WRONLY | os.O_APPEND),
        "remove": lambda: os.remove(f"{folder}/secret.txt"),
        "chmod": lambda: os.chmod(f"{folder}/secret.txt", 0),
        "socket": socket.socket,
        "fork": os.fork,
        "system": lambda: os.execv("/bin/true", ["true"]),
        "subprocess": lambda: subprocess.run(["/bin/true"], check=False),
        "kill": lambda: os.kill(os.getppid(), 0),
        "setuid": lambda: os.setresuid(0, 0, 0) if os.getuid() else os.chroot("/"),
    }
    outcome = {}
    for name, function in attempts.items():
        try:
            function()
            outcome[name] = "done"
        except OSError as error:
            outcome[name] = type(error).__name__
    worker: list[int] = []
    thread = threading.Thread(target=lambda: worker.append(1))
    thread.start()
    thread.join()
    import colorsys

    x = sympy.Symbol("x")
    outcome["sympy"] = str(sympy.solve(sympy.sympify("x**2 - 4"), x)) + str(len(worker)) + colorsys.__name__
    pipe.send(outcome)


async def test_confine_process(canary: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_checker, args=(theirs, str(canary.parent)))
    process.start()
    theirs.close()
    assert ours.recv() == "landlock"
    outcome = ours.recv()
    process.join(10)
    assert outcome.pop("sympy") == "[-2, 2]1colorsys"
    assert set(outcome.values()) == {"PermissionError"}, outcome
    assert process.exitcode == 0
    assert canary.read_text() == CANARY


def _on_an_old_kernel() -> None:
    kernel.landlock_abi = lambda: 1
    try:
        confine_process()
    except SandboxError as error:
        os._exit(7 if "Landlock ABI 4" in str(error) else 8)


async def test_confine_process_says_when_the_kernel_is_too_old() -> None:
    process = multiprocessing.get_context("fork").Process(target=_on_an_old_kernel)
    process.start()
    process.join(10)
    assert process.exitcode == 7
