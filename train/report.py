"""The leaderboard as a table for the terminal."""

from collections.abc import Sequence

import duckdb

from factory.progress import make_console, make_table
from warehouse.store import fetch

COLUMNS = {
    "label": "model",
    "benchmark": "benchmark",
    "arm": "arm",
    "n_rounds": "rounds",
    "n_problems": "problems",
    "n_samples": "samples",
    "pass_at_1": "pass@1",
    "interval": "95 % interval",
    "pass_at_k": "pass@k",
    "majority_at_k": "majority@k",
    "undecided_share": "undecided",
    "mean_tokens": "tokens",
    "tool_use_rate": "tool use",
    "tool_error_rate": "tool errors",
    "calls_per_problem": "calls",
}


def leaderboard(con: duckdb.DuckDBPyConnection, evaluation_ids: Sequence[str], benchmarks: Sequence[str]) -> None:
    """Print the rows of marts.leaderboard that an evaluation made, to stdout."""
    rows = fetch(
        con,
        "select *, low_95 || ' to ' || high_95 as interval from marts.leaderboard "
        "where evaluation_id in (select unnest($ids)) and benchmark in (select unnest($names))",
        {"ids": list(evaluation_ids), "names": list(benchmarks)},
    )
    make_console().print(make_table(list(COLUMNS.values()), [[row[name] for name in COLUMNS] for row in rows]))
