"""How steps read the tables."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from factory.run import Run
from warehouse.models import build_models
from warehouse.store import fetch

BATCH = 512


def query(run: Run, sql: str) -> list[dict[str, Any]]:
    """Rows of a query over the shards, after building the models that it names."""
    with _opened(run, sql, {}) as con:
        return fetch(con, sql)


def stream(run: Run, sql: str) -> Iterator[dict[str, Any]]:
    """As `query`, some hundred rows at a time."""
    with _opened(run, sql, {}) as con:
        for batch in con.sql(sql).to_arrow_reader(BATCH):
            yield from batch.to_pylist()


def query_table(run: Run, sql: str, **given: pa.Table) -> pa.Table:
    """As `query`, as an Arrow table: for many narrow rows. The query sees the tables `given` by their names."""
    with _opened(run, sql, given) as con:
        return con.sql(sql).to_arrow_table()


def stream_tables(run: Run, sql: str, n_rows: int, **given: pa.Table) -> Iterator[pa.Table]:
    """As `query_table`, at most so many rows at a time: what a column transform wants, and never all of them."""
    with _opened(run, sql, given) as con:
        for batch in con.sql(sql).to_arrow_reader(n_rows):
            yield pa.Table.from_batches([batch])


@contextmanager
def _opened(run: Run, sql: str, given: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The shards, the models that a query names, and the tables given."""
    with run.store.connect() as con:
        for name, table in given.items():
            con.register(name, table)
        build_models(con, run.params, needed_by=sql)
        yield con
