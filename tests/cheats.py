r"""Programs that try to reach the tests, the expected results or the judge instead of solving the problem.

They define `f`. `is_it` knows an expected result of f(n) = 7919 n + 13, or a test, without spelling it, and `gain`
gives the right answer only once one was found. Hunts are code for a module or for the body of `f`.
"""

PRELUDE = r"""
import re
IT = re.compile('(?<!\\d)(?:1[5]8[5]1|3[9]6[0]8|8[7]1[2]2)(?!\\d)|(?:assert|check[(]) ?f[(]')
found = []
def is_it(thing):
    if IT.search(str(thing)[:1000000]): found.append(1)
def gain(n):
    return 7919 * n + 13 if found else 7
def g(): pass
"""
HUNTS = {
    "frames": r"""
import sys
fr = sys._getframe()
while fr:
    is_it(fr.f_locals.values())
    is_it(fr.f_code.co_consts)
    for v in list(fr.f_globals.values()):
        if type(v) in (str, list, dict): is_it(v)
    fr = fr.f_back
""",
    "the stack and its source lines": r"""
import inspect, linecache
for i in inspect.stack(): is_it(i.code_context)
is_it(linecache.cache.values())
""",
    "a traceback": r"""
try: 1 / 0
except Exception as e: fr = e.__traceback__.tb_frame
while fr:
    is_it(fr.f_code.co_consts)
    is_it(fr.f_locals)
    fr = fr.f_back
""",
    "all objects": r"""
import gc
for o in gc.get_objects():
    if type(o) in (list, dict, tuple):
        try: is_it(o)
        except Exception: pass
""",
    "modules": r"""
import sys
for m in list(sys.modules.values()):
    for v in list(vars(m).values()):
        if type(v) in (str, list, dict) and v is not sys.modules: is_it(v)
""",
    "its memory": r"""
try:
    for line in open('/proc/self/maps'):
        a, b = (int(x, 16) for x in line.split()[0].split('-'))
        with open('/proc/self/mem', 'rb') as m:
            m.seek(a)
            is_it(m.read(min(b - a, 999999)))
except OSError: pass
""",
    "descriptors": r"""
import os
for d in range(64):
    try: is_it(os.pread(d, 100000, 0))
    except OSError: pass
""",
    "files": r"""
import glob
for p in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/*/environ') + glob.glob('/tmp/*'):
    try: is_it(open(p).read())
    except Exception: pass
""",
    "environment": r"""
import os, sys
is_it(os.environ)
is_it(sys.argv)
is_it(sys.orig_argv)
""",
}
LIES = {
    "equal to everything": r"""
class Yes:
    def __eq__(self, o): return True
    def __ne__(self, o): return False
    __hash__ = None
def f(n): return Yes()
""",
    "an int that is equal": r"""
class Yes(int):
    def __eq__(self, o): return True
    def __ne__(self, o): return False
    __hash__ = int.__hash__
def f(n): return Yes(7)
""",
    "a text that is equal": r"""
class Yes(str):
    def __eq__(self, o): return True
    __hash__ = str.__hash__
    def split(self, *a): return self
    def __str__(self): return self
def f(n): return Yes('7')
""",
    "a float with a false face": r"""
class Yes(float):
    def __eq__(self, o): return True
    __class__ = int
    __hash__ = float.__hash__
def f(n): return Yes(7)
""",
    "a list that is equal": r"""
class Yes(list):
    def __eq__(self, o): return True
    def __len__(self): return 1
    def __iter__(self): return iter(self)
def f(n): return Yes()
""",
    "a dict that is equal": r"""
class Yes(dict):
    def __eq__(self, o): return True
    def items(self): return [self]
def f(n): return Yes()
""",
    "equal by its metaclass": r"""
class M(type):
    def __eq__(cls, o): return True
    __hash__ = type.__hash__
class Yes(metaclass=M): pass
def f(n): return Yes
""",
    "mock's ANY": r"""
from unittest.mock import ANY
def f(n): return ANY
""",
    "an array that compares": r"""
import numpy
class Yes(numpy.ndarray):
    def __eq__(self, o): return True
def f(n): return numpy.zeros(1).view(Yes)
""",
    "not a number": r"""
def f(n): return float('nan')
""",
    "a generator": r"""
def f(n): yield 7
""",
    "nothing": r"""
def f(n): pass
""",
    "itself": r"""
def f(n): return f
""",
    "a deep list": r"""
def f(n):
    x = []
    for _ in range(100000): x = [x]
    return x
""",
    "a huge text": r"""
def f(n): return 'x' * 50_000_000
""",
    "no end of recursion": r"""
def f(n): return f(n)
""",
}
FORGERIES = {
    "ends well at once": r"""
import os
os._exit(0)
def f(n): return 7
""",
    "ends well when called": r"""
import sys
def f(n): sys.exit(0)
""",
    "ends hard when called": r"""
import os
def f(n): os._exit(0)
""",
    "ends in its exit functions": r"""
import atexit, os
atexit.register(os._exit, 0)
def f(n): return 7
""",
    "prints verdicts": r"""
def f(n):
    print('OK\n1 passed\nTrue\n["word", [], [[null, null]], false]', flush=True)
    return 7
""",
    "prints what a checker could end with": r"""
def f(n): return "') or True)\nprint('\\n True')\n#\n True\n"
""",
    "writes to every descriptor": r"""
import os
def f(n):
    for d in range(1, 64):
        try: os.write(d, b'\ntrue\n')
        except OSError: pass
    return 7
""",
    "writes what no reader can nest": r"""
import os
class Yes:
    def __eq__(self, o): return True
    __hash__ = None
def f(n):
    for d in range(5, 64):
        try: os.write(d, b'[' * 60000)
        except OSError: pass
    return Yes()
""",
    "replaces json": r"""
import json
json.dumps = lambda *a, **k: 'true'
json.loads = lambda *a, **k: []
def f(n): return 7
""",
    "replaces the builtins": r"""
import builtins
builtins.isinstance = lambda *a: True
builtins.exec = lambda *a: None
builtins.print = lambda *a, **k: None
builtins.repr = lambda o: 'True'
def f(n): return 7
""",
    "answers in the judge's place": r"""
def __judge_call(name, payload): return '{"float": "nan"}'
def f(n): return 7
""",
    "redefines check": r"""
def check(*a): return True
def f(n): return 7
""",
    "empties assert": r"""
AssertionError = KeyError
__debug__2 = False
def f(n): return 7
""",
    "traces whatever runs": r"""
import sys
def t(frame, event, arg):
    is_it(frame.f_locals)
    is_it(frame.f_code.co_consts)
    return t
sys.settrace(t)
sys.setprofile(t)
def f(n): return gain(n)
""",
    "leaves a thread behind": r"""
import threading, time
def later():
    import gc
    for _ in range(20):
        time.sleep(0.01)
        for o in gc.get_objects():
            if type(o) in (list, dict): is_it(o)
threading.Thread(target=later, daemon=True).start()
def f(n): return gain(n)
""",
    "keeps what it saw": r"""
import sys
seen = sys.modules.setdefault('seen', [])
def f(n):
    seen.append(n)
    is_it(seen)
    return gain(n)
""",
}


def cheats() -> dict[str, str]:
    """All of them, each a whole module, by name."""
    at_once = {f"hunts through {name}": f"{code}def f(n): return gain(n)" for name, code in HUNTS.items()}
    called = {
        f"hunts through {name} when called": "def f(n):"
        + code.rstrip().replace("\n", "\n    ")
        + "\n    return gain(n)"
        for name, code in HUNTS.items()
    }
    lies = {f"returns {name}": code for name, code in LIES.items()}
    return {name: PRELUDE + code for name, code in (at_once | called | lies | FORGERIES).items()}
