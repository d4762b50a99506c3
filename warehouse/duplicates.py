"""derived.duplicate_pairs: which trajectories repeat another, exactly or nearly.

Two texts are duplicates when the Jaccard similarity of their sets of word shingles reaches the threshold. Texts are
taken in order of preference (fewest tokens, then trajectory_id). Each is dropped if it is a duplicate of one kept
before, and kept otherwise. So every dropped row is *directly* similar to its kept row, no two kept rows are found
similar, a chain A ~ B ~ C does not drop C for A, and the order of the input plays no part.

MinHash only proposes; the similarity is exact (up to collisions of 64-bit hashes). Not covered: paraphrase, and
texts equal but for their numbers where few shingles hold a number.
"""

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import polars as pl

from warehouse.minhash import band_keys, choose_bands, jaccard, signatures
from warehouse.texts import Hashes, model_text, word_ngrams

PAIR_SCHEMA = {"kept_id": pl.String, "dropped_id": pl.String, "similarity": pl.Float64}


def duplicate_pairs(
    trajectories: pl.DataFrame, *, similarity: float, shingle_words: int, num_perm: int = 128
) -> pl.DataFrame:
    """One row per trajectory that repeats another.

    Args:
        trajectories: Columns trajectory_id, segments, n_tokens (of whatever should be short). Only what the model
            wrote is compared; a text without words has no duplicates.
        similarity: Threshold, above 0 and at most 1.
        shingle_words: Words per shingle. A shorter text is one shingle.
        num_perm: Hashes per signature.

    Returns:
        kept_id, dropped_id, similarity (of exactly these two, >= threshold), ordered by dropped_id. A dropped_id
        stands once, and is no kept_id.
    """
    ordered = (
        trajectories.select("trajectory_id", "n_tokens", text=model_text().str.to_lowercase().str.strip_chars())
        .filter(pl.col("text") != "")
        .sort("n_tokens", "trajectory_id")
    )
    ids, first = ordered["trajectory_id"].to_list(), _first_of_equal(ordered["text"])
    distinct = np.flatnonzero(first == np.arange(len(first)))
    repeats = near_duplicates(ordered["text"][distinct], similarity, shingle_words, num_perm)
    near = {int(distinct[dropped]): (int(distinct[kept]), value) for dropped, (kept, value) in repeats.items()}
    found: list[tuple[str, str, float]] = []
    for row, equal in enumerate(first.tolist()):
        kept, value = near.get(equal, (equal, 1.0))
        if kept != row:
            found.append((ids[kept], ids[row], value))
    return pl.DataFrame(found, schema=PAIR_SCHEMA, orient="row").sort("dropped_id")


def near_duplicates(
    texts: pl.Series, similarity: float, shingle_words: int, num_perm: int
) -> dict[int, tuple[int, float]]:
    """Texts in order of preference -> dropped index: (the most similar kept index, their similarity)."""
    if texts.is_empty():
        return {}
    sets = shingle_sets(texts, shingle_words)
    rows = np.repeat(np.arange(len(sets)), [s.size for s in sets])
    signed = signatures(rows, np.concatenate(sets), len(sets), num_perm=num_perm)
    keys = band_keys(signed, choose_bands(similarity, num_perm)).tolist()
    kept_under: defaultdict[int, list[int]] = defaultdict(list)
    dropped: dict[int, tuple[int, float]] = {}
    for row, own in enumerate(keys):
        candidates = sorted({kept for key in own for kept in kept_under.get(key, ())})
        value, best = max(((jaccard(sets[row], sets[kept]), -kept) for kept in candidates), default=(0.0, 0))
        if candidates and value >= similarity:
            dropped[row] = (-best, value)
        else:
            for key in own:
                kept_under[key].append(row)
    return dropped


def shingle_sets(texts: pl.Series, n: int) -> list[Hashes]:
    """The distinct shingles of every text, sorted. Each text has at least one word."""
    rows, hashes = word_ngrams(texts, n)
    order = np.lexsort((hashes, rows))
    rows, hashes = rows[order], hashes[order]
    fresh = np.ones(len(rows), dtype=bool)
    fresh[1:] = (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])
    rows, hashes = rows[fresh], hashes[fresh]
    sets = np.split(hashes, np.searchsorted(rows, np.arange(1, len(texts))))
    short = [row for row, shingles in enumerate(sets) if shingles.size == 0]
    for row in short:
        sets[row] = word_ngrams(texts[[row]], len(str(texts[row]).split()))[1]
    return sets


def _first_of_equal(texts: pl.Series) -> npt.NDArray[np.int64]:
    """For each text the index of the first one equal to it."""
    frame = pl.DataFrame({"text": texts}).with_row_index()
    return frame.select(pl.col("index").min().over("text"))["index"].to_numpy().astype(np.int64)
