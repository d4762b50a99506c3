"""Rows of derived.gold_checks and derived.verdicts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from quality.answers import clean_gold, extract
from quality.checkers import Check, Checkers
from schemas.records import Problem, Verdict
from schemas.vocabulary import VerifierName

_WINDOW = 256
"""Checks under way at once: enough to keep any pool busy, few enough to hold in memory."""
_SHOWN_CHARS = 160


async def check_golds(problems: Sequence[Problem], checkers: Checkers, recipe_id: str) -> list[dict[str, Any]]:
    """Ask every problem's own verifier whether it accepts the gold: rows of derived.gold_checks, in the same order.

    A problem whose gold is not accepted can never be solved; it is marked before a token is spent on it.
    Equal texts are not enough: the gold must be readable.
    """
    return list(await asyncio.gather(*(_check_gold(problem, checkers, recipe_id) for problem in problems)))


async def _check_gold(problem: Problem, checkers: Checkers, recipe_id: str) -> dict[str, Any]:
    gold = _gold(problem)
    check = await checkers.check(VerifierName(problem.verifier), gold, gold, problem.meta, shortcut=False)
    why_not = "" if check.is_correct else "there is no gold" if gold is None else f"{_shown(gold)}: {check.detail}"
    return {
        "problem_id": problem.problem_id,
        "recipe_id": recipe_id,
        "is_accepted": check.is_correct is True,
        "verdict": str(check.verdict),
        "detail": why_not,
    }


async def score(
    trajectories: Iterable[tuple[str, str, Problem]], checkers: Checkers, recipe_id: str
) -> AsyncIterator[dict[str, Any]]:
    """Judge trajectories: rows of derived.verdicts, as they finish (not in order).

    Args:
        trajectories: trajectory_id, what followed the prompt, the problem. Read lazily, a few hundred ahead.
        checkers: Workers, entered.
        recipe_id: Hash of the judging settings.

    Raises:
        SandboxError: no worker is left and none can be started.
    """
    pending: set[asyncio.Task[Verdict]] = set()
    try:
        for trajectory_id, text, problem in trajectories:
            pending.add(asyncio.create_task(_verdict(trajectory_id, text, problem, checkers, recipe_id)))
            if len(pending) >= _WINDOW:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result().model_dump(mode="json")
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result().model_dump(mode="json")
    finally:
        for task in pending:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _verdict(trajectory_id: str, text: str, problem: Problem, checkers: Checkers, recipe_id: str) -> Verdict:
    found = extract(text)
    verifier = VerifierName(problem.verifier)
    check = await checkers.check(verifier, _gold(problem), found.answer, problem.meta)
    return Verdict(
        trajectory_id=trajectory_id,
        recipe_id=recipe_id,
        verdict=check.verdict,
        is_correct=check.is_correct,
        verifier=verifier,
        step=check.step,
        second_opinion=check.second_opinion,
        disagreement=check.disagreement,
        detail=_detail(found.answer, found.rule, check),
        wall_ms=check.wall_ms,
    )


def _detail(answer: str | None, rule: str, check: Check) -> str:
    return check.detail if answer is None else f"{rule} {_shown(answer)}: {check.detail}"


def _gold(problem: Problem) -> str | None:
    return None if problem.gold_answer is None else clean_gold(problem.gold_answer)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "\u2026")
