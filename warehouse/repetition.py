"""Repetition of n-grams of words and of lines, each with the passage that offends most.

Measured on the model's own text: a tool that prints one line a hundred times is no model in a loop.

Sources: Welleck et al. 2020, "Neural text generation with unlikelihood training", section 3 (seq-rep-n), for n-grams;
Rae et al. 2021, "Scaling language models: methods, analysis and insights from training Gopher", A1.1 (duplicate line
fraction), for lines.
"""

import re

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.vocabulary import Origin
from warehouse.texts import word_ngrams

NGRAM_WORDS = 8
_ROW_MIX = np.uint64(0xD6E8FEB86659FD93)
"""Odd: equal n-grams of two rows then count apart, up to a chance of 2**-64 per pair."""
_WORD = re.compile(r"[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_ODD_SPACES = r"[\x1c-\x1f]"
"""Between words for Python and not for Polars."""
KEYS_AT_ONCE = 50_000
Ints = npt.NDArray[np.int64]


def ngram_repetition(texts: pl.Series, n: int = NGRAM_WORDS) -> pl.DataFrame:
    """How much of each text are n-grams of words that it had before, and which passage comes back most.

    Args:
        texts: N strings, no nulls.
        n: Words per n-gram.

    Returns:
        N rows: `share` of n-grams that occurred before, 1 - distinct / all, 0 below n words; `begin` and `end` of the
        passage in characters, and how many times it stands there (`n`), null where nothing repeats. The passage is the
        longest run of n-grams that all occur as often as the most frequent one, where it stands for the second time.
    """
    rows, grams = word_ngrams(texts, n)
    repeats, share = _repeats(rows, grams ^ (rows.astype(np.uint64) * _ROW_MIX), len(texts))
    second = repeats.with_columns(n=pl.len().over("key") + 1).filter(pl.col("key").is_first_distinct())
    breaks = (pl.col("at").diff() != 1) | (pl.col("row").diff() != 0) | (pl.col("n").diff() != 0)
    best = (
        second.with_columns(run=breaks.fill_null(value=True).cum_sum())
        .group_by("run")
        .agg(pl.col("row", "at", "n").first(), length=pl.len())
        .sort(["row", "n", "length", "at"], descending=[False, True, True, False])
        .unique("row", keep="first", maintain_order=True)
    )
    first_of_row = np.searchsorted(rows, best["row"].to_numpy())
    words = best["at"].to_numpy() - first_of_row
    found = texts.gather(best["row"])
    is_odd = found.str.contains(_ODD_SPACES)
    spans = [
        (_span_by_rule if odd else _span)(text, int(word), length + n - 1)
        for text, odd, word, length in zip(found, is_odd, words, best["length"], strict=True)
    ]
    begins, ends = [begin for begin, _ in spans], [end for _, end in spans]
    return _aligned(share, best["row"], best["n"], begins, ends)


def line_repetition(texts: pl.Series) -> pl.DataFrame:
    """As `ngram_repetition`, for lines, blank ones and spaces at their ends aside.

    The passage is the line whose repetitions make up most characters, where it stands for the second time.
    """
    line = pl.col("line").str.strip_chars()
    lines = (
        pl.DataFrame({"row": pl.int_range(len(texts), dtype=pl.Int64, eager=True), "line": texts.str.split("\n")})
        .explode("line")
        .with_columns(n_chars=pl.col("line").str.len_chars(), bare=line)
        .with_columns(begin=(pl.col("n_chars") + 1).cum_sum().over("row") - pl.col("n_chars") - 1)
        .filter(pl.col("bare") != "")
    )
    rows = lines["row"].to_numpy()
    key = lines["bare"].hash(seed=0).to_numpy() ^ (rows.astype(np.uint64) * _ROW_MIX)
    repeats, share = _repeats(rows, key, len(texts))
    repeats = repeats.with_columns(n=pl.len().over("key") + 1).filter(pl.col("key").is_first_distinct())
    found = pl.concat([repeats, lines[repeats["at"].to_list()].drop("row")], how="horizontal")
    lead = pl.col("n_chars") - pl.col("line").str.strip_chars_start().str.len_chars()
    best = (
        found.with_columns(begin=pl.col("begin") + lead, length=pl.col("bare").str.len_chars())
        .with_columns(weight=pl.col("length") * (pl.col("n") - 1))
        .sort(["row", "weight", "at"], descending=[False, True, False])
        .unique("row", keep="first", maintain_order=True)
    )
    return _aligned(share, best["row"], best["n"], best["begin"], best["begin"] + best["length"])


def to_whole_text(spans: pl.DataFrame, segments: pl.Series) -> pl.DataFrame:
    """Move spans of the model's own text (its segments, joined by line breaks) to where they stand in the whole one.

    Args:
        spans: N rows with `begin`, `end`; null where there is none.
        segments: N lists of structs with `origin` and `text`.

    Returns:
        `spans` with `begin`, `end` in the whole text. A passage across an output reaches from its begin to its end.
    """
    part = pl.element().struct
    parts = (
        pl.DataFrame({"row": pl.int_range(len(segments), dtype=pl.Int64, eager=True)})
        .with_columns(
            n=segments.list.eval(part.field("text").str.len_chars().cast(pl.Int64)),
            own=segments.list.eval(part.field("origin") == str(Origin.MODEL)),
        )
        .explode("n", "own")
        .drop_nulls()
        .with_columns(whole=pl.col("n").cum_sum().over("row") - pl.col("n"))
        .filter("own")
        .with_columns(at=(pl.col("n") + 1).cum_sum().over("row") - pl.col("n") - 1)
    )
    width = int(parts["at"].max() or 0) + int(parts["n"].max() or 0) + 2  # type: ignore[arg-type]
    starts = (parts["row"] * width + parts["at"]).to_numpy()
    shift = (parts["whole"] - parts["at"]).to_numpy()
    rows = np.arange(len(spans), dtype=np.int64)

    def moved(name: str, less: int) -> pl.Series:
        at, known = spans[name].fill_null(0).to_numpy(), spans[name].is_not_null()
        if not len(starts):
            return spans[name]
        place = np.maximum(np.searchsorted(starts, rows * width + at - less, side="right") - 1, 0)
        return pl.select(pl.when(known).then(pl.Series(at + shift[place]))).to_series().alias(name)

    return spans.with_columns(moved("begin", 0), moved("end", 1))


def _repeats(rows: Ints, keys: npt.NDArray[np.uint64], n_rows: int) -> tuple[pl.DataFrame, pl.Series]:
    """The items that occurred before (row, place, key), and their share per row."""
    ends = np.cumsum(np.bincount(rows, minlength=n_rows))
    starts = ends[np.flatnonzero(np.diff(ends // KEYS_AT_ONCE, prepend=0))] if n_rows else ends
    parts = np.split(keys, starts)  # a hash table that fits into the processor's cache is five times as fast
    again = np.concatenate([~pl.Series(part).is_first_distinct().to_numpy() for part in parts])
    n_again, n_all = np.bincount(rows[again], minlength=n_rows), np.bincount(rows, minlength=n_rows)
    at = np.flatnonzero(again)
    return pl.DataFrame({"row": rows[at], "at": at, "key": keys[at]}), pl.Series(n_again / np.maximum(n_all, 1))


def _span(text: str, word: int, n_words: int) -> tuple[int, int]:
    """Characters from the begin of a word to the end of the last of so many."""
    rest = text.split(None, word)[-1] if word else text.lstrip()
    pieces = rest.split(None, n_words)
    tail = len(pieces[n_words]) if len(pieces) > n_words else 0
    return len(text) - len(rest), len((text[: len(text) - tail] if tail else text).rstrip())


def _span_by_rule(text: str, word: int, n_words: int) -> tuple[int, int]:
    """The same, slowly, for any text."""
    found = list(_WORD.finditer(text))
    return found[word].start(), found[word + n_words - 1].end()


def _aligned(share: pl.Series, rows: pl.Series, n: pl.Series, begins: object, ends: object) -> pl.DataFrame:
    """Spans of some rows as columns of all."""
    found = pl.DataFrame(
        {"row": rows, "begin": begins, "end": ends, "n": n},
        schema={"row": pl.Int64, "begin": pl.Int64, "end": pl.Int64, "n": pl.Int64},
    )
    every = pl.DataFrame({"row": pl.int_range(len(share), dtype=pl.Int64, eager=True), "share": share})
    return every.join(found, on="row", how="left", maintain_order="left").drop("row")
