"""D_START: what a trained model (START-0) solves by itself, sampled several times per problem, tools on, no hints.

The same function with the tools off makes D_RFT, the paper's ablation: what the base model solves without Python. So
the two differ in nothing but what `[d_start]` and `[d_rft]` of the recipe say, and in the model.
"""

from pathlib import Path

from factory.builds.parts import Built, generate_missing, opened, show_funnel
from factory.progress import Reporter
from factory.release.promote import promote
from factory.rollout.plan import plan_samples
from factory.run import Run
from factory.steps.duplicates import mark_duplicate_statements, mark_duplicates
from factory.steps.judging import judge_trajectories
from factory.steps.problems import check_gold_answers, mark_contamination
from factory.steps.reading import query
from factory.steps.repair import repair_trajectories
from factory.steps.replay import replay_selected
from factory.steps.signals import measure_signals
from factory.workbench import Workbench
from schemas.recipe import Recipe


async def build_sampled(build: str, recipe: Recipe, home: Path, ui: Reporter, *, trust: bool = False) -> Built:
    """Build D_START or D_RFT and promote it.

    Args:
        build: `d_start` or `d_rft`.
        recipe: All settings.
        home: Where everything is kept.
        ui: Shows progress.
        trust: Run model code without isolation where the kernel refuses it; every row is marked.

    Raises:
        FactoryError: any of `schemas.errors`; all finished work is kept.
    """
    async with opened(build, recipe, home, ui, trust=trust) as (run, bench, benchmarks):  # raw.problems, raw.runs
        await check_gold_answers(run, bench, ui)  # derived.gold_checks
        mark_contamination(run, benchmarks, ui)  # derived.contamination
        mark_duplicate_statements(run, ui)  # derived.duplicate_pairs
        n_generated = await generate_samples(run, bench, ui)  # raw.trajectories, arm self (d_rft: baseline)
        await judge_trajectories(run, bench, ui, "verdicts")  # derived.verdicts
        measure_signals(run, ui)  # derived.signals
        await repair_trajectories(run, bench, ui)  # raw.trajectories, with parent_id
        await judge_trajectories(run, bench, ui, "repair verdicts")  # derived.verdicts
        measure_signals(run, ui)  # derived.signals
        mark_duplicates(run, ui)  # derived.duplicate_pairs
        await replay_selected(run, bench, ui)  # derived.replays
        run.store.publish(run.params)  # staging, intermediate, marts
        show_funnel(run, ui)
        return Built(run, promote(run), n_generated)  # snapshots/d_start/v<N>


async def generate_samples(run: Run, bench: Workbench, ui: Reporter) -> int:
    """Samples of every problem whose gold holds and that no benchmark contains."""
    rows = query(run, "select problem_id from intermediate.problems_marked where drop_reason is null order by position")
    ids = [row["problem_id"] for row in rows]
    return await generate_missing(run, bench, ui, "sampling", lambda: plan_samples(run, ids))
