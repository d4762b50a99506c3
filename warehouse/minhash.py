"""MinHash signatures and LSH bands, in `datasketch`'s scheme (affine32) but over many documents at once.

`datasketch` supplies the mathematics: its permutations, and its choice of bands and rows for a threshold. Signatures
equal those of `datasketch.MinHash` bit for bit (a test holds them together), so its tools can read them.

Candidates are verified exactly afterwards, so the choice of bands leans to finding too many: a false candidate costs
microseconds, a missed one a duplicate. With 128 hashes at threshold 0.85 it is 14 bands of 9 rows, which find a pair
of similarity 0.85 with probability 0.975, 0.90 with 0.999, and 0.5 with 0.03.

Source: Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman and Ullman, "Mining of
massive datasets", 3.4, for bands.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from warehouse.texts import Hashes

Signatures = npt.NDArray[np.uint32]

SEED = 1
MISS_WEIGHT = 0.98
"""Of a missed pair against a false candidate, when bands are chosen."""
_ELEMENTS_AT_ONCE = 1 << 16
"""Shingles that are permuted at a time: few enough to stay in a core's cache, enough to keep numpy's loops long."""


@dataclass(frozen=True, slots=True)
class Bands:
    """A signature is cut into `n_bands` bands of `n_rows` hashes; two documents that agree in one are candidates."""

    n_bands: int
    n_rows: int

    def probability(self, similarity: float) -> float:
        """That a pair of this similarity becomes a candidate."""
        return float(1 - (1 - similarity**self.n_rows) ** self.n_bands)


@lru_cache
def choose_bands(threshold: float, num_perm: int) -> Bands:
    """Bands for pairs of at least `threshold`, of at most `num_perm` hashes in all, of which there are 16 or more.

    Above 0.98 the bands for 0.98 serve: stricter ones would be a single band.
    """
    from datasketch import MinHashLSH

    lsh = MinHashLSH(threshold=min(threshold, 0.98), num_perm=num_perm, weights=(1 - MISS_WEIGHT, MISS_WEIGHT))
    return Bands(lsh.b, lsh.r)


def signatures(rows: npt.NDArray[np.int64], shingles: Hashes, n_documents: int, *, num_perm: int) -> Signatures:
    """MinHash signatures of documents given as one flat list of shingles.

    Args:
        rows: Which document a shingle belongs to, ascending; every document has at least one.
        shingles: Their 64-bit hashes; repeating one changes nothing. The low 32 bits are used.
        n_documents: N.
        num_perm: K, hashes per signature.

    Returns:
        uint32, shape (N, K). The share of equal columns of two rows estimates their Jaccard similarity J with a
        standard error of sqrt(J * (1 - J) / K): 0.032 at J = 0.85 and K = 128.

    Raises:
        ValueError: a document without shingles.
    """
    from datasketch import MinHash

    starts = np.searchsorted(rows, np.arange(n_documents + 1))
    if n_documents and int(np.diff(starts).min()) < 1:
        raise ValueError("a document has no shingles: leave it out, it cannot be compared")
    factors, offsets = (np.asarray(p, dtype=np.uint32) for p in MinHash(num_perm=num_perm, seed=SEED).permutations)
    out = np.empty((n_documents, num_perm), dtype=np.uint32)
    first = 0
    while first < n_documents:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _ELEMENTS_AT_ONCE, side="right")) - 1)
        mixed = _mix(shingles[starts[first] : starts[last]].astype(np.uint32))
        edges = starts[first:last] - starts[first]
        permuted, least = np.empty_like(mixed), np.empty((num_perm, last - first), dtype=np.uint32)
        for k in range(num_perm):
            np.multiply(mixed, factors[k], out=permuted)
            np.add(permuted, offsets[k], out=permuted)
            np.minimum.reduceat(permuted, edges, out=least[k])
        out[first:last] = least.T
        first = last
    return out


def band_keys(signed: Signatures, bands: Bands) -> Hashes:
    """One 64-bit key per document and band, shape (N, n_bands): equal where all hashes of the band are.

    Keys of different bands differ too, so one dictionary serves them all.
    """
    used = signed[:, : bands.n_bands * bands.n_rows].reshape(len(signed), bands.n_bands, bands.n_rows)
    keys = np.broadcast_to(np.arange(1, bands.n_bands + 1, dtype=np.uint64), used.shape[:2]).copy()
    for k in range(bands.n_rows):
        keys = _mix64(keys ^ used[:, :, k])
    return keys


def _mix(values: Signatures) -> Signatures:
    """MurmurHash3's 32-bit finaliser, the mixer of the affine32 scheme."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def _mix64(values: Hashes) -> Hashes:
    """MurmurHash3's 64-bit finaliser."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))
