"""What the transforms share: the text that the model wrote, and hashed word n-grams.

Words are what stands between whitespace, in lower case; punctuation belongs to its word. A word's hash is the
first 8 bytes of its BLAKE2b, so hashes, and everything made from them, are the same on every machine and version.
"""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.vocabulary import Origin

Hashes = npt.NDArray[np.uint64]
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so multiplying by it loses nothing; n-grams are polynomials in it modulo 2**64."""


def model_text(segments: str = "segments") -> pl.Expr:
    """The model's own segments, joined by line breaks: no hint and no tool output speaks for the model."""
    part = pl.element().struct
    own = pl.when(part.field("origin") == str(Origin.MODEL)).then(part.field("text"))
    return pl.col(segments).list.eval(own).list.drop_nulls().list.join("\n")


def word_ngrams(texts: pl.Series, n: int) -> tuple[npt.NDArray[np.int64], Hashes]:
    """Every run of n words of every text, in order, as 64-bit hashes.

    Args:
        texts: Strings, no nulls.
        n: Words per n-gram, at least 1.

    Returns:
        Two arrays of one length: the index of the text, ascending, and the hash. A text of fewer than n words
        gives nothing. Two different n-grams share a hash with probability 2**-64.
    """
    words = (
        pl.DataFrame({"row": pl.int_range(len(texts), dtype=pl.Int64, eager=True), "word": texts})
        .select("row", pl.col("word").str.to_lowercase().str.extract_all(r"\S+"))
        .explode("word", empty_as_null=False)
    )
    if len(words) < n:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    known = words["word"].unique()
    hashed = pl.Series([_hash(word) for word in known], dtype=pl.UInt64)
    rows = words["row"].to_numpy()
    codes: Hashes = words["word"].replace_strict(known, hashed, return_dtype=pl.UInt64).to_numpy()
    size = len(rows) - n + 1
    total = np.zeros(size, dtype=np.uint64)
    for k in range(n):
        total = total * _MIX + codes[k : k + size]
    whole = rows[:size] == rows[n - 1 :]
    return rows[:size][whole], total[whole]


def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
