"""How steps read the tables."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from factory.run import Run
from schemas.tables import TRAJECTORIES
from warehouse.models import build_models
from warehouse.store import fetch

BATCH = 512


def query(run: Run, sql: str) -> list[dict[str, Any]]:
    """Rows of a query over the shards, after building the models that it names."""
    with run.store.connect() as con:
        build_models(con, run.params, needed_by=sql)
        return fetch(con, sql)


def stream(run: Run, sql: str) -> Iterator[dict[str, Any]]:
    """As `query`, some hundred rows at a time."""
    with run.store.connect() as con:
        build_models(con, run.params, needed_by=sql)
        for batch in con.sql(sql).to_arrow_reader(BATCH):
            yield from batch.to_pylist()


def query_table(run: Run, sql: str) -> pa.Table:
    """As `query`, as an Arrow table: for many narrow rows."""
    with run.store.connect() as con:
        build_models(con, run.params, needed_by=sql)
        return con.sql(sql).to_arrow_table()


def stream_tables(run: Run, sql: str, n_rows: int, **given: pa.Table) -> Iterator[pa.Table]:
    """As `query`, as Arrow tables of at most so many rows: what a column transform wants, and never all of them.

    The query sees the tables `given` by their names.
    """
    with run.store.connect() as con:
        for name, table in given.items():
            con.register(name, table)
        build_models(con, run.params, needed_by=sql)
        for batch in con.sql(sql).to_arrow_reader(n_rows):
            yield pa.Table.from_batches([batch])


def frame(rows: list[dict[str, Any]], **more: pl.DataType | type[pl.DataType]) -> pl.DataFrame:
    """Rows as a frame with the store's types, so that an empty list or column keeps its type."""
    types = dict(pl.Schema(TRAJECTORIES.arrow_schema)) | more
    names = rows[0] if rows else ("trajectory_id", "segments", *more)
    return pl.DataFrame(rows, schema={name: types[name] for name in names})
