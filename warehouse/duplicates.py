"""Near-duplicates: texts are signed once, compared by signatures, verified by their shingles, and clustered.

Two texts are duplicates when the Jaccard similarity of their sets of shingles reaches the threshold. A cluster is a
connected component over such pairs; of each cluster the best row is kept, in the order that the caller prefers. So in
a chain A ~ B ~ C, C is dropped for A although it may be less similar to it than the threshold; the pair that ties it
to the cluster stands beside it. Equal texts are folded first. The order of the input plays no part.

MinHash only proposes; the similarity is exact (up to collisions of 64-bit hashes). A signature depends on the text and
on the scheme alone, so it is stored and made once. Shingle sets of candidates lie in a file while they are compared:
nothing here holds the texts of all rows. Not covered: paraphrase, and texts equal but for their numbers where few
shingles hold a number (of statements the numbers and the golds must be the same: `problem_groups`).
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.vocabulary import Shingle
from warehouse.clusters import find_repeats, in_buckets
from warehouse.minhash import SEED, Signatures, band_keys, choose_bands, signatures
from warehouse.texts import Hashes, Rows, character_ngrams, word_ngrams

VERSION = 1
"""Of the hashes that signatures are made of; raised where the same text would get another one."""
PAIR_SCHEMA = {
    "kept_id": pl.String, "dropped_id": pl.String, "similarity": pl.Float64, "linked_id": pl.String,
    "linked_similarity": pl.Float64,
}  # fmt: skip
SIGNATURE_SCHEMA = {"row_id": pl.String, "text_hash": pl.Binary, "n_shingles": pl.Int64, "signature": pl.Binary}
_TEXTS_PER_THREAD = 256
ReadTexts = Callable[[pl.Series], Iterable[pl.DataFrame]]
"""Ids -> frames of row_id and text, in any order."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When two texts repeat each other."""

    shingle: Shingle
    size: int
    """Words, or characters, per shingle. A shorter text is one shingle."""
    num_perm: int
    """Hashes per signature."""
    similarity: float
    """Threshold, above 0 and at most 1."""

    @property
    def scheme(self) -> str:
        """Whatever decides a signature."""
        return f"{VERSION}:{self.shingle}:{self.size}:{self.num_perm}:{SEED}"


def sign(ids: pl.Series, texts: pl.Series, rule: Rule) -> pl.DataFrame:
    """Sign texts, on all cores.

    Args:
        ids: Of the rows.
        texts: In the same order.
        rule: Of which only the scheme matters.

    Returns:
        Columns of `SIGNATURE_SCHEMA`. text_hash is equal where texts are, case and blanks at the ends aside. A text
        without words has no shingles and an empty signature.
    """
    plain = texts.str.to_lowercase().str.strip_chars()
    slices = [plain[at : at + _TEXTS_PER_THREAD] for at in range(0, len(plain), _TEXTS_PER_THREAD)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        parts = list((threads.map if len(slices) > 1 else map)(lambda part: _signed(part, rule), slices))
    columns = {
        "row_id": ids,
        "text_hash": [digest for digests, _, _ in parts for digest in digests],
        "n_shingles": np.concatenate([n for _, n, _ in parts]) if parts else [],
        "signature": [signature for _, _, made in parts for signature in made],
    }
    return pl.DataFrame(columns, schema=SIGNATURE_SCHEMA)


def _signed(texts: pl.Series, rule: Rule) -> tuple[list[bytes], Rows, list[bytes]]:
    """Of each text its hash, how many shingles it has, repeats included, and the bytes of its signature."""
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts.to_list()]
    rows, hashes = shingles(texts, rule)
    counts = np.bincount(rows, minlength=len(texts))
    has_any = np.flatnonzero(counts)
    number = np.cumsum(counts > 0) - 1
    made = signatures(number[rows], hashes, len(has_any), num_perm=rule.num_perm)
    out = [b""] * len(texts)
    for row, signature in zip(has_any.tolist(), made, strict=True):
        out[row] = signature.astype("<u4").tobytes()
    return digests, counts, out


def shingles(texts: pl.Series, rule: Rule) -> tuple[Rows, Hashes]:
    """Every shingle of every text, by text; a text shorter than one is one."""
    cut = word_ngrams if rule.shingle is Shingle.WORD else character_ngrams
    rows, hashes = cut(texts, rule.size)
    short = np.flatnonzero(np.bincount(rows, minlength=len(texts)) == 0)
    parts = [(rows, hashes)]
    for row in short.tolist():
        own = cut(texts[[row]], 1)[1]
        if own.size:
            parts.append((np.array([row]), cut(texts[[row]], own.size)[1]))
    if len(parts) == 1:
        return rows, hashes
    rows, hashes = np.concatenate([r for r, _ in parts]), np.concatenate([h for _, h in parts])
    order = np.argsort(rows, kind="stable")
    return rows[order], hashes[order]


def duplicate_pairs(
    signed: pl.DataFrame, rule: Rule, read_texts: ReadTexts, folder: Path, groups: pl.Series | None = None
) -> pl.DataFrame:
    """One row per row that repeats another.

    Args:
        signed: Columns of `SIGNATURE_SCHEMA`, the most preferred row first. Rows without shingles repeat nothing.
        rule: Of the signatures.
        read_texts: Gets the ids of candidates.
        folder: Where their shingles lie meanwhile, in a file that nobody sees.
        groups: One value per row: only rows of one group are compared.

    Returns:
        Columns of `PAIR_SCHEMA`, ordered by dropped_id, which stands once and is no kept_id.
    """
    frame = signed.with_columns(group=groups if groups is not None else pl.lit(0)).filter(pl.col("n_shingles") > 0)
    frame = frame.with_row_index("at").with_columns(first=pl.col("at").min().over("text_hash", "group"))
    distinct = frame.filter(pl.col("at") == pl.col("first"))
    if distinct.is_empty():
        return pl.DataFrame(schema=PAIR_SCHEMA)
    matrix = _matrix(distinct["signature"], rule.num_perm)
    codes = distinct["group"].rank("dense").to_numpy().astype(np.int64) if groups is not None else None
    keys = band_keys(matrix, choose_bands(rule.similarity, rule.num_perm))
    wanted = in_buckets(keys, codes)
    ids = distinct["row_id"]
    with ShingleFile(folder, len(distinct)) as sets:
        number_of = dict(zip(ids.gather(wanted).to_list(), wanted.tolist(), strict=True))
        for part in read_texts(ids.gather(wanted)) if len(wanted) else ():
            numbers = [number_of[row] for row in part["row_id"].to_list()]
            sets.add(numbers, shingle_sets(part["text"].str.to_lowercase().str.strip_chars(), rule))
        repeats = find_repeats(matrix, keys, sets.__getitem__, threshold=rule.similarity, groups=codes)
    near = pl.DataFrame(
        [(r.dropped, r.kept, r.similarity, r.linked, r.linked_similarity) for r in repeats],
        schema={
            "dropped": pl.UInt32, "kept": pl.UInt32, "similarity": pl.Float64, "linked": pl.UInt32,
            "linked_similarity": pl.Float64,
        },
        orient="row",
    )  # fmt: skip
    return _with_equal_ones(frame, distinct, near)


def _with_equal_ones(frame: pl.DataFrame, distinct: pl.DataFrame, near: pl.DataFrame) -> pl.DataFrame:
    """Rows of equal texts follow the first of them."""
    ids = distinct.with_row_index("number").select("number", "at", "row_id")
    named = (
        near.join(ids.select(dropped="number", first="at", first_id="row_id"), on="dropped")
        .join(ids.select(kept="number", kept_id="row_id"), on="kept")
        .join(ids.select(linked="number", linked_id="row_id"), on="linked")
        .select("first", "kept_id", "similarity", "linked_id", "linked_similarity")
    )
    firsts = frame.join(ids.select(first="at", first_id="row_id"), on="first")
    is_copy = pl.col("at") != pl.col("first")
    return (
        firsts.join(named, on="first", how="left")
        .with_columns(
            kept_id=pl.coalesce("kept_id", "first_id"),
            similarity=pl.col("similarity").fill_null(1.0),
            linked_id=pl.when(is_copy).then("first_id").otherwise("linked_id"),
            linked_similarity=pl.when(is_copy).then(1.0).otherwise("linked_similarity"),
        )
        .filter(pl.col("kept_id") != pl.col("row_id"))
        .select(pl.col("kept_id"), pl.col("row_id").alias("dropped_id"), *list(PAIR_SCHEMA)[2:])
        .sort("dropped_id")
    )


def _matrix(column: pl.Series, num_perm: int) -> Signatures:
    """Shape (N, K), of signatures as bytes."""
    array = column.to_arrow().cast(pa.large_binary())
    data = np.frombuffer(array.buffers()[2], dtype="<u4")
    begin = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset] // 4
    return data[begin : begin + len(array) * num_perm].reshape(len(array), num_perm)


def shingle_sets(texts: pl.Series, rule: Rule) -> list[Hashes]:
    """The distinct shingles of every text, sorted."""
    rows, hashes = shingles(texts, rule)
    return [np.unique(part) for part in np.split(hashes, np.searchsorted(rows, np.arange(1, len(texts))))]


def problem_groups(statements: pl.Series, golds: pl.Series) -> pl.Series:
    r"""A value per problem, equal where two that look alike may be one: the same numbers, and the same gold.

    Many problems of one text and the same numbers ask for something else ("minimum" or "maximum", "red" or "blue").
    Their golds tell them apart. Numbers count in whatever order; of a gold its digits and signs count, or its letters
    where it has no digit, LaTeX commands aside, so that `72`, `072` and `72^\circ` are the same. Problems of equal
    statements are in one group, whatever their golds.

    Args:
        statements: No nulls.
        golds: In the same order; null for what is judged by tests.
    """
    plain = pl.col("gold").fill_null("").str.to_lowercase().str.replace_all(r"\\[a-z]+", " ")
    digits = plain.str.replace_all(r"\b0+(\d)", "${1}").str.replace_all(r"[^-\d]", "")
    letters = plain.str.replace_all(r"[^\p{L}]", "")
    asked = pl.col("text").str.to_lowercase().str.strip_chars()
    frame = pl.DataFrame({"text": statements, "gold": golds}, schema={"text": pl.String, "gold": pl.String})
    return frame.select(
        pl.concat_str(
            pl.col("text").str.extract_all(r"\d+(?:\.\d+)?").list.sort().list.join(" "),
            pl.when(digits.str.contains(r"\d")).then(digits).otherwise(letters).first().over(asked),
            separator="\n",
        )
    ).to_series()


class ShingleFile:
    """Sorted sets of hashes by number, in a nameless file: the system keeps in memory what is used."""

    def __init__(self, folder: Path, n: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed when the block ends
        self._begin, self._end = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self._data: Hashes | None = None

    def __enter__(self) -> "ShingleFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._data = None
        self._file.close()

    def add(self, numbers: Iterable[int], sets: Iterable[Hashes]) -> None:
        """Put sets at the end of the file."""
        at = self._file.seek(0, os.SEEK_END) // 8
        for number, hashes in zip(numbers, sets, strict=True):
            self._begin[number], self._end[number] = at, at + hashes.size
            self._file.write(hashes.tobytes())
            at += hashes.size
        self._data = None

    def __getitem__(self, number: int) -> Hashes:
        if self._data is None:
            self._file.flush()
            self._data = np.memmap(self._file, dtype=np.uint64, mode="r")
        return self._data[self._begin[number] : self._end[number]]
