"""Signals: exact small cases, and real texts against a plain definition."""

import gzip
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.tables import SIGNALS, TRAJECTORIES
from tests.shared_data import rows
from warehouse import signals as module
from warehouse.behaviours import BEHAVIOURS
from warehouse.repetition import ngram_repetition
from warehouse.signals import signals
from warehouse.texts import word_ngrams

DATA = Path(__file__).parents[2] / "shared" / "data"
COLUMNS = ("trajectory_id", "segments", "tool_calls")


def frame(*given_rows: tuple[list[tuple[str, str]], list[tuple[str, str]]]) -> pl.DataFrame:
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
            for i, (segments, calls) in enumerate(given_rows)
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


def one(text: str) -> dict[str, Any]:
    """The signals of a text that the model alone wrote."""
    return signals(frame(([("model", text)], []))).row(0, named=True)


def test_counts_and_shares_of_a_small_trajectory() -> None:
    segments = [("model", "ab"), ("hint", "Wait, "), ("model", "cd"), ("tool", "x\nx\nx\n")]
    calls = [("ok", "1\n"), ("ok", " \n"), ("error", "half"), ("timeout", "")]
    assert signals(frame((segments, calls))).to_dicts() == [
        {
            "trajectory_id": "t0", "signals_version": module.VERSION,
            "n_chars": 16, "n_tokens_model": 2, "n_tokens_hint": 1, "n_tokens_tool": 1,
            "model_share": 0.25, "model_token_share": 0.5,
            "n_tool_calls": 4, "n_tool_success": 1, "n_tool_silent": 1, "n_tool_errors": 2,
            "tool_errors": ["error", "timeout"], "n_blocks_not_run": 0,
            "ngram_repetition": 0.0, "ngram_at": None, "ngram_chars": None, "ngram_times": None,
            "line_repetition": 0.0, "line_at": None, "line_chars": None, "line_times": None,
            "loop_chars": 0, "loop_period": None,
            "delayed_computation": False, "distrusts_output": False,
            "n_hand_calculations": 0, "n_hand_equations": 0, "hand_computed_share": 0.0,
            "language": "unknown", "mixed_script": 0.0,
        }
    ]  # fmt: skip


def test_passages_stand_where_the_whole_text_has_them() -> None:
    said = "so the sum of all of them is seven"
    parts = [
        ("hint", "Wait.\n"), ("model", f"First.\n  {said}, then\n"), ("tool", "```output\n7\n```\n"),
        ("model", f"Again {said}, and\nonce more {said}\nEnd.\n\u00e9 \u00e9\n  End."),
    ]  # fmt: skip
    text = "".join(part for _, part in parts)
    row = signals(frame((parts, []))).row(0, named=True)
    assert row["ngram_times"] == 3
    assert text[row["ngram_at"] :][: row["ngram_chars"]] == said.removesuffix(" seven")
    assert row["ngram_at"] == text.index("Again ") + len("Again ")
    assert (row["line_times"], text[row["line_at"] :][: row["line_chars"]]) == (2, "End.")
    assert row["line_at"] == len(text) - len("End.")


@given(st.lists(st.sampled_from(["a b", " c", "\n", "d\x1ce", "\u00a0", "a b c\n"]), max_size=40), st.integers(1, 3))
def test_a_passage_is_one_and_comes_as_often_as_said(pieces: list[str], n: int) -> None:
    text = "".join(pieces)
    found = ngram_repetition(pl.Series([text]), n).row(0, named=True)
    words = re.findall(r"[^\s\x1c]+|\x1c", text.replace("d\x1ce", "d_e").lower())
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(grams)
    if not counts or max(counts.values()) == 1:
        assert found["begin"] is None
    else:
        assert found["n"] == max(counts.values())
        passage = text[found["begin"] : found["end"]].replace("d\x1ce", "d_e").lower().split()
        assert counts[tuple(passage[:n])] == found["n"]
        assert passage == words[len(text[: found["begin"]].replace("d\x1ce", "d_e").split()) :][: len(passage)]


def test_loops_tool_errors_and_blocks_that_nobody_ran() -> None:
    row = one("Start. " + "again and again, " * 20)
    assert (row["loop_chars"], row["loop_period"]) == (20 * 17 + 1, 17)
    assert one("1/3 = 0." + "3" * 400)["loop_chars"] == 0
    block = "```python\n1\n```\n"
    assert one(block * 3 + "```python\n2")["n_blocks_not_run"] == 3
    ran = signals(frame(([("model", block), ("tool", "```output\n1\n```\n")], [("ok", "1")])))
    assert ran["n_blocks_not_run"][0] == 0


def test_hand_computed_share_is_of_equations_and_calls() -> None:
    parts = [("model", "3 + 4 = 7 and 7 * 2 = 14.\n```python\nx = 1 + 1 == 2\n```\n"), ("tool", "```output\n14\n```\n")]
    row = signals(frame((parts, [("ok", "14\n")]))).row(0, named=True)
    assert (row["n_hand_equations"], row["hand_computed_share"], row["delayed_computation"]) == (2, 2 / 3, True)


@pytest.mark.parametrize(
    ("text", "language", "mixed"),
    [
        ("We add the two numbers and see that the result is larger than the first one.", "en", 0.0),
        ("Wir addieren die beiden Zahlen und sehen, dass das Ergebnis gr\u00f6\u00dfer ist als die erste.", "de", 0.0),
        ("\u6211\u4eec\u628a\u8fd9\u4e24\u4e2a\u6570\u76f8\u52a0" * 5, "zh", 0.0),
        ("$x + y = 12$, so \\boxed{12}.\n\n12 * 12 = 144", "unknown", 0.0),
        ("", "unknown", 0.0),
        ("The angle is \u03b8 and the area is \u03c0 times the square of it, which is what we want.", "en", 0.0),
        ("We add both numbers. " + "\u6570" * 16, "en", 0.5),
    ],
)
def test_language_and_mixing(text: str, language: str, mixed: float) -> None:
    row = one(text)
    assert row["mixed_script"] == pytest.approx(mixed)
    assert row["language"] == language or mixed


def test_code_and_outputs_are_no_prose() -> None:
    assert (
        one("```python\n# this is a comment in English, which is rather long and full of words\n```\n")["language"]
        == "unknown"
    )


def test_signals_of_many_texts_are_those_of_the_rules_for_one() -> None:
    texts = [row["text"] for row in rows("tir_mathcoder_gsm8k_even")[:300] + rows("cot_qwen25math_100x8")[:100]]
    texts += [f"{a}\n{b}" for a, b in itertools.pairwise(texts)]
    got = signals(frame(*(([("model", text)], []) for text in texts)))
    for rule in BEHAVIOURS:
        assert [int(value) for value in got[rule.name]] == [rule.find(text) for text in texts], rule.name


def test_the_columns_are_those_of_the_table_also_without_rows_and_text() -> None:
    wanted = pl.DataFrame(SIGNALS.arrow_schema.empty_table()).schema
    assert signals(frame().clear()).schema == wanted
    got = signals(frame(([], []), ([("tool", "only a tool")], [])))
    assert got.schema == wanted
    assert got["model_share"].to_list() == [0.0, 0.0]
    assert got["n_chars"].to_list() == [0, 11]
    may_be_null = {column.name for column in SIGNALS.columns if column.nullable}
    assert got.drop(may_be_null).null_count().sum_horizontal().item() == 0


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
    got = ngram_repetition(pl.Series(texts, dtype=pl.String), n)["share"].to_list()
    assert got == pytest.approx([plain_repetition(text, n) for text in texts])


def test_ngrams_stay_in_their_text_and_keep_their_order() -> None:
    rows, hashes = word_ngrams(pl.Series(["a b c a b", "", "x", "a b"]), 2)
    assert rows.tolist() == [0, 0, 0, 0, 3]
    assert hashes[0] == hashes[3] == hashes[4]
    assert len(set(hashes.tolist())) == 3
    assert hashes[0] == 3172067594006667561, "hashes are the same on every machine"


def test_real_thoughts_loop_where_reading_says_they_do() -> None:
    texts = real_texts("cot_reasoning_misguided_dev.jsonl.gz")
    got = ngram_repetition(pl.Series(texts))["share"]
    assert got.to_list() == pytest.approx([plain_repetition(text) for text in texts])
    assert 0.02 < got.median() < 0.08  # type: ignore[operator]
    assert (got > 0.3).sum() < 0.05 * len(texts), "the paper's filter is for the few that loop"


def test_the_most_repetitive_real_program_is_a_loop() -> None:
    texts = real_texts("tir_mathcoder_gsm8k_even.jsonl.gz")
    got = ngram_repetition(pl.Series(texts))["share"]
    worst = texts[int(got.arg_max() or 0)]
    assert got.max() == pytest.approx(plain_repetition(worst))
    assert plain_repetition(worst) > 0.9
    assert (got > 0.3).mean() < 0.05  # type: ignore[operator]
