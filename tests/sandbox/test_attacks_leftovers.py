"""Attacks on the next job: what one leaves behind, no other may find."""

import asyncio
import hashlib
import secrets
import sys
from pathlib import Path

import pytest

from factory.sandbox.pool import Pool
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import both

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def _everywhere(sandbox: Pool, code: str) -> list[str]:
    """What code prints in both fork servers, fresh and in a session."""
    sessions = [await sandbox.session() for _ in sandbox._slots]
    fresh = await asyncio.gather(*(sandbox.run(code) for _ in sandbox._slots))
    results = [*fresh, *[await one.run(code) for one in sessions]]
    for one in sessions:
        await one.aclose()
    assert {result.status for result in results} == {ExecStatus.OK}, results
    return [result.stdout for result in results]


async def test_pollute(sandbox: Pool) -> None:
    """Values, modules, functions, environment, seeds, limits, files, and the time zone of the C library."""
    state = """
import decimal, json, locale, math, os, random, signal, sys, time, warnings
import numpy, sympy
print(math.sqrt(16), json.dumps([1]), len('abc'), sum([1, 2]), sorted({3, 1}), 2 + 2, sympy.sqrt(16), numpy.sqrt(16.0))
print(random.random(), numpy.random.rand(), sympy.core.random.random(), hash('a'), decimal.getcontext().prec)
print(sorted(os.environ), sys.getrecursionlimit(), sys.argv, sys.path_hooks and len(sys.meta_path), sys.flags)
print(time.localtime(0)[3], locale.setlocale(locale.LC_ALL), signal.getsignal(signal.SIGINT), os.umask(0o22))
print(warnings.filters, threading.active_count() if 'threading' in dir() else 1, sympy.Symbol('x').is_real)
print(numpy.get_printoptions()['precision'], numpy.geterr(), sys.getswitchinterval(), sys.get_int_max_str_digits())
"""
    clean = await _everywhere(sandbox, state)
    pollution = """
import builtins, ctypes, decimal, gc, json, locale, math, os, random, signal, sys, time, warnings
import numpy, sympy
math.sqrt = json.dumps = lambda *a: 'polluted'
sympy.sqrt = sympy.core.random.random = numpy.sqrt = len
for thing in gc.get_objects():
    if type(thing) is dict and 'sqrt' in thing: thing['sqrt'] = None
ctypes.memset(id(4) + 24, 5, 1)  # four is five from here on
ctypes.memset(id(16) + 24, 17, 1)
os.environ['POLLUTED'] = os.environ['TZ'] = 'Asia/Tokyo'
time.tzset()
os.umask(0o777)
decimal.getcontext().prec = 3
numpy.set_printoptions(precision=1), numpy.seterr(all='raise')
sys.setrecursionlimit(77), sys.setswitchinterval(9), sys.set_int_max_str_digits(0)
signal.signal(signal.SIGINT, signal.SIG_IGN)
warnings.simplefilter('error')
sympy.Symbol.is_real = 'polluted'
sympy.core.cache.clear_cache()
random.seed(1), numpy.random.seed(1)
sys.argv[:] = ['polluted']
sys.meta_path.clear(), sys.path.clear(), sys.modules.clear()
builtins.len = builtins.sum = builtins.sorted = builtins.print = builtins.input = lambda *a: 'polluted'
"""
    await both(sandbox, pollution, heals=False)
    assert await _everywhere(sandbox, state) == clean


MARKER = "left-over-"
SCAN = f"""
import ctypes, gc, hashlib, os, re
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
control = ({MARKER!r} + os.urandom(16).hex()).encode()
pattern = re.compile({MARKER.encode()!r} + rb'[0-9a-f]{{32}}')
top = libc.sbrk(ctypes.c_long(0))
stack = ctypes.c_void_p.in_dll(libc, 'environ').value
windows = {{address >> 20 for address in map(id, gc.get_objects())}} | {{id(control) >> 20}}
windows |= {{(top >> 20) - n for n in range(64)}} | {{(stack >> 20) - n for n in range(2)}}
windows |= {{near + n for near in list(windows) for n in (-2, -1, 1, 2)}}
r, w = os.pipe()
found, seen = set(), 0
for window in sorted(windows):
    address, end = window << 20, (window + 1) << 20
    tail = b''
    while address < end:  # the kernel reads: it says EFAULT where nothing is
        n = libc.write(w, ctypes.c_void_p(address), ctypes.c_size_t(min(end - address, 65536)))
        if n <= 0:
            address, tail = (address | 4095) + 1, b''
            continue
        data = tail + os.read(r, n)
        found.update(hashlib.sha256(match).hexdigest() for match in pattern.findall(data))
        address, tail, seen = address + n, data[-50:], seen + n
assert hashlib.sha256(control).hexdigest() in found
found.discard(hashlib.sha256(control).hexdigest())
print(seen >> 20, *sorted(found))
"""
"""Reads all pages of the heap, of Python's arenas and of the stack, the free ones too. It must find itself."""


async def test_leftovers_in_raw_memory(sandbox: Pool) -> None:
    """An earlier job's code, input, output, variables and environment, in the memory that a later job starts with."""
    words = {kind: MARKER + secrets.token_hex(16) for kind in ("code", "stdin", "made", "block")}
    code = (
        f"import os, sys\nkept = ['{words['code']}' * 10] * 10\nraw = sys.stdin.read()\nprint(raw, kept)\n"
        f"os.environ['KEPT'] = {words['made'][::-1]!r}[::-1]"
    )
    for _ in range(4):
        session = await sandbox.session()
        assert (await sandbox.run(code, words["stdin"] * 100)).status is ExecStatus.OK
        await session.run(f"'{words['block']}'\nraise ValueError('{words['block']}')")
        await session.aclose()
    for printed in await _everywhere(sandbox, SCAN):
        megabytes, *hits = printed.split()
        assert int(megabytes) >= 16
        assert not set(hits) & {hashlib.sha256(word.encode()).hexdigest() for word in words.values()}


async def test_leftovers_of_a_frozen_session(sandbox: Pool) -> None:
    """Another guest is there at the same moment: no name, file, pipe, lock or number leads to it."""
    session = await sandbox.session()
    await session.run("import os\nr, w = os.pipe()\nos.write(w, b'left')\nsecret = 'left-' + 'over'\nopen('left', 'w')")
    search = """
import gc, os
hits = [o for o in gc.get_objects() if type(o) is dict and o.get('secret')]
for fd in range(3, 64):
    try: hits.append((fd, os.read(fd, 10)))
    except OSError: pass
for path in ('left', '/box/left', '/tmp/left', *(f'/proc/{pid}/fd/{fd}' for pid in range(2, 50) for fd in (5, 6))):
    if os.path.exists(path): hits.append(path)
print(hits)
"""
    assert (await sandbox.run(search)).stdout == "[]\n"
    await session.aclose()


PLANT = """
import importlib, os, site, sys
bad = 'raise SystemExit("planted")'
names = ('json', 'random', 'sitecustomize', 'usercustomize', 'numpy', 'helper', 'main', '__main__')
library = os.path.dirname(os.__file__)
for folder in ('.', '/box', '/tmp', os.path.expanduser('~'), *sys.path, library, *site.getsitepackages()):
    for name in names:
        for path in (f'{folder}/{name}.py', f'{folder}/__pycache__/{name}.cpython-311.pyc', f'{folder}/{name}.pth'):
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                open(path, 'w').write(bad)
            except OSError: pass
class Finder:
    find_spec = staticmethod(lambda *a: print('planted'))
sys.meta_path.insert(0, Finder)
sys.path_hooks.insert(0, print)
sys.path[:0] = ['.', '/box', '/tmp', '/proc/self/cwd']
os.environ.update(PYTHONPATH='/box', PYTHONSTARTUP='/box/json.py', PYTHONHOME='/box', LD_PRELOAD='/box/x.so')
sys.modules['helper'] = sys.modules['json'] = type(sys)('planted')
importlib.invalidate_caches()
"""


async def test_planted_modules(sandbox: Pool) -> None:
    folders = [Path(path) for path in sys.path if path.endswith("site-packages")] + [Path(asyncio.__file__).parents[1]]
    before = [sorted(folder.iterdir()) for folder in folders]
    await both(sandbox, PLANT, heals=False)
    honest = """
import json, os, random, sys
for name in ('helper', 'usercustomize', 'planted'):
    try: print(__import__(name))
    except ImportError: pass
import xml.dom.minidom, colorsys
print(json.dumps({}), [p for p in sys.path if p in ('', '.', '/box', '/tmp')], json.__file__ == 'planted')
print(sorted(k for k in os.environ if k.startswith(('PYTHON', 'LD_'))), os.path.exists('json.py'))
"""
    expected = "{} [] False\n['PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'PYTHONIOENCODING'] False\n"
    assert set(await _everywhere(sandbox, honest)) == {expected}
    assert [sorted(folder.iterdir()) for folder in folders] == before
