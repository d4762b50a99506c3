"""D_seed: problems that the model gets wrong by itself and right once a hint makes it use Python (START, section 3).

One straight function; each line says which table it fills. Every step does the rows that are missing, so a killed
build, a raised limit and a changed recipe are all the same command.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.problems import load_problems, load_source
from factory.progress import Reporter
from factory.release.promote import Promotion, funnel_rows, promote
from factory.rollout.generate import generate
from factory.rollout.hints import load_library
from factory.rollout.plan import Planned, plan_baselines, plan_branches
from factory.run import Run, open_run
from factory.settings import fingerprint
from factory.steps import (
    check_gold_answers,
    judge_trajectories,
    mark_contamination,
    mark_duplicates,
    measure_signals,
    query,
    repair_trajectories,
    store_problems,
)
from factory.workbench import Workbench, name_of_engine
from quality.decontamination import BenchmarkItem
from schemas.recipe import Recipe
from schemas.tables import REJECTED_PROBLEMS
from warehouse.files import locked
from warehouse.repair import check_rules
from warehouse.store import Store


@dataclass(frozen=True)
class Built:
    """What a build made."""

    run: Run
    promotion: Promotion
    n_generated: int
    """Trajectories made by this call; 0 where everything was there."""


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
    check_rules(recipe.repair.rules)
    load_library(recipe.hint.library)
    loaded = load_problems(recipe.problems, base=Path.cwd())
    benchmarks = load_benchmarks(recipe)
    engine = name_of_engine(recipe)
    with locked(home):
        store = Store(home)
        store.tidy()
        async with Workbench(recipe, home, trust=trust) as bench:
            store.append(REJECTED_PROBLEMS, loaded.rejected)  # raw.rejected_problems
            items = [(item.benchmark, item.item, item.text) for item in benchmarks]
            run = open_run(
                "d_seed", recipe, store, engine, loaded.problems, fingerprint(items)
            )  # raw.runs, .run_problems
            ui.say(describe(run, loaded.n_folded, len(loaded.rejected)))
            store_problems(run)  # raw.problems
            await check_gold_answers(run, bench, ui)  # derived.gold_checks
            mark_contamination(run, benchmarks, ui)  # derived.contamination
            n_generated = await generate_baselines(run, bench, ui)  # raw.trajectories, arm baseline
            await judge_trajectories(run, bench, ui, "baseline verdicts")  # derived.verdicts
            n_generated += await generate_branches(run, bench, ui)  # raw.trajectories, arm hint
            await judge_trajectories(run, bench, ui, "hint verdicts")  # derived.verdicts
            measure_signals(run)  # derived.signals
            await repair_trajectories(run, bench, ui)  # raw.trajectories, with parent_id
            await judge_trajectories(run, bench, ui, "repair verdicts")  # derived.verdicts
            measure_signals(run)  # derived.signals
            mark_duplicates(run)  # derived.duplicate_pairs
            store.publish(run.params)  # staging, intermediate, marts
            show_funnel(store, ui)
            return Built(run, promote(run), n_generated)  # snapshots/d_seed/v<N>


async def generate_baselines(run: Run, bench: Workbench, ui: Reporter) -> int:
    """The model by itself on every problem whose gold holds and that no benchmark contains."""
    rows = query(
        run,
        "select problem_id from intermediate.problems_marked "
        "where drop_reason is null or drop_reason like 'baseline%' order by position",
    )
    return await _generate(run, bench, ui, "baseline", plan_baselines(run, [row["problem_id"] for row in rows]))


async def generate_branches(run: Run, bench: Workbench, ui: Reporter) -> int:
    """Hint branches on every problem whose baseline is known to be wrong."""
    rows = query(
        run,
        "select m.problem_id, t.trajectory_id, t.completion as text, t.stop_reason, "
        "flatten([s.token_ids for s in t.segments]) as token_ids "
        "from intermediate.problems_marked as m "
        "join staging.trajectories as t on t.trajectory_id = m.baseline_trajectory_id "
        "where m.drop_reason is null order by m.position",
    )
    return await _generate(run, bench, ui, "hint-infer", plan_branches(run, rows))


async def _generate(run: Run, bench: Workbench, ui: Reporter, name: str, planned: list[Planned]) -> int:
    """Make the planned trajectories that are missing; those that failed before are tried again."""
    with run.store.connect() as con:
        done = con.execute(
            "select trajectory_id from raw.trajectories where stop_reason not in ('engine_error', 'sandbox_lost')"
        ).fetchall()
    known = {row[0] for row in done}
    missing = [plan for plan in planned if plan.trajectory_id not in known]
    if missing and not bench.has_engine:
        ui.say(f"loading {run.engine_name}")
        await bench.engine()  # before the clock of the step starts
    with ui.step(name, len(missing), "trajectories") as advance:
        await generate(run, bench, missing, advance)
    return len(missing)


def load_benchmarks(recipe: Recipe) -> list[BenchmarkItem]:
    """The items that must not be trained on."""
    items = []
    for source in recipe.decontamination.benchmarks:
        loaded = load_source(source, base=Path.cwd())
        items += [BenchmarkItem(loaded.name, str(i), p.statement) for i, p in enumerate(loaded.problems, 1)]
    return items


def show_funnel(store: Store, ui: Reporter) -> None:
    """Print marts.funnel."""
    with store.read() as con:
        rows = funnel_rows(con)
    names = ("step", "unit", "rows_in", "rows_kept", "rows_dropped", "reasons")
    ui.table(names, [[row[name] for name in names] for row in rows])


def describe(run: Run, n_folded: int, n_rejected: int) -> str:
    """The first line of a build."""
    notes: list[Any] = [f"{n_folded:,} repeated ones folded"] if n_folded else []
    notes += [f"{n_rejected:,} bad rows in raw.rejected_problems"] if n_rejected else []
    extra = f" ({', '.join(notes)})" if notes else ""
    return f"{run.build} with recipe {run.recipe.name}: {len(run.problems):,} problems{extra}, {run.engine_name}"
