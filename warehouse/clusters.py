"""From signatures to clusters: candidates by bands, exact similarities, connected components over what they verify.

Documents are numbered in order of preference, the best first, so the representative of a cluster is its least number.
Two documents are joined only by a verified pair: that they share a bucket with others joins nobody.

What is left out for speed, and what that costs: a candidate is not looked at where its two documents are connected
already (nothing), or where their signatures agree so little that a pair at the threshold would with probability below
0.00004 (`ESTIMATE_ERRORS` standard errors). Documents of one bucket are compared one against all that are not yet
connected to it, so a thousand copies cost a thousand comparisons and not half a million.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from warehouse.minhash import Signatures
from warehouse.texts import Hashes, Rows

ESTIMATE_ERRORS = 4.0
Similarity = Callable[[int, int], float]


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
        self.n_joins = 0

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
        self.n_joins += 1
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
    signed: Signatures, keys: Hashes, similarity: Similarity, threshold: float, groups: Rows | None = None
) -> list[Repeat]:
    """Clusters of near-duplicates, as one row per document that is not the best of its own.

    Args:
        signed: Shape (N, K), in order of preference.
        keys: Shape (N, B), of their bands.
        similarity: Exact, of two numbers; asked for candidates and for the pairs of the result.
        threshold: Of a verified pair.
        groups: Shape (N,): only documents of one group are compared; null: all.

    Returns:
        Ordered by `dropped`.
    """
    least = threshold - ESTIMATE_ERRORS * np.sqrt(threshold * (1 - threshold) / signed.shape[1])
    joined, links, refused = Components(len(signed)), dict[int, tuple[float, int]](), set[tuple[int, int]]()
    for members in buckets(keys, groups):
        for i, others in _candidates(signed, members, joined, float(least)):
            for j in others:
                if (i, j) in refused or joined.root(i) == joined.root(j):
                    continue
                value = similarity(i, j)
                if value < threshold:
                    refused.add((i, j))
                    continue
                joined.join(i, j)
                for one, other in ((i, j), (j, i)):
                    links[one] = max(links.get(one, (0.0, 0)), (value, other), key=lambda link: (link[0], -link[1]))
    return list(_repeats(joined.roots(), links, similarity, threshold))


def _candidates(signed: Signatures, members: Rows, joined: Components, least: float) -> Iterator[tuple[int, list[int]]]:
    """A document of a bucket and those after it that it may repeat, each with each until they are connected."""
    n_joins = -1
    roots = members
    for at in range(len(members) - 1):
        if n_joins != joined.n_joins:
            n_joins = joined.n_joins
            roots = np.array([joined.root(i) for i in members.tolist()])
        ahead = roots[at:] != roots[at]
        if not ahead.any():
            if (roots[at:] == roots[-1]).all():
                return
            continue
        others = members[at:][ahead]
        agree = (signed[others] == signed[members[at]]).mean(axis=1)
        yield int(members[at]), others[agree >= least].tolist()


def _repeats(
    roots: Rows, links: dict[int, tuple[float, int]], similarity: Similarity, threshold: float
) -> Iterator[Repeat]:
    for dropped in np.flatnonzero(roots != np.arange(len(roots))).tolist():
        kept = int(roots[dropped])
        linked_similarity, linked = links[dropped]
        value = linked_similarity if linked == kept else similarity(kept, dropped)
        if value >= threshold:
            linked_similarity, linked = value, kept
        yield Repeat(kept, dropped, value, linked, linked_similarity)


def jaccard(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    """Exact Jaccard similarity of two sets, each a sorted array of distinct hashes."""
    n_common = np.intersect1d(one, other, assume_unique=True).size
    n_all = one.size + other.size - n_common
    return n_common / n_all if n_all else 0.0
