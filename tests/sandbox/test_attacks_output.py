"""Attacks by what code prints, raises and ends with; and programs that break themselves."""

import asyncio
import json
import os
import signal
from dataclasses import asdict
from pathlib import Path

import pytest

from factory.sandbox.pool import Pool
from schemas.protocols import Limits
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import SHORT, SLACK_MS, both

pytestmark = pytest.mark.asyncio(loop_scope="package")
PRELOAD = ()

_BACK = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
"""The kernel's end of an endless print is a signal, which code may ignore."""


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "code",
    [
        "while True: print('x' * 1000)",
        "import os\nwhile True: os.write(1, b'x'); os.write(2, b'y' * 4096)",
        "raise Exception('x' * 60_000_000)",
        "import sys\nsys.exit('x' * 60_000_000)",
        "print('x' * (256 << 20))",
        "'x' * (256 << 20)",
        _BACK + "import os\nwhile True:\n    try: os.write(1, bytes(1 << 20))\n    except OSError: pass",
        _BACK + "import os\nfor fd in (1, 2): os.ftruncate(fd, 60_000)\nos.lseek(1, 1 << 40, 0)\nprint('x')",
        "import threading\ndef spam():\n    while True: print('x' * 1000)\n"
        "for _ in range(4): threading.Thread(target=spam).start()",
        "import warnings\nfor n in range(10**6): warnings.warn(str(n))",
    ],
    ids=["print", "write", "exception", "exit", "large", "echo", "ignores", "sparse", "threads", "warnings"],
)
async def test_out_flood(sandbox: Pool, code: str) -> None:
    limits = Limits(wall_s=0.3, memory_mb=1024)
    before = _resident_bytes()
    for result in await both(sandbox, code, limits, heals=False):
        # OK: a block may return before its threads have printed too much.
        ends = (ExecStatus.OUTPUT, ExecStatus.ERROR, ExecStatus.TIMEOUT, ExecStatus.MEMORY, ExecStatus.OK)
        assert result.status in ends
        assert len(result.stdout.encode()) <= limits.output_bytes
        assert len(result.stderr.encode()) <= limits.output_bytes
    assert _resident_bytes() - before < 50 << 20


_EVIL = """
class Meta(type):
    {meta}
class E(Exception, metaclass=Meta):
    {body}
raise E('text')
"""


_SAYS = {
    "loops": "while True: pass",
    "exits": "raise SystemExit(0)",
    "says no text": "return 1",
    "ends": "__import__('os')._exit(0)",
}
EXCEPTIONS = {
    **{name: _EVIL.format(meta="pass", body=f"def __str__(self):\n        {body}") for name, body in _SAYS.items()},
    **{
        name: _EVIL.format(meta="pass", body=f"@property\n    def {name}(self): raise SystemExit(0)")
        for name in ("__traceback__", "__cause__", "__context__", "__notes__", "args")
    },
    **{
        name: _EVIL.format(meta=f"@property\n    def {name}(cls): raise SystemExit(0)", body="__class__ = SystemExit")
        for name in ("__name__", "__mro__")
    },
    "module": _EVIL.format(meta="pass", body="__module__ = None\n    __qualname__ = 'x' * 1_000_000"),
    "cycle": "e = Exception()\ne.__cause__ = e.__context__ = e\nraise e",
    "group": "e = Exception(1)\nfor _ in range(10_000): e = ExceptionGroup('x', [e])\nraise e",
    "chain": "e = Exception(1)\nfor _ in range(10_000):\n    n = Exception(1)\n    n.__cause__ = e\n    e = n\nraise e",
    "notes": "e = Exception(1)\nfor _ in range(100_000): e.add_note('x' * 10)\nraise e",
    "frames": "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return f(n - 1) if n else 1 / 0\nf(20_000)",
    "odd code": "class I(int):\n    def __and__(self, o): return 0\n    __int__ = lambda self: self\n"
    "    __bool__ = lambda self: True\nraise SystemExit(I(7))",
    "no code": "class S(SystemExit):\n    code = property(lambda self: 1 / 0)\nraise S",
    "no text of the code": "raise SystemExit(type('T', (), {'__str__': lambda self: 1 / 0})())",
    "huge code": "raise SystemExit(2**64 + 1)",
    "hooks": "import sys, os\nsys.excepthook = sys.unraisablehook = sys.displayhook = lambda *a: os._exit(0)\n1 / 0",
    "no traceback": "import traceback\ntraceback.TracebackException = None\n1 / 0",
    "no modules": "import sys, linecache\nlinecache.cache = sys.stderr = sys.modules = None\n1 / 0",
    "no builtins": "import builtins\nbuiltins.isinstance = builtins.type = builtins.len = None\n1 / 0",
}


@pytest.mark.parametrize("code", EXCEPTIONS.values(), ids=EXCEPTIONS.keys())
async def test_out_evil_exc(sandbox: Pool, code: str) -> None:
    exits_itself = "_exit(0)\nraise" in code
    for result in await both(sandbox, code, SHORT, heals=False):
        assert result.status in (ExecStatus.ERROR, ExecStatus.TIMEOUT, ExecStatus.OUTPUT) or exits_itself, result
        assert result.wall_ms < SHORT.wall_s * 1000 + SLACK_MS
        assert len(result.stderr) < 10_000


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (r"b'a\xff\0\xe2\x80\xa8'", "a\\xff\0\u2028"),
        (r"b'\xed\xa0\x80'", "\\xed\\xa0\\x80"),
        (r"b'\xf0\x9f\x98'", "\\xf0\\x9f\\x98"),
        (r"'\ud800\u2028\u2029\x85\ufeff'.encode('utf-8', 'backslashreplace')", "\\ud800\u2028\u2029\x85\ufeff"),
        (r"b'\x1b[2J\r\b\x7f\x00' * 3", "\x1b[2J\r\b\x7f\x00" * 3),
        (r"'{\"status\": \"ok\"}\n'.encode('utf-16')", "\\xff\\xfe" + "".join(f"{c}\0" for c in '{"status": "ok"}\n')),
    ],
    ids=["invalid", "surrogate", "cut", "separators", "controls", "utf16"],
)
async def test_out_bytes(sandbox: Pool, written: str, expected: str) -> None:
    for result in await both(sandbox, f"import os\nos.write(1, {written})\nos.write(2, {written})\nNone"):
        assert (result.stdout, result.stderr) == (expected, expected)
        line = json.dumps(asdict(result))
        assert "\n" not in line
        assert line.isascii()
        assert json.loads(line)["stdout"].encode() == expected.encode()


CRASHES = {
    "null": "import ctypes\nctypes.string_at(0)",
    "write": "import ctypes\nctypes.memset(0, 0, 1)",
    "abort": "import os\nos.abort()",
    "stack": "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr(self)\nrepr(A())",
    "jump": "import ctypes\nctypes.CFUNCTYPE(None)(64)()",
    "trap": "import os\nos.kill(os.getpid(), 5)",
    "bus": "import mmap, os\nos.ftruncate(1, 4096)\nm = mmap.mmap(1, 4096)\nos.ftruncate(1, 0)\nm[0]",
    "free": "import ctypes\nctypes.CDLL(None).free(ctypes.c_void_p(1234))",
    "bytecode": "def f(): pass\nf.__code__ = f.__code__.replace(co_code=bytes(range(256)), co_stacksize=0)\nf()",
}


@pytest.mark.parametrize("code", CRASHES.values(), ids=CRASHES.keys())
async def test_crash(sandbox: Pool, code: str) -> None:
    cores = set(Path.cwd().glob("core*")) | set(Path("/tmp").glob("core*"))
    other = asyncio.create_task(sandbox.run("import time\ntime.sleep(0.1)\nprint('unharmed')"))
    for result in await both(sandbox, code, Limits(wall_s=2)):
        assert result.status in (ExecStatus.SIGNAL, ExecStatus.TIMEOUT), result  # deep C recursion may take its time
        assert result.exit_code < 0
    assert (await other).stdout == "unharmed\n"
    assert set(Path.cwd().glob("core*")) | set(Path("/tmp").glob("core*")) == cores


@pytest.mark.parametrize(
    ("code", "fresh", "in_session"),
    [
        ("import sys\nsys.exit()", 0, 0),
        ("import sys\nsys.exit(0)", 0, 0),
        ("import sys\nsys.exit(False)", 0, 0),
        ("import sys\nsys.exit('text')", 1, 1),
        ("import sys\nsys.exit(-1)", 255, 255),
        ("import sys\nsys.exit(3.5)", 1, 1),
        ("import os\nos._exit(0)", 0, None),
        ("import os\nos._exit(3)", 3, None),
        ("import threading\ndef f(): raise SystemExit(3)\nt = threading.Thread(target=f)\nt.start()\nt.join()", 0, 0),
        ("import ctypes\nctypes.CDLL(None).exit(0)", 0, None),
        ("import ctypes\nctypes.CDLL(None).abort()", -signal.SIGABRT, None),
        ("quit()", 0, 0),
        ("raise KeyboardInterrupt", 1, 1),
        ("raise GeneratorExit", 1, 1),
    ],
)
async def test_exit_paths(sandbox: Pool, code: str, fresh: int, in_session: int | None) -> None:
    """Null: the interpreter of the session ended, which is never a success. And who ends early has no output."""
    one, other = await both(sandbox, "print('answer', end='')\n" + code)
    assert one.exit_code == fresh
    assert (one.status is ExecStatus.OK) == (fresh == 0)
    assert other.status is not ExecStatus.OK or in_session == 0
    assert in_session is None or other.exit_code == in_session
    assert one.stdout == ("" if in_session is None else "answer")


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.closerange(0, 4096)",
        "import os\nos.closerange(0, 3)\nprint('x')\nopen('/dev/null')",
        "import os\nfor fd in range(3): os.dup2(os.open('/dev/null', os.O_RDWR), fd)",
        "import sys\nsys.stdout = sys.stderr = sys.stdin = None\nraise ValueError",
        "import sys\nsys.stdout.close()\nsys.stderr.close()\nraise ValueError",
        "import os\nr, w = os.pipe()\nos.close(r)\nos.dup2(w, 1)\nprint('x', flush=True)",
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))",
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\nprint('x', flush=True)",
    ],
    ids=["all", "streams", "null", "objects", "closed", "broken", "none", "nothing"],
)
async def test_close_fds(sandbox: Pool, code: str) -> None:
    for result in await both(sandbox, code, heals=False):
        assert result.status in (ExecStatus.OK, ExecStatus.ERROR, ExecStatus.SIGNAL, ExecStatus.OUTPUT)
        assert result.wall_ms < SHORT.wall_s * 1000 + SLACK_MS
