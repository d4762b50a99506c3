"""Asserts (MBPP, HumanEval) judged without ever running them beside the solution.

The calls that the tests make are learnt first: read off where all arguments are literals, else from a rehearsal. The
solution answers them in its own process, and the tests run in another, on the answers. So a solution can read no test
and no expected value, and an object that equals everything is worth nothing: only plain data crosses.

Tests that need more of the solution than values (its classes, its helpers) run beside it, in one session; those are
few, and `beside` says so. Which tests these are depends on the tests alone, so no solution can bring it about. There, a
program that passes is right only if it is plain (`plain`), and could do nothing to the tests; else it is undecided.

Not covered: functions that are tested by what they do to their arguments. The solution changes copies, so the reference
fails, and with it the check of golds.
"""

import ast
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quality.programs.guest import CALL, imports_for, literal_calls, rehearsal, solution_side, tests_side
from quality.programs.plain import is_plain
from schemas.protocols import ExecResult, Limits, Sandbox
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
    is_sure: bool = True
    """False where all passed beside a program that could have reached them."""


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


async def run_asserts(program: str, suite: Suite, sandbox: Sandbox, limits: Limits) -> Ran:
    """Judge a program by asserts.

    Args:
        program: What the model wrote.
        suite: The asserts.
        sandbox: Open.
        limits: Of each call, and of the tests.
    """
    word = secrets.token_hex(8)
    try:
        ground, calls = await _learn(suite, word, sandbox, limits)
    except (CannotSeparate, SyntaxError, RecursionError):
        return await _beside(program, suite, sandbox, limits)
    return await _apart(program, suite, (ground, calls), word, sandbox, limits)


async def _learn(suite: Suite, word: str, sandbox: Sandbox, limits: Limits) -> tuple[str, list[str]]:
    """What the tests take for granted, and the calls that they make, as far as these depend on no answer."""
    known = _names(suite.prelude) | _names(suite.setup) | {suite.entry}
    imports, foreign = imports_for([suite.setup, *suite.tests], known)
    if foreign:
        raise CannotSeparate(", ".join(sorted(foreign)))
    ground = f"{suite.prelude}\n{imports}\n{suite.setup}"
    calls = literal_calls(suite.tests, [suite.entry])
    if calls is not None:
        return ground, [json.dumps(call) for call in calls]
    said = await _tests(rehearsal(ground, suite.tests, [suite.entry], word), word, sandbox, limits)
    if isinstance(said, ExecResult) or said.is_opaque:
        raise CannotSeparate("they end early, or pass on what is no plain data")
    return ground, said.wanted


async def _apart(
    program: str, suite: Suite, learnt: tuple[str, list[str]], word: str, sandbox: Sandbox, limits: Limits
) -> Ran:
    """From here on everything may depend on what the solution answered, so there is no way back to `_beside`."""
    tests, (ground, calls) = suite.tests, learnt
    solution = _Solution(solution_side(suite.prelude, program), sandbox, limits)
    await solution.answer(calls)
    for _ in range(_MAX_ROUNDS):
        code = tests_side(ground, tests, [suite.entry], solution.memory, word)
        said = await _tests(code, word, sandbox, limits)
        if isinstance(said, ExecResult):
            status = ExecStatus.LOST if said.status is ExecStatus.OK else said.status
            return Ran(0, Failed(0, "", tests[0].strip(), "the tests ended early, on what the calls gave", status))
        if not said.wanted:
            break
        await solution.answer([*said.wanted, *calls])
    else:
        return Ran(0, Failed(0, "", tests[0].strip(), "the tests went on calling", ExecStatus.LOST))
    for index, (error, last_call) in enumerate(said.outcomes):
        if error is not None:
            return Ran(index, solution.failed(index, tests[index], error, last_call or ""))
    return Ran(len(tests), None)


class _Solution:
    """The solution's side, and what it answered."""

    def __init__(self, code: str, sandbox: Sandbox, limits: Limits) -> None:
        self._code = code
        self._sandbox = sandbox
        self._limits = limits
        self._ends: dict[str, ExecResult] = {}
        self.memory: dict[str, str | None] = {}
        """By call; None where it gave nothing that can be compared."""

    async def answer(self, wanted: Iterable[str]) -> None:
        """Make these calls, but for those that were made before, up to the first that gives nothing.

        The test that makes that one fails, as a rule, and then nobody asks for the others: an endless loop costs its
        time once, however many tests there are.
        """
        new = [key for key in dict.fromkeys(wanted) if key not in self.memory]
        runs = await self._sandbox.run_tests(
            self._code,
            new,
            accept=lambda _, result: result.status is ExecStatus.OK,
            entry=CALL,
            stop_early=True,
            limits=self._limits,
        )
        for key, run in zip(new, runs, strict=False):
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
    except (ValueError, RecursionError):
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


@dataclass(frozen=True, slots=True)
class _Said:
    """What the tests' side said."""

    wanted: list[str]
    """Calls that were not remembered."""
    outcomes: list[list[str | None]]
    """Per test the error and the last call."""
    is_opaque: bool
    """A call was made with what is no plain data."""


async def _tests(code: str, word: str, sandbox: Sandbox, limits: Limits) -> _Said | ExecResult:
    """What the tests said; the bare result where they did not come to their end."""
    result = await sandbox.run(code, limits=limits)
    try:
        said, wanted, outcomes, is_opaque = json.loads(result.stdout.rstrip("\n").rpartition("\n")[2])
    except (ValueError, TypeError, RecursionError):
        return result
    return _Said(list(dict.fromkeys(wanted)), outcomes, is_opaque) if said == word else result


async def _beside(program: str, suite: Suite, sandbox: Sandbox, limits: Limits) -> Ran:
    """Prelude, program, setup and tests as blocks of one session; each must end well and echo the word."""
    session, word = await sandbox.session(limits), secrets.token_hex(8)

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
        return Ran(len(suite.tests), None, "beside", is_plain(program, [suite.setup, *suite.tests]))
    finally:
        await session.aclose()
