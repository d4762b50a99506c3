"""Problem files: rows good and bad with their lines, and files that cannot be read."""

import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.problems import files, load_problems, load_source
from schemas.errors import ProblemsError
from schemas.recipe import Problems, Source
from schemas.tables import REJECTED_PROBLEMS
from schemas.vocabulary import SourceKind

DATA = Path(__file__).parents[2] / "shared" / "data"
THEIRS = {"statement": "problem", "gold_answer": "answer"}


def source(path: object, **settings: Any) -> Source:
    return Source(kind=SourceKind.FILE, path=str(path), **settings)


def row(statement: object = "1 + 1?", gold: object = "2", **more: object) -> str:
    return json.dumps({"statement": statement, "gold_answer": gold, **more})


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


def rejections(path: Path, **settings: Any) -> list[tuple[int, str]]:
    return [(r["line"], r["reason"]) for r in load_source(source(path, **settings), base=path.parent).rejected]


def shared(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    return path


def test_every_kind_of_bad_row_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        row(),
        '{"statement": "cut',
        "",  # blank lines are no rows
        row("  "),
        row("a", ""),
        row("b", None),
        b'{"statement": "caf\xe9", "gold_answer": "1"}',
        '{"statement": "c"}',
        row(),
        row("1  + 1?", "3"),
        row("d", ["1"]),
        "[1]",
        '{"statement": "\\ud800", "gold_answer": "1"}',
        '{"statement": "e", "gold_answer": ' + "9" * 5000 + "}",
        "[" * 100_000,
        row("the last one"),
    )
    loaded = load_source(source(path), base=tmp_path)
    assert [p.statement for p in loaded.problems] == ["1 + 1?", "the last one"]
    assert [(r["line"], r["reason"]) for r in loaded.rejected] == [
        (2, "broken_row"),
        (4, "empty_statement"),
        (5, "empty_gold"),
        (6, "empty_gold"),
        (7, "not_utf8"),
        (8, "missing_column"),
        (9, "duplicate"),
        (10, "conflicting_gold"),
        (11, "bad_value"),
        (12, "broken_row"),
        (13, "not_utf8"),
        (14, "broken_row"),
        (15, "broken_row"),
    ]
    detail = {r["line"]: r["detail"] for r in loaded.rejected}
    assert "line 1" in detail[9]
    assert "line 1" in detail[10]
    assert "0xe9" in detail[7]
    for r in loaded.rejected:
        assert list(r) == [c.name for c in REJECTED_PROBLEMS.columns]
        assert len(r["excerpt"].encode()) <= 1000
    pa.Table.from_pylist(loaded.rejected, REJECTED_PROBLEMS.arrow_schema)


def test_golds_keep_the_spelling_of_the_file(tmp_path: Path) -> None:
    write(
        tmp_path / "a.jsonl",
        *(f'{{"statement": "s{i}", "gold_answer": {g}}}' for i, g in enumerate(("1.10", 7, "1e-7"))),
    )
    problems = load_source(source("a.jsonl"), base=tmp_path).problems
    assert [p.gold_answer for p in problems] == ["1.10", "7", "1e-7"]


def test_csv_numbers_lines_across_quoted_line_breaks(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.csv",
        "\ufeffstatement,gold_answer,level",
        '"two\nlines",1,3',
        "short,1",
        b"caf\xe9,1,2",
        '"a"b,1,2',
        "good,2,4",
    )
    loaded = load_source(source(path, map={"difficulty": "level"}), base=tmp_path)
    assert [(p.statement, p.gold_answer, p.difficulty) for p in loaded.problems] == [
        ("two\nlines", "1", "3"),
        ("good", "2", "4"),
    ]
    assert [(r["line"], r["reason"]) for r in loaded.rejected] == [
        (4, "broken_row"),
        (5, "not_utf8"),
        (6, "broken_row"),
    ]
    write(path, "a,a", "1,2")
    with pytest.raises(ProblemsError, match="names a column twice: a"):
        load_source(source(path), base=tmp_path)


def test_parquet_counts_rows_and_keeps_a_bad_string_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    buffer = pa.array([b"a", b"caf\xe9", b"c", b""])
    texts = pa.Array.from_buffers(pa.string(), 4, buffer.buffers())
    pq.write_table(pa.table({"statement": texts, "gold_answer": [1.5, 2.0, float("nan"), 4.0]}), path)
    loaded = load_source(source(path), base=tmp_path)
    assert [(p.statement, p.gold_answer) for p in loaded.problems] == [("a", "1.5")]
    assert [(r["line"], r["reason"]) for r in loaded.rejected] == [
        (2, "not_utf8"),
        (3, "empty_gold"),
        (4, "empty_statement"),
    ]


def damaged(name: str) -> bytes:
    packed = gzip.compress("\n".join(row(f"s{i}", i) for i in range(5000)).encode())
    return {
        "empty.jsonl": b"",
        "blank.jsonl": b"\n\n",
        "header.csv": b"statement,gold_answer\n",
        "p.xlsx": b"x",
        "cut.jsonl.gz": packed[: len(packed) // 2],
        "flipped.jsonl.gz": packed[:2000] + bytes(100) + packed[2100:],
        "plain.jsonl.gz": b"{}",
        "bad.parquet": b"PAR1 but no more",
    }[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.jsonl", "empty"),
        ("blank.jsonl", "no rows"),
        ("header.csv", "no rows"),
        ("p.xlsx", r"Known endings: \.jsonl"),
        ("cut.jsonl.gz", r"damaged or cut off after line [\d,]+"),
        ("flipped.jsonl.gz", "damaged"),
        ("plain.jsonl.gz", "not compressed"),
        ("bad.parquet", "no readable Parquet"),
    ],
)
def test_an_unreadable_file_is_one_clear_message(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(damaged(name))
    for load in (
        lambda: load_source(source(name), base=tmp_path),
        lambda: load_problems(Problems(sources=(source(name),), skip_bad_rows=True), base=tmp_path),
    ):
        with pytest.raises(ProblemsError, match=f"^{re.escape(name)}: .*{message}") as caught:
            load()
        assert "nothing was written" in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="no such file"):
        load_source(source("nowhere.jsonl"), base=tmp_path)
    with pytest.raises(ProblemsError, match="this is a folder"):
        load_source(source(tmp_path), base=tmp_path)


def test_gzip_is_recognised_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(row().encode()))
    assert len(load_source(source("a.jsonl"), base=tmp_path).problems) == 1


def test_a_huge_line_is_a_bad_row_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1000)
    path = write(tmp_path / "a.jsonl", row("x" * 5000), row("y" * 2000), row("short"))
    assert rejections(path) == [(1, "broken_row"), (2, "broken_row")]


def test_gsm8k_train_loads_whole_and_fast() -> None:
    path = shared("math_gsm8k_train.jsonl.gz")
    started = time.perf_counter()
    loaded = load_source(source(path, map=THEIRS), base=Path())
    wall_s = time.perf_counter() - started
    assert (len(loaded.problems), loaded.rejected) == (7473, [])
    assert wall_s < 3, "0.2 s on an idle core"
    assert json.loads(loaded.problems[0].meta)["columns"] == {"id": "gsm8k-train-0", "source": "gsm8k-train"}


def test_math_train_has_four_empty_golds_and_one_duplicate() -> None:
    assert rejections(shared("math_math_train.jsonl.gz"), map=THEIRS) == [
        (887, "empty_gold"),
        (958, "duplicate"),
        (1010, "empty_gold"),
        (5329, "empty_gold"),
        (5331, "empty_gold"),
    ]
