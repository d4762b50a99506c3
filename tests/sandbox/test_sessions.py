"""Interpreters that keep their state."""

import asyncio

import pytest

from factory.sandbox.pool import TURNS_PER_SLOT, Pool
from factory.sandbox.reproduce import reproduce
from factory.sandbox.slot import Slot
from factory.sandbox.worker import Worker
from schemas.protocols import Limits
from schemas.vocabulary import ExecStatus, SandboxLevel
from tests.sandbox.tools import SLACK_MS

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_session_keeps_state_and_echoes_the_last_expression(sandbox: Pool) -> None:
    session = await sandbox.session()
    assert (await session.run("import sympy\nx = sympy.symbols('x')")).stdout == ""
    assert (await session.run("e = (x + 1)**2\nprint('e')\nsympy.expand(e)")).stdout == "e\nx**2 + 2*x + 1\n"
    assert (await session.run("e; None")).stdout == ""
    assert (await session.run("e;  # quiet")).stdout == ""
    failed = await session.run("def f():\n    return 1 / 0\nprint('kept')\nf()")
    assert (failed.status, failed.stdout, failed.exit_code) == (ExecStatus.ERROR, "kept\n", 1)
    assert failed.stderr.startswith("Traceback")
    assert '<block 5>", line 2' in failed.stderr
    assert (await session.run("f")).stdout.startswith("<function f")
    assert (await session.run("raise SystemExit(3)")).exit_code == 3
    assert (await session.run("import sys\nsys.stderr.write('warned')")).stderr == "warned"
    assert (await session.run("input()")).status is ExecStatus.ERROR  # there is no stdin
    await session.aclose()
    assert (await session.run("1")).status is ExecStatus.LOST


@pytest.mark.parametrize(
    ("killer", "status"),
    [
        ("while True: pass", ExecStatus.TIMEOUT),
        ("import os; os._exit(0)", ExecStatus.ERROR),
        ("import os; os.abort()", ExecStatus.SIGNAL),
        ("import os; os.close(4); import time; time.sleep(9)", ExecStatus.SIGNAL),
        ("import os; os.write(4, b'x' * 21)", ExecStatus.SIGNAL),
        ("import os; os.write(4, b'y')", ExecStatus.SIGNAL),
        ("while True: print('x' * 1000)", ExecStatus.OUTPUT),
        ("print('x' * 70_000)", ExecStatus.OUTPUT),
        ("'x' * (32 << 20)", ExecStatus.OUTPUT),
    ],
)
async def test_a_dead_interpreter_is_rebuilt_from_the_blocks_that_it_survived(
    sandbox: Pool, killer: str, status: ExecStatus
) -> None:
    session = await sandbox.session(Limits(wall_s=1, memory_mb=1024))
    await session.run("n = 1")
    await session.run("n = 100; 1 / 0")
    killed = await session.run(killer)
    assert killed.status is status, killed
    assert killed.wall_ms < 1_000 + SLACK_MS
    assert (await session.run("n += 1\nn")).stdout == "101\n"
    assert (await session.run("n")).stdout == "101\n"
    await session.aclose()


async def test_a_block_that_runs_out_of_memory_or_cpu(sandbox: Pool) -> None:
    session = await sandbox.session(Limits(wall_s=3, cpu_s=0.3))
    await session.run("n = 1")
    assert (await session.run("n = 5; x = 'a' * (1 << 30)")).status is ExecStatus.MEMORY
    assert (await session.run("n")).stdout == "5\n"  # the interpreter lives
    spent = await session.run("while True: pass")
    assert spent.status is ExecStatus.CPU
    assert 290 < spent.cpu_ms < 600
    assert (await session.run("n")).stdout == "5\n"
    await session.aclose()


async def test_a_long_echo_loses_its_middle_and_costs_no_state(sandbox: Pool) -> None:
    session = await sandbox.session()
    echo = await session.run("numbers = list(range(100_000))\nnumbers")
    assert (echo.status, echo.stdout[:9]) == (ExecStatus.OK, "[0, 1, 2,")
    assert " characters left out ...]\n" in echo.stdout
    assert len(echo.stdout) < 64 * 1024
    assert (await session.run("len(numbers)")).stdout == "100000\n"
    await session.aclose()


async def test_a_session_is_frozen_between_blocks(sandbox: Pool) -> None:
    session = await sandbox.session()
    await session.run(
        "import threading, time\nn = 0\ndef count():\n    global n\n    while True:\n"
        "        n += 1; print('stray'); time.sleep(0.001)\nthreading.Thread(target=count, daemon=True).start()"
    )
    before = await session.run("m = n")
    await asyncio.sleep(0.3)
    after = await session.run("print('steps', n - m)")
    steps = int(after.stdout.partition("steps ")[2].split()[0])
    assert before.status is after.status is ExecStatus.OK
    assert steps < 100
    assert after.stdout.count("stray") < 100
    await session.aclose()


async def test_sessions_do_not_see_each_other(sandbox: Pool) -> None:
    sessions = [await sandbox.session() for _ in range(8)]
    await asyncio.gather(*(session.run(f"x = {index}") for index, session in enumerate(sessions)))
    results = await asyncio.gather(*(session.run("x") for session in sessions))
    assert [result.stdout for result in results] == [f"{index}\n" for index in range(8)]
    if sandbox.level is SandboxLevel.NAMESPACES:
        await sessions[0].run("open('mine', 'w').write('x')")
        assert (await sessions[1].run("import os\nos.listdir('.')")).stdout == "[]\n"
        assert (await sandbox.run("import os\nprint(os.listdir('.'))")).stdout == "[]\n"
    await asyncio.gather(*(session.aclose() for session in sessions))


async def test_a_rebuilt_session_says_when_a_block_printed_something_else(sandbox: Pool) -> None:
    session = await sandbox.session()
    assert (await session.run("import random\nrandom.random()")).status is ExecStatus.OK  # seeded: the same again
    await session.run("import os\nos._exit(1)")
    assert (await session.run("1")).diverged is False
    await session.run("import time\ntime.time_ns()")
    await session.run("import os\nos._exit(1)")
    assert (await session.run("1")).diverged is True
    await session.aclose()


async def test_running_again_finds_what_is_not_deterministic(sandbox: Pool) -> None:
    steady = [
        "import random, numpy\nx = random.random()",
        "{'b', 'a'}, x, numpy.random.rand()",
        "1 / 0",
        "print(hash('x'))",
    ]
    assert await reproduce(sandbox, steady) == []
    restless = ["import time, secrets\nn = 1", "secrets.token_hex()", "n", "time.perf_counter_ns()"]
    assert [one.block for one in await reproduce(sandbox, restless)] == [1, 3]
    recorded = [await sandbox.run("print(1)")]
    assert [one.block for one in await reproduce(sandbox, ["print(2)"], recorded)] == [0]


async def test_interpreters_asked_for_at_once_start_a_few_at_a_time(
    sandbox: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands in a fork server's line would wait longer than a server may be silent, and all of it would be lost."""
    under_way, most = 0, 0
    start = Worker.start

    async def counting(slot: Slot, limits: Limits) -> Worker:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await start(slot, limits)
        finally:
            under_way -= 1

    monkeypatch.setattr(Worker, "start", counting)
    sessions = await asyncio.gather(*(sandbox.session() for _ in range(40)))
    await asyncio.gather(*(session.aclose() for session in sessions))
    assert 1 < most <= 2 * TURNS_PER_SLOT


async def test_sleeping_blocks_hold_up_nobody(sandbox: Pool) -> None:
    sleepers = [await sandbox.session() for _ in range(2 * TURNS_PER_SLOT - 1)]
    other = await sandbox.session()
    sleeping = [asyncio.create_task(session.run("import time\ntime.sleep(3)")) for session in sleepers]
    await asyncio.sleep(0.1)
    assert (await other.run("print(6 * 7)")).stdout == "42\n"
    assert not any(task.done() for task in sleeping)
    await asyncio.gather(*sleeping)
    for session in (*sleepers, other):
        await session.aclose()
