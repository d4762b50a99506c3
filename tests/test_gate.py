"""The gate: generated expectations, audits, Data Docs that open offline, and the message when it fails."""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quality.gate import gate_failure_message, promise, run_audits, run_gate
from quality.suites import expectations, validate_columns
from schemas.records import GateCheck
from schemas.tables import BOOL, INT, SEGMENT, SNAPSHOT, STRING, Column, Table

TABLE = Table(
    "things",
    "thing",
    ("id", "part"),
    (
        Column("id", STRING, "", unique=True),
        Column("part", INT, "", minimum=1),
        Column("is_good", BOOL, "", values=("true",)),
        Column("is_bad", BOOL, "", values=("false",)),
        Column("kind", STRING, "", values=("a", "b"), nullable=True),
        Column("segments", pa.list_(SEGMENT), ""),
        Column("note", STRING, "", nullable=True),
    ),
)
GOOD: dict[str, Any] = {
    "id": "1", "part": 1, "is_good": True, "is_bad": False, "kind": "a", "segments": [], "note": None,
}  # fmt: skip


def table_of(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{**GOOD, **row} for row in rows], schema=TABLE.arrow_schema)


def failing(candidate: pa.Table | Path) -> dict[str, int]:
    return {check.name: check.n_bad for check in validate_columns(candidate, TABLE, None) if not check.passed}


def test_a_good_candidate_passes_from_memory_and_from_parquet(tmp_path: Path) -> None:
    good = table_of({"id": "1"}, {"id": "2", "kind": None})
    checks = validate_columns(good, TABLE, None)
    assert all(check.passed for check in checks)
    assert [check.name for check in checks][:4] == ["types", "columns", "id.not_null", "id.unique"]
    assert [check.name for check in checks][-1] == "key"
    (tmp_path / "data").mkdir()
    for part in range(2):
        pq.write_table(good.slice(part, 1), tmp_path / "data" / f"{part}.parquet")
    assert failing(tmp_path / "data") == {}
    assert failing(tmp_path / "data" / "0.parquet") == {}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": None}, {"id.not_null": 1}),
        ({"id": "1", "part": 2}, {"id.unique": 2}),
        ({"id": "1"}, {"id.unique": 2, "key": 2}),
        ({"part": 0}, {"part.minimum": 1}),
        ({"is_good": False}, {"is_good.values": 1}),
        ({"is_bad": True}, {"is_bad.values": 1}),
        ({"is_good": None}, {"is_good.not_null": 1}),
        ({"kind": "c"}, {"kind.values": 1}),
        ({"segments": None}, {"segments.not_null": 1}),
    ],
)
def test_each_broken_promise_is_named_and_counted(row: dict[str, Any], expected: dict[str, int]) -> None:
    assert failing(table_of({}, {"id": "2", **row})) == expected


def test_wrong_columns_and_types() -> None:
    assert failing(table_of({}).drop_columns(["note"]))["columns"] == 1
    assert failing(table_of({}).append_column("extra", pa.array(["x"])))["columns"] == 1
    assert failing(table_of({}).select(["part", "id", *table_of({}).column_names[2:]]))["columns"] == 7
    text = table_of({}).set_column(1, "part", pa.array(["1"]))
    (types, *_) = validate_columns(text, TABLE, None)
    assert (types.passed, types.detail) == (False, "part is string, not int64")
    missing = failing(table_of({}).drop_columns(["kind"]))
    assert missing["kind.values"] == 1, "a promise that cannot be checked is not kept"


def test_every_promise_of_the_snapshot_becomes_an_expectation() -> None:
    names = {name for name, _ in expectations(SNAPSHOT)}
    for column in SNAPSHOT.columns:
        assert (f"{column.name}.not_null" in names) == (not column.nullable)
        assert (f"{column.name}.unique" in names) == column.unique
        assert (f"{column.name}.values" in names) == (column.values is not None)
        assert (f"{column.name}.minimum" in names) == (column.minimum is not None)


def test_data_docs_open_offline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    validate_columns(table_of({}, {"part": 0}), TABLE, tmp_path / "quality")
    pages = sorted((tmp_path / "quality").rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text()
        assert str(tmp_path) not in text
        assert "<script" not in text
        assert not re.search(r"(?:src|<link[^>]*href)\s*=\s*[\"']?https?:", text)
        for link in re.findall(r'href="([^"#:]+)"', text):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
    assert "part" in "".join(page.read_text() for page in pages)
    assert sum(file.stat().st_size for file in (tmp_path / "quality").rglob("*") if file.is_file()) < 500_000
    assert capfd.readouterr() == ("", ""), "nothing is printed"


def test_nothing_is_sent_or_printed_from_import_to_verdict(tmp_path: Path) -> None:
    program = f"""
import socket
def refuse(*_): raise SystemExit("the network was touched")
socket.socket.connect = socket.getaddrinfo = refuse
import pyarrow, pathlib
from quality.suites import validate_columns
from schemas.tables import STRING, Column, Table
table = Table("t", "row", ("a",), (Column("a", STRING, "", unique=True),))
validate_columns(pyarrow.table({{"a": ["1"]}}), table, pathlib.Path({str(tmp_path / "docs")!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert socket.socket.connect is not None


@pytest.fixture
def audits(tmp_path: Path) -> Path:
    folder = tmp_path / "audits"
    folder.mkdir()
    (folder / "a_positive.sql").write_text("-- no n is negative\nselect id, n from numbers where n < 0 order by id")
    (folder / "b_limit.sql").write_text("-- no n is above $top\nselect id from numbers where n > $top")
    return folder


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create table numbers as select 'id' || i as id, i - 5 as n from range(10) t(i)")
    return connection


def test_audits_select_bad_rows(connection: duckdb.DuckDBPyConnection, audits: Path) -> None:
    negative, limit = run_audits(connection, audits, {"top": 4, "unused": 1})
    assert (negative.name, negative.kind, negative.passed, negative.n_bad) == ("a_positive", "audit", False, 5)
    assert negative.detail == "no n is negative; first rows: id0 -5, id1 -4, id2 -3"
    assert limit == GateCheck(name="b_limit", kind="audit", passed=True, n_bad=0)


def test_an_audit_that_cannot_run_has_not_passed(connection: duckdb.DuckDBPyConnection, audits: Path) -> None:
    (audits / "c_broken.sql").write_text("select * from no_such_table")
    *_, broken = run_audits(connection, audits, {"top": 4})
    assert not broken.passed
    assert "no_such_table" in broken.detail
    assert promise("select 1").startswith("(the audit does not say")


def test_the_gate_runs_both_and_says_what_failed(connection: duckdb.DuckDBPyConnection, audits: Path) -> None:
    checks = run_gate(table_of({}, {"id": "2", "part": 0}), connection, audits, table=TABLE, params={"top": 4})
    message = gate_failure_message(checks, name="d_seed", n_rows=2, current="d_seed@v3", audits_dir=Path("audits"))
    assert message is not None
    assert message.splitlines() == [
        "d_seed: the candidate of 2 rows fails 2 of the gate's checks.",
        "  expectation 'part.minimum': 1 bad. rows 1: 0",
        "  audit 'a_positive': 5 bad. no n is negative; first rows: id0 -5, id1 -4, id2 -3",
        "    look at all: factory sql --file audits/a_positive.sql",
        "  state: nothing was promoted; the current snapshot is still d_seed@v3.",
    ]
    passed = [check for check in checks if check.passed]
    assert gate_failure_message(passed, name="d_seed", n_rows=2, current=None) is None
    first = gate_failure_message(checks, name="d_seed", n_rows=2, current=None)
    assert first is not None
    assert first.endswith("there is no snapshot of d_seed yet.")


def test_the_site_may_lie_in_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    validate_columns(table_of({}), TABLE, Path("docs"))
    assert (tmp_path / "docs" / "index.html").is_file()
