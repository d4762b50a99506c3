"""Rows of derived.gold_checks and derived.verdicts for programs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from quality.programs.judge import RULES, judge_program
from schemas.protocols import Sandbox
from schemas.recipe import Judge
from schemas.records import Problem, Verdict
from schemas.vocabulary import Judgement, JudgeStep, VerifierName

_AT_ONCE = 16


async def check_program_golds(
    problems: Sequence[Problem], sandbox: Sandbox, recipe_id: str, rules: Judge = RULES
) -> list[dict[str, Any]]:
    """Run every problem's tests on its own reference solution: rows of derived.gold_checks, in the same order.

    A problem whose reference fails has broken tests, or needs what the sandbox does not give; one without a reference
    is taken as it is, and says so.
    """
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def check(problem: Problem) -> dict[str, Any]:
        is_accepted, verdict, detail = True, Judgement.CORRECT, "no reference solution to try the tests on"
        if problem.gold_answer is not None:
            async with at_once:
                found = await judge_program(problem.gold_answer, problem, sandbox, rules)
            is_accepted, verdict = found.is_correct is True, found.verdict
            detail = "" if is_accepted else f"the reference solution: {found.detail}"
        return {
            "problem_id": problem.problem_id,
            "recipe_id": recipe_id,
            "is_accepted": is_accepted,
            "verdict": str(verdict),
            "detail": detail,
        }

    return list(await asyncio.gather(*map(check, problems)))


async def score_programs(
    trajectories: Iterable[tuple[str, str, Problem]], sandbox: Sandbox, recipe_id: str, rules: Judge = RULES
) -> AsyncIterator[dict[str, Any]]:
    """Judge programs: rows of derived.verdicts, in order, a few at once.

    Args:
        trajectories: trajectory_id, what followed the prompt, the problem.
        sandbox: Open.
        recipe_id: Hash of the judging settings, the sandbox's limits included.
        rules: The recipe's time limits of programs.

    Raises:
        SandboxError: no interpreter could be started.
    """
    waiting: list[asyncio.Task[Mapping[str, Any]]] = []
    ahead = iter(trajectories)
    try:
        while True:
            while len(waiting) < _AT_ONCE and (item := next(ahead, None)) is not None:
                waiting.append(asyncio.create_task(_verdict(*item, sandbox, recipe_id, rules)))
            if not waiting:
                return
            yield dict(await waiting.pop(0))
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _verdict(
    trajectory_id: str, text: str, problem: Problem, sandbox: Sandbox, recipe_id: str, rules: Judge
) -> Mapping[str, Any]:
    started = time.perf_counter()
    check = await judge_program(text, problem, sandbox, rules)
    return Verdict(
        trajectory_id=trajectory_id,
        recipe_id=recipe_id,
        verdict=check.verdict,
        is_correct=check.is_correct,
        verifier=VerifierName.CODE_TESTS,
        step=JudgeStep.TESTS,
        second_opinion=None,
        disagreement=False,
        n_tests_passed=check.n_passed,
        n_tests=check.n_tests,
        failed_test=json.dumps(check.failed_test, ensure_ascii=False) if check.failed_test else None,
        detail=check.detail,
        wall_ms=round((time.perf_counter() - started) * 1000, 3),
    ).model_dump(mode="json")
