"""Problem files: JSON lines, CSV and Parquet, read row by row with real line numbers.

A broken row is data (`Bad`); a file that cannot be read as a whole is a ProblemsError. Blank lines are passed over.
Memory is bounded by `MAX_LINE_BYTES`: a longer line is a bad row, and is skipped without being held.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from factory.problems.rows import Bad, Row, excerpt
from schemas.errors import ProblemsError
from schemas.vocabulary import RejectReason

MAX_LINE_BYTES = 64 * 1024 * 1024
SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".csv", ".csv.gz", ".parquet")
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BATCH_ROWS = 1_000


class Number(float):
    """A JSON number that remembers how it was spelled, since a gold answer is text: 1.10 is not rewritten to 1.1."""

    spelled: str

    def __str__(self) -> str:
        return self.spelled


def _number(spelled: str) -> Number:
    number = Number(spelled)
    number.spelled = spelled
    return number


_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=lambda _: None)


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows of a file with their line numbers (Parquet: row numbers), from 1.

    Raises:
        ProblemsError: missing, a folder, empty, of an unknown kind, truncated or damaged. The message has no file
            name: the caller knows what the user called it.
    """
    kind = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), None)
    line = 0
    try:
        if path.is_dir():
            raise ProblemsError("this is a folder. Name a file, or use a hub source for a dataset folder.")
        if path.stat().st_size == 0:
            raise ProblemsError("the file is empty (0 bytes).")
        if kind is None:
            raise ProblemsError(f"unknown kind of file. Known endings: {', '.join(SUFFIXES)}")
        read = _parquet if kind == ".parquet" else _csv if ".csv" in kind else _json_lines
        for line, row in read(path):
            yield line, row
    except FileNotFoundError:
        raise ProblemsError("no such file.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        where = f"after line {line:,}" if line else "at its start"
        raise ProblemsError(f"damaged or cut off {where} ({error}). Copy or download it again.") from error
    except OSError as error:
        raise ProblemsError(f"cannot be read: {error.strerror or error}") from error
    if line == 0:
        raise ProblemsError("the file holds no rows.")


def _open(path: Path) -> BufferedIOBase:
    with path.open("rb") as file:
        is_gzip = file.read(2) == GZIP_MAGIC
    if not is_gzip and path.suffix.lower() == ".gz":
        raise ProblemsError("named .gz, but not compressed with gzip. Rename it, or copy it again.")
    return gzip.open(path) if is_gzip else path.open("rb")


def _json_lines(path: Path) -> Iterator[tuple[int, Row]]:
    with _open(path) as file:
        line = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            line += 1
            if len(raw) > MAX_LINE_BYTES:
                yield line, Bad(RejectReason.BROKEN_ROW, f"longer than {MAX_LINE_BYTES:,} bytes", excerpt(raw))
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(MAX_LINE_BYTES)
                continue
            if line == 1:
                raw = raw.removeprefix(BYTE_ORDER_MARK)
            if raw.strip():
                yield line, _json_row(raw)


def _json_row(raw: bytes) -> Row:
    """One line of JSON lines. NaN and infinities, which JSON does not have but Python writes, are null."""
    try:
        row = _DECODER.decode(raw.decode().strip())
    except UnicodeDecodeError as error:
        return Bad(RejectReason.NOT_UTF8, f"byte 0x{raw[error.start]:02x} at column {error.start + 1}", excerpt(raw))
    except RecursionError:
        return Bad(RejectReason.BROKEN_ROW, "nested too deeply", excerpt(raw))
    except json.JSONDecodeError as error:
        return Bad(RejectReason.BROKEN_ROW, f"not JSON: {error.msg} at column {error.colno}", excerpt(raw))
    except ValueError as error:  # an integer with more than 4,300 digits
        return Bad(RejectReason.BROKEN_ROW, str(error), excerpt(raw))
    if not isinstance(row, dict):
        return Bad(RejectReason.BROKEN_ROW, f"a {type(row).__name__}, not an object with columns", excerpt(raw))
    return row


def _csv(path: Path) -> Iterator[tuple[int, Row]]:
    """A quoted field may hold line breaks; a row's number is that of its first line."""
    csv.field_size_limit(MAX_LINE_BYTES)  # of the whole process; the default of 128 KB is too small for statements
    last = b""

    def lines(file: BufferedIOBase) -> Iterator[str]:
        nonlocal last
        while last := file.readline(MAX_LINE_BYTES):
            yield last.decode("utf-8", "surrogateescape")

    with _open(path) as binary:
        reader = csv.reader(lines(binary), strict=True)
        header: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, Bad(RejectReason.BROKEN_ROW, f"not CSV: {error}", excerpt(last))
                continue
            if header is None:
                header = _header(fields)
            elif fields:
                yield line, _csv_row(header, fields)


def _header(fields: list[str]) -> list[str]:
    header = [name.strip().removeprefix("\ufeff") for name in fields]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ProblemsError(f"the first line names a column twice: {', '.join(twice)}")
    return header


def _csv_row(header: list[str], fields: list[str]) -> Row:
    joined = ",".join(fields)
    try:
        joined.encode()
    except UnicodeEncodeError as error:
        byte = ord(joined[error.start]) - 0xDC00
        return Bad(RejectReason.NOT_UTF8, f"byte 0x{byte:02x}", excerpt(joined.encode(errors="surrogateescape")))
    if len(fields) != len(header):
        return Bad(RejectReason.BROKEN_ROW, f"{len(fields)} fields, the header has {len(header)}", excerpt(joined))
    return dict(zip(header, fields, strict=True))


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    line = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for row in arrow_rows(batch):
                    line += 1
                    yield line, row
    except (pa.ArrowException, OSError) as error:
        where = f"after row {line:,}" if line else "at its start"
        raise ProblemsError(f"no readable Parquet file, damaged {where}: {str(error).splitlines()[0]}") from error


def arrow_rows(batch: Any) -> Iterator[Row]:
    """Rows of a record batch or table; a string that is not UTF-8 spoils its row alone."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for start in range(batch.num_rows):
        try:
            yield from batch.slice(start, 1).to_pylist()
        except UnicodeDecodeError as error:
            yield Bad(RejectReason.NOT_UTF8, f"byte 0x{error.object[error.start]:02x}")
