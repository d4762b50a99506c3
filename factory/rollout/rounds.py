"""Hint-infer round by round, as test-time scaling on benchmarks (START) and as further tries of a build.

Round 1 cuts the stored plain sample as a build does (the recipe's cuts, one branch). Round r of 2 and more continues
the *whole* text of round r - 1 before its stop token with the next hint: compute with Python, check the reasoning
again, think deeper, and so on in turn. Every round is a trajectory of its own; segments with their token ids, hints and
tool calls accumulate. `max_tokens` counts anew in every round, `max_calls` over all of them. The code of earlier rounds
is run again in the new session, so what it defined is there.

A text that cannot be continued gets no new trajectory: no cut in round 1, and later one that its budget ended or that
ends in code, for such a text has no stop token to stand before. Its last result stands for the later rounds, too.
"""

from collections.abc import Iterable, Iterator

from factory.rollout.attempt import text_of
from factory.rollout.debug import debug_program, public_samples
from factory.rollout.hints import PlannedHint, plan_hints
from factory.rollout.plan import (
    Planned,
    messages_for,
    opening_for,
    reassurance_for,
    seed_of,
    trajectory_id_of,
)
from factory.run import Run, execution_rules
from factory.settings import fingerprint
from schemas.protocols import Sampling
from schemas.records import Problem, Trajectory
from schemas.vocabulary import Arm, Cut, Domain, HintFunction, StopReason

ORDER = (HintFunction.COMPLEX_CALCULATION, HintFunction.SELF_REFLECTION, HintFunction.DEEPER_THINKING)
"""What rounds 1, 2, 3 ask for, then in turn again."""
ENDED = (StopReason.END, StopReason.LENGTH, StopReason.CONTEXT)


def tools_recipe_id(run: Run) -> str:
    """Hash of what determines an answer with tools and without hints."""
    hint = run.recipe.hint
    sampling: tuple[object, ...] = (hint.temperature, hint.top_p, hint.max_tokens, hint.max_calls)
    if hint.opening or hint.trust_output:
        sampling += (hint.opening, hint.trust_output, run.library.sha256)
    return fingerprint("tools", run.ids.baseline, sampling, execution_rules(run.recipe))


def plan_answers(run: Run, problems: Iterable[Problem], n_samples: int, *, tools: bool) -> list[Planned]:
    """`n_samples` answers per problem without hints; more samples leave the first ones as they are."""
    settings = run.recipe.hint if tools else run.recipe.baseline
    arm, recipe_id = (Arm.SELF, tools_recipe_id(run)) if tools else (Arm.BASELINE, run.ids.baseline)
    return [
        Planned(
            trajectory_id=trajectory_id_of(recipe_id, arm, problem.problem_id, index),
            recipe_id=recipe_id,
            problem=problem,
            arm=arm,
            sample_index=index,
            seed=seed_of(run.recipe.seed, arm, problem.problem_id, index),
            sampling=Sampling(settings.temperature, settings.top_p),
            max_tokens=settings.max_tokens,
            max_calls=run.recipe.hint.max_calls if tools else 0,
            messages=messages_for(run, problem),
            hint=opening_for(run, problem.problem_id, index, run.recipe.hint) if tools else None,
            reassurance=reassurance_for(run, problem.problem_id, index, run.recipe.hint) if tools else None,
            answers_anywhere=True,
        )
        for problem in problems
        for index in range(n_samples)
    ]


def plan_round(
    run: Run, previous: Iterable[Trajectory], number: int, *, answers_anywhere: bool = True
) -> Iterator[Planned]:
    """The next round of hints after `previous`; those that cannot be continued are left out.

    Args:
        run: The run.
        previous: In round 1 the plain samples, later the trajectories of the round before.
        number: Of the round, from 1.
        answers_anywhere: Whether an answer before the first hint counts; not in a build, where it was wrong.
    """
    settings = run.recipe.hint
    for trajectory in previous:
        problem = run.problems[trajectory.problem_id]
        hint = _hint(run, trajectory, problem, number) if trajectory.stop_reason in ENDED else None
        if hint is None:
            continue
        is_first = number == 1
        token_ids = [i for segment in trajectory.segments for i in segment.token_ids or ()]
        baseline = {"trajectory_id": trajectory.trajectory_id, "text": trajectory.text, "token_ids": token_ids}
        yield Planned(
            trajectory_id=trajectory_id_of(run.ids.rollout, Arm.HINT, trajectory.trajectory_id, number),
            recipe_id=run.ids.rollout,
            problem=problem,
            arm=Arm.HINT,
            sample_index=trajectory.sample_index,
            seed=seed_of(run.recipe.seed, Arm.HINT, problem.problem_id, trajectory.sample_index, number),
            sampling=Sampling(settings.temperature, settings.top_p),
            max_tokens=settings.max_tokens,
            max_calls=settings.max_calls,
            messages=messages_for(run, problem),
            baseline=baseline if is_first else None,
            hint=hint,
            earlier=None if is_first else trajectory,
            reassurance=reassurance_for(run, problem.problem_id, trajectory.sample_index, settings),
            round=number,
            answers_anywhere=answers_anywhere,
        )


def _hint(run: Run, trajectory: Trajectory, problem: Problem, number: int) -> PlannedHint | None:
    """The hint of one round. Code problems get the debug hint where the recipe has it and a test may be shown."""
    allowed = run.recipe.hint.functions
    program = ""
    if problem.domain is Domain.CODE and HintFunction.DEBUG in allowed and public_samples(problem):
        domain, functions = Domain.CODE, allowed
        program = debug_program(problem, run.library.templates)
    else:
        wanted = ORDER[(number - 1) % len(ORDER)]
        domain, functions = Domain.MATH, (wanted,) if wanted in allowed else allowed
    cuts = run.recipe.hint.cuts if number == 1 else (Cut.END,)
    settings = run.recipe.hint.model_copy(update={"functions": functions, "cuts": cuts, "branches": 1})
    hints = plan_hints(
        trajectory.trajectory_id,
        text_of(trajectory.segments),
        stop_reason=trajectory.stop_reason,
        domain=domain,
        settings=settings,
        library=run.library,
        seed=run.recipe.seed,
        program=program,
    )
    return hints[0] if hints else None
