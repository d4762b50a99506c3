"""The step that fills derived.signals."""

import polars as pl

from factory.progress import Reporter
from factory.run import Run
from factory.steps.reading import query, stream_tables
from schemas.tables import SIGNALS
from warehouse.signals import ROWS_AT_ONCE, signals

_MISSING = (
    "from staging.trajectories as t anti join "
    "(select trajectory_id from derived.signals where signals_version = {version}) as s "
    "on s.trajectory_id = t.trajectory_id where t.is_candidate "
    "and t.stop_reason not in ('engine_error', 'sandbox_lost')"  # made again later
)


def measure_signals(run: Run, ui: Reporter) -> None:
    """Fill derived.signals for candidates that have none by the definitions of today, some thousand at a time."""
    missing = _MISSING.format(version=run.params["signals_version"])
    n = query(run, f"select count(*) as n {missing}")[0]["n"]
    if not n:
        return
    with ui.step("signals", n, "trajectories") as advance:
        for table in stream_tables(run, f"select t.trajectory_id, t.segments, t.tool_calls {missing}", ROWS_AT_ONCE):
            run.store.append_table(SIGNALS, signals(pl.DataFrame(table)).to_arrow())
            advance(table.num_rows)
