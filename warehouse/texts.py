"""What the transforms share: the text that the model wrote, and hashed n-grams of words or characters.

Words are what stands between whitespace, in lower case; punctuation belongs to its word. Characters are those of the
text in lower case, each run of whitespace as one blank. Both are read from the bytes of many texts at once. A hash
depends on the text alone, so signatures that are made from hashes can be kept: they are the same on every machine.
"""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from schemas.vocabulary import Origin

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so multiplying by it loses nothing; n-grams are polynomials in it modulo 2**64."""
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)
"""Of the first n of eight bytes."""
_LONG = 64
_BYTES_AT_ONCE = 1 << 18
"""Of text: what is made of them stays in a processor's cache."""
_TEXTS_AT_ONCE = 16
_WIDE_SPACES = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
"""White_Space of Unicode, but for the six of ASCII."""
_ENCODED = np.array([int.from_bytes(chr(code).encode().ljust(3, b"\0"), "big") for code in _WIDE_SPACES])
_IS_LEAD = np.isin(np.arange(256), _ENCODED >> 16)


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
    lines = texts.str.to_lowercase() + "\n"  # so that no word reaches from one text into the next
    return _joined([_ngrams(*_words(data, starts), n, first) for data, starts, first in _chunks(lines)])


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
    """Text index and hash of every word, of texts that end in a line break.

    A hash is made of eight bytes at a time, read from wherever a word begins; of a word of more than `_LONG` bytes it
    is its BLAKE2b.
    """
    space = np.empty(len(data) + 1, dtype=bool)
    space[0], space[1:] = True, _spaces(data)
    edges = np.flatnonzero(space[1:] != space[:-1])
    begin, lengths = edges[::2], edges[1::2] - edges[::2]
    padded = np.concatenate([data, np.zeros(8, dtype=np.uint8)])
    eights = np.ndarray((len(data) + 1,), dtype="<u8", buffer=padded, strides=(1,))
    codes = _mixed((eights[begin] & _MASKS[np.minimum(lengths, 8)]) + lengths.astype(np.uint64) * _MIX)
    for done in range(8, _LONG, 8):
        longer = np.flatnonzero(lengths > done)
        if not longer.size:
            break
        more = eights[begin[longer] + done] & _MASKS[np.minimum(lengths[longer] - done, 8)]
        codes[longer] = _mixed(codes[longer] * _MIX + more)
    for word in np.flatnonzero(lengths > _LONG).tolist():
        whole = data[begin[word] : begin[word] + lengths[word]].tobytes()
        codes[word] = int.from_bytes(blake2b(whole, digest_size=8).digest(), "little")
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(np.searchsorted(begin, starts)))
    return rows, codes


def _spaces(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (data - np.uint8(9) < np.uint8(5)) | (data == np.uint8(32))
    wide = np.flatnonzero(data > 127)
    wide = wide[_IS_LEAD[data[wide]]]
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


def _mixed(values: Hashes) -> Hashes:
    """MurmurHash3's 64-bit finaliser: every bit of the result depends on every bit of the value."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))
