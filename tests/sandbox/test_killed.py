"""Jobs with known answers, while fork servers and zygotes are killed and stopped at random."""

import asyncio
import contextlib
import os
import random
import signal

import pytest

from factory.sandbox import launcher, slot
from factory.sandbox.pool import Pool, open_sandbox
from factory.sandbox.processes import pid_of
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus, SandboxLevel
from tests.sandbox.tools import descendants, processes

pytestmark = pytest.mark.asyncio(loop_scope="package")

N_JOBS = 300
SEED = 20


async def program(sandbox: Pool, n: int) -> str:
    result = await sandbox.run(f"import time\ntime.sleep(0.02)\nprint({n} ** 2)")
    assert result.status is ExecStatus.OK, result
    return result.stdout


async def blocks(sandbox: Pool, n: int) -> str:
    session = await sandbox.session()
    for code in (f"n = {n}", "import time\ntime.sleep(0.01)\nm = n * n", "print(m)"):
        result = await session.run(code)
        assert (result.status, result.diverged) == (ExecStatus.OK, False), result
    await session.aclose()
    return result.stdout


async def many_tests(sandbox: Pool, n: int) -> str:
    def accept(index: int, result: ExecResult) -> bool:
        return result.status is ExecStatus.OK and result.stdout == f"{(n + index) ** 2}\n"

    inputs = [str(n + index) for index in range(3)]
    runs = await sandbox.run_tests("import time\ntime.sleep(0.01)\nprint(int(input()) ** 2)", inputs, accept=accept)
    assert [run.passed for run in runs] == [True] * 3, runs
    return runs[0].result.stdout


def servers(sandbox: Pool) -> list[int]:
    """Every process of the sandbox that is not a guest; in namespaces a process waits for each fork server."""
    zygotes = [one._process.pid for one in sandbox._launchers if one._process is not None]
    outer = []
    for one in sandbox._all_slots():
        with contextlib.suppress(OSError):
            outer.append(pid_of(one._pidfd))
    if sandbox.level is not SandboxLevel.NAMESPACES:
        return zygotes + outer
    return zygotes + outer + [pid for pid, parent in processes().items() if parent in outer]


async def harm(sandbox: Pool, chance: random.Random, done: asyncio.Event) -> int:
    n = 0
    while not done.is_set():
        await asyncio.sleep(chance.uniform(0.1, 0.5))
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(servers(sandbox)), chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))
            n += 1
    return n


async def test_300_jobs_give_300_right_results_whatever_is_killed(
    sandbox: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "GRACE_S", 1.0)
    monkeypatch.setattr(launcher, "FORK_S", 2.0)
    before = descendants(os.getpid())
    small = await open_sandbox(level=sandbox.level, n_slots=2, preload=(), limits=Limits(wall_s=1))
    assert isinstance(small, Pool)
    chance, done = random.Random(SEED), asyncio.Event()
    harmful = asyncio.create_task(harm(small, chance, done))
    results: dict[int, list[str]] = {n: [] for n in range(N_JOBS)}

    async def job(n: int) -> None:
        results[n].append(await (program, blocks, many_tests)[n % 3](small, n))

    try:
        await asyncio.gather(*(job(n) for n in range(N_JOBS)))
    finally:
        done.set()
    assert await harmful >= 5
    assert results == {n: [f"{n * n}\n"] for n in range(N_JOBS)}
    await small.aclose()
    assert descendants(os.getpid()) == before
