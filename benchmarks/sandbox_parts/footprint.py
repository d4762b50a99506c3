"""What a sandbox holds while it idles, and what is left of 10,000 executions."""

import asyncio
import contextlib
import gc
import itertools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sandbox_parts.snippets import A
from factory.sandbox.pool import open_sandbox
from schemas.protocols import Limits, Sandbox
from schemas.vocabulary import ExecStatus, SandboxLevel

N_SESSIONS = 100
N_WARM_UP = 500


def descendants(root: int) -> set[int]:
    """Living processes that come from this one, in whatever namespace."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {root}} - found:
        found |= more
    return found


def _kb(file: str, field: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of all processes of a sandbox, the benchmark's own process left out."""

    what: str
    n_processes: int
    pages_mb: float | None
    """Sum of the proportional set sizes, which counts a shared page once. Null: not readable (only root may, because
    the sandbox's processes hide from others of their user)."""
    tables_mb: float
    """Page tables."""
    machine_mb: float
    """What MemAvailable of the whole machine fell by since before the sandbox was opened, neighbours included."""

    @property
    def own_mb(self) -> float | None:
        """Pages and page tables."""
        return None if self.pages_mb is None else self.pages_mb + self.tables_mb


def _available_mb() -> float:
    return _kb("/proc/meminfo", "MemAvailable") / 1024


def _pages_mb(pids: set[int]) -> float | None:
    try:
        return sum(_kb(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids) / 1024
    except PermissionError:
        return None


async def idle_sessions(level: SandboxLevel | None) -> list[Held]:
    """Memory of two slots: before, with 100 sessions just opened, and after each has run a block."""
    others, available_mb = descendants(os.getpid()), _available_mb()

    def held(what: str) -> Held:
        pids = descendants(os.getpid()) - others
        tables_mb = sum(_kb(f"/proc/{pid}/status", "VmPTE") for pid in pids) / 1024
        return Held(what, len(pids), _pages_mb(pids), tables_mb, available_mb - _available_mb())

    sandbox = await open_sandbox(n_slots=2, level=level)
    try:
        found = [held("no session")]
        sessions = await asyncio.gather(*(sandbox.session() for _ in range(N_SESSIONS)))
        found.append(held(f"{N_SESSIONS} sessions, just opened"))
        for session in sessions:
            assert (await session.run("x = 1")).status is ExecStatus.OK
        found.append(held(f"{N_SESSIONS} sessions, one block each"))
    finally:
        await sandbox.aclose()
    return found


@dataclass(frozen=True, slots=True)
class State:
    """Everything that an execution could leave behind."""

    processes: frozenset[int]
    descriptors: int
    mounts: int
    files: int
    supervisor_mb: float
    servers_mb: float | None

    @classmethod
    def now(cls, others: set[int]) -> "State":
        """Of this process and its sandbox."""
        gc.collect()
        pids = descendants(os.getpid()) - others
        return cls(
            processes=frozenset(pids),
            descriptors=len(os.listdir("/proc/self/fd")),
            mounts=sum(map(_n_mounts, [os.getpid(), *pids])),
            files=sum(len(names) + len(folders) for _, folders, names in os.walk(tempfile.gettempdir())),
            supervisor_mb=_kb("/proc/self/status", "VmRSS") / 1024,
            servers_mb=_pages_mb(pids),
        )


def _n_mounts(pid: int) -> int:
    with contextlib.suppress(PermissionError):
        return len(Path(f"/proc/{pid}/mounts").read_text().splitlines())
    return 0


_ENDINGS = {
    "while True: pass": (ExecStatus.TIMEOUT, Limits(wall_s=0.1)),
    "import os; os.abort()": (ExecStatus.SIGNAL, None),
    "while True: print('x' * 1000)": (ExecStatus.OUTPUT, None),
    "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()": (
        ExecStatus.OK,
        None,
    ),
    "[open(f'{i}', 'w').write('x' * 9999) for i in range(9)]": (None, None),  # refused at level landlock
    "x = [0] * 10**9": (ExecStatus.MEMORY, None),
    "1 / 0": (ExecStatus.ERROR, None),
}
"""Programs that end in another way than by their last line, and the status that each must have."""


async def _plain(sandbox: Sandbox) -> int:
    result = await sandbox.run(A.code)
    assert result.stdout == A.expected, result
    return 1


async def _odd(sandbox: Sandbox, code: str) -> int:
    status, limits = _ENDINGS[code]
    result = await sandbox.run(code, limits=limits)
    assert status in {None, result.status}, (code, result)
    return 1


async def _session(sandbox: Sandbox) -> int:
    """Four blocks; the third kills the interpreter, so the fourth runs in a second one."""
    session = await sandbox.session()
    blocks = ["x = 6", A.code, "import os; os.abort()", "x * 7"]
    results = [await session.run(block) for block in blocks]
    await session.aclose()
    assert [result.stdout for result in results] == ["", A.expected, "", "42\n"], results
    return len(blocks)


async def _execute(sandbox: Sandbox, n: int) -> None:
    """n executions by two clients: of every 250 plain ones 7 of `_ENDINGS` and 5 sessions."""
    numbers, left = itertools.count(), n
    odd = dict(enumerate(_ENDINGS, start=10))

    async def client() -> None:
        nonlocal left
        while left > 0:
            number = next(numbers) % 250
            left -= 1
            if number in odd:
                done = await _odd(sandbox, odd[number])
            else:
                done = await (_session if number % 50 == 0 else _plain)(sandbox)
            left -= done - 1

    await asyncio.gather(client(), client())


async def leftovers(level: SandboxLevel | None, n: int) -> tuple[State, State]:
    """The state after a warm-up, and after n further executions."""
    others, before = descendants(os.getpid()), tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # one of our own, so that neighbours' files do not count
        sandbox = await open_sandbox(n_slots=2, level=level)
        try:
            await _execute(sandbox, N_WARM_UP)
            first = State.now(others)
            await _execute(sandbox, n)
            return first, State.now(others)
        finally:
            await sandbox.aclose()
            tempfile.tempdir = before
