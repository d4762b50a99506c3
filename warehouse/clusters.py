"""From signatures to clusters: candidates by bands, exact similarities, connected components over what they verify.

Documents are numbered in order of preference, the best first, so the representative of a cluster is its least number.
Two documents are joined only by a verified pair: that they share a bucket with others joins nobody.

What is left out for speed, and what that costs: a candidate is not looked at where its two documents are connected
already (nothing), or where their signatures agree so little that a pair at the threshold would with probability below
0.00004 (`ESTIMATE_ERRORS` standard errors). Documents of one bucket are compared one against all that are not yet
connected to it, so a thousand copies cost a thousand comparisons and not half a million. Texts of one template are
alike and no copies: of a thousand of them all pairs have to be compared, which is why a large bucket numbers its
shingles and compares one document with all others in three passes over an array (`_Bucket`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from warehouse.minhash import Signatures
from warehouse.texts import Hashes, Rows

ESTIMATE_ERRORS = 4.0
_LARGE = 16
"""Documents of a bucket from which numbering their shingles pays."""
ShinglesOf = Callable[[int], Hashes]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A document that is not the best of its cluster."""

    kept: int
    dropped: int
    similarity: float
    """Exact, of these two; in a cluster that is a chain it can be below the threshold."""
    linked: int
    """A document of the cluster that it is verified to repeat: `kept`, where that is one."""
    linked_similarity: float
    """At least the threshold."""


class Components:
    """Union-find; the root of a component is its least number."""

    def __init__(self, n: int) -> None:
        self._parent = np.arange(n)

    def root(self, i: int) -> int:
        """The least number of i's component."""
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def roots(self) -> Rows:
        """Of every document."""
        parent = self._parent
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]
        self._parent = parent
        return parent

    def join(self, i: int, j: int) -> None:
        """Make one component of two."""
        i, j = self.root(i), self.root(j)
        self._parent[max(i, j)] = min(i, j)


def buckets(keys: Hashes, groups: Rows | None = None) -> Iterator[Rows]:
    """Documents that share the key of a band, and the group where there are any: two or more, ascending.

    Args:
        keys: Shape (N, B), one per document and band.
        groups: Shape (N,): only documents of one group are candidates.
    """
    for band in range(keys.shape[1]):
        key = keys[:, band]
        order = np.lexsort((key,)) if groups is None else np.lexsort((key, groups))
        same = key[order[1:]] == key[order[:-1]]
        if groups is not None:
            same &= groups[order[1:]] == groups[order[:-1]]
        edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            yield order[begin : end + 1]


def in_buckets(keys: Hashes, groups: Rows | None = None) -> Rows:
    """Numbers of the documents that are in some bucket, ascending: those whose texts are needed."""
    found = np.zeros(len(keys), dtype=bool)
    for members in buckets(keys, groups):
        found[members] = True
    return np.flatnonzero(found)


def find_repeats(
    signed: Signatures, keys: Hashes, shingles_of: ShinglesOf, threshold: float, groups: Rows | None = None
) -> list[Repeat]:
    """Clusters of near-duplicates, as one row per document that is not the best of its own.

    Args:
        signed: Shape (N, K), in order of preference.
        keys: Shape (N, B), of their bands.
        shingles_of: The sorted distinct shingles of a document; asked for those in buckets alone.
        threshold: Of a verified pair.
        groups: Shape (N,): only documents of one group are compared; null: all.

    Returns:
        Ordered by `dropped`.
    """
    least = float(threshold - ESTIMATE_ERRORS * np.sqrt(threshold * (1 - threshold) / signed.shape[1]))
    joined, links = Components(len(signed)), dict[int, tuple[float, int]]()
    refused: set[tuple[int, int]] = set()  # of small buckets: a pair may stand in one per band
    for members in buckets(keys, groups):
        roots = np.array([joined.root(i) for i in members.tolist()])
        if (roots == roots[0]).all():
            continue
        bucket = _Bucket(members, shingles_of) if len(members) > _LARGE else None
        for at in range(len(members) - 1):
            i = int(members[at])
            others = at + 1 + np.flatnonzero(roots[at + 1 :] != roots[at])
            if others.size:
                others = others[(signed[members[others]] == signed[i]).mean(axis=1) >= least]
            if bucket is None:
                others = np.array([j for j in others.tolist() if (i, int(members[j])) not in refused], dtype=np.int64)
            if not others.size:
                continue
            if bucket is None:
                own = shingles_of(i)
                values = np.array([jaccard(own, shingles_of(int(members[j]))) for j in others])
                refused.update((i, int(members[j])) for j in others[values < threshold])
            else:
                values = bucket.compare(at, others)
            found = values >= threshold
            for j, value in zip(members[others[found]].tolist(), values[found].tolist(), strict=True):
                joined.join(i, j)
                for one, other in ((i, j), (j, i)):
                    links[one] = max(links.get(one, (0.0, 0)), (value, other), key=lambda link: (link[0], -link[1]))
            if found.any():
                together = np.append(roots[others[found]], roots[at])
                roots[np.isin(roots, together)] = together.min()
    return list(_repeats(joined.roots(), links, shingles_of, threshold))


class _Bucket:
    """Documents whose shingles are numbered, so that one is compared with many at a time."""

    def __init__(self, members: Rows, shingles_of: ShinglesOf) -> None:
        sets = [shingles_of(i) for i in members.tolist()]
        self._sizes = np.array([hashes.size for hashes in sets])
        _, codes, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
        shared = counts > 1  # what one document alone has is in no intersection
        number = np.cumsum(shared, dtype=np.int32) - np.int32(1)
        parts = np.split(codes, np.cumsum(self._sizes)[:-1])
        self._codes = [number[part[shared[part]]] for part in parts]
        self._n_codes = int(shared.sum())

    def compare(self, at: int, others: Rows) -> npt.NDArray[np.float64]:
        """Exact similarities of one document and others, all by their places in the bucket."""
        is_mine = np.zeros(self._n_codes + 1, dtype=np.int32)
        is_mine[self._codes[at]] = 1
        picked = [self._codes[j] for j in others.tolist()]
        begins = np.cumsum([0, *(codes.size for codes in picked)])
        hits = np.append(is_mine[np.concatenate(picked)], np.int32(0))  # so that an empty last part has a beginning
        n_common = np.where(np.diff(begins) > 0, np.add.reduceat(hits, begins[:-1]), 0)
        similarities: npt.NDArray[np.float64] = n_common / (self._sizes[others] + self._sizes[at] - n_common)
        return similarities


def _repeats(
    roots: Rows, links: dict[int, tuple[float, int]], shingles_of: ShinglesOf, threshold: float
) -> Iterator[Repeat]:
    for dropped in np.flatnonzero(roots != np.arange(len(roots))).tolist():
        kept = int(roots[dropped])
        linked_similarity, linked = links[dropped]
        value = linked_similarity if linked == kept else jaccard(shingles_of(kept), shingles_of(dropped))
        if value >= threshold:
            linked_similarity, linked = value, kept
        yield Repeat(kept, dropped, value, linked, linked_similarity)


def jaccard(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    """Exact Jaccard similarity of two sets, each a sorted array of distinct hashes."""
    n_common = np.intersect1d(one, other, assume_unique=True).size
    n_all = one.size + other.size - n_common
    return n_common / n_all if n_all else 0.0
