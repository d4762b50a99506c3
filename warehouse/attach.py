"""DuckDB over Parquet shards: connections that spill to disk, and stored tables in which every key stands once.

Which rows an older row of the same key gives way to is found by reading keys alone. Nearly always there are none, and
a table is then its files and nothing else, so a query reads the columns that it names and no text that it does not.
"""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from schemas.tables import Table

MEMORY = "FACTORY_MEMORY_GB"
"""Environment variable: what DuckDB may hold in memory, in GB; what does not fit goes to the disk."""
SHARE_OF_MACHINE = 0.25
LEAST_GB = 2.0
GB_PER_THREAD = 1.5
"""Sorting wide rows pins blocks per thread: with less, DuckDB gives up instead of spilling (measured: 2 GB for two)."""
SPILL = ".spill-"
_count = itertools.count()


def memory_gb() -> float:
    """What a connection may hold: the environment variable, or a quarter of the machine or of its control group."""
    if given := os.environ.get(MEMORY):
        return max(float(given), 0.1)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        group = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        group = machine
    return max(min(machine, group) / 1e9 * SHARE_OF_MACHINE, LEAST_GB)


def open_database(path: Path | None, home: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A database in memory (or in a file) that spills into the home; nothing is made there before it has to."""
    con = duckdb.connect(str(path) if path else ":memory:", read_only=read_only)
    n_gb = memory_gb()
    con.execute(f"set memory_limit = '{n_gb:.2f}GB'")
    con.execute(f"set threads = {max(1, min(os.cpu_count() or 1, int(n_gb / GB_PER_THREAD)))}")
    con.execute(f"set temp_directory = {literal(str(home / f'{SPILL}{os.getpid()}-{next(_count)}'))}")
    con.execute("set timezone = 'UTC'")
    return con


def abandoned_spills(home: Path) -> list[Path]:
    """Folders of spilled rows whose process is gone."""
    return [folder for folder in home.glob(f"{SPILL}*") if not Path(f"/proc/{_process(folder)}").exists()]


def _process(folder: Path) -> str:
    return folder.name.removeprefix(SPILL).partition("-")[0]


def attach(
    con: duckdb.DuckDBPyConnection, table: Table, shards: Sequence[Path], *, copied: bool, known_unique: bool
) -> bool:
    """Make a stored table of its shards: of rows with one key the newest counts.

    Newest is the latest `created_at`. Tables without one never get two different rows of one key: each of their rows
    is made once, or with its whole shard.

    Args:
        con: Where.
        table: Its name may have no table yet.
        shards: Its files; none make an empty table.
        copied: Whether its rows are to be in the database, or only seen through it.
        known_unique: Whether every key of these very files is known to stand once.

    Returns:
        Whether it does.
    """
    con.execute(f"create schema if not exists {table.name.split('.')[0]}")
    if not shards:
        empty = table.arrow_schema.empty_table()
        con.register("empty", empty)
        con.execute(f"create table {table.name} as from empty")
        con.unregister("empty")
        return True
    files = f"[{', '.join(literal(str(path)) for path in shards)}]"
    kind = "table" if copied else "view"
    if known_unique or not _has_repeated_keys(con, table, files):
        con.execute(f"create {kind} {table.name} as from read_parquet({files})")
        return True
    older = f"superseded.{table.name.replace('.', '_')}"
    newest = "created_at desc, " if any(c.name == "created_at" for c in table.columns) else ""
    source = f"read_parquet({files}, filename = true, file_row_number = true)"
    con.execute("create schema if not exists superseded")
    con.execute(
        f"create table {older} as select filename, file_row_number from {source} "
        f"qualify row_number() over (partition by {', '.join(table.key)} order by {newest}filename) > 1"
    )
    con.execute(
        f"create {kind} {table.name} as select * exclude (filename, file_row_number) from {source} "
        f"anti join {older} using (filename, file_row_number)"
    )
    return False


def _has_repeated_keys(con: duckdb.DuckDBPyConnection, table: Table, files: str) -> bool:
    key = ", ".join(table.key)
    return bool(
        con.execute(f"select 1 from read_parquet({files}) group by {key} having count(*) > 1 limit 1").fetchall()
    )


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"
