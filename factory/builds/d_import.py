"""D_IMPORT: trajectories that were written elsewhere, taken through the same steps as ours.

Nothing is generated and no code is run: what a text says its tools printed is what is stored. So its rows are worth
what their verdicts are, and how many of their outputs come out again is for `factory replay` to say.
"""

from pathlib import Path

from factory.builds.parts import Built, opened, show_funnel
from factory.imports.files import Survey, TrajectoryFiles
from factory.progress import Reporter
from factory.release.promote import promote
from factory.run import IMPORT, Run
from factory.settings import fingerprint
from factory.steps.duplicates import mark_duplicate_statements, mark_duplicates
from factory.steps.imports import import_trajectories
from factory.steps.judging import judge_trajectories
from factory.steps.problems import check_gold_answers, mark_contamination
from factory.steps.repair import repair_trajectories
from factory.steps.replay import replay_selected
from factory.steps.signals import measure_signals
from factory.workbench import name_of_engine
from schemas.recipe import Recipe
from warehouse.store import fetch


async def build_d_import(recipe: Recipe, home: Path, ui: Reporter, *, trust: bool = False) -> Built:
    """Import the trajectories of the recipe's files and promote what is right.

    Args:
        recipe: All settings. `[problems]` names the files; its engine is the model whose tokens are counted.
        home: Where everything is kept.
        ui: Shows progress.
        trust: Check answers without isolation where the kernel refuses it.

    Raises:
        FactoryError: any of `schemas.errors`; all finished work is kept.
    """
    files = TrajectoryFiles(recipe.problems, recipe.d_import, Path.cwd())
    found = files.survey()
    source = (found.loaded, f"imported@{fingerprint(found.digest, name_of_engine(recipe))[:12]}")
    async with opened(IMPORT, recipe, home, ui, trust=trust, imported=source) as (run, bench, benchmarks):
        say_what_was_read(found, ui)  # raw.problems, raw.runs, raw.rejected_problems
        await check_gold_answers(run, bench, ui)  # derived.gold_checks
        mark_contamination(run, benchmarks, ui)  # derived.contamination
        mark_duplicate_statements(run, ui)  # derived.duplicate_pairs
        n_new = import_trajectories(run, bench, ui, files, found.n_rows)  # raw.trajectories, raw.imported_rows
        await judge_trajectories(run, bench, ui, "verdicts")  # derived.verdicts
        measure_signals(run, ui)  # derived.signals
        await repair_trajectories(run, bench, ui)  # raw.trajectories, with parent_id
        await judge_trajectories(run, bench, ui, "repair verdicts")  # derived.verdicts
        measure_signals(run, ui)  # derived.signals
        mark_duplicates(run, ui)  # derived.duplicate_pairs
        await replay_selected(run, bench, ui)  # derived.replays
        run.store.publish(run.params)  # staging, intermediate, marts
        show_funnel(run, ui)
        show_claims(run, ui)
        return Built(run, promote(run), n_new)  # snapshots/d_import/v<N>


def say_what_was_read(found: Survey, ui: Reporter) -> None:
    """How many rows there are, and what in them was not recognised."""
    ui.say(f"read: {found.n_rows:,} trajectories of {len(found.problems):,} problems")
    n_more = len(found.problems) - found.n_statements
    if n_more:
        ui.say(f"  {n_more:,} problems repeat the statement of another with another gold: at least one gold is wrong")
    for oddity, n in found.oddities.most_common():
        ui.say(f"  not recognised in {n:,} rows, left in the model's text: {oddity}")


def show_claims(run: Run, ui: Reporter) -> None:
    """Print marts.import_claims, where the files claim anything."""
    with run.store.read() as con:
        rows = fetch(con, "from marts.import_claims order by all")
    if any(row["claim"] is not None for row in rows):
        ui.table(list(rows[0]), [list(row.values()) for row in rows], title="What the files say, and what we say")
