"""MinHash against datasketch (the oracle) and against theory."""

import numpy as np
import polars as pl
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given
from hypothesis import strategies as st

from warehouse import minhash
from warehouse.clusters import jaccard
from warehouse.minhash import Bands, band_keys, choose_bands, signatures
from warehouse.texts import Hashes, word_ngrams


def sign(sets: list[list[int]], num_perm: int = 128) -> minhash.Signatures:
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    flat = np.array([x for s in sets for x in s], dtype=np.uint64)
    return signatures(rows, flat, len(sets), num_perm=num_perm)


def oracle(shingles: list[int], num_perm: int = 128) -> MinHash:
    signed = MinHash(num_perm=num_perm, seed=minhash.SEED, hashfunc=lambda x: x)
    signed.update_batch([x & 0xFFFFFFFF for x in shingles])
    return signed


def overlapping(similarity: float, size: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Two random sets whose Jaccard similarity is as given, to the nearest element."""
    n_common = round(2 * size * similarity / (1 + similarity))
    drawn = rng.integers(0, 2**63, 2 * size - n_common).tolist()
    return drawn[:size], drawn[:n_common] + drawn[size:]


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), max_size=6), st.sampled_from([16, 100]))
def test_signatures_are_those_of_datasketch(sets: list[list[int]], num_perm: int) -> None:
    signed = sign(sets, num_perm)
    assert signed.shape == (len(sets), num_perm)
    for row, shingles in zip(signed, sets, strict=True):
        assert row.tolist() == oracle(shingles, num_perm).hashvalues.tolist()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), st.randoms())
def test_order_and_repetition_of_shingles_change_nothing(shingles: list[int], random: object) -> None:
    shuffled = shingles * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = sign([shingles, shuffled])
    assert one.tolist() == other.tolist()


def test_documents_do_not_depend_on_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    sets = [rng.integers(0, 2**63, n).tolist() for n in (1, 5, 300, 2, 80, 1)]
    whole = sign(sets)
    monkeypatch.setattr(minhash, "_ELEMENTS_AT_ONCE", 10)
    assert (sign(sets) == whole).all()


def test_a_document_without_shingles_is_refused() -> None:
    with pytest.raises(ValueError, match="no shingles"):
        signatures(np.array([0, 2]), np.array([1, 2], dtype=np.uint64), 3, num_perm=16)
    assert signatures(np.zeros(0, np.int64), np.zeros(0, np.uint64), 0, num_perm=16).shape == (0, 16)


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.85, 0.95])
def test_the_estimate_errs_as_theory_says(similarity: float) -> None:
    rng = np.random.default_rng(7)
    n_pairs, num_perm = 400, 128
    pairs = [overlapping(similarity, 300, rng) for _ in range(n_pairs)]
    signed = sign([shingles for pair in pairs for shingles in pair], num_perm)
    estimates = (signed[0::2] == signed[1::2]).mean(axis=1)
    exact = len(set(pairs[0][0]) & set(pairs[0][1])) / len(set(pairs[0][0]) | set(pairs[0][1]))
    error = np.sqrt(exact * (1 - exact) / num_perm)
    assert estimates.mean() == pytest.approx(exact, abs=4 * error / np.sqrt(n_pairs))
    assert estimates.std() == pytest.approx(error, rel=0.15)


def test_bands_are_datasketch_s_and_as_likely_as_the_docstring_says() -> None:
    bands = choose_bands(0.85, 128)
    assert bands == Bands(14, 9)
    found = [round(bands.probability(similarity), 3) for similarity in (0.85, 0.9, 0.5)]
    assert found == [0.975, 0.999, 0.027]


@pytest.mark.parametrize("num_perm", [16, 64, 128])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 1.0])
def test_bands_find_nearly_all_pairs_a_little_above_any_threshold(threshold: float, num_perm: int) -> None:
    bands = choose_bands(threshold, num_perm)
    assert bands.n_bands * bands.n_rows <= num_perm
    assert bands.probability(min(threshold + 0.05, 1)) > 0.97


def test_candidates_are_those_of_datasketch_s_index() -> None:
    rng = np.random.default_rng(3)
    sets = [s for similarity in np.linspace(0.3, 1, 60) for s in overlapping(float(similarity), 100, rng)]
    bands = choose_bands(0.7, 128)
    index = MinHashLSH(num_perm=128, params=(bands.n_bands, bands.n_rows))
    for i, shingles in enumerate(sets):
        index.insert(i, oracle(shingles))
    keys = band_keys(sign(sets), bands)
    for i, shingles in enumerate(sets):
        ours = np.flatnonzero((keys == keys[i]).any(axis=1)).tolist()
        assert ours == sorted(index.query(oracle(shingles)))


def test_keys_of_different_bands_differ() -> None:
    same = np.zeros((1, 128), dtype=np.uint32)
    assert len(set(band_keys(same, Bands(14, 9))[0].tolist())) == 14


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_jaccard_is_exact(one: set[int], other: set[int]) -> None:
    def array(values: set[int]) -> Hashes:
        return np.array(sorted(values), dtype=np.uint64)

    assert jaccard(array(one), array(other)) == (len(one & other) / len(one | other) if one | other else 0.0)


def test_shingles_of_equal_words_are_equal_in_any_layout() -> None:
    rows, hashes = word_ngrams(pl.Series(["To be or not", "to  BE\nor not", "to be and not"]), 3)
    by_row = [set(hashes[rows == row].tolist()) for row in range(3)]
    assert by_row[0] == by_row[1]
    assert not by_row[0] & by_row[2]
