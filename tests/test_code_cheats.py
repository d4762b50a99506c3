"""Programs that cheat (`tests.cheats`) against every kind of test, and what may run beside its tests.

A verdict other than `correct` says that a cheat found nothing: it would have answered rightly, had it.
"""

import pytest

from quality.programs.judge import judge_program
from quality.programs.plain import is_plain
from schemas.protocols import Sandbox
from schemas.recipe import Judge
from schemas.records import Problem
from schemas.vocabulary import Judgement
from tests.cheats import HUNTS, PRELUDE, cheats
from tests.programs import fenced, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBERS = (2, 5, 11)
ASSERTS = [{"code": f"assert f({n}) == {7919 * n + 13}"} for n in NUMBERS]
CHECK = "def check(candidate):\n" + "".join(f"    assert candidate({n}) == {7919 * n + 13}\n" for n in NUMBERS)
PAIRS = [{"input": f"{n}\n", "output": str(7919 * n + 13)} for n in NUMBERS]
KINDS: dict[str, Problem] = {
    "asserts": problem(ASSERTS, entry_point="f"),
    "check": problem([{"code": f"{CHECK}\ncheck(f)"}], entry_point="f"),
    "args": problem([{"args": f"[{n}]", "output": str(7919 * n + 13)} for n in NUMBERS], entry_point="f"),
    "stdin": problem(PAIRS),
    "checker": problem(PAIRS, checker="def check(given, output, expected): return output.split() == expected.split()"),
    "beside": problem([{"code": "assert g is not None"}, *ASSERTS], entry_point="f"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_cheating_gains_nothing(sandbox: Sandbox, kind: str) -> None:
    gained = {}
    for name, code in cheats().items():
        if "when called" in name and kind in ("check", "checker", "beside"):
            continue  # as in the kinds that are tried
        whole = f"{code}\nprint(f(int(input())))" if kind in ("stdin", "checker") else code
        check = await judge_program(fenced(whole), KINDS[kind], sandbox, Judge(total_s=20.0))
        if check.verdict is not Judgement.WRONG or ("beside" in check.detail) is not (kind == "beside"):
            gained[name] = check
    undecided = {name for name, check in gained.items() if check.verdict is Judgement.UNDECIDED}
    assert not gained.keys() - (undecided if kind == "beside" else set()), gained


@pytest.mark.parametrize("kind", KINDS)
async def test_the_honest_program_is_right(sandbox: Sandbox, kind: str) -> None:
    honest = "def g(): pass\ndef f(n): return 7919 * n + 13"
    whole = f"{honest}\nprint(f(int(input())))" if kind in ("stdin", "checker") else honest
    assert (await judge_program(fenced(whole), KINDS[kind], sandbox)).verdict is Judgement.CORRECT


async def test_the_hunts_find_what_is_there(sandbox: Sandbox) -> None:
    """Else their failing would say nothing."""
    for name in ("frames", "a traceback", "all objects", "modules"):
        planted = f"planted = [str(15000 + 851)]\n{PRELUDE}{HUNTS[name]}\ndef f(n): return gain(n)"
        assert (await judge_program(fenced(planted), KINDS["asserts"], sandbox)).verdict is Judgement.CORRECT, name


@pytest.mark.parametrize("value", ["range(10 ** 12)", "'x' * 3_000_000", "[0] * 150_000", "float('inf')"])
async def test_no_answer_brings_the_tests_to_the_program(sandbox: Sandbox, value: str) -> None:
    """Tests that break down over an answer are failed; they are not run beside the program then."""
    made = problem([{"code": "x = f(1)\nassert sorted(x + x) == [1, 2] and f(x)"}], entry_point="f")
    check = await judge_program(fenced(f"def f(n): return {value}"), made, sandbox)
    assert check.verdict is Judgement.WRONG
    assert "beside" not in check.detail


async def test_an_endless_loop_costs_its_time_once(sandbox: Sandbox) -> None:
    body = "".join(f"    assert candidate({i}) == {i}\n" for i in range(60))
    made = problem([{"code": f"def check(candidate):\n{body}check(f)"}], entry_point="f")
    check = await judge_program(fenced("def f(n):\n    while True: pass"), made, sandbox, Judge(total_s=15.0))
    assert check.verdict is Judgement.WRONG, check


@pytest.mark.parametrize(
    ("code", "plain"),
    [
        ("class Node:\n    def __init__(self, x):\n        self._x = x\ndef f(n): return Node(n)", True),
        ("from collections import deque\nimport heapq, math\ndef f(n): return math.sqrt(heapq.heappop([n]))", True),
        ("def f(n):\n    sum = 0\n    return '{:.2f}'.format(n) + f'{n}'", True),
        ("class A:\n    def __eq__(self, o): return True", False),
        ("import sys", False),
        ("from statistics import sys", False),
        ("import statistics\ns = statistics.sys", False),
        ("import random\ns = random._os", False),
        ("import random\ndef g(m): return m._os\ng(random)", False),
        ("import math\nmath.isclose = lambda *a: True", False),
        ("def abs(x): return 0", False),
        ("def g():\n    global abs\n    abs = int", False),
        ("for abs in [int]: pass", False),
        ("import random as abs", False),
        ("f = getattr(1, 'real')", False),
        ("x = type('A', (), {'_' * 2 + 'eq' + '_' * 2: lambda s, o: True})()", False),
        ("t = '{0.x}'.format(f)", False),
        ("t = ('{0.' + 'x}').format(f)", False),
        ("g = (i for i in [1])\nfr = g.gi_frame", False),
        ("class A(M): pass", False),
        ("class A(metaclass=object): pass", False),
        ("match x:\n    case A(__class__=c): pass", False),
        ("match int:\n    case abs: pass", False),
        ("from operator import *\nattrgetter('x')", False),
        ("def f(", False),
    ],
)
async def test_what_may_run_beside_its_tests(code: str, plain: bool) -> None:
    assert is_plain(code, ["assert abs(f(1) - 2) < 3"]) is plain
