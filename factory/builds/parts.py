"""What the builds share: their beginning, the generation of what is missing, and their end."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.problems import LoadedProblems, load_problems, source_name
from factory.problems.protected import load_items
from factory.progress import Reporter
from factory.release.promote import Promotion, funnel_rows
from factory.rollout.generate import generate
from factory.rollout.hints import load_library
from factory.rollout.plan import Planned
from factory.rollout.writer import finished_ids
from factory.run import Run, open_run, selection_of
from factory.settings import fingerprint
from factory.steps.problems import store_problems
from factory.workbench import Workbench, name_of_engine
from quality.decontamination.find import BenchmarkItem
from schemas.errors import RecipeError
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


@asynccontextmanager
async def opened(
    build: str,
    recipe: Recipe,
    home: Path,
    ui: Reporter,
    *,
    trust: bool,
    imported: tuple[LoadedProblems, str] | None = None,
) -> AsyncIterator[tuple[Run, Workbench, list[BenchmarkItem]]]:
    """A run over the recipe's problems, with the home locked.

    Fills raw.runs, raw.run_problems, raw.problems and raw.rejected_problems. `imported` are problems that came with
    their trajectories, and the name that stands for what wrote them.

    Raises:
        FactoryError: the recipe, the problems, the model or the home are not as they must be.
    """
    check_rules(recipe.repair.rules)
    load_library(recipe.hint.library)
    check_quotas(build, recipe)
    loaded, engine = imported or (load_problems(recipe.problems, base=Path.cwd()), name_of_engine(recipe))
    benchmarks = load_items(recipe.decontamination, base=Path.cwd())
    with locked(home):
        store = Store(home)
        store.tidy()
        async with Workbench(recipe, home, trust=trust) as bench:
            store.append(REJECTED_PROBLEMS, loaded.rejected)
            items = [(item.benchmark, item.item, item.text) for item in benchmarks]
            run = open_run(build, recipe, store, engine, loaded.problems, fingerprint(items))
            ui.say(describe(run, loaded.n_folded, len(loaded.rejected)))
            store_problems(run)
            yield run, bench, benchmarks


def check_quotas(build: str, recipe: Recipe) -> None:
    """Refuse a quota of a source that the recipe does not have.

    Raises:
        RecipeError: says which sources there are.
    """
    names = sorted({source_name(source) for source in recipe.problems.sources})
    for name in selection_of(build, recipe).quota_source:
        if name not in names:
            raise RecipeError(
                f"quota_source: the recipe has no source '{name}'.\n"
                f"  sources: {', '.join(names)}\n"
                f"  state:   nothing was written."
            )


async def generate_missing(
    run: Run, bench: Workbench, ui: Reporter, name: str, plan: Callable[[], Iterable[Planned]]
) -> int:
    """Make the planned trajectories that are missing; those that failed before are tried again.

    `plan` is called twice, to count and to make: plans come and go, and are never all in memory.
    """
    known = finished_ids(run.store)

    def missing() -> Iterator[Planned]:
        return (planned for planned in plan() if planned.trajectory_id not in known)

    n = sum(1 for _ in missing())
    if n:
        await bench.prepare(ui.say)
    with ui.step(name, n, "trajectories") as advance:
        await generate(run, bench, missing(), n, advance)
    return n


def show_funnel(run: Run, ui: Reporter) -> None:
    """Print marts.funnel."""
    with run.store.read() as con:
        rows = funnel_rows(con)
    names = ("step", "unit", "rows_in", "rows_kept", "rows_dropped", "reasons")
    ui.table(names, [[row[name] for name in names] for row in rows])


def describe(run: Run, n_folded: int, n_rejected: int) -> str:
    """The first line of a build."""
    notes: list[Any] = [f"{n_folded:,} repeated ones folded"] if n_folded else []
    notes += [f"{n_rejected:,} bad rows in raw.rejected_problems"] if n_rejected else []
    extra = f" ({', '.join(notes)})" if notes else ""
    return f"{run.build} with recipe {run.recipe.name}: {len(run.problems):,} problems{extra}, {run.engine_name}"
