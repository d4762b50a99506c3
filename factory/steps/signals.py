"""The step that fills derived.signals."""

from factory.run import Run
from factory.steps.reading import BATCH, frame, query
from schemas.tables import SIGNALS
from warehouse.signals import signals
from warehouse.store import chunks


def measure_signals(run: Run) -> None:
    """Fill derived.signals for candidates that have none."""
    missing = query(
        run,
        "select t.trajectory_id, t.segments, t.tool_calls from staging.trajectories as t "
        "anti join derived.signals as s on s.trajectory_id = t.trajectory_id where t.is_candidate "
        "and t.stop_reason not in ('engine_error', 'sandbox_lost') order by 1",  # made again later
    )
    for batch in chunks(missing, BATCH):
        run.store.append(SIGNALS, signals(frame(batch)).to_dicts())
