"""Programs judged by their problem's tests, inside the sandbox.

The program is the last closed Python block that defines the entry point, else the last Python block, else the whole
text. Tests are the JSON list of `Problem.tests`, of three kinds:

- {"code"}: statements that raise where the program is wrong (HumanEval's `check`, MBPP's asserts). Prelude, program and
  each test are blocks of one *session*. All must end `ok` and echo, as their last line, a word drawn for this run: code
  that exits, also with 0 and from within a test, never gets there.
- {"input", "output"}: a program that reads stdin; its output is compared outside of the sandbox, token by token.
- {"args", "output"}: a function or method called with a JSON array; what it returns is compared outside, as JSON.

`meta` holds `entry_point` and, for {"code"} tests, `prelude`: what the task's own text defines before the function.

Not covered: with {"code"} tests, which run beside the program, a program that cheats inside Python passes, such as one
that returns objects equal to everything; special judges (other right outputs count as wrong).
"""

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from schemas.protocols import ExecResult, Sandbox
from schemas.records import Problem, Verdict
from schemas.vocabulary import CheckOutcome, ExecStatus, VerifierName
from warehouse.fences import blocks

VERSION = 1
"""Part of the judge's hash: raised when the same program would be judged otherwise."""
_AT_ONCE = 16
_UNDECIDED = {ExecStatus.LOST: CheckOutcome.ERROR, ExecStatus.TIMEOUT: CheckOutcome.TIMEOUT}
"""The sandbox failed, or the clock ran out before the processor time did: nothing is known of the program."""


@dataclass(frozen=True, slots=True)
class CodeCheck:
    """What became of a program."""

    is_correct: bool | None
    outcome: CheckOutcome
    n_passed: int
    n_tests: int
    detail: str


def final_program(text: str, entry_point: str | None) -> str:
    """The program that a text ends up with."""
    python = [block for block in blocks(text) if block.is_python]
    if entry_point:
        defining = [block for block in python if block.is_closed and _defines(block.code, entry_point)]
        if defining:
            return defining[-1].code
    return python[-1].code if python else text


def _defines(code: str, entry_point: str) -> bool:
    name = re.escape(entry_point.rpartition(".")[2])
    return re.search(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{name}\b|^{name}[ \t]*=", code, re.MULTILINE) is not None


async def judge_program(text: str, problem: Problem, sandbox: Sandbox) -> CodeCheck:
    """Run the tests of a problem on what a model wrote.

    Args:
        text: Everything after the prompt.
        problem: Of domain code, with tests.
        sandbox: Open; its limits hold for each test.

    Raises:
        ValueError: the problem has no tests.
    """
    tests: list[dict[str, Any]] = json.loads(problem.tests or "[]")
    if not tests:
        raise ValueError(f"problem {problem.problem_id} has no tests")
    meta: dict[str, Any] = json.loads(problem.meta)
    program = final_program(text, meta.get("entry_point"))
    if "code" in tests[0]:
        results = await _in_session([meta.get("prelude", ""), program], [test["code"] for test in tests], sandbox)
        return _summed(results, len(tests))
    entry = meta.get("entry_point") if "args" in tests[0] else None
    same = _same_json if entry else _same_output
    runs = await sandbox.run_tests(
        program,
        [test["args"] if entry else test["input"] for test in tests],
        accept=lambda i, result: result.status is ExecStatus.OK and same(result.stdout, tests[i]["output"]),
        entry=entry,
        stop_early=True,
    )
    return _summed([(run.result, run.passed) for run in runs], len(tests))


async def _in_session(before: Sequence[str], tests: Sequence[str], sandbox: Sandbox) -> list[tuple[ExecResult, bool]]:
    """Results of the tests, or that of the first block before them that fails."""
    session, word = await sandbox.session(), secrets.token_hex(8)

    async def run(code: str) -> tuple[ExecResult, bool]:
        result = await session.run(f"{code}\n{word!r}")
        is_whole = result.stdout.endswith(f"{word!r}\n") and not result.diverged
        return result, result.status is ExecStatus.OK and is_whole

    try:
        for code in before:
            if not (outcome := await run(code))[1]:
                return [outcome]
        results = []
        for code in tests:
            results.append(await run(code))
            if results[-1][0].status not in (ExecStatus.OK, ExecStatus.ERROR):
                break
        return results
    finally:
        await session.aclose()


def _summed(results: Sequence[tuple[ExecResult, bool]], n_tests: int) -> CodeCheck:
    n_passed = sum(passed for _, passed in results)
    failed = next((result for result, passed in results if not passed), None)
    if failed is None and n_passed == n_tests:
        return CodeCheck(True, CheckOutcome.OK, n_passed, n_tests, f"{n_passed} of {n_tests} tests")
    why = "" if failed is None else _why(failed)
    outcome = CheckOutcome.OK if failed is None else _UNDECIDED.get(failed.status, CheckOutcome.OK)
    decided = False if outcome is CheckOutcome.OK else None
    return CodeCheck(decided, outcome, n_passed, n_tests, f"{n_passed} of {n_tests} tests{why}"[:500])


def _why(result: ExecResult) -> str:
    if result.status is ExecStatus.OK:
        return f"; ended with {result.stdout[:160]!r}"
    lines = result.stderr.strip().splitlines()
    return f"; {result.status}" + (f": {lines[-1][:200]}" if lines else "")


def _same_output(got: str, expected: str) -> bool:
    """Equal line by line, token by token; two decimal numbers are equal by value. Blank lines at the end go."""
    rows, wanted = ([line.split() for line in text.rstrip().splitlines()] for text in (got, expected))
    return len(rows) == len(wanted) and all(
        len(a) == len(b) and all(_same_token(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(rows, wanted, strict=True)
    )


def _same_token(got: str, expected: str) -> bool:
    if got == expected:
        return True
    try:
        return len(got) < 400 and Decimal(got) == Decimal(expected)
    except InvalidOperation:
        return False


def _same_json(got: str, expected: str) -> bool:
    try:
        return bool(json.loads(got) == json.loads(expected))
    except (ValueError, RecursionError):
        return False


async def score_programs(
    trajectories: Iterable[tuple[str, str, Problem]], sandbox: Sandbox, recipe_id: str
) -> AsyncIterator[dict[str, Any]]:
    """Judge programs: rows of derived.verdicts, in order, a few at once.

    Args:
        trajectories: trajectory_id, what followed the prompt, the problem.
        sandbox: Open.
        recipe_id: Hash of the judging settings, the sandbox's limits included.

    Raises:
        SandboxError: no interpreter could be started.
    """
    waiting: list[asyncio.Task[Mapping[str, Any]]] = []
    ahead = iter(trajectories)
    try:
        while True:
            while len(waiting) < _AT_ONCE and (item := next(ahead, None)) is not None:
                waiting.append(asyncio.create_task(_verdict(*item, sandbox, recipe_id)))
            if not waiting:
                return
            yield dict(await waiting.pop(0))
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _verdict(
    trajectory_id: str, text: str, problem: Problem, sandbox: Sandbox, recipe_id: str
) -> Mapping[str, Any]:
    started = time.perf_counter()
    check = await judge_program(text, problem, sandbox)
    return Verdict(
        trajectory_id=trajectory_id,
        recipe_id=recipe_id,
        is_correct=check.is_correct,
        verifier=VerifierName.CODE_TESTS,
        second_opinion=None,
        disagreement=False,
        outcome=check.outcome,
        n_tests_passed=check.n_passed,
        n_tests=check.n_tests,
        detail=check.detail,
        wall_ms=round((time.perf_counter() - started) * 1000, 3),
    ).model_dump(mode="json")
