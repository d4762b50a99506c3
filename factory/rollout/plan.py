"""What is to be generated: the id, prompt and hint of every trajectory, known before a token is spent."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from factory.rollout.debug import debug_program, public_samples
from factory.rollout.hints import PlannedHint, Reassurance, opening_of, plan_hints, reassurance_of
from factory.run import Run
from schemas.protocols import Sampling
from schemas.recipe import Hint, Sampled
from schemas.records import Problem, Trajectory
from schemas.vocabulary import Arm, Domain, StopReason


@dataclass(frozen=True)
class Planned:
    """One trajectory to be made."""

    trajectory_id: str
    recipe_id: str
    problem: Problem
    arm: Arm
    sample_index: int
    seed: int
    sampling: Sampling
    max_tokens: int
    max_calls: int
    messages: tuple[dict[str, str], ...]
    baseline: Mapping[str, Any] | None = None
    """Of a hint trajectory: trajectory_id, text and token_ids of the stored baseline."""
    hint: PlannedHint | None = None
    earlier: Trajectory | None = None
    """Of a later round of hints: the trajectory whose whole text is continued."""
    round: int = 1
    reassurance: Reassurance | None = None
    """Inserted once, where the model begins to doubt an output."""
    answers_anywhere: bool = False
    """Whether the answer may stand before the hint, too. A build hints wrong baselines only; an evaluation all."""


def messages_for(run: Run, problem: Problem) -> tuple[dict[str, str], ...]:
    """The chat that puts a problem to the model. Baseline and hint share it.

    The suffix asks for a final answer, which a program is not: code problems say themselves what is wanted.
    """
    prompt = run.recipe.prompt
    system = ({"role": "system", "content": prompt.system},) if prompt.system else ()
    suffix = "" if problem.domain is Domain.CODE else prompt.suffix
    return (*system, {"role": "user", "content": problem.statement + suffix})


def plan_baselines(run: Run, problem_ids: Sequence[str]) -> Iterator[Planned]:
    """One greedy (or sampled) answer per problem, without tools."""
    settings = run.recipe.baseline
    for problem_id in problem_ids:
        problem = run.problems[problem_id]
        yield Planned(
            trajectory_id=trajectory_id_of(run.ids.baseline, Arm.BASELINE, problem_id, 0),
            recipe_id=run.ids.baseline,
            problem=problem,
            arm=Arm.BASELINE,
            sample_index=0,
            seed=seed_of(run.recipe.seed, problem_id, Arm.BASELINE, 0),
            sampling=Sampling(settings.temperature, settings.top_p),
            max_tokens=settings.max_tokens,
            max_calls=0,
            messages=messages_for(run, problem),
        )


def plan_samples(run: Run, problem_ids: Sequence[str]) -> Iterator[Planned]:
    """The samples of a build without hints, one problem after the other, so that they share their prompt's prefix."""
    settings = run.sampled
    assert settings is not None
    arm = Arm.SELF if settings.max_calls else Arm.BASELINE
    for problem_id, index in product(problem_ids, range(settings.samples)):
        yield Planned(
            trajectory_id=trajectory_id_of(run.ids.rollout, arm, problem_id, index),
            recipe_id=run.ids.rollout,
            problem=run.problems[problem_id],
            arm=arm,
            sample_index=index,
            seed=seed_of(run.recipe.seed, problem_id, arm, index),
            sampling=Sampling(settings.temperature, settings.top_p),
            max_tokens=settings.max_tokens,
            max_calls=settings.max_calls,
            messages=messages_for(run, run.problems[problem_id]),
            hint=opening_for(run, problem_id, index, settings),
            reassurance=reassurance_for(run, problem_id, index, settings),
        )


def plan_branches(run: Run, baselines: Iterable[Mapping[str, Any]]) -> Iterator[Planned]:
    """The hint branches of failed baselines.

    Args:
        run: The run.
        baselines: Rows with problem_id, trajectory_id, text, token_ids, stop_reason.
    """
    settings = run.recipe.hint
    for row in baselines:
        problem = run.problems[row["problem_id"]]
        is_debug = problem.domain is Domain.CODE and bool(public_samples(problem))
        hints = plan_hints(
            row["trajectory_id"],
            row["text"],
            stop_reason=StopReason(row["stop_reason"]),
            domain=Domain.CODE if is_debug else Domain.MATH,  # without a sample there is nothing to debug with
            settings=settings,
            library=run.library,
            seed=run.recipe.seed,
            program=debug_program(problem, run.library.templates) if is_debug else "",
        )
        for hint in hints:
            yield Planned(
                trajectory_id=trajectory_id_of(run.ids.rollout, Arm.HINT, row["trajectory_id"], hint.branch),
                recipe_id=run.ids.rollout,
                problem=problem,
                arm=Arm.HINT,
                sample_index=hint.branch,
                seed=seed_of(run.recipe.seed, problem.problem_id, Arm.HINT, hint.branch),
                sampling=Sampling(settings.temperature, settings.top_p),
                max_tokens=settings.max_tokens,
                max_calls=settings.max_calls,
                messages=messages_for(run, problem),
                baseline=row,
                hint=hint,
                reassurance=reassurance_for(run, problem.problem_id, hint.branch, settings),
            )


def opening_for(run: Run, problem_id: str, index: int, settings: Hint | Sampled) -> PlannedHint | None:
    """The first words of an answer, where the settings want them."""
    return opening_of(run.library, f"{run.recipe.seed}:{problem_id}:{index}") if settings.opening else None


def reassurance_for(run: Run, problem_id: str, index: int, settings: Hint | Sampled) -> Reassurance | None:
    """What to say where the model doubts an output, where the settings want it."""
    return reassurance_of(run.library, f"{run.recipe.seed}:{problem_id}:{index}") if settings.trust_output else None


def trajectory_id_of(recipe_id: str, arm: Arm, parent: str, index: int) -> str:
    """The recipe_id holds every setting that shapes the text; parent and index say which of its texts this is."""
    return "t_" + _digest(recipe_id, arm, parent, index)[:20]


def seed_of(*parts: object) -> int:
    """A 31-bit seed of a trajectory's own, so that its draws do not depend on the order of work."""
    return int(_digest(*parts)[:8], 16) >> 1


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()
