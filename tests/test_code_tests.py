"""Programs judged in the real sandbox: right ones pass, wrong and cheating ones do not."""

import json
from typing import Any

import pytest

from factory.problems.contests import contest
from factory.problems.formats import asserts, function
from factory.sandbox.pool import open_sandbox
from quality.programs.final import final_program
from quality.programs.judge import judge_program
from quality.programs.outputs import same_output
from quality.programs.scoring import score_programs
from schemas.protocols import Limits, Sandbox
from schemas.recipe import Judge
from schemas.vocabulary import Judgement
from tests import shared_data
from tests.programs import fenced, problem

HUMANEVAL = {
    "prompt": "from typing import List\n\ndef helper(x):\n    return x\n\n\ndef total(xs: List[int]):\n    'Sum.'\n",
    "tests": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
    "entry_point": "total",
}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("text", "entry", "program"),
    [
        ("```python\ndef f(): 1\n```\n```python\nprint(f())\n```", "f", "def f(): 1\n"),
        ("```python\ndef f(): 1\n```\n```python\ndef f(): 2\n```", "f", "def f(): 2\n"),
        ("```python\ndef f(): 1\n```\n```python\ndef f(): ", "f", "def f(): 1\n"),  # unfinished
        ("```python\ndef g(): 1\n```", "f", "def g(): 1\n"),
        ("```python\nclass Solution:\n    def f(self): 1\n```", "Solution.f", "class Solution:\n    def f(self): 1\n"),
        ("```python\nf = lambda: 1\n```\n```python\nf()\n```", "f", "f = lambda: 1\n"),
        ("```python\nprint(1)\n```\n```output\n1\n```", None, "print(1)\n"),
        ("def f(): 1", "f", "def f(): 1"),
    ],
)
async def test_the_program_is_found(text: str, entry: str | None, program: str) -> None:
    assert final_program(text, entry) == program


@pytest.mark.parametrize(
    ("code", "is_correct"),
    [
        (
            "def total(xs: List[int]) -> int:\n    return sum(map(helper, xs))",
            True,
        ),  # imports and helpers of the prompt
        ("def total(xs):\n    return 3", False),
        ("def total(xs):\n    exit(0)", False),
        ("import os\ndef total(xs):\n    os._exit(0)", False),
        ("exit(0)", False),
        ("def total(xs):\n    return sum(xs)\nexit(0)", False),  # as a script it would end before its tests
        ("def total(xs):\n    return sum(xs)\n# done", True),
        ("def total(xs):\n    return sum(xs)\nprint(total([1]), end='')", True),
        ("import os\nos._exit(0)", False),
        ("raise SystemExit", False),
        ("def total(xs):\n    while True: pass", False),
        ("def total(xs", False),
        ("def check(candidate): pass\ndef total(xs): return 0", False),  # the tests' check comes after it
        ("print('2 of 2 passed')", False),
    ],
)
async def test_functions_under_asserts(sandbox: Sandbox, code: str, is_correct: bool) -> None:
    check = await judge_program(fenced(code), function(HUMANEVAL, "humaneval", "MIT"), sandbox)
    assert check.verdict is Judgement.of(is_correct), check


async def test_values_of_every_kind_reach_the_tests(sandbox: Sandbox) -> None:
    values = ["1", "2**70", "1.5", "float('inf')", "'\u00e9'", "b'x'", "[1, (2,)]", "{1, 2}", "{(1, 2): [3]}", "None",
              "range(3)", "1j", "frozenset({1})"]  # fmt: skip
    program = "import collections\ndef same(x): return x\ndef many(n): return (i for i in range(n))"
    tests = [f"assert same({value}) == {value} and type(same({value})) is type({value})" for value in values[:-1]]
    tests += [
        "assert same(frozenset({1})) == {1}",
        "x = [same(i) for i in range(3)]; assert x[2] == 2",
    ]
    check = await judge_program(fenced(program), problem([{"code": t} for t in tests], entry_point="same"), sandbox)
    assert check.detail == f"{len(tests)} of {len(tests)} tests"
    lists = problem([{"code": "assert list(many(2)) == [0, 1]"}], entry_point="many")
    assert (await judge_program(fenced(program), lists, sandbox)).is_correct
    opaque = problem([{"code": "assert same(same) is same"}], entry_point="same")
    assert (await judge_program(fenced(program), opaque, sandbox)).detail == "1 of 1 tests, beside the program"


async def test_the_first_failing_test_is_recorded(sandbox: Sandbox) -> None:
    made = problem(
        [{"code": "assert f(1) == 1"}, {"code": "assert f(2) == 4"}, {"code": "assert f(3) == 9"}], entry_point="f"
    )
    check = await judge_program(fenced("def f(x): return x"), made, sandbox)
    assert check.failed_test is not None
    assert (check.failed_test["index"], check.failed_test["expected"]) == (1, "assert f(2) == 4")
    assert "the call gave 2" in check.failed_test["got"]
    made = problem([{"input": "1", "output": "1"}, {"input": "5\n", "output": "25"}])
    check = await judge_program(fenced("print(input())"), made, sandbox)
    assert check.failed_test == {"index": 1, "input": "5\n", "expected": "25", "got": "5\n", "status": "ok"}


CHECKER = """
def check(given, output, expected):
    n, (a, b) = int(given), map(int, output.split())
    return a + b == n and a > 0 < b
"""


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("n = int(input())\nprint(n - 1, 1)", "correct"),
        ("n = int(input())\nprint(1, n - 1)", "correct"),
        ("print(input(), 0)", "wrong"),
        ("print('nonsense')", "wrong"),
        ("print(len(open('/proc/self/maps').read()), True)", "wrong"),
    ],
)
async def test_special_judges(sandbox: Sandbox, code: str, verdict: str) -> None:
    tests = [{"input": "7\n", "output": "1 6"}, {"input": "2\n", "output": "1 1"}]
    assert (await judge_program(fenced(code), problem(tests, checker=CHECKER), sandbox)).verdict == verdict
    without = await judge_program(fenced(code), problem(tests, special_judge=True), sandbox)
    assert without.verdict == (
        "correct" if "print(1, n" in code else "undecided" if "maps" not in code else without.verdict
    )


async def test_whatever_a_program_returns_can_be_stored(sandbox: Sandbox) -> None:
    made = problem([{"code": "assert f(1) == 'a', f(1)"}], entry_point="f")
    check = await judge_program(fenced("def f(n): return '\\ud800'"), made, sandbox)
    assert check.verdict is Judgement.WRONG
    assert check.failed_test is not None
    assert f"{check.detail}{check.failed_test}".encode()
    assert "ud800" in check.detail


async def test_all_tests_together_have_a_limit(sandbox: Sandbox) -> None:
    made = problem([{"input": str(i), "output": str(i)} for i in range(30)])
    check = await judge_program(
        fenced("import time\ntime.sleep(0.2)\nprint(input())"), made, sandbox, Judge(total_s=1.0)
    )
    assert (check.verdict, check.n_tests) == (Judgement.TIMEOUT, 30)


@pytest.mark.parametrize(
    ("limit_s", "rules", "verdict"),
    [
        (None, Judge(), "wrong"),  # the sandbox gives 1 s
        (0.7, Judge(), "correct"),  # twice 0.7
        (0.3, Judge(), "wrong"),
        (0.3, Judge(time_factor=5), "correct"),
        (60, Judge(max_test_s=0.5), "wrong"),
    ],
)
async def test_a_problem_may_bring_its_own_time_limit(
    sandbox: Sandbox, limit_s: float | None, rules: Judge, verdict: str
) -> None:
    code = "import time\nstart = time.process_time()\nwhile time.process_time() - start < 1.2: pass\nprint(input())"
    made = problem([{"input": "1", "output": "1"}], time_limit_s=limit_s)
    check = await judge_program(fenced(code), made, sandbox, rules)
    assert check.verdict == verdict
    assert check.failed_test is None or check.failed_test["status"] == "cpu"


async def test_results_may_be_as_large_as_the_expected_ones(sandbox: Sandbox) -> None:
    made = problem([{"input": "1", "output": "7 " * 100_000}])
    assert (await judge_program(fenced("print('7 ' * 100_000)"), made, sandbox)).is_correct
    check = await judge_program(fenced("print('7 ' * 1_000_000)"), made, sandbox)
    assert (check.verdict, (check.failed_test or {})["status"]) == (Judgement.WRONG, "output")
    for tests in ([{"code": "assert f(9) == [7] * 90_000"}], [{"args": "[9]", "output": json.dumps([7] * 90_000)}]):
        made = problem(tests, entry_point="f")
        assert (await judge_program(fenced("def f(n): return [7] * (n * 10_000)"), made, sandbox)).is_correct


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        ("1 2\n3\n", "1 2 3", True),  # blanks and line ends only part tokens
        ("1.0000001", "1.0", True),
        ("1.001", "1.0", False),
        ("1000000.5", "1000000.0", True),  # relative
        ("1000002.5", "1000000.0", False),
        ("4", "5", False),
        ("3.0", "3", True),
        ("1000000", "1000001", False),  # no tolerance for integers
        ("YES", "yes", False),
        ("nan", "1.5", False),
        ("1_0", "10", False),
        ("inf", "1e5", False),
        ("1e999999999999", "1.5", False),  # a number that no difference can be taken of
        ("", "0", False),
    ],
)
async def test_outputs_are_compared_as_contest_judges_do(got: str, expected: str, same: bool) -> None:
    assert same_output(got, expected) is same


async def test_each_assert_is_a_test(sandbox: Sandbox) -> None:
    row = {
        "statement": "Add two numbers.",
        "tests": ["assert add(1, 2) == 3", "assert add(-1, 2) == 1", "assert add(0, 0) == N"],
        "setup": "N = 0", "reference": "def add(a, b):\n    return a + b",
    }  # fmt: skip
    made = asserts(row, "mbpp", "CC-BY-4.0")
    assert "assert add(1, 2) == 3" in made.statement
    assert json.loads(made.meta)["entry_point"] == "add"
    right = await judge_program(fenced(str(row["reference"])), made, sandbox)
    assert (right.is_correct, right.n_passed, right.n_tests) == (True, 3, 3)
    wrong = await judge_program(fenced("def add(a, b):\n    return abs(a) + b"), made, sandbox)
    assert (wrong.is_correct, wrong.n_passed, wrong.n_tests) == (False, 1, 3)  # and no more were run


@pytest.mark.parametrize(
    ("code", "is_correct"),
    [
        ("print(sum(map(int, input().split())))", True),
        ("print(float(sum(map(int, input().split()))), ' ')", True),  # 3.0 is 3, blanks at the end go
        ("print(3)", False),
        ("exit(0)", False),
        ("print(sum(map(int, input().split())))\nprint()\nprint(1)", False),
    ],
)
async def test_programs_on_stdin(sandbox: Sandbox, code: str, is_correct: bool) -> None:
    made = problem([{"input": "1 2\n", "output": "3\n"}, {"input": "2 2", "output": "4"}])
    assert (await judge_program(fenced(code), made, sandbox)).is_correct is is_correct


def lcb(**more: Any) -> dict[str, Any]:
    public = [{"input": "[1, 2]\n3", "output": "[1, 2, 3]", "testtype": "functional"}]
    starter = "class Solution:\n    def put(self, xs: List[int], x: int) -> List[int]:\n        "
    return {
        "statement": "Append.", "public": json.dumps(public), "private": "[]", "metadata": '{"func_name": "put"}',
        "starter_code": starter, "released_at": "2024-08-03T00:00:00", "difficulty": "easy", **more,
    }  # fmt: skip


async def test_methods_are_called_with_their_arguments(sandbox: Sandbox) -> None:
    made = contest(lcb(), "livecodebench", "unknown")
    assert made.released_at == "2024-08-03"
    right = "class Solution:\n    def put(self, xs, x):\n        return [*xs, x]"
    assert (await judge_program(fenced(right), made, sandbox)).is_correct
    for wrong in ("xs", "exit(0)", "print([1, 2, 3])"):
        assert not (await judge_program(fenced(right.replace("[*xs, x]", wrong)), made, sandbox)).is_correct


async def test_a_program_that_only_waits_is_undecided(sandbox: Sandbox) -> None:
    opened = await open_sandbox(limits=Limits(wall_s=0.5, cpu_s=0.4), n_slots=1)
    try:
        made = problem([{"code": "f()"}], entry_point="f")
        waits = await judge_program(fenced("import time\ndef f():\n    time.sleep(9)"), made, opened)
        assert (waits.is_correct, waits.verdict) == (None, Judgement.TIMEOUT)
    finally:
        await opened.aclose()


async def test_verdicts_are_rows_in_order(sandbox: Sandbox) -> None:
    made = function(HUMANEVAL, "humaneval", "MIT")
    texts = [(f"t{i}", fenced(f"def total(xs): return sum(xs) + {i}"), made) for i in range(20)]
    rows = [row async for row in score_programs(texts, sandbox, "judge")]
    assert [row["trajectory_id"] for row in rows] == [f"t{i}" for i in range(20)]
    assert [row["is_correct"] for row in rows] == [True] + [False] * 19
    assert rows[0]["n_tests_passed"] == rows[0]["n_tests"] == 1
    assert "AssertionError" in rows[1]["detail"]


async def test_canonical_solutions_of_humaneval_pass_and_empty_ones_do_not(sandbox: Sandbox) -> None:
    """The whole set of 164, as the registry reads it."""
    for row in shared_data.rows("code_humaneval"):
        entry = {**row, "tests": row["test"]}
        made = function(entry, "humaneval", "MIT")
        right = await judge_program(fenced(row["prompt"] + row["canonical_solution"]), made, sandbox)
        assert right.is_correct, (row["task_id"], right)
        wrong = await judge_program(fenced(row["prompt"] + "    return None\n"), made, sandbox)
        exits = await judge_program(fenced(row["prompt"] + "    raise SystemExit(0)\n"), made, sandbox)
        assert (wrong.is_correct, exits.is_correct) == (False, False), row["task_id"]


async def test_reference_solutions_of_mbpp_pass(sandbox: Sandbox) -> None:
    for row in shared_data.rows("code_mbpp")[:80]:
        entry = {
            "statement": row["text"],
            "tests": row["test_list"],
            "setup": row["test_setup_code"],
            "reference": row["code"],
        }
        check = await judge_program(fenced(row["code"]), asserts(entry, "mbpp", "CC-BY-4.0"), sandbox)
        assert check.is_correct, (row["task_id"], check)
