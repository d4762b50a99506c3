"""Programs as people write them: references of real contest problems, and the idioms that they are made of."""

import asyncio
import time
from typing import Any

import pytest

from factory.sandbox.pool import Pool
from schemas.protocols import ExecResult
from schemas.vocabulary import ExecStatus, SandboxLevel
from tests.sandbox.real_data import LIMITS
from tests.shared_data import rows

pytestmark = pytest.mark.asyncio(loop_scope="package")


def lines_of_words(text: str) -> list[list[str]]:
    """What a contest compares: the words of each line, blank lines left out."""
    return [words for line in text.splitlines() if (words := line.split())]


async def failures(sandbox: Pool, row: dict[str, Any]) -> list[str]:
    """Tests of a reference that it does not pass: which, how it ended, and what it said."""
    inputs = [test["input"] for test in row["tests"]]

    def accept(index: int, result: ExecResult) -> bool:
        expected = lines_of_words(row["tests"][index]["output"])
        return result.status is ExecStatus.OK and lines_of_words(result.stdout) == expected

    found = await sandbox.run_tests(row["reference_solution"], inputs, accept=accept, limits=LIMITS)
    return [
        f"{row['id']} test {index}: {test.result.status} in {test.result.wall_ms:,.0f} ms {test.result.stderr[-200:]}"
        for index, test in enumerate(found)
        if not test.passed
    ]


async def all_failures(sandbox: Pool, chosen: list[dict[str, Any]]) -> list[str]:
    found = await asyncio.gather(*(failures(sandbox, row) for row in chosen))
    return [failure for one in found for failure in one]


async def test_references_pass_their_tests_on_a_sample(sandbox: Pool) -> None:
    assert await all_failures(sandbox, rows("code_taco_stdin_verified")[::5]) == []


@pytest.mark.slow
async def test_every_reference_passes_its_tests(sandbox: Pool) -> None:
    chosen = rows("code_taco_stdin_verified")
    started = time.monotonic()
    assert await all_failures(sandbox, chosen) == []
    n_tests = sum(len(row["tests"]) for row in chosen)
    print(f"\n{len(chosen)} references, {n_tests} tests: {time.monotonic() - started:.1f} s")


FAST_IO = """
import os, sys
from io import BytesIO, IOBase
class FastIO(IOBase):
    def __init__(self, file):
        self.descriptor = file.fileno()
        self.buffer = BytesIO()
        self.writable = 'x' in file.mode or 'r' not in file.mode
        self.write = self.buffer.write if self.writable else None
    def readline(self):
        while chunk := os.read(self.descriptor, max(os.fstat(self.descriptor).st_size, 8192)):
            at = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(chunk), self.buffer.seek(at)
        return self.buffer.readline()
    def flush(self):
        if self.writable:
            os.write(self.descriptor, self.buffer.getvalue())
            self.buffer.truncate(0), self.buffer.seek(0)
class Wrapper(IOBase):
    def __init__(self, file):
        self.buffer = FastIO(file)
        self.flush, self.writable = self.buffer.flush, self.buffer.writable
        self.write = lambda s: self.buffer.write(s.encode())
        self.readline = lambda: self.buffer.readline().decode()
sys.stdin, sys.stdout = Wrapper(sys.stdin), Wrapper(sys.stdout)
input = lambda: sys.stdin.readline().rstrip('\\r\\n')
print(int(input()) * sum(map(int, input().split())))
"""
DEEP = """
import sys, threading
sys.setrecursionlimit(10**9)
threading.stack_size(2**28)
def depth(n): return n and 1 + depth(n - 1)
thread = threading.Thread(target=lambda: print(depth(100_000)))
thread.start()
thread.join()
"""
BOOTSTRAP = """
def trampoline(f, stack=[]):
    def call(*args):
        if stack: return f(*args)
        step = f(*args)
        while True:
            if hasattr(step, 'send'):
                stack.append(step); step = next(step)
            else:
                stack.pop()
                if not stack: return step
                step = stack[-1].send(step)
    return call
@trampoline
def total(n):
    yield n + (yield total(n - 1)) if n else 0
print(total(50_000))
"""
THREADS = """
import queue, threading
from concurrent.futures import ThreadPoolExecutor
done, ready = queue.Queue(), threading.Event()
def work(i):
    ready.wait(); done.put(i)
threads = [threading.Thread(target=work, args=(i,)) for i in range(40)]
[t.start() for t in threads]; ready.set(); [t.join() for t in threads]
print(done.qsize(), sum(ThreadPoolExecutor(8).map(abs, range(-3, 3))))
threading.Timer(0.02, print, ['late']).start()
"""
ASYNC = """
import asyncio
async def numbers():
    for i in range(3):
        await asyncio.sleep(0.001)
        yield i
async def main():
    async with asyncio.timeout(2), asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.to_thread(lambda: 5))
    box = asyncio.Queue()
    await box.put(7)
    print([i async for i in numbers()], await asyncio.gather(asyncio.sleep(0, 1), box.get()), task.result())
asyncio.run(main())
"""
TESTED = '''
import doctest, unittest
def twice(x):
    """
    >>> twice(2)
    4
    """
    return 2 * x
class Test(unittest.TestCase):
    def test_twice(self): self.assertEqual(twice(1), 2)
print(doctest.testmod().failed, unittest.main(argv=['x'], exit=False, verbosity=0).result.wasSuccessful())
'''
MATHS = """
from sympy import *
x, y = symbols('x y')
t, f = symbols('t'), Function('f')
print(integrate(exp(-x**2), (x, -oo, oo)), limit(sin(x)/x, x, 0), series(cos(x), x, 0, 4), latex(sqrt(x)/2))
print(Matrix([[1, 2], [3, 4]]).det(), dsolve(f(t).diff(t) - f(t)), factorint(360), N(pi, 20), sympify('2*x + x'))
print(solve([x + y - 3, x - y - 1], [x, y]), lambdify(x, x**2, 'numpy')(3), nsolve(x**2 - 2, 1))
"""
MATHS_OUTPUT = """\
sqrt(pi) 1 1 - x**2/2 + O(x**4) \\frac{\\sqrt{x}}{2}
-2 Eq(f(t), C1*exp(t)) {2: 3, 3: 2, 5: 1} 3.1415926535897932385 3*x
{x: 2, y: 1} 9 1.41421356237310
"""
ARRAYS = """
import io, sys
import numpy as np
rows = np.loadtxt(io.StringIO(sys.stdin.read()))
file = io.BytesIO()
np.save(file, rows)
file.seek(0)
print(rows.sum(), np.load(file).shape, np.linalg.solve(rows, [5, 11]).round(6), np.fft.fft([1, 0]).real)
print((np.ones((400, 400)) @ np.ones((400, 400)))[0, 0], np.random.default_rng(1).integers(10, size=3).shape)
"""

STDIN = [
    ("import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))", "1 2\n3", "6\n"),
    (
        "import sys\ninput = sys.stdin.buffer.readline\nprint(int(input()), input().split())",
        "2\na b\n",
        "2 [b'a', b'b']\n",
    ),
    ("import sys\ninput = lambda: sys.stdin.readline().rstrip()\nprint(input() + input())", "a\nb\n", "ab\n"),
    ("import sys\nprint(sys.stdin.readlines())", "a\nb", "['a\\n', 'b']\n"),
    ("print(list(iter(input, '')))", "a\nb\n\nc", "['a', 'b']\n"),
    ("try:\n  while True: print(input())\nexcept EOFError: print('end')", "a\nb", "a\nb\nend\n"),
    ("print(sum(map(int, open(0))))", "1\n2\n", "3\n"),
    ("import os\nprint(os.read(0, 100))", "ab", "b'ab'\n"),
    ("import io, os\nprint(io.BytesIO(os.read(0, os.fstat(0).st_size)).readline())", "7\n8\n", "b'7\\n'\n"),
    ("import fileinput\nfor line in fileinput.input(): print(line.strip()[::-1])", "ab\ncd\n", "ba\ndc\n"),
    ("n = int(input('how many? '))\nprint(n)", "5\n", "how many? 5\n"),
    ("import sys\nfor line in map(str.rstrip, sys.stdin): print(line)", "a\r\nb", "a\nb\n"),
    (
        "import select, sys\nprint(bool(select.select([sys.stdin], [], [], 0)[0]), sys.stdin.isatty())",
        "a",
        "True False\n",
    ),
    ("import sys\nprint(len(sys.stdin.read()))", "x" * 3_000_000, "3000000\n"),
    (FAST_IO, "3\n1 2 3\n", "18\n"),
    (ARRAYS, "1 2\n3 4\n", "10.0 (2, 2) [1. 2.] [1. 1.]\n400.0 (3,)\n"),
]
PRINT = [
    ("import sys\nprint = sys.stdout.write\nprint('a')\nprint('b\\n')", "ab\n"),
    ("import os, sys\nsys.stdout.buffer.write(b'a\\n')\nsys.stdout.flush()\nos.write(1, b'b\\n')", "a\nb\n"),
    ("import io, sys\nout, sys.stdout = sys.stdout, io.StringIO()\nprint(1)\nprint(2, file=out, flush=True)", "2\n"),
    (
        "from contextlib import redirect_stdout\nimport io\nwith redirect_stdout(io.StringIO()): print(1)\nprint(2)",
        "2\n",
    ),
    ("print('x' * 60_000)", "x" * 60_000 + "\n"),
    ("import logging, sys\nlogging.basicConfig(stream=sys.stdout, format='%(message)s')\nlogging.error('a')", "a\n"),
    ("out = open(1, 'w')\nout.write('x\\n')", "x\n"),
    ("import io\nout = io.BufferedWriter(io.FileIO(1, 'w'))\nout.write(b'x\\n')", "x\n"),
    ("import atexit\natexit.register(print, 'bye')\nprint('hi')", "hi\nbye\n"),
]
ENDS = [
    ("print(1)\nexit()\nprint(2)", "1\n"),
    ("print(1)\nquit()", "1\n"),
    ("import sys\ndef main():\n  print(1)\n  sys.exit(0)\nif __name__ == '__main__': main()", "1\n"),
    ("import os\nprint(1, flush=True)\nos._exit(0)", "1\n"),
    ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint(1)", "1\n"),
]
LANGUAGE = [
    (DEEP, "100000\n"),
    (BOOTSTRAP, "1250025000\n"),
    (
        "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(2**31 - 1)\n"
        "@lru_cache(None)\ndef f(n): return n and (1 + f(n - 1))\nprint(f(20_000))",
        "20000\n",
    ),
    ("def f(): f()\ntry: f()\nexcept RecursionError: print('caught')", "caught\n"),
    ("from bisect import *\nfrom math import *\nprint(bisect_left([1, 3], 3), gcd(12, 18), comb(5, 2))", "1 6 10\n"),
    (
        "import heapq\nfrom collections import *\nh = [3, 1]; heapq.heapify(h)\nprint(h[0], Counter('aab')['a'])",
        "1 2\n",
    ),
    (
        "from __future__ import annotations\nfrom dataclasses import dataclass, field\nfrom typing import *\n"
        "@dataclass(order=True)\nclass A:\n  x: int\n  y: List[int] = field(default_factory=list)\n"
        "print(max(A(1), A(2)), get_type_hints(A)['x'])",
        "A(x=2, y=[]) <class 'int'>\n",
    ),
    ("from decimal import *\ngetcontext().prec = 30\nprint(Decimal(2).sqrt())", "1.41421356237309504880168872421\n"),
    ("from fractions import Fraction\nprint(Fraction(1, 3) + Fraction('0.5'))", "5/6\n"),
    ("import sys\nsys.set_int_max_str_digits(0)\nprint(len(str(7**9999)))", "8451\n"),
    ("try: str(10**5000)\nexcept ValueError: print('too long')", "too long\n"),
    ("import random\nrandom.seed(42)\nprint(random.randint(1, 100))", "82\n"),
    ("import copy, pickle\nclass A: n = 1\nprint(pickle.loads(pickle.dumps(copy.deepcopy(A()))).n)", "1\n"),
    ("import inspect\ndef f(): return 1\nprint(inspect.getsource(f), end='')", "def f(): return 1\n"),
    ("match [1, 2]:\n  case [a, b]: print(f'{a + b = }')", "a + b = 3\n"),
    ("# -*- coding: utf-8 -*-\r\nif True:\r\n\tprint('\u00e9')\r\n", "\u00e9\n"),
    ("\ufeffprint(1)", "1\n"),
    (
        "s = bytearray([1]) * 10**7\nfor i in range(2, 3163): s[i*i::i] = bytes(len(s[i*i::i]))\nprint(sum(s))",
        "664581\n",
    ),
    ("print(len([0] * (50 * 10**6)))", "50000000\n"),
]
LIBRARY = [
    (MATHS, MATHS_OUTPUT),
    (THREADS, "40 9\nlate\n"),
    (ASYNC, "[0, 1, 2] [1, 7] 5\n"),
    ("import asyncio\nasync def f(): return 5\nprint(asyncio.new_event_loop().run_until_complete(f()))", "5\n"),
    (
        "import sqlite3\ndb = sqlite3.connect(':memory:')\ndb.execute('create table t(a)')\n"
        "db.executemany('insert into t values (?)', [(i,) for i in range(1000)])\ndb.commit()\n"
        "print(db.execute('select sum(a), count(*) from t where a > 1').fetchall())",
        "[(499499, 998)]\n",
    ),
    (
        "import signal, time\ndef stop(*_): raise TimeoutError\nsignal.signal(signal.SIGALRM, stop)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "try: time.sleep(3)\nexcept TimeoutError: print('alarm')",
        "alarm\n",
    ),
    (
        "import time\nstart = time.perf_counter()\ntime.sleep(0.02)\nprint(time.perf_counter() - start >= 0.02)",
        "True\n",
    ),
    (
        "import datetime, zoneinfo\nprint(datetime.datetime(2020, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Rome')))",
        "2020-07-01 00:00:00+02:00\n",
    ),
    ("import warnings\nwarnings.simplefilter('ignore')\nwarnings.warn('x')\nprint(1)", "1\n"),
    (TESTED, "0 True\n"),
    ("from pathlib import Path\nprint(Path('a') / 'b.txt', Path('nowhere').exists())", "a/b.txt False\n"),
    (
        "import hashlib, lzma, zlib\nprint(zlib.decompress(zlib.compress(b'a')), hashlib.md5(b'').hexdigest()[:4])",
        "b'a' d41d\n",
    ),
    (
        "import csv, io, json, re\nprint(json.dumps([*csv.reader(io.StringIO('a,b'))]), re.findall(r'\\d+', 'a1b22'))",
        "[[\"a\", \"b\"]] ['1', '22']\n",
    ),
    ("import multiprocessing, socket, subprocess, urllib.request\nprint(multiprocessing.cpu_count() > 0)", "True\n"),
    ("from mpmath import mp\nmp.dps = 20\nprint(mp.pi, mp.quad(lambda x: x, [0, 1]))", "3.1415926535897932385 0.5\n"),
]
FILES = [
    "import tempfile\nwith tempfile.NamedTemporaryFile('w+') as f:\n  f.write('x'); f.seek(0); print(f.read())",
    "import tempfile, pathlib\nwith tempfile.TemporaryDirectory() as d:\n"
    "  p = pathlib.Path(d) / 'a'; p.write_text('x'); print(p.read_text())",
    "with open('out.txt', 'w') as f: f.write('x')\nprint(open('out.txt').read())",
    "import sqlite3\ndb = sqlite3.connect('x.db')\ndb.execute('create table x(a)')\nprint('x')",
    "open('module.py', 'w').write(\"v = 'x'\")\nimport sys\nsys.path.insert(0, '.')\nimport module\nprint(module.v)",
]


@pytest.mark.parametrize(
    ("code", "stdin", "expected"),
    [*STDIN, *((code, "", expected) for code, expected in PRINT + ENDS + LANGUAGE + LIBRARY)],
)
async def test_idioms_run(sandbox: Pool, code: str, stdin: str, expected: str) -> None:
    result = await sandbox.run(code, stdin)
    assert (result.status, result.stdout) == (ExecStatus.OK, expected), result.stderr[-500:]


AT_THE_END = [
    "import io, sys\nprint('x')\nsys.stdout = io.StringIO()",
    "class A:\n  def __del__(self): print('x')\na = A()",
    "def f():\n  try: yield\n  finally: print('x')\ng = f()\nnext(g)",
    "import sys\nprint('x')\nsys.stdout.close()",
    "import sys\nprint('x', flush=True)\nsys.stdout = None",
]


@pytest.mark.parametrize("code", AT_THE_END)
async def test_what_python_does_at_the_end(sandbox: Pool, code: str) -> None:
    result = await sandbox.run(code)
    assert (result.status, result.stdout) == (ExecStatus.OK, "x\n"), result.stderr[-500:]


@pytest.mark.parametrize(
    ("code", "stdin", "expected"),
    [
        ("print(open('/dev/stdin').read())", "x", "x\n"),
        ("print(__file__)", "", "main.py\n"),
        (DEEP.replace("2**28", "2**29"), "", "100000\n"),
        ("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint(1)", "", "1\n"),
    ],
)
async def test_further_idioms_run(sandbox: Pool, code: str, stdin: str, expected: str) -> None:
    result = await sandbox.run(code, stdin)
    assert (result.status, result.stdout) == (ExecStatus.OK, expected), result.stderr[-500:]


@pytest.mark.parametrize("code", FILES)
async def test_files_where_there_is_a_work_folder(sandbox: Pool, code: str) -> None:
    if sandbox.level is not SandboxLevel.NAMESPACES:
        pytest.skip("no folder is writable at this level")
    result = await sandbox.run(code)
    assert (result.status, result.stdout) == (ExecStatus.OK, "x\n"), result.stderr[-500:]


@pytest.mark.parametrize(
    ("block", "echo"),
    [
        ("5  # a comment\n\n# another", "5\n"),
        ("print(1)\n2", "1\n2\n"),
        ("print(1, end='')\n2", "12\n"),
        ("x = 1; x + 1", "2\n"),
        ("for i in range(3):\n    i", ""),
        ("if True:\n    5", ""),
        ("None", ""),
        ("'a\\nb'", "'a\\nb'\n"),
        ("(1,\n 2)", "(1, 2)\n"),
        ("x = 3\r\nx\r\n", "3\n"),
        ("from sympy import *\nsqrt(8), Rational(1, 3), Float(2)", "(2*sqrt(2), 1/3, 2.00000000000000)\n"),
        ("from fractions import Fraction\nFraction(1, 2)", "Fraction(1, 2)\n"),
        ("import asyncio\nasync def f(): return 3\nasyncio.run(f())", "3\n"),
        ("def f(n): return n and 1 + f(n - 1)\nimport sys\nsys.setrecursionlimit(10**6)\nf(50_000)", "50000\n"),
        ("import inspect\ndef f():\n    return 1\ninspect.getsource(f)", "'def f():\\n    return 1\\n'\n"),
        ("import pickle\nclass A: n = 1\npickle.loads(pickle.dumps(A())).n", "1\n"),
        ("print(1)\nexit()\nprint(2)", "1\n"),
        ("x = 5\nx;  # quiet", ""),
    ],
)
async def test_a_block_echoes_as_in_a_notebook(sandbox: Pool, block: str, echo: str) -> None:
    session = await sandbox.session()
    result = await session.run(block)
    await session.aclose()
    assert (result.status, result.stdout) == (ExecStatus.OK, echo), result.stderr[-500:]
