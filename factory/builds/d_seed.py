"""D_seed: problems that the model gets wrong by itself and right once a hint makes it use Python (START, section 3).

One straight function; each line says which table it fills. Every step does the rows that are missing, so a killed
build, a raised limit and a changed recipe are all the same command.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from factory.builds.parts import Built, generate_missing, opened, show_funnel
from factory.progress import Reporter
from factory.release.promote import promote
from factory.rollout.plan import Planned, plan_baselines, plan_branches
from factory.rollout.rounds import plan_round
from factory.run import Run
from factory.steps.duplicates import mark_duplicate_statements, mark_duplicates
from factory.steps.judging import judge_trajectories
from factory.steps.problems import check_gold_answers, mark_contamination
from factory.steps.reading import query, stream
from factory.steps.repair import repair_trajectories
from factory.steps.replay import replay_selected
from factory.steps.signals import measure_signals
from factory.workbench import Workbench
from schemas.recipe import Recipe
from schemas.records import Trajectory


async def build_d_seed(recipe: Recipe, home: Path, ui: Reporter, *, trust: bool = False) -> Built:
    """Build D_seed and promote it.

    Args:
        recipe: All settings.
        home: Where everything is kept.
        ui: Shows progress.
        trust: Run model code without isolation where the kernel refuses it; every row is marked.

    Raises:
        FactoryError: any of `schemas.errors`; all finished work is kept.
    """
    async with opened("d_seed", recipe, home, ui, trust=trust) as (run, bench, benchmarks):  # raw.problems, raw.runs
        await check_gold_answers(run, bench, ui)  # derived.gold_checks
        mark_contamination(run, benchmarks, ui)  # derived.contamination
        mark_duplicate_statements(run, ui)  # derived.duplicate_pairs
        n_generated = await generate_baselines(run, bench, ui)  # raw.trajectories, arm baseline
        await judge_trajectories(run, bench, ui, "baseline verdicts")  # derived.verdicts
        n_generated += await generate_branches(run, bench, ui)  # raw.trajectories, arm hint
        await judge_trajectories(run, bench, ui, "hint verdicts")  # derived.verdicts
        n_generated += await generate_rounds(run, bench, ui)  # both again, for branches that are still wrong
        measure_signals(run, ui)  # derived.signals
        await repair_trajectories(run, bench, ui)  # raw.trajectories, with parent_id
        await judge_trajectories(run, bench, ui, "repair verdicts")  # derived.verdicts
        measure_signals(run, ui)  # derived.signals
        mark_duplicates(run, ui)  # derived.duplicate_pairs
        await replay_selected(run, bench, ui)  # derived.replays
        run.store.publish(run.params)  # staging, intermediate, marts
        show_funnel(run, ui)
        return Built(run, promote(run), n_generated)  # snapshots/d_seed/v<N>


async def generate_baselines(run: Run, bench: Workbench, ui: Reporter) -> int:
    """The model by itself on every problem whose gold holds and that no benchmark contains."""
    rows = query(
        run,
        "select problem_id from intermediate.problems_marked "
        "where drop_reason is null or drop_reason like 'baseline%' order by position",
    )
    ids = [row["problem_id"] for row in rows]
    return await generate_missing(run, bench, ui, "baseline", lambda: plan_baselines(run, ids))


async def generate_branches(run: Run, bench: Workbench, ui: Reporter) -> int:
    """Hint branches on every problem whose baseline is known to be wrong."""
    sql = (
        "select m.problem_id, t.trajectory_id, t.completion as text, t.stop_reason, "
        "flatten([s.token_ids for s in t.segments]) as token_ids "
        "from intermediate.problems_marked as m "
        "join staging.trajectories as t on t.trajectory_id = m.baseline_trajectory_id "
        "where m.drop_reason is null order by m.position"
    )
    return await generate_missing(run, bench, ui, "hint-infer", lambda: plan_branches(run, stream(run, sql)))


async def generate_rounds(run: Run, bench: Workbench, ui: Reporter) -> int:
    """Further hints for branches that are still wrong: rounds 2 to R, each judged before the next."""
    n_generated = 0
    for number in range(2, run.recipe.hint.rounds + 1):
        sql = (
            "select r.* from staging.trajectories as t join staging.verdicts as v on v.trajectory_id = t.trajectory_id "
            "join raw.trajectories as r on r.trajectory_id = t.trajectory_id "
            "where t.is_candidate and not t.is_repaired and v.is_correct = false "
            f"and list_max([h.round for h in t.hints]) = {number - 1} "
            "order by t.trajectory_id"
        )
        plan = partial(_plan_again, run, sql, number)
        n_generated += await generate_missing(run, bench, ui, f"hint round {number}", plan)
        await judge_trajectories(run, bench, ui, f"round {number} verdicts")
    return n_generated


def _plan_again(run: Run, sql: str, number: int) -> Iterator[Planned]:
    previous = (Trajectory.model_validate(row) for row in stream(run, sql))
    return plan_round(run, previous, number, answers_anywhere=False)
