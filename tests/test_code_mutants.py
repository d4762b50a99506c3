"""Spoilt programs fail: mutants of small references, by the operators of `benchmarks/programs.py`."""

import ast
import json
import random

import pytest

from benchmarks.programs_parts.differ import same, variations
from benchmarks.programs_parts.mutate import OPERATORS, mutants
from quality.programs.judge import judge_program
from schemas.protocols import Sandbox
from schemas.records import Problem
from schemas.vocabulary import Judgement
from tests.programs import fenced, problem

COLLATZ = """
def steps(n):
    count = 0
    while n > 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        count += 1
    return count
"""
WINDOW = """
n, k = map(int, input().split())
xs = [int(x) for x in input().split()]
best = sum(xs[:k])
total = best
for i in range(k, n):
    total += xs[i] - xs[i - k]
    best = max(best, total)
print('best', best)
"""
COUNTS = {1: 0, 2: 1, 3: 7, 6: 8, 7: 16, 27: 111}
KINDS: dict[str, tuple[str, Problem]] = {
    "asserts": (
        COLLATZ,
        problem([{"code": f"assert steps({n}) == {m}"} for n, m in COUNTS.items()], entry_point="steps"),
    ),
    "args": (COLLATZ, problem([{"args": f"[{n}]", "output": str(m)} for n, m in COUNTS.items()], entry_point="steps")),
    "stdin": (
        WINDOW,
        problem(
            [
                {"input": "5 2\n1 9 -3 8 4\n", "output": "best 12\n"},
                {"input": "4 3\n5 -1 2 7\n", "output": "best 8\n"},
                {"input": "3 1\n-4 -2 -9\n", "output": "best -2\n"},
                {"input": "2 2\n3 4\n", "output": "best 7"},
            ]
        ),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_spoilt_programs_fail(sandbox: Sandbox, kind: str) -> None:
    code, made = KINDS[kind]
    quick = made.model_copy(update={"meta": json.dumps(json.loads(made.meta) | {"time_limit_s": 0.1})})
    assert (await judge_program(fenced(code), quick, sandbox)).is_correct
    passed, n = [], 0
    for operator in OPERATORS:
        for mutant in mutants(code, operator, 2 if operator == "loop" else 4, random.Random(0)):
            check = await judge_program(fenced(mutant.code), quick, sandbox)
            assert check.verdict is not Judgement.UNDECIDED
            n += 1
            if check.verdict is not Judgement.WRONG:
                passed.append((operator, mutant.what))
    assert n >= 8
    assert not passed


def test_a_mutant_is_another_program_that_parses() -> None:
    for operator in OPERATORS:
        found = mutants(WINDOW, operator, 50, random.Random(1))
        assert len({mutant.code for mutant in found}) == len(found) > 0
        assert all(ast.unparse(ast.parse(mutant.code)) != ast.unparse(ast.parse(WINDOW)) for mutant in found)
        assert found == mutants(WINDOW, operator, 50, random.Random(1))


def test_variations_keep_the_types() -> None:
    calls = ['["f", "{\\"tuple\\": [{\\"tuple\\": [3, \\"ab\\", [1, 2]]}, {\\"dict\\": []}]}"]']
    made = variations(calls, 40, random.Random(0), is_call=True)
    assert len(set(made)) == 40
    for text in made:
        args = json.loads(json.loads(text)[1])["tuple"][0]["tuple"]
        assert [type(arg) for arg in args] == [int, str, list]
    texts = variations(["3\n1 2 x\n"], 20, random.Random(0), is_call=False)
    assert all(len(text.split()) == 4 and text.count("\n") == 2 for text in texts)


def test_what_counts_as_the_same_result() -> None:
    assert same("1", '{"float": "1.0"}', is_call=True)
    assert same('{"float": "nan"}', '{"float": "nan"}', is_call=True)
    assert not same("1", None, is_call=True)
    assert same("1 2\n", "1\n2", is_call=False)
    assert not same("1 2\n", "1 3", is_call=False)
