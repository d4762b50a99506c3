"""Writing rows as JSON lines, gzipped JSON lines or Parquet: streamed, and whole or absent."""

import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import UsageError
from warehouse.files import write_atomically

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
BATCH_ROWS = 512


def check_ending(out: Path) -> None:
    """See that the file's name says what it is to be.

    Raises:
        UsageError: it does not.
    """
    if not out.name.endswith(ENDINGS):
        raise UsageError(
            f"--out {out}: the ending says how it is written, and this is none of {', '.join(ENDINGS)}.\n"
            f"  next:   --out {out.with_suffix('.jsonl')}\n"
            "  state:  nothing was written."
        )


def write_rows(out: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows in the form that the ending of `out` names; the same rows make the same bytes.

    Returns:
        How many there were.

    Raises:
        HomeError: it cannot be written; what was there before is unchanged.
        FactoryError: whatever `rows` raises; likewise.
    """
    n_rows = 0

    def counted() -> Iterator[Mapping[str, Any]]:
        nonlocal n_rows
        for row in rows:
            n_rows += 1
            yield row

    def write(path: Path) -> None:
        if path.name.endswith(".parquet"):
            _write_parquet(path, counted(), schema)
            return
        with path.open("wb") as raw:
            if path.name.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:  # no name or time in it
                    _write_lines(packed, counted())
            else:
                _write_lines(raw, counted())

    write_atomically(out, write)
    return n_rows


def _write_lines(file: BinaryIO | gzip.GzipFile, rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    rest = iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(rest, BATCH_ROWS)):
            writer.write_table(pa.Table.from_pylist([dict(row) for row in batch], schema=schema))
