"""The step that fills derived.duplicate_pairs."""

import polars as pl

from factory.run import Run
from factory.steps.reading import frame, query
from schemas.tables import DUPLICATE_PAIRS
from warehouse.duplicates import duplicate_pairs


def mark_duplicates(run: Run) -> None:
    """Fill derived.duplicate_pairs with the accepted trajectories that repeat another."""
    rows = query(
        run,
        "select l.trajectory_id, t.segments, l.n_tokens_model as n_tokens from intermediate.trajectories_live as l "
        "join staging.trajectories as t on t.trajectory_id = l.trajectory_id order by 1",
    )
    pairs = duplicate_pairs(frame(rows, n_tokens=pl.Int64), **run.recipe.duplicates.model_dump())
    run.store.replace(DUPLICATE_PAIRS, run.run_id, [{"run_id": run.run_id, **pair} for pair in pairs.to_dicts()])
