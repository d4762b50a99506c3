"""Asserts (MBPP, HumanEval) judged without ever running them beside the solution.

The calls that the tests make are learnt first: read off where all arguments are literals, else from a rehearsal. The
solution answers them in its own process, and the tests run in another, on the answers. So a solution can read no test
and no expected value, and an object that equals everything is worth nothing: only plain data crosses.

Tests that need more of the solution than values (its classes, its helpers) run beside it, in one session; those are
few, and `beside` says so in the verdict. There, code that exits never echoes the word drawn for the run, but a program
that cheats inside Python can pass.
"""

import ast
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from quality.programs.guest import CALL, imports_for, literal_calls, rehearsal, solution_side, tests_side
from schemas.protocols import ExecResult, Sandbox
from schemas.vocabulary import ExecStatus

_MAX_ROUNDS = 300
"""Of tests whose calls depend on earlier answers."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The first test that failed."""

    index: int
    input: str
    expected: str
    got: str
    status: ExecStatus


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a list of tests."""

    n_passed: int
    failed: Failed | None
    how: str = ""
    """Empty, or `beside`."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Asserts, and what they take for granted."""

    tests: Sequence[str]
    """Statements that raise where the program is wrong."""
    entry: str
    """The function that they call."""
    prelude: str = ""
    """Code in front of the program, which the tests may use, too."""
    setup: str = ""
    """Code behind the program, in front of the tests."""


class CannotSeparate(Exception):
    """These tests need the solution in their own process."""


async def run_asserts(program: str, suite: Suite, sandbox: Sandbox) -> Ran:
    """Judge a program by asserts.

    Args:
        program: What the model wrote.
        suite: The asserts.
        sandbox: Open.
    """
    try:
        return await _apart(program, suite, sandbox)
    except (CannotSeparate, SyntaxError, RecursionError):
        return await _beside(program, suite, sandbox)


async def _apart(program: str, suite: Suite, sandbox: Sandbox) -> Ran:
    tests, entries = suite.tests, [suite.entry]
    known = _names(suite.prelude) | _names(suite.setup) | {suite.entry}
    imports, foreign = imports_for([suite.setup, *tests], known)
    if foreign:
        raise CannotSeparate(", ".join(sorted(foreign)))
    ground = f"{suite.prelude}\n{imports}\n{suite.setup}"
    solution = _Solution(solution_side(suite.prelude, program), sandbox)
    word = secrets.token_hex(8)
    calls = literal_calls(tests, entries)
    if calls is None:
        wanted, _ = await _tests(rehearsal(ground, tests, entries, word), word, sandbox)
    else:
        wanted = [json.dumps(call) for call in calls]
    await solution.answer(wanted)
    for _ in range(_MAX_ROUNDS):
        wanted, outcomes = await _tests(tests_side(ground, tests, entries, solution.memory, word), word, sandbox)
        if not wanted:
            break
        await solution.answer(wanted)
    else:
        raise CannotSeparate("too many calls")
    for index, (error, last_call) in enumerate(outcomes):
        if error == "opaque":
            raise CannotSeparate("arguments that are no plain data")
        if error is not None:
            return Ran(index, solution.failed(index, tests[index], error, last_call or ""))
    if len(outcomes) < len(tests):
        raise CannotSeparate("the tests ended early")
    return Ran(len(tests), None)


class _Solution:
    """The solution's side, and what it answered."""

    def __init__(self, code: str, sandbox: Sandbox) -> None:
        self._code = code
        self._sandbox = sandbox
        self._ends: dict[str, ExecResult] = {}
        self.memory: dict[str, str | None] = {}
        """By call; None where it gave nothing that can be compared."""

    async def answer(self, wanted: Sequence[str]) -> None:
        """Make these calls, but for those that were made before."""
        new = [key for key in wanted if key not in self.memory]
        runs = await self._sandbox.run_tests(
            self._code, new, accept=lambda _, result: result.status is ExecStatus.OK, entry=CALL
        )
        for key, run in zip(new, runs, strict=True):
            self.memory[key] = _answer_of(run.result) if run.passed else None
            self._ends[key] = run.result

    def failed(self, index: int, test: str, error: str, last_call: str) -> Failed:
        """What to say of a test that failed after this call."""
        answer, result = self.memory.get(last_call), self._ends.get(last_call)
        if answer is not None or result is None:
            got = f"{error}; the call gave {answer}" if answer is not None else error
            return Failed(index, last_call, test.strip(), got, ExecStatus.ERROR)
        lines = result.stderr.strip().splitlines()
        status = ExecStatus.ERROR if result.status is ExecStatus.OK else result.status
        return Failed(index, last_call, test.strip(), lines[-1] if lines else "it gave nothing to compare", status)


def _answer_of(result: ExecResult) -> str | None:
    """The encoded value; None where the process ended well without giving one."""
    try:
        answer = json.loads(result.stdout)
    except ValueError:
        return None
    return answer if isinstance(answer, str) else None


def _names(code: str) -> frozenset[str]:
    found = set[str]()
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return frozenset(found)


async def _tests(code: str, word: str, sandbox: Sandbox) -> tuple[list[str], list[list[str | None]]]:
    """The calls that were not remembered, and per test the error and the last call."""
    result = await sandbox.run(code)
    try:
        said, wanted, outcomes = json.loads(result.stdout.rstrip("\n").rpartition("\n")[2])
    except (ValueError, TypeError):
        raise CannotSeparate(f"the tests ended with {result.status}") from None
    if said != word:
        raise CannotSeparate("the tests ended early")
    return list(dict.fromkeys(wanted)), outcomes


async def _beside(program: str, suite: Suite, sandbox: Sandbox) -> Ran:
    """Prelude, program, setup and tests as blocks of one session; each must end well and echo the word."""
    session, word = await sandbox.session(), secrets.token_hex(8)

    async def run(code: str) -> tuple[ExecResult, bool]:
        result = await session.run(f"{code}\n{word!r}")
        is_whole = result.stdout.endswith(f"{word!r}\n") and not result.diverged
        return result, result.status is ExecStatus.OK and is_whole

    try:
        before = [suite.prelude, program, suite.setup]
        for number, code in enumerate([*before, *suite.tests]):
            result, passed = await run(code)
            if not passed:
                lines = result.stderr.strip().splitlines()
                got = lines[-1] if lines else f"{result.status}, {result.stdout[:160]!r}"
                index = max(number - len(before), 0)
                return Ran(index, Failed(index, "", suite.tests[index].strip(), got, result.status), "beside")
        return Ran(len(suite.tests), None, "beside")
    finally:
        await session.aclose()
