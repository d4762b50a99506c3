"""Programs judged by their problem's tests, inside the sandbox.

Tests are the JSON list of `Problem.tests`, all of one kind:

- {"code"}: statements that raise where the program is wrong (HumanEval's `check`, MBPP's asserts): `asserts`.
- {"input", "output"}: a program that reads stdin; its output is compared outside of the sandbox: `outputs`.
- {"args", "output"}: a function or method called with a JSON array; what it returns is compared outside, as JSON.

`{"hidden": true}` marks those that no model is shown. `meta` holds `entry_point`, and

- for {"code"} tests `prelude`, what the task's own text defines before the function, and `setup`, what the tests need
  behind it;
- for {"input"} tests `tolerance`, or, where other outputs are right, too, `checker`: Python source of
  `check(input, output, expected) -> bool`, run in the sandbox, in a process of its own. A problem with `special_judge`
  and no checker can be found right; anything else is undecided.

Tests stop at the first that fails, which is recorded. Limits hold for each test, and `total_s` for all of them.

Not covered: what `asserts` says of tests that run beside the program.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quality.programs.asserts import Failed, Ran, Suite, run_asserts
from quality.programs.final import final_program
from quality.programs.outputs import TOLERANCE, same_output
from schemas.protocols import ExecResult, Limits, Sandbox
from schemas.records import Problem
from schemas.vocabulary import ExecStatus, Judgement

VERSION = 2
"""Part of the judge's hash: raised when the same program would be judged otherwise."""
TOTAL_S = 60.0
_SHOWN_CHARS = 400
_NOTHING_KNOWN = {ExecStatus.LOST: Judgement.UNDECIDED, ExecStatus.TIMEOUT: Judgement.TIMEOUT}
"""The sandbox failed, or the clock ran out before the processor time did: nothing is known of the program."""


@dataclass(frozen=True, slots=True)
class CodeCheck:
    """What became of a program."""

    verdict: Judgement
    n_passed: int
    n_tests: int
    detail: str
    failed_test: dict[str, Any] | None = None
    """The first that failed: index, input, expected, got, status; long texts are cut."""

    @property
    def is_correct(self) -> bool | None:
        """None where the verdict is neither `correct` nor `wrong`."""
        return self.verdict.is_correct


async def judge_program(text: str, problem: Problem, sandbox: Sandbox, total_s: float = TOTAL_S) -> CodeCheck:
    """Run the tests of a problem on what a model wrote.

    Args:
        text: Everything after the prompt.
        problem: Of domain code, with tests.
        sandbox: Open; its limits hold for each test.
        total_s: Seconds for all tests together; then the verdict is `timeout`.

    Raises:
        ValueError: the problem has no tests.
    """
    tests: list[dict[str, Any]] = json.loads(problem.tests or "[]")
    if not tests:
        raise ValueError(f"problem {problem.problem_id} has no tests")
    meta: dict[str, Any] = json.loads(problem.meta)
    program = final_program(text, meta.get("entry_point"))
    started = time.perf_counter()
    try:
        async with asyncio.timeout(total_s):
            ran = await _run(program, tests, meta, sandbox)
    except TimeoutError:
        seconds = time.perf_counter() - started
        return CodeCheck(Judgement.TIMEOUT, 0, len(tests), f"{len(tests)} tests took more than {seconds:.0f} s")
    verdict = _verdict(ran, meta)
    how = ", beside the program" if ran.how else ""
    why = f"; {_why(ran.failed)}" if ran.failed else ""
    detail = f"{ran.n_passed} of {len(tests)} tests{how}{why}"[:500]
    return CodeCheck(verdict, ran.n_passed, len(tests), detail, _shown(ran.failed))


async def _run(program: str, tests: Sequence[dict[str, Any]], meta: dict[str, Any], sandbox: Sandbox) -> Ran:
    entry = meta.get("entry_point")
    if "code" in tests[0]:
        suite = Suite([test["code"] for test in tests], entry or "", meta.get("prelude", ""), meta.get("setup", ""))
        return await run_asserts(program, suite, sandbox)
    if "args" in tests[0]:
        runs = await sandbox.run_tests(
            program,
            [test["args"] for test in tests],
            accept=lambda i, result: result.status is ExecStatus.OK and _same_json(result.stdout, tests[i]["output"]),
            entry=entry,
            stop_early=True,
        )
        return _ran([run.result for run in runs], [run.passed for run in runs], tests)
    if meta.get("checker"):
        return await _with_checker(program, tests, str(meta["checker"]), sandbox)
    tolerance = float(meta.get("tolerance", TOLERANCE))
    runs = await sandbox.run_tests(
        program,
        [test["input"] for test in tests],
        accept=lambda i, result: (
            result.status is ExecStatus.OK and same_output(result.stdout, tests[i]["output"], tolerance)
        ),
        stop_early=True,
    )
    return _ran([run.result for run in runs], [run.passed for run in runs], tests)


async def _with_checker(program: str, tests: Sequence[dict[str, Any]], checker: str, sandbox: Sandbox) -> Ran:
    """Run all tests, then the problem's own judge on what was printed."""
    runs = await sandbox.run_tests(
        program,
        [test["input"] for test in tests],
        accept=lambda _, result: result.status is ExecStatus.OK,
        stop_early=True,
    )
    word = secrets.token_hex(8)
    judged = []
    for test, run in zip(tests, runs, strict=False):
        passed = False
        if run.passed:
            given = (test["input"], run.result.stdout, test["output"])
            code = f"{checker}\nprint('\\n{word}', check(*{given!r}) is True)"
            said = await sandbox.run(code, limits=Limits(wall_s=20.0, cpu_s=10.0))
            passed = said.status is ExecStatus.OK and said.stdout.endswith(f"\n{word} True\n")
        judged.append(passed)
        if not passed:
            break
    return _ran([run.result for run in runs], judged, tests)


def _ran(results: Sequence[ExecResult], passed: Sequence[bool], tests: Sequence[dict[str, Any]]) -> Ran:
    index = next((i for i, good in enumerate(passed) if not good), None)
    if index is None:
        return Ran(len(passed), None)
    result, test = results[index], tests[index]
    lines = result.stderr.strip().splitlines()
    got = result.stdout if result.status is ExecStatus.OK else lines[-1] if lines else str(result.status)
    return Ran(sum(passed), Failed(index, str(test.get("args", test.get("input"))), test["output"], got, result.status))


def _verdict(ran: Ran, meta: dict[str, Any]) -> Judgement:
    if ran.failed is None:
        return Judgement.CORRECT
    if ran.failed.status is ExecStatus.OK and meta.get("special_judge") and not meta.get("checker"):
        return Judgement.UNDECIDED
    return _NOTHING_KNOWN.get(ran.failed.status, Judgement.WRONG)


def _why(failed: Failed) -> str:
    if failed.status is ExecStatus.OK:
        return f"ended with {failed.got[:160]!r}"
    return f"{failed.status}: {failed.got[:200]}" if failed.got != str(failed.status) else str(failed.status)


def _shown(failed: Failed | None) -> dict[str, Any] | None:
    if failed is None:
        return None
    return {
        "index": failed.index,
        "input": _cut(failed.input),
        "expected": _cut(failed.expected),
        "got": _cut(failed.got),
        "status": str(failed.status),
    }


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}\u2026 ({len(text):,} characters)"


def _same_json(got: str, expected: str) -> bool:
    try:
        return bool(json.loads(got) == json.loads(expected))
    except (ValueError, RecursionError):
        return False
