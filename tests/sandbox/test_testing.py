"""Many tests of one program: one process while all goes well, a fresh one after a failure, comparison outside."""

import asyncio
import json
import os

import pytest

from factory.sandbox.canonical import canonical_json
from factory.sandbox.pool import Pool
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import SHORT, descendants

pytestmark = pytest.mark.asyncio(loop_scope="package")

DOUBLE = "print(2 * int(input()))"


def expects(*texts: str) -> "Expects":
    return Expects(texts)


class Expects:
    """Compares trimmed output, and counts how often it was asked."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        self.asked: list[int] = []

    def __call__(self, index: int, result: ExecResult) -> bool:
        self.asked.append(index)
        return result.status is ExecStatus.OK and result.stdout.strip() == self.texts[index]


async def test_each_test_gets_its_own_input_and_output(sandbox: Pool) -> None:
    accept = expects("2", "4", "6")
    runs = await sandbox.run_tests(DOUBLE, ["1\n", "2\n", "3\n"], accept=accept)
    assert [(run.passed, run.result.stdout) for run in runs] == [(True, "2\n"), (True, "4\n"), (True, "6\n")]
    assert accept.asked == [0, 1, 2]


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nfor line in sys.stdin: print(2 * int(line))",
        "print(2 * int(open(0).read()))",  # closes descriptor 0 when the file is collected
        "import os, sys\ndata = os.read(0, 100)\nos.close(0)\nos.write(1, b'%d' % (2 * int(data)))\nos.close(1)",
        "import sys\ninput = sys.stdin.readline\nsys.stdin = None\nprint(2 * int(input()))",
        "import sys, io\nsys.stdout = io.TextIOWrapper(open(1, 'wb', closefd=False))\nprint(2 * int(input()))",
        "import builtins, sys\nn = input()\nbuiltins.input = None\nsys.setrecursionlimit(50)\nprint(2 * int(n))",
        "out = open(1, 'w', closefd=False)\nout.write(str(2 * int(input())))",  # flushed as it goes
        "import threading\nn = int(input())\nthreading.Thread(target=lambda: print(2 * n)).start()",
        "import atexit\nn = int(input())\natexit.register(lambda: print(2 * n))",
        "import threading as t\nt.Thread(target=t.Event().wait, daemon=True).start()\nprint(2 * int(input()))",
        "import sys\nprint(2 * int(input()))\nsys.exit()",
        "import os\nprint(2 * int(input()), flush=True)\nos._exit(0)",
        "keep = [0]\nkeep.append(keep)\ndef f(): return keep\nprint(2 * int(input()))\nbig = bytearray(300 << 20)",
        "if __name__ == '__main__':\n    assert 'seen' not in globals()\n    seen = 1\n    print(2 * int(input()))",
    ],
)
async def test_every_way_to_read_and_to_end_works_many_times(sandbox: Pool, code: str) -> None:
    inputs = ["1\n", "2\n", "3\n"]
    runs = await sandbox.run_tests(code, inputs, accept=expects("2", "4", "6"))
    assert [run.passed for run in runs] == [True] * 3, runs


async def test_only_the_test_that_failed_runs_again(sandbox: Pool) -> None:
    code = "n = int(input())\nif n == 2:\n    while True: pass\nif n == 3: import os; os.abort()\nprint(n)"
    accept = expects("1", "2", "3", "4")
    runs = await sandbox.run_tests(code, ["1", "2", "3", "4"], accept=accept, limits=SHORT)
    ends = [run.result.status for run in runs]
    assert ends == [ExecStatus.OK, ExecStatus.TIMEOUT, ExecStatus.SIGNAL, ExecStatus.OK]
    assert [run.passed for run in runs] == [True, False, False, True]
    # The second failed beside the first, so it got a process of its own; the third had one already.
    assert accept.asked == [0, 1, 1, 2, 3]


async def test_what_an_earlier_test_left_behind_is_not_held_against_a_program(sandbox: Pool) -> None:
    code = "import math\nn = int(input())\nprint(math.factorial(n))\nmath.factorial = None"
    runs = await sandbox.run_tests(code, ["3", "4"], accept=expects("6", "24"))
    assert [run.passed for run in runs] == [True, True]


async def test_stop_early(sandbox: Pool) -> None:
    runs = await sandbox.run_tests(DOUBLE, ["1", "x", "3"], accept=expects("2", "?", "6"), stop_early=True)
    assert [run.passed for run in runs] == [True, False]


async def test_calls_return_values_that_are_compared_outside(sandbox: Pool) -> None:
    code = """
class Solution:
    def pair(self, numbers, target=0):
        print('noise')
        return tuple(sorted(numbers)), {3: {2, 1}}, None, 1.0
def double(n): return 2 * n
"""
    wanted = canonical_json(([1, 2], {"3": [1, 2]}, None, 1.0))
    runs = await sandbox.run_tests(
        code, ["[[2, 1]]", "[[1, 2], 5]"], accept=expects(wanted, wanted), entry="Solution.pair"
    )
    assert [run.passed for run in runs] == [True, True], runs
    assert runs[0].result.stderr == "noise\n"
    runs = await sandbox.run_tests(code, ["[21]"], accept=expects("42"), entry="double")
    assert [run.passed for run in runs] == [True]


@pytest.mark.parametrize(
    "code",
    [
        "class Yes:\n    def __eq__(self, other): return True\ndef f(n): return Yes()",
        "import json\njson.dumps = lambda *a, **k: '\"42\"'\ndef f(n): return 42 if n == 41 else None",
        "import os\ndef f(n): os._exit(0)",
        "def f(n): raise SystemExit(0)",
        "def f(n): return f",
        "def f(n):\n    x = []\n    x.append(x)\n    return x",
        "",
    ],
)
async def test_a_cheating_function_gains_nothing(sandbox: Pool, code: str) -> None:
    runs = await sandbox.run_tests(code, ["[1]", "[2]"], accept=expects("42", "43"), entry="f")
    assert [run.passed for run in runs] == [False, False]


async def test_one_process_for_all_tests_and_none_left(sandbox: Pool) -> None:
    await asyncio.gather(*sandbox._burials)  # of the tests before
    before = descendants(os.getpid())
    code = "import sys\nseen = sys.modules.setdefault('seen', [])\nseen.append(1)\nprint(len(seen))"
    runs = await sandbox.run_tests(code, [""] * 5, accept=lambda index, result: True)
    assert [run.result.stdout for run in runs] == [f"{n}\n" for n in range(1, 6)]
    await asyncio.gather(*sandbox._burials)
    assert descendants(os.getpid()) == before


async def test_limits_hold_for_each_test(sandbox: Pool) -> None:
    code = "n = int(input())\nwhile n > 1: pass\nprint('x' * 70_000 if n == 0 else n)"
    limits = Limits(wall_s=3, cpu_s=0.3)
    runs = await sandbox.run_tests(code, ["1", "2", "0", "1"], accept=expects("1", "", "", "1"), limits=limits)
    assert [run.result.status.value for run in runs] == ["ok", "cpu", "output", "ok"]


async def test_canonical_json_writes_equal_values_equally() -> None:
    assert canonical_json((1, [2.0, float("nan")])) == canonical_json([1, (2.0, float("nan"))])
    assert canonical_json({2, 10}) == canonical_json(frozenset({10, 2})) == "[10,2]"
    assert canonical_json(True) != canonical_json(1) != canonical_json(1.0)
    assert json.loads(canonical_json({(1, 2): "a"})) == {"[1,2]": "a"}
    with pytest.raises(TypeError, match="type object has no JSON form"):
        canonical_json(object())
