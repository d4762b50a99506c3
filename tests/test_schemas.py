"""The shared language agrees with itself: records with tables, tables with SQL, words in SQL with the vocabularies."""

import inspect
import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from schemas import errors, vocabulary
from schemas.records import HintUse, Problem, Record, Segment, ToolCall, Trajectory, Verdict
from schemas.tables import (
    HINT,
    PROBLEMS,
    PUBLISHED_TOOL_CALL,
    SEGMENT,
    SNAPSHOTS,
    STORED_TABLES,
    TOOL_CALL,
    TRAJECTORIES,
    VERDICTS,
    Table,
)
from schemas.vocabulary import Arm, DropReason, ExecStatus, Origin, StopReason
from warehouse.models import AUDITS, MODELS

SQL = sorted([*MODELS.glob("*/*.sql"), *AUDITS.glob("*.sql")])
VOCABULARIES = [
    v for _, v in inspect.getmembers(vocabulary, inspect.isclass) if issubclass(v, StrEnum) and v is not StrEnum
]


# Records and tables


@pytest.mark.parametrize(("record", "table"), [(Problem, PROBLEMS), (Trajectory, TRAJECTORIES), (Verdict, VERDICTS)])
def test_a_record_has_the_columns_of_its_table(record: type[Record], table: Table) -> None:
    assert list(record.model_fields) == [column.name for column in table.columns]
    for column in table.columns:
        assert column.nullable == ("None" in str(record.model_fields[column.name].annotation)), column.name


@pytest.mark.parametrize(("record", "struct"), [(Segment, SEGMENT), (HintUse, HINT), (ToolCall, TOOL_CALL)])
def test_a_part_of_a_record_has_the_fields_of_its_struct(record: type[Record], struct: pa.StructType) -> None:
    assert set(record.model_fields) == {struct.field(i).name for i in range(struct.num_fields)}


def test_published_tool_calls_leave_out_what_is_of_one_run_only() -> None:
    def names(struct: pa.StructType) -> set[str]:
        return {struct.field(i).name for i in range(struct.num_fields)}

    assert names(TOOL_CALL) - names(PUBLISHED_TOOL_CALL) == {"exit_code", "wall_ms", "survived", "diverged"}


@pytest.mark.parametrize("table", [*STORED_TABLES.values(), *SNAPSHOTS.values()], ids=lambda table: table.name)
def test_tables_are_well_formed(table: Table) -> None:
    names = [column.name for column in table.columns]
    assert len(names) == len(set(names))
    assert set(table.key) <= set(names)
    assert all(column.doc for column in table.columns)
    by_name = {column.name: column for column in table.columns}
    assert not any(by_name[name].nullable for name in table.key)
    assert [name for name in names if by_name[name].unique] == (
        list(table.key) if len(table.key) == 1 else []
    ) or not any(column.unique for column in table.columns)


def test_the_snapshots_have_columns_of_their_model_in_its_order() -> None:
    tree = sqlglot.parse_one((MODELS / "marts" / "snapshot_rows.sql").read_text(), read="duckdb")
    assert isinstance(tree, exp.Select)
    offered = tree.named_selects
    for table in SNAPSHOTS.values():
        taken = {column.name for column in table.columns}
        assert [name for name in offered if name in taken] == [column.name for column in table.columns]
    assert set(offered) == {column.name for table in SNAPSHOTS.values() for column in table.columns}


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
small = st.integers(0, 2**31 - 1)
segments = st.builds(
    Segment,
    origin=st.sampled_from(Origin),
    text=texts,
    n_tokens=small,
    token_ids=st.none() | st.lists(small, max_size=4).map(tuple),
)
calls = st.builds(ToolCall, code=texts, stdout=texts, error_type=st.none() | texts, status=st.sampled_from(ExecStatus))
trajectories = st.builds(
    Trajectory,
    seed=small,
    sample_index=small,
    n_tokens_model=small,
    n_tokens_hint=small,
    n_tokens_tool=small,
    prompt=texts,
    segments=st.lists(segments, max_size=3).map(tuple),
    hints=st.lists(st.builds(HintUse, trigger=texts, char_offset=small, round=st.integers(1, 6)), max_size=2).map(
        tuple
    ),
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    wall_s=st.floats(0, 1e6),
    created_at=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)


@given(trajectories)
def test_a_trajectory_comes_back_from_arrow(trajectory: Trajectory) -> None:
    table = pa.Table.from_pylist([trajectory.model_dump()], schema=TRAJECTORIES.arrow_schema)
    table.validate(full=True)
    assert Trajectory.model_validate(table.to_pylist()[0]) == trajectory
    assert trajectory.text == "".join(segment.text for segment in trajectory.segments)


def test_records_are_frozen_and_closed() -> None:
    one = Segment(origin=Origin.MODEL, text="a", n_tokens=1)
    with pytest.raises(ValueError, match="frozen"):
        one.text = "b"
    with pytest.raises(ValueError, match="extra"):
        Segment.model_validate({"origin": "model", "text": "a", "n_tokens": 1, "colour": "red"})
    with pytest.raises(ValueError, match="origin"):
        Segment.model_validate({"origin": "teacher", "text": "a", "n_tokens": 1})


# Words in SQL


def literals(path: Path) -> set[str]:
    tree = sqlglot.parse_one(path.read_text(), read="duckdb")
    return {node.name for node in tree.find_all(exp.Literal) if node.is_string}


def compared(path: Path) -> dict[str, set[str]]:
    """Column -> the strings that a file compares it with or makes it of."""
    tree = sqlglot.parse_one(path.read_text(), read="duckdb")
    found: dict[str, set[str]] = {}
    for node in tree.find_all(exp.EQ, exp.NEQ, exp.In, exp.NullSafeNEQ, exp.NullSafeEQ):
        column = node.this.find(exp.Column, exp.Dot)
        strings = {part.name for part in node.find_all(exp.Literal) if part.is_string}
        if column is not None and strings:
            found.setdefault(column.name, set()).update(strings)
    for case in tree.find_all(exp.Case):
        alias = case.find_ancestor(exp.Alias)
        results = (branch.args["true"] for branch in case.args["ifs"])
        made = {result.name for result in results if isinstance(result, exp.Literal) and result.is_string}
        if alias is not None and made:
            found.setdefault(alias.alias, set()).update(made)
    return found


WORDS: dict[str, set[str]] = {
    "arm": set(Arm),
    "stop_reason": set(StopReason),
    "origin": set(Origin),
    "status": set(ExecStatus),
    "domain": set(vocabulary.Domain),
    "drop_reason": set(DropReason),
    "reason_so_far": set(DropReason),
}


@pytest.mark.parametrize("path", SQL, ids=lambda path: path.stem)
def test_words_in_sql_are_words_of_the_vocabulary(path: Path) -> None:
    for column, strings in compared(path).items():
        assert strings <= WORDS.get(column, strings), column


def test_the_check_above_sees_the_words() -> None:
    seen: dict[str, set[str]] = {}
    for path in SQL:
        for column, strings in compared(path).items():
            seen.setdefault(column, set()).update(strings)
    assert seen["arm"] == {"baseline", "hint"}
    assert seen["stop_reason"] == {"engine_error", "sandbox_lost"}
    assert seen["origin"] == {"model", "hint", "tool"}
    assert {"gold_unverified", "wrong_answer", "no_cut", "over_quota", "not_best"} <= seen["drop_reason"]
    assert seen["reason_so_far"] == {"repaired", "duplicate", "too_hard", "too_easy"}


def test_every_drop_reason_has_its_place_in_the_funnel_in_order() -> None:
    text = (MODELS / "marts" / "funnel.sql").read_text()
    steps = re.findall(r"\((\d+), '([a-z ]+)', '(problem|trajectory)', '(\w+)'\)", text)
    assert [reason for *_, reason in steps] == [str(reason) for reason in DropReason]
    numbers = [int(number) for number, *_ in steps]
    assert numbers == sorted(numbers)
    assert len({(number, step, unit) for number, step, unit, _ in steps}) == len(set(numbers))


def test_every_drop_reason_is_given_by_some_model() -> None:
    given = set().union(*(literals(path) for path in SQL if path.stem != "funnel"))
    assert set(DropReason) <= given


# Words themselves


@pytest.mark.parametrize("words", VOCABULARIES, ids=lambda words: words.__name__)
def test_a_vocabulary_says_what_it_is_of(words: type[StrEnum]) -> None:
    assert words.__doc__ != StrEnum.__doc__
    assert all(re.fullmatch(r"[a-z0-9_-]+", word) for word in words)


def test_every_error_says_where_it_broke_and_what_the_process_returns() -> None:
    classes: list[Any] = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    assert len(classes) > 9
    for error in classes:
        assert inspect.getdoc(error), error
        assert "__doc__" in vars(error), error  # of its own
        assert issubclass(error, errors.FactoryError)
        assert error.exit_code == (2 if issubclass(error, errors.UsageError) else 1)
