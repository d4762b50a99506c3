"""What the tests of the sandbox share: oracles that stand outside of it, and how an attack is run."""

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from factory.sandbox.pool import Pool
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus

CANARY = "canary-4f1d7a"
SHORT = Limits(wall_s=0.5, cpu_s=5)
SLACK_MS = 1_500
"""Kills come 250 ms after the limit; the rest is for test machines that have other work."""
Program = Callable[..., Awaitable[ExecResult]]


def processes() -> dict[int, int]:
    """Every living process and its parent."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def descendants(root: int) -> set[int]:
    """Processes that come from this one, in whatever namespace."""
    parents = processes()
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {root}} - found:
        found |= more
    return found


async def both(sandbox: Pool, code: str, limits: Limits | None = None) -> list[ExecResult]:
    """Run an attack fresh and in a session. Afterwards an honest job must succeed at once."""
    starts = [one.n_starts for one in sandbox._slots]
    session = await sandbox.session(limits)
    results = [await sandbox.run(code, limits=limits), await session.run(code)]
    await session.aclose()
    honest = await sandbox.run("import math, sys\nprint(math.sqrt(16), input(), sys.getrecursionlimit())", "in")
    assert (honest.status, honest.stdout) == (ExecStatus.OK, "4.0 in 1000\n")
    assert starts == [one.n_starts for one in sandbox._slots], "a fork server had to be started again"
    for result in results:
        assert result.status is not ExecStatus.LOST
        assert "ESCAPED" not in result.stdout, result
        assert CANARY not in result.stdout + result.stderr
    return results


ATTEMPT = """
import os, sys, ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, function, *args):
    try:
        value = function(*args)
    except BaseException as error:
        print(name, 'refused', type(error).__name__)
    else:
        print('ESCAPED', name, str(value)[:200])
def call(number, *args):
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), '')
    return result
"""
