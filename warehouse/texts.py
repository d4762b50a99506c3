"""What the transforms share: the text that the model wrote, and hashed n-grams of words or characters.

Words are what stands between whitespace, in lower case; punctuation belongs to its word. Characters are those of the
text in lower case, each run of whitespace as one blank. Both are read from the bytes of many texts at once. A hash
depends on the text alone, so signatures that are made from hashes can be kept: they are the same on every machine.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from schemas.vocabulary import Origin

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so it has an inverse modulo 2**64: words and n-grams are polynomials in it."""
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))
_BYTES_AT_ONCE = 1 << 17
"""Of text: what is made of them stays in a processor's cache."""
_TEXTS_AT_ONCE = 16
_WIDE_SPACES = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
"""White_Space of Unicode, but for the six of ASCII."""
_ENCODED = np.array([int.from_bytes(chr(code).encode().ljust(3, b"\0"), "big") for code in _WIDE_SPACES])


def model_text(segments: str = "segments") -> pl.Expr:
    """The model's own segments, joined by line breaks: no hint and no tool output speaks for the model."""
    part = pl.element().struct
    own = pl.when(part.field("origin") == str(Origin.MODEL)).then(part.field("text"))
    return pl.col(segments).list.eval(own).list.drop_nulls().list.join("\n")


def word_ngrams(texts: pl.Series, n: int) -> tuple[Rows, Hashes]:
    """Every run of n words of every text, in order, as 64-bit hashes.

    Args:
        texts: Strings, no nulls.
        n: Words per n-gram, at least 1.

    Returns:
        Two arrays of one length: the index of the text, ascending, and the hash. A text of fewer than n words
        gives nothing. Two different n-grams share a hash with probability near 2**-64, unless somebody seeks such.
    """
    parts = [_ngrams(*_words(data, starts), n, first) for data, starts, first in _chunks(texts.str.to_lowercase())]
    return _joined(parts)


def character_ngrams(texts: pl.Series, n: int) -> tuple[Rows, Hashes]:
    """Every run of n characters of every text, in the same form."""
    plain = texts.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars(" ")
    parts = []
    for first in range(0, len(plain), _TEXTS_AT_ONCE):
        some = plain[first : first + _TEXTS_AT_ONCE]
        lengths = some.str.len_chars().to_numpy()
        codes = np.frombuffer("".join(some.to_list()).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        rows = np.repeat(np.arange(len(lengths)), lengths)
        parts.append(_ngrams(rows, _mixed(codes.astype(np.uint64) + np.uint64(1)), n, first))
    return _joined(parts)


def _joined(parts: list[tuple[Rows, Hashes]]) -> tuple[Rows, Hashes]:
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([hashes for _, hashes in parts])


def _chunks(texts: pl.Series) -> list[tuple[npt.NDArray[np.uint8], Rows, int]]:
    """Bytes of some texts in a row, where in them each text begins (and the last ends), the first one's index."""
    array = texts.to_arrow().cast(pa.large_string())
    if not len(array):
        return []
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(array.buffers()[2] or b"", dtype=np.uint8)
    made, first = [], 0
    while first < len(array):
        limit = offsets[first] + _BYTES_AT_ONCE
        last = max(first + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
        made.append((data[offsets[first] : offsets[last]], offsets[first : last + 1] - offsets[first], first))
        first = last
    return made


def _words(data: npt.NDArray[np.uint8], starts: Rows) -> tuple[Rows, Hashes]:
    """Text index and hash of every word."""
    in_word = ~_spaces(data)
    begins = in_word.copy()
    begins[1:] &= ~in_word[:-1]
    firsts = starts[:-1][np.diff(starts) > 0]
    begins[firsts] |= in_word[firsts]
    ends = in_word.copy()
    ends[:-1] &= ~in_word[1:]
    lasts = firsts[1:] - 1
    ends[lasts] |= in_word[lasts]
    begin, end = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    powers, inverses = _powers(len(data))
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[: len(data)], out=sums[1:])
    polynomial = (sums[end] - sums[begin]) * inverses[begin]
    lengths = (end - begin).astype(np.uint64)
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(np.searchsorted(begin, starts)))
    return rows, _mixed(polynomial ^ (lengths << np.uint64(48)))


def _spaces(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (data - np.uint8(9) < np.uint8(5)) | (data == np.uint8(32))
    wide = np.flatnonzero(data > 127)
    if wide.size:
        codes = np.zeros(len(wide), dtype=np.int64)
        for k, bits in enumerate((16, 8, 0)):
            codes |= data[np.minimum(wide + k, len(data) - 1)].astype(np.int64) << bits
        for size, mask in ((2, 0xFFFF00), (3, 0xFFFFFF)):
            for k in range(size):
                found[wide[np.isin(codes & mask, _ENCODED)] + k] = True
    return found


def _ngrams(rows: Rows, codes: Hashes, n: int, first: int) -> tuple[Rows, Hashes]:
    size = len(rows) - n + 1
    if size < 1:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    total = codes[:size].copy()
    for k in range(1, n):
        total *= _MIX
        total += codes[k : k + size]
    whole = rows[:size] == rows[n - 1 :]
    return rows[:size][whole] + first, _mixed(total[whole])


@lru_cache(maxsize=1)
def _powers_of(size: int) -> tuple[Hashes, Hashes]:
    ones = np.ones(1, dtype=np.uint64)
    powers, inverses = (np.concatenate([ones, np.full(size, base)]).cumprod() for base in (_MIX, _INVERSE))
    return powers, inverses


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse, at least `size` of each."""
    return _powers_of(max(_BYTES_AT_ONCE, 1 << (size - 1).bit_length() if size else 0))


def _mixed(values: Hashes) -> Hashes:
    """MurmurHash3's 64-bit finaliser: every bit of the result depends on every bit of the value."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))
