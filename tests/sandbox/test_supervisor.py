"""The supervisor: slots, killed fork servers, cancelled runs, nothing left behind."""

import asyncio
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from factory.sandbox import pool, slot
from factory.sandbox.launcher import Lost
from factory.sandbox.pool import Pool, open_sandbox
from factory.sandbox.processes import pid_of
from factory.sandbox.syscalls import MACHINES
from schemas.errors import SandboxError
from schemas.protocols import Limits
from schemas.vocabulary import ExecStatus, SandboxLevel
from tests.sandbox.tools import NUMBERS, descendants, processes

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_at_most_n_slots_run_at_once(sandbox: Pool) -> None:
    started = time.monotonic()
    results = await asyncio.gather(*(sandbox.run("import time; time.sleep(0.3)") for _ in range(4)))
    assert 0.6 <= time.monotonic() - started < 3
    assert all(result.status is ExecStatus.OK and result.wall_ms < 900 for result in results)


async def test_a_killed_or_stopped_fork_server_costs_no_result(sandbox: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "GRACE_S", 0.5)
    small = await open_sandbox(level=sandbox.level, n_slots=2, preload=())
    assert isinstance(small, Pool)
    session = await small.session()
    await session.run("n = 41")
    for number in (signal.SIGKILL, signal.SIGSTOP):
        program = "import time; time.sleep(0.3); print(1)"
        tasks = [asyncio.create_task(small.run(program, limits=Limits(wall_s=0.8))) for _ in range(2)]
        await asyncio.sleep(0.15)
        for one in small._slots:
            os.kill(server_pid(one), number)
        results = await asyncio.gather(*tasks)
        assert [(result.status, result.stdout) for result in results] == [(ExecStatus.OK, "1\n")] * 2
        assert (await session.run("n + 1")).stdout == "42\n"
    assert [one.n_starts for one in small._slots] == [3, 3]
    await session.aclose()
    await small.aclose()


def server_pid(one: slot.Slot) -> int:
    """In namespaces the zygote's child only waits; the fork server is its child."""
    outer = pid_of(one._pidfd)
    children = [pid for pid, parent in processes().items() if parent == outer]
    return children[0] if one.launcher.level is SandboxLevel.NAMESPACES else outer


async def test_a_server_that_always_dies_makes_a_run_lost(sandbox: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: slot.Slot, *_: object) -> slot.Job:
        raise Lost("nobody home")

    monkeypatch.setattr(slot.Slot, "begin", refuse)
    result = await sandbox.run("print(1)")
    assert (result.status, result.stdout, result.stderr) == (ExecStatus.LOST, "", "sandbox: nobody home\n")
    with pytest.raises(SandboxError, match="3 times in a row: nobody home"):
        await sandbox.session()


async def test_a_cancelled_run_is_killed(sandbox: Pool) -> None:
    before = [one.n_starts for one in sandbox._slots]
    task = asyncio.create_task(sandbox.run("while True: pass", limits=Limits(wall_s=60, cpu_s=60)))
    session = await sandbox.session(Limits(wall_s=60, cpu_s=60))
    block = asyncio.create_task(session.run("while True: pass"))
    await asyncio.sleep(0.2)
    task.cancel()
    block.cancel()
    await asyncio.gather(task, block, return_exceptions=True)
    await session.aclose()
    await asyncio.sleep(0.1)
    assert sum(one.n_jobs for one in sandbox._slots) == 0
    assert [one.n_starts for one in sandbox._slots] == before


async def test_closing_leaves_nothing_behind() -> None:
    if platform.machine() not in MACHINES:
        pytest.skip("no system call table")
    before, mounts = descendants(os.getpid()), Path("/proc/self/mounts").read_text()
    n_descriptors = len(os.listdir("/proc/self/fd"))
    opened = await open_sandbox(n_slots=2, preload=())
    sessions = [await opened.session() for _ in range(5)]
    running = asyncio.create_task(opened.run("while True: pass", limits=Limits(wall_s=60, cpu_s=60)))
    block = asyncio.create_task(sessions[0].run("while True: pass"))
    await asyncio.sleep(0.1)
    assert descendants(os.getpid()) > before
    await opened.aclose()
    assert (await running).status is (await block).status is ExecStatus.LOST
    assert descendants(os.getpid()) == before
    assert len(os.listdir("/proc/self/fd")) == n_descriptors
    assert Path("/proc/self/mounts").read_text() == mounts
    assert (await opened.run("1")).status is ExecStatus.LOST


@pytest.mark.parametrize("level", [SandboxLevel.NAMESPACES, SandboxLevel.LANDLOCK], ids=str)
async def test_nothing_survives_a_killed_supervisor(level: SandboxLevel) -> None:
    reason = await pool._try(level)
    if reason is not None:
        pytest.skip(reason)
    headless = (  # its main thread is gone, and with it the one that asked to die with its parent
        "import ctypes, threading\ndef spin():\n    while True: pass\n"
        f"threading.Thread(target=spin, daemon=True).start()\nctypes.CDLL(None).syscall({NUMBERS['exit']}, 0)"
    )
    program = (
        "import asyncio, sys\nfrom factory.sandbox.pool import open_sandbox\nfrom schemas.protocols import Limits\n"
        "from schemas.vocabulary import SandboxLevel\n"
        "async def main():\n"
        f"    s = await open_sandbox(level=SandboxLevel({str(level)!r}), n_slots=2, preload=())\n"
        "    t = await s.session(Limits(wall_s=60, cpu_s=60))\n"
        "    print('up', flush=True)\n"
        "    await asyncio.gather(t.run('while True: pass'), "
        f"s.run({headless!r}, limits=Limits(60, 60)))\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"up\n"
        await asyncio.sleep(0.2)
        started = descendants(supervisor.pid)
        supervisor.kill()
    assert len(started) >= 4  # two fork servers and their guests
    for _ in range(50):
        if not started & processes().keys():
            break
        await asyncio.sleep(0.05)
    assert not started & processes().keys()
