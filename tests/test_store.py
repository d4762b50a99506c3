"""The store: shards that are whole or absent, rows that do not double, and a database that is always rebuildable."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import HomeError, SqlError
from schemas.tables import GOLD_CHECKS, RUN_PROBLEMS, STORED_TABLES, TRAJECTORIES, VERDICTS
from tests.builders import PARAMS, later, row, rows_of, segment
from warehouse.files import write_atomically
from warehouse.models import model_files
from warehouse.store import Store, chunks

PUBLISHED = {name for name, table in STORED_TABLES.items() if table.is_published}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def files(store: Store) -> set[str]:
    return {path.relative_to(store.home).as_posix() for path in store.home.rglob("*") if path.is_file()}


def trajectory(trajectory_id: str, **values: Any) -> dict[str, Any]:
    return row(TRAJECTORIES, trajectory_id=trajectory_id, **values)


def query(store: Store, sql: str) -> list[tuple[Any, ...]]:
    with store.connect() as con:
        return rows_of(con, sql)


def test_an_empty_home_has_every_table_and_no_rows(store: Store) -> None:
    with store.connect() as con:
        for name, table in STORED_TABLES.items():
            described = con.execute(f"describe {name}").fetchall()
            assert [column[0] for column in described] == table.arrow_schema.names
            assert con.execute(f"select count(*) from {name}").fetchone() == (0,)
    assert not store.home.exists()  # reading makes nothing
    with pytest.raises(HomeError, match="holds no warehouse yet"):
        store.read()


def test_rows_come_back_as_they_were_written(store: Store) -> None:
    text = "zero \x00, a snowman \u2603, a smile \U0001f642 and ' quotes"
    given = trajectory("t1", segments=[segment("model", text, 3, [1, 2, 3])], n_tokens_model=3)
    store.append(TRAJECTORIES, [given])
    with store.connect() as con:
        got = con.sql("from raw.trajectories").to_arrow_table().to_pylist()
    assert [{**r, "created_at": given["created_at"]} for r in got] == [given]
    assert got[0]["created_at"] == given["created_at"]


def test_the_same_rows_twice_do_not_double(store: Store) -> None:
    rows = [trajectory("t1"), trajectory("t2")]
    store.append(TRAJECTORIES, rows)
    before = files(store)
    store.append(TRAJECTORIES, rows[::-1])  # a shard is named after its keys, in whatever order they come
    assert files(store) == before
    store.append(TRAJECTORIES, [trajectory("t2"), trajectory("t3")])
    assert len(files(store)) == 2
    assert query(store, "select trajectory_id from raw.trajectories order by 1") == [("t1",), ("t2",), ("t3",)]
    store.append(TRAJECTORIES, [])
    assert len(files(store)) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_two_rows_with_one_key_the_newest_counts(store: Store, order: Sequence[int]) -> None:
    versions = [("engine_error", 0, "a"), ("length", 5, "b"), ("end", 9, "c")]
    for i in order:
        stop, seconds, other = versions[i]
        store.append(TRAJECTORIES, [trajectory("t", stop_reason=stop, created_at=later(seconds)), trajectory(other)])
    got = query(store, "select stop_reason from raw.trajectories where trajectory_id = 't'")
    assert got == [("end",)]


def test_a_key_of_two_columns(store: Store) -> None:
    rows = [row(VERDICTS, trajectory_id=t, recipe_id=r) for t in ("t1", "t2") for r in ("j1", "j2")]
    store.append(VERDICTS, rows)
    assert query(store, "select count(*) from derived.verdicts") == [(4,)]
    assert store.ids(VERDICTS, "trajectory_id") == {"t1", "t2"}
    assert store.ids(VERDICTS, "recipe_id", trajectory_id="t1") == {"j1", "j2"}
    assert store.ids(VERDICTS, "recipe_id", trajectory_id="it's") == set()


def test_a_named_shard_is_replaced_and_may_be_empty(store: Store) -> None:
    assert not store.has(GOLD_CHECKS, "run")
    store.replace(GOLD_CHECKS, "run", [row(GOLD_CHECKS, problem_id="p1"), row(GOLD_CHECKS, problem_id="p2")])
    store.replace(GOLD_CHECKS, "run", [row(GOLD_CHECKS, problem_id="p3")])
    assert store.ids(GOLD_CHECKS, "problem_id") == {"p3"}
    store.replace(GOLD_CHECKS, "run", [])
    assert store.has(GOLD_CHECKS, "run")
    assert store.ids(GOLD_CHECKS, "problem_id") == set()


def test_a_crash_in_the_middle_of_a_write_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(TRAJECTORIES, [trajectory("t1", stop_reason="length")])
    before = files(store)
    whole = pq.write_table

    def half(data: pa.Table, path: Path) -> None:
        whole(data, path)
        path.write_bytes(path.read_bytes()[:100])
        assert query(store, "select trajectory_id from raw.trajectories") == [("t1",)]  # others read meanwhile
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", half)
    for rows in ([trajectory("t2")], [trajectory("t1", stop_reason="end")]):
        with pytest.raises(KeyboardInterrupt):
            store.append(TRAJECTORIES, rows)
        assert files(store) == before
    assert query(store, "select trajectory_id, stop_reason from raw.trajectories") == [("t1", "length")]


def test_a_draft_that_a_killed_process_left_is_no_shard(store: Store) -> None:
    store.append(TRAJECTORIES, [trajectory("t1")])
    draft = store.folder(TRAJECTORIES) / ".draft-x"
    draft.mkdir()
    (draft / "x.parquet").write_bytes(b"PAR1 torn")
    assert len(store.shards(TRAJECTORIES)) == 1
    assert query(store, "select count(*) from raw.trajectories") == [(1,)]


def test_a_value_of_the_wrong_type_writes_nothing(store: Store) -> None:
    for bad in ({"sample_index": "one"}, {"prompt": None}):  # the second column is never null
        with pytest.raises((pa.ArrowException, ValueError)):
            store.append(TRAJECTORIES, [trajectory("t1"), trajectory("t2") | bad])
        assert not store.home.exists() or files(store) == set()


def test_the_database_is_rebuilt_after_deletion(store: Store) -> None:
    store.append(RUN_PROBLEMS, [row(RUN_PROBLEMS, problem_id="p1", position=0)])
    store.publish(PARAMS)
    named = (
        "select schema_name, table_name, comment from duckdb_tables() union all "
        "select schema_name, view_name, comment from duckdb_views() where not internal order by all"
    )
    with store.read() as con:
        first = con.execute(named).fetchall()
        assert con.execute("select problem_id from raw.run_problems").fetchall() == [("p1",)]
        with pytest.raises(duckdb.Error, match="read-only"):
            con.execute("delete from raw.run_problems")
    assert {f"{schema}.{name}" for schema, name, _ in first} == PUBLISHED | {m.name for m in model_files()}
    assert all(comment for _, _, comment in first)
    store.database.unlink()
    store.publish(PARAMS)
    with store.read() as con:
        assert con.execute(named).fetchall() == first
    assert {path.name for path in store.home.iterdir()} == {"raw", "factory.duckdb"}


def test_reads_go_on_while_the_database_is_replaced(store: Store) -> None:
    store.append(RUN_PROBLEMS, [row(RUN_PROBLEMS, problem_id="p0", position=0)])
    store.publish(PARAMS)
    old = store.read()
    seen: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with store.read() as con:
                seen.append(con.execute("select count(*) from raw.run_problems").fetchall()[0][0])

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, 3):
        store.append(RUN_PROBLEMS, [row(RUN_PROBLEMS, problem_id=f"p{n}", position=n)])
        store.publish(PARAMS)
    stop.set()
    reader.join()
    assert seen == sorted(seen)
    assert set(seen) <= {1, 2, 3}
    assert old.execute("select count(*) from raw.run_problems").fetchall() == [(1,)]  # what was open stays as it was
    old.close()


def test_a_database_that_cannot_be_made_leaves_the_old_one(store: Store) -> None:
    store.publish(PARAMS)
    before = store.database.read_bytes()
    with pytest.raises(SqlError, match="no value for"):
        store.publish({})
    assert store.database.read_bytes() == before
    assert {path.name for path in store.home.iterdir()} == {"factory.duckdb"}


def test_a_database_that_is_none_says_what_to_do(store: Store) -> None:
    store.home.mkdir()
    store.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(HomeError, match="delete that file") as caught:
        store.read()
    assert str(store.database) in str(caught.value)


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "a page":
        at = whole.index(b"PAR1") + 4
        path.write_bytes(whole[:at] + b"\x00" * 200 + whole[at + 200 :])
    elif how == "another table":
        pq.write_table(pa.table({"trajectory_id": ["t"]}), path)
    else:
        path.write_bytes({"cut off": whole[:500], "empty": b"", "not Parquet": b"text" * 99}[how])


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("how", ["cut off", "empty", "not Parquet", "a page", "another table"])
def test_a_corrupt_shard_is_named(store: Store, how: str, which: int) -> None:
    for n in range(3):
        store.append(VERDICTS, [row(VERDICTS, trajectory_id=f"t{n}-{i}", detail=f"{i}") for i in range(300)])
    path = store.shards(VERDICTS)[which]
    damage(path, how)

    def ids() -> None:
        store.ids(VERDICTS, "trajectory_id", detail="299")

    for use in (ids, lambda: store.publish(PARAMS), lambda: query(store, "select max(detail) from derived.verdicts")):
        with pytest.raises(HomeError) as caught:
            use()
        assert str(path) in str(caught.value)
        assert "move that file away" in str(caught.value)
    assert {p.name for p in store.home.iterdir()} == {"derived"}
    path.unlink()
    assert len(store.ids(VERDICTS, "trajectory_id")) == 600


def test_a_wrong_query_on_whole_shards_stays_a_wrong_query(store: Store) -> None:
    with pytest.raises(duckdb.Error, match="nowhere"), store.connect() as con:
        con.execute("from nowhere")


def test_write_atomically_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"

    def write(draft: Path) -> None:
        draft.write_text("one")

    def fail(draft: Path) -> None:
        draft.write_text("two")
        draft.with_suffix(".log").write_text("a file that the writer needed")
        raise OSError(5, "Input/output error")

    write_atomically(path, write)
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(HomeError, match="Input/output error"):
        write_atomically(path, fail)
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [("b.txt", "one")]


def test_chunks() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunks([], 2)) == []


def test_drafts_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(GOLD_CHECKS, [row(GOLD_CHECKS)])
    left = [tmp_path / ".draft-1", store.folder(GOLD_CHECKS) / ".draft-2", tmp_path / "models" / ".draft-3"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "half.parquet").write_bytes(b"PAR1")
    before = store.shards(GOLD_CHECKS)
    store.tidy()
    assert not any(folder.exists() for folder in left)
    assert store.shards(GOLD_CHECKS) == before
