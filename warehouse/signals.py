"""derived.signals: measured properties of a trajectory that are no verdict. A signal drops nothing; SQL decides.

Repetition is measured on the model's own text: a tool that prints one line a hundred times is no model in a loop.
Lengths and shares are in characters of the whole text.

Source: Welleck et al. 2020, "Neural text generation with unlikelihood training" (seq-rep-n), for n-grams; Rae et al.
2021, "Scaling language models: methods, analysis and insights from training Gopher", A.1, for lines.
"""

import numpy as np
import polars as pl

from schemas.tables import SIGNALS
from schemas.vocabulary import ExecStatus, Origin
from warehouse.behaviours import BEHAVIOURS
from warehouse.texts import model_text, word_ngrams

_TYPES = dict(pl.Schema(SIGNALS.arrow_schema))
NGRAM_WORDS = 8
ROWS_AT_ONCE = 20_000
"""Words of so many texts are held at a time."""


def signals(trajectories: pl.DataFrame) -> pl.DataFrame:
    """One row of derived.signals per trajectory, in the order given.

    Args:
        trajectories: Columns trajectory_id, segments, tool_calls, as in raw.trajectories.

    Returns:
        The columns of `schemas.tables.SIGNALS`. Shares are between 0 and 1, and 0 where there is nothing to count.
    """
    parts = [_signals(part) for part in trajectories.iter_slices(ROWS_AT_ONCE)]
    return pl.concat(parts) if parts else _signals(trajectories)


def ngram_repetition(texts: pl.Series, n: int = NGRAM_WORDS) -> pl.Series:
    """Share of n-grams of words that occurred before in the same text: 1 - distinct / all. 0 below n words."""
    rows, hashes = word_ngrams(texts, n)
    counts = (
        pl.DataFrame({"row": rows, "ngram": hashes})
        .group_by("row")
        .agg(distinct=pl.col("ngram").n_unique(), n=pl.len())
    )
    share = np.zeros(len(texts))
    share[counts["row"].to_numpy()] = 1 - (counts["distinct"] / counts["n"]).to_numpy()
    return pl.Series("ngram_repetition", share)


def line_repetition() -> pl.Expr:
    """Share of lines of column `own` that occurred before in it, blank lines and spaces at the ends aside."""
    lines = (
        pl.col("own")
        .str.split("\n")
        .list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
    )
    return _share(lines.list.len() - lines.list.n_unique(), lines.list.len())


def _signals(trajectories: pl.DataFrame) -> pl.DataFrame:
    calls, segment = pl.col("tool_calls"), pl.element().struct
    status, stdout = segment.field("status"), segment.field("stdout")
    n_chars = segment.field("text").str.len_chars()
    by_model = pl.when(segment.field("origin") == str(Origin.MODEL)).then(n_chars).otherwise(0)
    told = (status == str(ExecStatus.OK)) & (stdout.str.strip_chars() != "")
    whole = trajectories["segments"].list.eval(segment.field("text")).list.join("")
    behaviours = [
        whole.map_elements(rule.find, return_dtype=pl.Int64).cast(_TYPES[rule.name]).alias(rule.name)
        for rule in BEHAVIOURS
    ]
    n_model = pl.col("segments").list.eval(by_model).list.sum()
    frame = trajectories.with_columns(*behaviours, own=model_text(), n_model=n_model)
    return (
        frame.with_columns(
            n_chars=pl.col("segments").list.eval(n_chars).list.sum(),
            n_tool_calls=calls.list.len(),
            n_tool_success=calls.list.eval(told).list.sum(),
            n_tool_errors=calls.list.eval(status != str(ExecStatus.OK)).list.sum(),
            ngram_repetition=ngram_repetition(frame["own"]),
            line_repetition=line_repetition(),
        )
        .with_columns(model_share=_share(pl.col("n_model"), pl.col("n_chars")))
        .select(pl.col(c.name).cast(pl.Int64) if c.name.startswith("n_") else c.name for c in SIGNALS.columns)
    )


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part.cast(pl.Float64) / whole).otherwise(0.0)
