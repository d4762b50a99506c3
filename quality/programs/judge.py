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

Tests stop at the first that fails, which is recorded. The sandbox's limits hold for each test, with two exceptions: a
problem's `time_limit_s` in `meta` takes the place of the CPU seconds (see `schemas.recipe.Judge`), and twice as much
may be printed as is expected. `total_s` holds for all tests together.

Not covered: memory limits that problems bring along.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quality.programs.asserts import Failed, Ran, Suite, run_asserts
from quality.programs.final import final_program
from quality.programs.outputs import TOLERANCE, same_output
from schemas.protocols import ExecResult, Limits, Sandbox
from schemas.recipe import Judge
from schemas.records import Problem
from schemas.vocabulary import ExecStatus, Judgement

VERSION = 3
"""Part of the judge's hash: raised when the same program would be judged otherwise."""
RULES = Judge()
_VALUE_BYTES = 8 << 20
"""Of what a call returns, encoded: a value is no output that anybody is to read."""
_MOST_BYTES = 16 << 20
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


async def judge_program(text: str, problem: Problem, sandbox: Sandbox, rules: Judge = RULES) -> CodeCheck:
    """Run the tests of a problem on what a model wrote.

    Args:
        text: Everything after the prompt.
        problem: Of domain code, with tests.
        sandbox: Open; its limits hold for each test.
        rules: The seconds for all tests together, and what becomes of a problem's own time limit.

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
        async with asyncio.timeout(rules.total_s):
            ran = await _run(program, tests, meta, sandbox, _limits(tests, meta, sandbox.limits, rules))
    except TimeoutError:
        seconds = time.perf_counter() - started
        return CodeCheck(Judgement.TIMEOUT, 0, len(tests), f"{len(tests)} tests took more than {seconds:.0f} s")
    verdict = _verdict(ran, meta)
    how = ", beside the program" if ran.how else ""
    how += "" if ran.is_sure else ", which could have reached them"
    why = f"; {_why(ran.failed)}" if ran.failed else ""
    detail = _storable(f"{ran.n_passed} of {len(tests)} tests{how}{why}"[:500])
    return CodeCheck(verdict, ran.n_passed, len(tests), detail, _shown(ran.failed))


def _limits(tests: Sequence[dict[str, Any]], meta: Mapping[str, Any], base: Limits, rules: Judge) -> Limits:
    """Of each test of a problem."""
    is_printed = "input" in tests[0]
    most = max(2 * len(test["output"].encode()) for test in tests) if is_printed else _VALUE_BYTES
    output_bytes = max(base.output_bytes, min(most, _MOST_BYTES))
    if not meta.get("time_limit_s"):
        return replace(base, output_bytes=output_bytes)
    cpu_s = min(float(meta["time_limit_s"]) * rules.time_factor, rules.max_test_s)
    return replace(base, cpu_s=cpu_s, wall_s=base.wall_s * max(1.0, cpu_s / base.cpu_s), output_bytes=output_bytes)


async def _run(
    program: str, tests: Sequence[dict[str, Any]], meta: Mapping[str, Any], sandbox: Sandbox, limits: Limits
) -> Ran:
    entry = meta.get("entry_point")
    if "code" in tests[0]:
        suite = Suite([test["code"] for test in tests], entry or "", meta.get("prelude", ""), meta.get("setup", ""))
        return await run_asserts(program, suite, sandbox, limits)
    if "input" in tests[0] and meta.get("checker"):
        return await _with_checker(program, tests, str(meta["checker"]), sandbox, limits)
    is_call, tolerance = "args" in tests[0], float(meta.get("tolerance", TOLERANCE))

    def accept(index: int, result: ExecResult) -> bool:
        if result.status is not ExecStatus.OK:
            return False
        expected = tests[index]["output"]
        return _same_json(result.stdout, expected) if is_call else same_output(result.stdout, expected, tolerance)

    runs = await sandbox.run_tests(
        program,
        [test["args"] if is_call else test["input"] for test in tests],
        accept=accept,
        entry=entry if is_call else None,
        stop_early=True,
        limits=limits,
    )
    return _ran([run.result for run in runs], [run.passed for run in runs], tests)


async def _with_checker(
    program: str, tests: Sequence[dict[str, Any]], checker: str, sandbox: Sandbox, limits: Limits
) -> Ran:
    """Run all tests, then the problem's own judge on what was printed."""
    runs = await sandbox.run_tests(
        program,
        [test["input"] for test in tests],
        accept=lambda _, result: result.status is ExecStatus.OK,
        stop_early=True,
        limits=limits,
    )
    word = secrets.token_hex(8)
    results, judged = [], []
    for test, run in zip(tests, runs, strict=False):
        result, passed = run.result, False
        if run.passed:
            given = (test["input"], result.stdout, test["output"])
            code = f"{checker}\nprint('\\n{word}', check(*{given!r}) is True)"
            said = await sandbox.run(code, limits=Limits(wall_s=20.0, cpu_s=10.0))
            passed = said.status is ExecStatus.OK and said.stdout.endswith(f"\n{word} True\n")
            if said.status in _NOTHING_KNOWN:
                result = said
        results.append(result)
        judged.append(passed)
        if not passed:
            break
    return _ran(results, judged, tests)


def _ran(results: Sequence[ExecResult], passed: Sequence[bool], tests: Sequence[dict[str, Any]]) -> Ran:
    index = next((i for i, good in enumerate(passed) if not good), None)
    if index is None:
        return Ran(len(passed), None)
    result, test = results[index], tests[index]
    lines = result.stderr.strip().splitlines()
    got = result.stdout if result.status is ExecStatus.OK else lines[-1] if lines else str(result.status)
    return Ran(sum(passed), Failed(index, str(test.get("args", test.get("input"))), test["output"], got, result.status))


def _verdict(ran: Ran, meta: Mapping[str, Any]) -> Judgement:
    if ran.failed is None:
        return Judgement.CORRECT if ran.is_sure else Judgement.UNDECIDED
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


def _storable(text: str) -> str:
    """Half characters (lone surrogates) escaped: an error message may hold what a program returned."""
    return text.encode(errors="backslashreplace").decode()


def _cut(text: str) -> str:
    text = _storable(text)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}\u2026 ({len(text):,} characters)"


def _same_json(got: str, expected: str) -> bool:
    try:
        return bool(json.loads(got) == json.loads(expected))
    except (ValueError, RecursionError):
        return False
