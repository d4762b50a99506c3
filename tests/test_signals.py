"""Signals: exact small cases, and real texts against a plain definition."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.tables import SIGNALS, TRAJECTORIES
from warehouse import signals as module
from warehouse.signals import ngram_repetition, signals
from warehouse.texts import word_ngrams

DATA = Path(__file__).parents[2] / "shared" / "data"
COLUMNS = ("trajectory_id", "segments", "tool_calls")


def frame(*rows: tuple[list[tuple[str, str]], list[tuple[str, str]]]) -> pl.DataFrame:
    """Rows of (segments as origin and text, tool calls as status and stdout)."""
    call: dict[str, Any] = {
        "code": "",
        "error_type": None,
        "traceback": None,
        "wall_ms": 1.0,
        "output_truncated": False,
    }
    table = pa.Table.from_pylist(
        [
            {
                "trajectory_id": f"t{i}",
                "segments": [{"origin": o, "text": t, "n_tokens": 1, "token_ids": None} for o, t in segments],
                "tool_calls": [call | {"status": s, "stdout": out} for s, out in calls],
            }
            for i, (segments, calls) in enumerate(rows)
        ],
        schema=pa.schema([TRAJECTORIES.arrow_schema.field(name) for name in COLUMNS]),
    )
    return pl.DataFrame(table)


def plain_repetition(text: str, n: int = 8) -> float:
    """The definition, word by word."""
    words = text.lower().split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def real_texts(name: str) -> list[str]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    return [row.get("text") or row["thinking"] or "" for row in rows]


def test_counts_and_shares_of_a_small_trajectory() -> None:
    segments = [("model", "ab"), ("hint", "Wait, "), ("model", "cd"), ("tool", "x\nx\nx\n")]
    calls = [("ok", "1\n"), ("ok", " \n"), ("error", "half"), ("timeout", "")]
    assert signals(frame((segments, calls))).to_dicts() == [
        {
            "trajectory_id": "t0",
            "n_chars": 16,
            "n_tool_calls": 4,
            "n_tool_success": 1,
            "n_tool_errors": 2,
            "ngram_repetition": 0.0,
            "line_repetition": 0.0,
            "model_share": 0.25,
            "delayed_computation": False,
            "distrusts_output": False,
            "n_hand_calculations": 0,
        }
    ]


def test_the_columns_are_those_of_the_table_also_without_rows_and_text() -> None:
    wanted = pl.DataFrame(SIGNALS.arrow_schema.empty_table()).schema
    assert signals(frame().clear()).schema == wanted
    got = signals(frame(([], []), ([("tool", "only a tool")], [])))
    assert got.schema == wanted
    assert got["model_share"].to_list() == [0.0, 0.0]
    assert got["n_chars"].to_list() == [0, 11]
    assert got.null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize(
    ("text", "ngrams", "lines"),
    [
        ("a b c d e f g", 0.0, 0.0),
        ("a b c d e f g h a b c d e f g h", 1 / 9, 0.0),
        ("A b c d e f g h a B c d e f g h", 1 / 9, 0.0),  # case is no difference
        ("x " * 108, 100 / 101, 0.0),
        ("one\n\n two \none\none", 0.0, 0.5),  # four lines, two of them for the first time
    ],
)
def test_repetition_of_small_texts(text: str, ngrams: float, lines: float) -> None:
    row = signals(frame(([("model", text)], []))).row(0, named=True)
    assert row["ngram_repetition"] == pytest.approx(ngrams)
    assert row["line_repetition"] == pytest.approx(lines)


def test_only_the_model_can_repeat_itself() -> None:
    looping = "again and again\n" * 50
    rows = frame(([("model", "fine"), ("tool", looping), ("hint", looping)], []), ([("model", looping)], []))
    got = signals(rows)
    assert got["ngram_repetition"].to_list() == [0.0, pytest.approx(140 / 143)]
    assert got["line_repetition"].to_list() == [0.0, pytest.approx(0.98)]


def test_many_rows_are_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = frame(*(([("model", f"{i % 7} word " * i)], []) for i in range(25)))
    whole = signals(rows)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 4)
    assert signals(rows).equals(whole)


@given(st.lists(st.text("ab \n\u00e9\U0001f600", max_size=60), max_size=5), st.integers(1, 4))
def test_ngram_repetition_is_its_definition(texts: list[str], n: int) -> None:
    got = ngram_repetition(pl.Series(texts, dtype=pl.String), n).to_list()
    assert got == pytest.approx([plain_repetition(text, n) for text in texts])


def test_ngrams_stay_in_their_text_and_keep_their_order() -> None:
    rows, hashes = word_ngrams(pl.Series(["a b c a b", "", "x", "a b"]), 2)
    assert rows.tolist() == [0, 0, 0, 0, 3]
    assert hashes[0] == hashes[3] == hashes[4]
    assert len(set(hashes.tolist())) == 3
    assert hashes[0] == 17600707320206839748, "hashes are the same on every machine"


def test_real_thoughts_loop_where_reading_says_they_do() -> None:
    texts = real_texts("cot_reasoning_misguided_dev.jsonl.gz")
    got = ngram_repetition(pl.Series(texts))
    assert got.to_list() == pytest.approx([plain_repetition(text) for text in texts])
    assert 0.02 < got.median() < 0.08  # type: ignore[operator]
    assert (got > 0.3).sum() < 0.05 * len(texts), "the paper's filter is for the few that loop"


def test_the_most_repetitive_real_program_is_a_loop() -> None:
    texts = real_texts("tir_mathcoder_gsm8k_even.jsonl.gz")
    got = ngram_repetition(pl.Series(texts))
    worst = texts[int(got.arg_max() or 0)]
    assert got.max() == pytest.approx(plain_repetition(worst))
    assert plain_repetition(worst) > 0.9
    assert (got > 0.3).mean() < 0.05  # type: ignore[operator]
