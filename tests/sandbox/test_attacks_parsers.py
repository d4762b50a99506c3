"""Bombs for whatever reads code, numbers, patterns and pickles: nobody but the guest may read them."""

import pytest

from factory.sandbox.pool import Pool
from schemas.protocols import Limits
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import SHORT, SLACK_MS, both, stays_honest

pytestmark = pytest.mark.asyncio(loop_scope="package")
PRELOAD = ()

PROGRAMS = {
    "parens": "(" * 1_000_000,
    "lists": "[" * 100_000 + "]" * 100_000,
    "minus": "-" * 1_000_000 + "1",
    "plus": "+".join("1" * 200_000),
    "dots": "a" + ".b" * 300_000,
    "calls": "f" + "()" * 300_000,
    "decorators": "@x\n" * 50_000 + "def f(): pass",
    "elifs": "if x: pass\n" + "elif x: pass\n" * 50_000,
    "indents": "\n".join(" " * n + "if 1:" for n in range(2_000)),
    "integer": "x = 0x" + "f" * 2_000_000,
    "digits": "x = " + "9" * 1_000_000,
    "fstrings": "f'{" * 500 + "1" + "}'" * 500,
    "names": "\n".join(f"n{n} = {n}" for n in range(50_000)),
    "line": "x = '" + "a" * 3_000_000 + "'",
    "nul": "x = 1\0\nprint(x)",
    "surrogate": "x = '\ud800'",
    "cookie": "# coding: rot13\nprint(1)",
    "unknown cookie": "# coding: no-such-code\nprint(1)",
    "utf7": "# coding: utf-7\n+AHAAcgBpAG4AdAAoADEAKQ-",
    "byte order": "\ufeffprint(1)",
    "unicode name": "\uff50\uff52\uff49\uff4e\uff54(1)",
    "folding": "while ((((((((((((((((1,) * 99) * 99) * 99) * 99) * 99) * 99) * 99) * 99) * 99) * 99))))))) : pass",
    "future": "from __future__ import barry_as_FLUFL, annotations\nif 1 <> 2: print(1)",
}


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS.keys())
async def test_programs_that_are_bombs(sandbox: Pool, code: str) -> None:
    for result in await both(sandbox, code, Limits(wall_s=0.3, memory_mb=256)):
        assert result.wall_ms < 300 + SLACK_MS
        assert len(result.stderr) < 10_000
        assert result.status is not ExecStatus.CPU


VALUES = {
    "pickle": "import os, pickle\nclass P:\n    def __reduce__(self): return os._exit, (0,)\nprint(pickle.dumps(P()))",
    "nested pickle": "import pickle\npickle.loads(b'(' * 10**6 + b'l' * 10**6)",
    "power": "print(10 ** 10 ** 7 % 7)",
    "digits": "import sys\nsys.set_int_max_str_digits(0)\nprint(len(str(1 << (1 << 24))))",
    "regex": "import re\nre.compile('(' * 50_000 + ')' * 50_000)",
    "repeats": "import re\nre.compile('(?:' * 300 + 'x' + '{1,9}){1,9}' * 300)",
    "format": "'%1000000000d' % 1",
    "formats": "f'{1:>{10**10}}'",
    "ast": "import ast\ne = ast.Constant(1)\nfor _ in range(100_000): e = ast.UnaryOp(ast.USub(), e)\n"
    "compile(ast.fix_missing_locations(ast.Expression(e)), '', 'eval')",
    "eval": "eval('(' * 100 + '1' + ',)' * 100)\neval('[' * 10**7)",
    "json": "import json\njson.loads('[' * 10**6)",
    "repr": "x = []\nfor _ in range(10**6): x = [x]\nprint(len(repr(x)))",
    "compare": "a, b = [], []\nfor _ in range(10**5): a, b = [a], [b]\na == b",
    "dealloc": "x = None\nfor _ in range(3 * 10**6): x = (x,)\ndel x",
    "echo": "class R:\n    def __repr__(self): raise SystemExit(0)\nR()",
    "echo of a string": "class S(str):\n    __add__ = lambda *a: 1\nclass R:\n    __repr__ = lambda s: S('x')\nR()",
    "xml": "from xml.dom.minidom import parseString\nparseString('<!DOCTYPE l [<!ENTITY a \"lol\">' + ''.join(\n"
    "    f'<!ENTITY {chr(98 + n)} \"{(chr(38) + chr(97 + n) + chr(59)) * 10}\">' for n in range(9)) + ']><l>&j;</l>')",
    "zip": "import zlib\nd = zlib.compress(bytes(10**8))\nfor _ in range(20): zlib.decompress(d)",
}


@pytest.mark.parametrize("code", VALUES.values(), ids=VALUES.keys())
async def test_values_that_are_bombs(sandbox: Pool, code: str) -> None:
    for result in await both(sandbox, code, SHORT, heals=False):
        assert result.wall_ms < SHORT.wall_s * 1000 + SLACK_MS
        assert len(result.stdout) < 70_000


async def test_huge_code_and_input_pass_through(sandbox: Pool) -> None:
    big = "x" * 5_000_000
    result = await sandbox.run(f"text = '{big}'\nprint(len(text), len(input()))", big, Limits(wall_s=5))
    assert result.stdout == "5000000 5000000\n"
    await stays_honest(sandbox)
