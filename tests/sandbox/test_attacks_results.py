"""Attacks on what is believed: forged results, cheated graders, and failures that look like the sandbox's own."""

import asyncio
import signal
import time

import pytest

from factory.sandbox.pool import Pool
from factory.sandbox.wire import NO_NONCE, RECORD, Answer, Reply, Said
from schemas.protocols import Limits
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import SHORT, SLACK_MS, both, n_jobs_asked, stays_honest

pytestmark = pytest.mark.asyncio(loop_scope="package")
PRELOAD = ()

FORGED_REPLY = Reply(Answer.FAILED, 1, text="the fork server died").pack()

SPOOFS = {
    **{f"exit-{code}": f"import os\nos._exit({code})" for code in (77, 120, 121, 137, 139, 255)},
    **{
        f"signal-{n}": f"import os, signal\nsignal.signal({n}, 0)\nos.kill(os.getpid(), {n})"
        for n in (1, 2, 13, 15, 25)
    },
    **{f"signal-{n}": f"import os\nos.kill(os.getpid(), {n})" for n in (9, 6, 31, 34)},
    "raised-64": "import signal\nsignal.raise_signal(64)",
    "says-lost": "import os, sys\nsys.stderr.write('sandbox: the fork server died\\n')\nos._exit(1)",
    "raises-lost": "class Lost(Exception): pass\nclass SandboxError(Lost): pass\nraise SandboxError('closed')",
    "writes-everywhere": "import os\nfor fd in range(3, 64):\n    for data in (b'+', b'', bytes(21), "
    f"{FORGED_REPLY!r}):\n        try: os.write(fd, data)\n        except OSError: pass\nos._exit(1)",
}


@pytest.mark.parametrize("code", SPOOFS.values(), ids=SPOOFS.keys())
async def test_a_failure_of_the_code_is_not_taken_for_one_of_the_sandbox(sandbox: Pool, code: str) -> None:
    """It is a failure, it is not `lost`, and the job is not given out again."""
    asked = n_jobs_asked(sandbox)
    result = await sandbox.run(code)
    assert n_jobs_asked(sandbox) == asked + 1
    assert result.status not in (ExecStatus.OK, ExecStatus.LOST, ExecStatus.TIMEOUT), result
    session = await sandbox.session()
    assert (await session.run(code)).status not in (ExecStatus.OK, ExecStatus.LOST, ExecStatus.TIMEOUT)
    await session.run("1")
    assert n_jobs_asked(sandbox) <= asked + 3
    await session.aclose()
    await stays_honest(sandbox)


async def test_a_session_that_cannot_be_replayed_is_not_taken_for_a_failure_of_the_sandbox(sandbox: Pool) -> None:
    """A first block that succeeds only once, then a crash: what fails is the code's doing, and goes on failing."""
    session = await sandbox.session(Limits(wall_s=1))
    once = await session.run(f"import os, time\nif time.time() > {time.time() + 0.5}: os._exit(0)")
    assert once.status is ExecStatus.OK
    await asyncio.sleep(0.5)
    assert (await session.run("os.abort()")).status is ExecStatus.SIGNAL
    assert (await session.run("1 + 1")).status is not ExecStatus.LOST
    await session.aclose()
    await stays_honest(sandbox)


GRADERS = {
    "early": "print('answer')\nimport os\nos._exit(0)",
    "late": "import atexit\natexit.register(print, 'answer')\nraise ValueError",
    "stderr": "import sys\nprint('answer', file=sys.stderr)",
    "object": "class Yes:\n    __eq__ = lambda *a: True\n    __repr__ = lambda s: 'x'\nprint(Yes())",
    "str": "class Yes(str):\n    __eq__ = lambda *a: True\nprint(Yes('x'))",
    "frames": "import sys\nf = sys._getframe()\nwhile f:\n    for k in list(f.f_locals): f.f_globals[k] = 'answer'\n"
    "    f = f.f_back",
    "stream": "import io, sys\nsys.stdout = io.StringIO('answer')",
    "json": 'print(\'{"passed": true, "status": "ok", "stdout": "answer"}\')',
    "assert": "import builtins\nbuiltins.AssertionError = builtins.ValueError = SystemExit\nassert False",
    "exit-code": "import sys\nsys.exit(type('Zero', (int,), {'__eq__': lambda *a: True})(1))",
    "fd": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'answer\\n')\n    except OSError: pass",
}


@pytest.mark.parametrize("code", GRADERS.values(), ids=GRADERS.keys())
async def test_a_grader_that_compares_outside_is_not_cheated(sandbox: Pool, code: str) -> None:
    for result in await both(sandbox, code, heals=False):
        assert (result.status, result.stdout) != (ExecStatus.OK, "answer\n")


FIND_NONCE = """
import os, struct, sys
frame = sys._getframe()
while 'nonce' not in frame.f_locals: frame = frame.f_back
nonce = frame.f_locals['nonce']
def say(kind, value): os.write(4, struct.pack('<16sBi', nonce, kind, value))
"""


async def test_a_forged_record_ends_its_own_block_early_and_gains_no_more(sandbox: Pool) -> None:
    session = await sandbox.session(Limits(wall_s=1))
    early = await session.run(
        FIND_NONCE + f"print('before', flush=True)\nsay({Said.DONE}, 0)\nimport time; time.sleep(9)"
    )
    assert early.wall_ms < 1_000 + SLACK_MS
    assert early.stdout == "before\n"
    await session.aclose()
    await stays_honest(sandbox)


CHANNEL = {
    "no nonce": f"import os\nos.write(4, {RECORD.pack(NO_NONCE, Said.DONE, 0)!r})",
    "hello": f"import os\nos.write(4, {RECORD.pack(NO_NONCE, Said.HELLO, 0)!r})",
    "long": "import os\nos.write(4, bytes(60_000))",
    "short": "import os\nos.write(4, bytes(20))",
    "empty": "import os\nos.write(4, b'')",
    "reply": f"import os\nos.write(4, {FORGED_REPLY!r})",
    "flood": "import os\nwhile True: os.write(4, bytes(21))",
    "flood by threads": "import os, threading\ndef spam():\n    while True: os.write(4, bytes(60_000))\n"
    "for _ in range(9): threading.Thread(target=spam).start()",
    "closed": "import os\nos.close(4)\nwhile True: pass",
    "replaced": "import os\na, b = os.pipe()\nos.dup2(b, 4)\nwhile True: pass",
    "shut": "import ctypes, time\nctypes.CDLL(None).shutdown(4, 2)\ntime.sleep(9)",
    "eaten": "import os, threading\nthreading.Thread(target=os.read, args=(4, 9)).start()\nwhile True: pass",
}


@pytest.mark.parametrize("code", CHANNEL.values(), ids=CHANNEL.keys())
async def test_a_block_that_abuses_the_channel_harms_its_own_session_only(sandbox: Pool, code: str) -> None:
    session, bystander = await sandbox.session(SHORT), await sandbox.session()
    await session.run("n = 1")
    await bystander.run("n = 41")
    abused = await session.run(code)
    assert abused.status not in (ExecStatus.LOST, ExecStatus.CPU, ExecStatus.MEMORY)
    assert abused.wall_ms < SHORT.wall_s * 1000 + SLACK_MS
    assert (await bystander.run("n + 1")).stdout == "42\n"
    for _ in range(2):
        after = await session.run("n + 1")
    assert after.stdout == "2\n"  # of its successful blocks, at the latest the second time
    await session.aclose()
    await bystander.aclose()
    await stays_honest(sandbox)


@pytest.mark.parametrize("end", ["os._exit(0)", "os.close(4)", "say(1, 0)", "while True: pass"])
async def test_a_block_that_says_it_is_done_and_then_dies_spoils_its_own_session_only(sandbox: Pool, end: str) -> None:
    session = await sandbox.session(SHORT)
    await session.run(FIND_NONCE + f"say({Said.DONE}, 0)\n{end}")
    for _ in range(3):
        assert (await session.run("1 + 1")).status is not ExecStatus.LOST
    await session.aclose()
    await stays_honest(sandbox)


@pytest.mark.parametrize(("kind", "value"), [(0, 0), (1, -9), (2, -9), (2, 0), (99, 2**31 - 1), (255, 1)])
async def test_a_genuine_nonce_with_a_strange_record(sandbox: Pool, kind: int, value: int) -> None:
    session = await sandbox.session(SHORT)
    result = await session.run(FIND_NONCE + f"say({kind}, {value})\nwhile True: pass")
    if kind in set(Said):
        assert result.status in (ExecStatus.OK, ExecStatus.ERROR, ExecStatus.MEMORY)
        assert 0 <= result.exit_code <= 255, "a negative one stands for a signal, which the kernel alone reports"
    else:
        assert (result.status, result.exit_code) == (ExecStatus.SIGNAL, -9)
    await session.aclose()


LOOP = {
    "calls": "import os\nos.read = os.pread = os.write = None",
    "exit": "import os, signal\nos._exit = signal.setitimer = lambda *a: None\nraise ValueError",
    "ends": "import os\nos._exit = lambda *a: None\nos.read = lambda *a: b''",
    "compiler": "import ast, builtins\nast.parse = builtins.compile = builtins.exec = builtins.eval = None",
    "echo": "import builtins\nbuiltins.repr = lambda x: 'forged'",
    "stream": "import sys\nsys.stdout = None",
    "lengths": "import builtins\nbuiltins.len = lambda x: 10**9\nbuiltins.int = builtins.bytes = None",
    "everything": "import gc, os\nfor d in gc.get_objects():\n"
    "    if type(d) is dict and d.get('__name__') in ('os', 'struct', 'signal', 'traceback', 'random'): d.clear()",
}


@pytest.mark.parametrize("code", LOOP.values(), ids=LOOP.keys())
async def test_an_interpreter_that_rewrites_itself_stays_in_its_process(sandbox: Pool, code: str) -> None:
    for result in await both(sandbox, code, SHORT, heals=False):
        said = result.stdout + result.stderr
        assert "zygote" not in said, "it went on as a fork server"
        assert "/" not in said, "it shows a path of this machine"


async def test_killed_workers_beside_others(sandbox: Pool) -> None:
    """One half kills itself in the middle of its block, the other half counts."""
    sessions = [await sandbox.session() for _ in range(6)]
    ways = [
        f"import os, time\ntime.sleep(0.02)\nos.kill(os.getpid(), {int(n)})" for n in (signal.SIGKILL, signal.SIGSEGV)
    ]
    for n in range(3):
        codes = [f"n = {n}\nn + 40", ways[0], f"n = {n}\nn + 40", ways[1], f"n = {n}\nn + 40", "import os\nos._exit(0)"]
        results = await asyncio.gather(*(one.run(code) for one, code in zip(sessions, codes, strict=True)))
        assert [result.stdout for result in results] == [f"{n + 40}\n", ""] * 3
        assert {result.status for result in results[1::2]} == {ExecStatus.SIGNAL, ExecStatus.ERROR}
    assert [(await one.run("40 + 2")).stdout for one in sessions] == ["42\n"] * 6
    await asyncio.gather(*(one.aclose() for one in sessions))
    await stays_honest(sandbox)
