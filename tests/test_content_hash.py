"""The content hash of a snapshot: the same however its rows are stored, and another for any other cell."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from schemas.tables import SNAPSHOT
from tests.builders import segment, snapshot_rows
from warehouse.snapshots import content_hash


def test_the_content_hash_is_of_the_rows_alone(tmp_path: Path) -> None:
    rows = snapshot_rows(9)
    digest = content_hash(rows)
    assert content_hash(pa.concat_tables([rows.slice(0, 4), rows.slice(4)])) == digest
    layouts: list[dict[str, Any]] = [{"compression": "zstd"}, {"compression": None, "row_group_size": 2}]
    for i, options in enumerate(layouts):
        pq.write_table(rows, tmp_path / f"{i}.parquet", **options)
        assert content_hash(pq.read_table(tmp_path / f"{i}.parquet")) == digest
    (tmp_path / "parts").mkdir()
    for i in range(3):
        pq.write_table(rows.slice(3 * i, 3), tmp_path / "parts" / f"{i}.parquet")
    assert content_hash(pq.read_table(tmp_path / "parts", partitioning=None)) == digest


def test_every_cell_counts() -> None:
    rows = snapshot_rows(2)
    digests = {content_hash(rows)}
    for column in SNAPSHOT.columns:
        for i in range(2):
            cells = rows[column.name].to_pylist()
            cells[i] = {True: False, False: True}[cells[i]] if isinstance(cells[i], bool) else _other(cells[i])
            changed = rows.set_column(
                rows.schema.get_field_index(column.name), column.name, [pa.array(cells, column.type)]
            )
            digests.add(content_hash(changed))
    assert len(digests) == 1 + 2 * len(SNAPSHOT.columns)
    ids = rows.set_column(
        10, "segments", [pa.array([[segment("model", "It is ", 2, [1, 3])]] * 2, SNAPSHOT.columns[10].type)]
    )
    assert content_hash(ids) not in digests


def _other(cell: Any) -> Any:
    if cell is None:
        return "something"
    return (
        cell[1:] if isinstance(cell, list) and cell else cell + 1 if isinstance(cell, int) else cell + type(cell)("x")
    )


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3) | st.none()), max_size=4), st.data())
def test_different_rows_have_different_hashes(rows: list[tuple[str, str | None]], data: st.DataObject) -> None:
    def table(rows: list[tuple[str, str | None]]) -> pa.Table:
        return pa.table(
            {"a": pa.array([r[0] for r in rows], pa.string()), "b": pa.array([r[1] for r in rows], pa.string())}
        )

    others = data.draw(st.permutations(rows)) if rows else [("", None)]
    assert (content_hash(table(rows)) == content_hash(table(list(others)))) == (rows == list(others))


def test_names_and_their_order_count() -> None:
    a, b = pa.array(["1"]), pa.array(["2"])
    tables = [pa.table({"a": a, "b": b}), pa.table({"b": b, "a": a}), pa.table({"a": a, "c": b}), pa.table({"a": a})]
    tables += [pa.table({"a": pa.array([1]), "b": b}), pa.table({"a": pa.array(["1"]), "b": b}).slice(1)]
    assert len({content_hash(table) for table in tables}) == len(tables)
