"""The store of one home: append-only Parquet shards, and a DuckDB file made from them.

Shards are the truth. A shard is named after the keys of its rows and appears whole or not at all, so a killed process
leaves no torn file and a repeated write doubles nothing. `factory.duckdb` holds every table for readers; it is made
anew beside the old one and then takes its name, so readers never wait and never see half a state, and deleting it
loses nothing.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import HomeError, SqlError
from schemas.tables import STORED_TABLES, Table
from warehouse.attach import abandoned_spills, attach, literal, open_database
from warehouse.files import cannot_write, write_atomically
from warehouse.models import Params, build_models, model_files

DATABASE = "factory.duckdb"


class Store:
    """Tables of one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._unique: dict[str, list[tuple[Path, int, int]]] = {}
        """By table, the files whose keys were found to stand once: a build connects many times."""

    @property
    def database(self) -> Path:
        """The DuckDB file for readers."""
        return self.home / DATABASE

    def folder(self, table: Table) -> Path:
        """Where a table's shards lie."""
        return self.home.joinpath(*table.name.split("."))

    def shards(self, table: Table) -> list[Path]:
        """Whole shards, by name."""
        return sorted(self.folder(table).glob("[!.]*.parquet"))

    def tidy(self) -> None:
        """Remove the hidden drafts that killed writers left. Only for who holds the home's lock."""
        for folder in self.left_behind():
            shutil.rmtree(folder, ignore_errors=True)

    def left_behind(self) -> list[Path]:
        """Hidden folders of writers that were killed: drafts, and rows that were spilled."""
        places = ("", "raw/*/", "derived/*/", "models/", "pulled/*/")
        drafts = [draft for place in places for draft in self.home.glob(f"{place}.draft-*")]
        return [*drafts, *abandoned_spills(self.home)]

    def append(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as one shard. Rows must have exactly the table's columns.

        Raises:
            HomeError: the disk is full or the home cannot be written; nothing of these rows is visible then.
            pa.ArrowInvalid: a value has the wrong type, which is a bug of the caller.
        """
        if not rows:
            return
        keys = sorted(str(tuple(row[k] for k in table.key)) for row in rows)
        self.replace(table, _name_of(keys), rows)

    def replace(self, table: Table, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as the shard of a given name, in place of what it held: for rows that are made over a whole run.

        Empty rows make an empty shard, which says that the step was done (`has`).
        """
        self._write(table, name, pa.Table.from_pylist([dict(row) for row in rows], schema=table.arrow_schema))

    def append_table(self, table: Table, data: pa.Table) -> None:
        """As `append`, for columns in any order whose types can be cast to the table's."""
        if not data.num_rows:
            return
        data = data.select(table.arrow_schema.names).cast(table.arrow_schema)
        keys = sorted(str(key) for key in zip(*(data[name].to_pylist() for name in table.key), strict=True))
        self._write(table, _name_of(keys), data)

    def _write(self, table: Table, name: str, data: pa.Table) -> None:
        write_atomically(self._shard(table, name), lambda path: pq.write_table(data, path))

    def has(self, table: Table, name: str) -> bool:
        """Whether the shard of a given name exists."""
        return self._shard(table, name).is_file()

    def _shard(self, table: Table, name: str) -> Path:
        return self.folder(table) / f"{name}.parquet"

    @contextlib.contextmanager
    def connect(self, path: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database in memory that sees every stored table; or one in a new file, which holds them.

        Raises:
            HomeError: a shard cannot be read, now or by a query in the block; says which.
        """
        with open_database(path, self.home) as con:
            try:
                for table in STORED_TABLES.values():
                    if path is None or table.is_published:
                        self._attach(con, table, copied=path is not None)
                if path is not None:
                    con.execute("drop schema if exists superseded cascade")
                yield con
            except (duckdb.Error, SqlError) as error:
                if damaged := self._damaged():
                    raise damaged from error
                raise

    def _attach(self, con: duckdb.DuckDBPyConnection, table: Table, *, copied: bool) -> None:
        shards = self.shards(table)
        try:
            files = [(path, stat.st_size, stat.st_mtime_ns) for path in shards for stat in (path.stat(),)]
        except OSError:  # it went meanwhile, which reading it says better
            files = []
        known = bool(files) and self._unique.pop(table.name, None) == files
        if attach(con, table, shards, copied=copied, known_unique=known):
            self._unique[table.name] = files

    def _damaged(self) -> HomeError | None:
        """What to say of the first shard that is no whole Parquet file of its table; None where all are."""
        for table in STORED_TABLES.values():
            for path in self.shards(table):
                try:
                    pq.read_table(path, schema=table.arrow_schema, partitioning=None)
                    missing = set(table.arrow_schema.names) - set(pq.read_schema(path).names)
                    reason = f"it lacks {', '.join(sorted(missing))}" if missing else ""
                except (OSError, pa.ArrowException) as error:
                    reason = str(error).partition("\n")[0]
                if reason:
                    return HomeError(
                        f"the shard {path} cannot be read: {reason}\n"
                        f"  next:   move that file away and give the same command again; its rows are made anew\n"
                        f"  state:  nothing was changed."
                    )
        return None

    def ids(self, table: Table, column: str, **where: str) -> set[str]:
        """Distinct values of one column, of the rows where other columns have the given values."""
        condition = " and ".join(f"{name} = ?" for name in where) or "true"
        query = f"select distinct {column} from {table.name} where {condition}"
        with self.connect() as con:
            return {str(row[0]) for row in con.execute(query, list(where.values())).fetchall()}

    def publish(self, params: Params) -> None:
        """Make `factory.duckdb` anew: all stored tables, then all SQL models.

        Raises:
            HomeError: it cannot be written, or a shard cannot be read.
        """

        def write(path: Path) -> None:
            with self.connect(path) as con:
                con.execute("begin")  # a disk that fills up then shows itself in one place
                build_models(con, params)
                views = set(con.execute("select schema_name || '.' || view_name from duckdb_views()").fetchall())
                for name, comment in _comments().items():
                    kind = "view" if (name,) in views else "table"
                    con.execute(f"comment on {kind} {name} is {literal(comment)}")
                con.execute("commit")
                con.execute("checkpoint")  # closing does it too, and says nothing of a disk that is full

        try:
            write_atomically(self.database, write)
        except (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:  # commit, checkpoint
            raise cannot_write(self.database, OSError(str(error))) from error

    def read(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB file, read-only.

        Raises:
            HomeError: there is none, or it is not readable.
        """
        if not self.database.is_file():
            raise HomeError(
                f"{self.home} holds no warehouse yet.\n  next:  factory build d_seed, or name another --home"
            )
        try:
            return open_database(self.database, self.home, read_only=True)
        except duckdb.Error as error:
            raise HomeError(
                f"cannot open {self.database}: {error}\n"
                f"  next:   delete that file and give your last build command again; it is rebuilt from the shards"
            ) from error


def fetch(con: duckdb.DuckDBPyConnection, sql: str, values: object = None) -> list[dict[str, Any]]:
    """Rows of a query by column name; `values` are its parameters, as DuckDB takes them."""
    cursor = con.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _comments() -> dict[str, str]:
    """What each table is, for readers of the DuckDB file."""
    stored = {n: f"one row per {table.grain}" for n, table in STORED_TABLES.items() if table.is_published}
    return stored | {model.name: model.summary for model in model_files()}


def _name_of(keys: Sequence[str]) -> str:
    return hashlib.sha256(repr(keys).encode()).hexdigest()[:20]


def chunks(rows: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Lists of at most `size` rows."""
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
