"""Rows of derived.verdicts for programs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from quality.programs.judge import judge_program
from schemas.protocols import Sandbox
from schemas.records import Problem, Verdict
from schemas.vocabulary import JudgeStep, VerifierName

_AT_ONCE = 16


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
