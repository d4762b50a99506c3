"""Attacks on the clock: code that will not end is ended, whatever it does about it."""

import pytest

from factory.sandbox.pool import Pool
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import SHORT, SLACK_MS, both

pytestmark = pytest.mark.asyncio(loop_scope="package")
PRELOAD = ()

FOREVER = "\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass\n"


def in_time(result: ExecResult, limits: Limits = SHORT) -> bool:
    return result.wall_ms < limits.wall_s * 1000 + SLACK_MS


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import itertools\nsum(itertools.repeat(1))",
        "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
        "import time\ntime.sleep(60)",
        "import os\nr, w = os.pipe()\nos.read(r, 1)",
    ],
    ids=["python", "c", "redos", "sleep", "read"],
)
async def test_time_loops(sandbox: Pool, code: str) -> None:
    for result in await both(sandbox, code, SHORT):
        assert result.status is ExecStatus.TIMEOUT
        assert in_time(result)


@pytest.mark.parametrize(
    "code",
    [
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)" + FOREVER,
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "for n in signal.valid_signals():\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass"
        + FOREVER,
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "import os, sys\nos.closerange(0, 64)\nsys.settrace(lambda *a: None)" + FOREVER,
        "class D:\n    def __del__(self):\n        D()\nimport gc\nD()" + FOREVER,
    ],
    ids=["resets", "ignores", "stops", "closes", "resurrects"],
)
async def test_time_defiant(sandbox: Pool, code: str) -> None:
    for result in await both(sandbox, code, SHORT):
        assert result.status in (ExecStatus.TIMEOUT, ExecStatus.SIGNAL), result
        assert in_time(result)


async def test_time_defiant_of_the_processors_clock(sandbox: Pool) -> None:
    """All processors at once, with the kernel's soft signal for it ignored."""
    limits = Limits(wall_s=20, cpu_s=0.5)
    code = (
        "import hashlib, signal, threading\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        "def burn():\n    while True: hashlib.sha256(bytes(10_000_000))\n"
        "for _ in range(3): threading.Thread(target=burn).start()\nburn()"
    )
    for result in await both(sandbox, code, limits):
        assert result.status is ExecStatus.CPU
        assert result.cpu_ms < 3_500  # what the kernel counts for a program is whole seconds, and one more


@pytest.mark.parametrize(
    "code",
    [
        "import atexit, time\natexit.register(time.sleep, 60)",
        "import atexit\n@atexit.register\ndef never():" + FOREVER.replace("\n", "\n    "),
        "import time\nclass D:\n    def __del__(self): time.sleep(60)\nkept = D()",
        "import sys, time\nclass Out:\n    write = len\n    def flush(self): time.sleep(60)\nsys.stdout = Out()",
        "import threading, time\nthreading._register_atexit(time.sleep, 60)",
        "import sys, time\nclass Out:\n    flush = write = lambda *a: time.sleep(60)\nsys.stderr = Out()\n1 / 0",
    ],
    ids=["sleeps", "loops", "del", "flush", "join", "stderr"],
)
async def test_time_atexit(sandbox: Pool, code: str) -> None:
    """In a session there is no exit; and a program that is through ends without asking objects."""
    for result in await both(sandbox, code, SHORT, heals=False):
        assert result.status in (ExecStatus.TIMEOUT, ExecStatus.OK)
        assert in_time(result)
