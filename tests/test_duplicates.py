"""Duplicates against brute force: nothing above the threshold slips through, nothing below it is dropped."""

import gzip
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.vocabulary import Shingle
from warehouse import clusters
from warehouse.clusters import find_repeats, jaccard
from warehouse.duplicates import PAIR_SCHEMA, Rule, duplicate_pairs, problem_groups, shingle_sets, sign
from warehouse.minhash import band_keys, choose_bands, signatures
from warehouse.texts import Hashes, Rows

DATA = Path(__file__).parents[2] / "shared" / "data"


def rule(similarity: float = 0.85, size: int = 3, shingle: Shingle = Shingle.WORD, num_perm: int = 128) -> Rule:
    return Rule(shingle, size, num_perm, similarity)


def table(
    texts: dict[str, str], given: Rule, n_tokens: dict[str, int] | None = None, groups: dict[str, str] | None = None
) -> pl.DataFrame:
    """The pairs of some texts, the shortest first."""
    order = sorted(texts, key=lambda name: ((n_tokens or {}).get(name, len(texts[name])), name))
    ids = pl.Series(order, dtype=pl.String)
    signed = sign(ids, pl.Series([texts[name] for name in order], dtype=pl.String), given)

    def read(wanted: pl.Series) -> Iterator[pl.DataFrame]:
        for name in reversed(wanted.to_list()):
            yield pl.DataFrame({"row_id": [name], "text": [texts[name]]})

    own = pl.Series([groups[name] for name in order]) if groups else None
    with tempfile.TemporaryDirectory() as folder:
        return duplicate_pairs(signed, given, read, Path(folder), own)


def pairs(texts: dict[str, str], given: Rule | None = None, **more: Any) -> list[tuple[str, str, float]]:
    rows = table(texts, given or rule(), **more).rows()
    return [(kept, dropped, round(value, 9)) for kept, dropped, value, _, _ in rows]


@cache
def shingles(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def exact(one: str, other: str, n: int) -> float:
    a, b = shingles(one, n), shingles(other, n)
    return len(a & b) / len(a | b)


def real_rows(name: str) -> list[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def words(n: int, start: int = 0) -> str:
    return " ".join(f"w{i}" for i in range(start, start + n))


def test_exact_copies_count_in_any_layout_and_the_shortest_then_the_first_is_kept() -> None:
    texts = {"b": "the same words", "a": "The  same\nwords", "c": "the same words", "d": "other words here"}
    assert pairs(texts, n_tokens={"a": 5, "b": 5, "c": 4}) == [("c", "a", 1.0), ("c", "b", 1.0)]
    assert pairs(texts, n_tokens={"a": 5, "b": 5, "c": 5}) == [("a", "b", 1.0), ("a", "c", 1.0)]


def test_texts_without_words_have_no_duplicates() -> None:
    assert pairs({"a": "", "b": " \n", "c": ""}) == []
    assert pairs({}) == []
    assert table({}, rule()).schema == PAIR_SCHEMA


def test_short_texts_are_one_shingle() -> None:
    assert pairs({"a": "yes", "b": "yes", "c": "no", "d": "yes it is so"}) == [("a", "b", 1.0)]


CHAIN = {"a": words(100), "b": words(100, 6), "c": words(100, 12)}  # each step shares 92 of 104 shingles


def test_a_chain_is_one_cluster_and_each_row_has_its_evidence() -> None:
    ends = exact(CHAIN["a"], CHAIN["c"], 3)
    step = pytest.approx(92 / 104)
    assert ends < 0.85
    rows = table(CHAIN, rule(), n_tokens={"a": 1, "b": 2, "c": 3}).rows()
    assert rows == [("a", "b", step, "a", step), ("a", "c", pytest.approx(ends), "b", step)]
    rows = table(CHAIN, rule(), n_tokens={"a": 2, "b": 1, "c": 3}).rows()
    assert rows == [("b", "a", step, "b", step), ("b", "c", step, "b", step)]


def test_only_rows_of_one_group_are_compared() -> None:
    texts = {name: words(50) for name in "abcd"} | {"e": words(50, 1), "f": words(50, 1)}
    groups = {"a": "p", "b": "p", "c": "q", "d": "r", "e": "p", "f": "q"}
    assert {(k, d) for k, d, _ in pairs(texts, rule(0.9), groups=groups)} == {("a", "b"), ("a", "e"), ("c", "f")}


def arrays(sets: Sequence[set[int]]) -> Callable[[int], Hashes]:
    return [np.array(sorted(own), dtype=np.uint64) for own in sets].__getitem__


def exact_sets(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other)


def count_compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Per call, how many pairs were compared exactly."""
    counts: list[int] = []

    def jaccard_(one: Hashes, other: Hashes) -> float:
        counts.append(1)
        return jaccard(one, other)

    class Bucket(clusters._Bucket):
        def compare(self, at: int, others: Rows) -> Any:
            counts.append(len(others))
            return super().compare(at, others)

    monkeypatch.setattr(clusters, "jaccard", jaccard_)
    monkeypatch.setattr(clusters, "_Bucket", Bucket)
    return counts


def test_a_bucket_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~ B and C ~ D in one bucket stay two clusters: every document has the same keys here."""
    counts = count_compared(monkeypatch)
    sets = [{1, 2, 3, 4}, {1, 2, 3, 4, 5}, {11, 12, 13, 14}, {11, 12, 13, 14, 15}]
    signed = np.zeros((4, 16), dtype=np.uint32)  # and the same signature, so that nothing is left out unseen
    found = find_repeats(signed, np.zeros((4, 3), dtype=np.uint64), arrays(sets), 0.8)
    assert [(r.kept, r.dropped) for r in found] == [(0, 1), (2, 3)]
    assert sum(counts) == 6, "no pair is compared twice, in however many buckets it is"


def test_a_thousand_copies_cost_a_thousand_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_compared(monkeypatch)
    signed, keys = np.zeros((1000, 16), dtype=np.uint32), np.zeros((1000, 4), dtype=np.uint64)
    found = find_repeats(signed, keys, arrays([{1, 2, 3}] * 1000), 0.8)
    assert (len(found), sum(counts)) == (999, 999)


def test_texts_of_one_template_are_compared_many_at_a_time_and_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_compared(monkeypatch)
    sets = [set(range(80)) | set(range(1000 * i, 1000 * i + 10)) for i in range(1, 301)]  # 0.8 alike
    signed, keys = np.zeros((300, 16), dtype=np.uint32), np.zeros((300, 1), dtype=np.uint64)
    assert find_repeats(signed, keys, arrays(sets), 0.81) == []
    assert (sum(counts), len(counts)) == (300 * 299 / 2, 299)
    assert len(find_repeats(signed, keys, arrays(sets), 0.8)) == 299


@settings(max_examples=80)
@given(
    st.lists(st.sets(st.integers(0, 9), min_size=1), min_size=1, max_size=14),
    st.sampled_from([0.3, 0.5, 0.8]),
    st.sampled_from([2, 99]),
    st.integers(1, 3),
)
def test_clusters_are_the_components_of_the_verified_pairs(
    sets: list[set[int]], threshold: float, large: int, n_bands: int
) -> None:
    n = len(sets)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clusters, "_LARGE", large)  # both ways of comparing
        keys = np.zeros((n, n_bands), dtype=np.uint64)
        found = find_repeats(np.zeros((n, 16), dtype=np.uint32), keys, arrays(sets), threshold)
    label = list(range(n))
    for _ in range(n):
        for i, j in combinations(range(n), 2):
            if exact_sets(sets[i], sets[j]) >= threshold:
                label[i] = label[j] = min(label[i], label[j])
    assert {r.dropped: r.kept for r in found} == {i: label[i] for i in range(n) if label[i] != i}
    for r in found:
        assert r.similarity == exact_sets(sets[r.kept], sets[r.dropped])
        assert r.linked_similarity == exact_sets(sets[r.linked], sets[r.dropped]) >= threshold


def test_characters_as_shingles() -> None:
    texts = {"a": "Solve x + 1 = 2 for x.", "b": "solve  x + 1 = 2 for x", "c": "Name the capital of France."}
    assert [(k, d) for k, d, _ in pairs(texts, rule(0.8, 5, Shingle.CHARACTER))] == [("a", "b")]
    assert pairs({"a": "ab", "b": "AB", "c": "abc"}, rule(0.8, 5, Shingle.CHARACTER)) == [("a", "b", 1.0)]


def test_numbers_and_golds_make_groups() -> None:
    def groups(texts: list[str], golds: list[str | None]) -> list[str]:
        found: list[str] = problem_groups(pl.Series(texts), pl.Series(golds, dtype=pl.String)).to_list()
        return found

    numbers = groups(["2 of 3.5 x1", "3.5 or 1 and 2", "2 and 3.5", "no", "none", "1 1 2", "1 2"], [None] * 7)
    assert numbers[0] == numbers[1]
    assert numbers[3] == numbers[4]
    assert len(set(numbers)) == 5
    same = ["72", "072", "72^\\circ", "$72$", "\\text{72}"]
    assert len(set(groups([f"text {'x' * i}" for i in range(5)], list(same)))) == 1
    golds = ["-1", "1", "10", "\\text{E}", "(D)", None, "\\frac{1}{2}"]
    assert len(set(groups([f"text {'x' * i}" for i in range(7)], list(golds)))) == 7
    assert len(set(groups(["One text", " one TEXT "], ["1/2", "0.5"]))) == 1, "equal statements are one problem"


def test_real_problems_that_differ_in_what_they_ask_for_are_kept() -> None:
    """All pairs of problems of a contest set that are alike: none is dropped for one with another answer."""
    rows = real_rows("math_math_train.jsonl.gz")
    texts = {str(i): row["problem"] for i, row in enumerate(rows)}
    golds = {str(i): row["answer"] for i, row in enumerate(rows)}
    values = problem_groups(pl.Series(list(texts.values())), pl.Series(list(golds.values()), dtype=pl.String))
    found = pairs(texts, rule(0.85, 5), groups=dict(zip(texts, values.to_list(), strict=True)))
    loose = pairs(texts, rule(0.85, 5))
    digits = {name: re.sub(r"\D", "", gold or "").lstrip("0") for name, gold in golds.items()}
    assert len(loose) > len(found), "there are problems that only numbers or golds tell apart"
    for kept, dropped, _ in found:
        assert digits[kept] == digits[dropped] or texts[kept].split() == texts[dropped].split()


def test_the_estimate_errs_as_theory_says() -> None:
    """Mean 0, and squared errors that are J (1 - J) / K, over real pairs of one problem."""
    given, by_problem = rule(0.5, 5), dict[str, list[str]]()
    for row in real_rows("tir_mathcoder_gsm8k_even.jsonl.gz"):
        by_problem.setdefault(row["problem_id"], []).append(row["text"].lower())
    scaled: list[float] = []
    for texts in by_problem.values():
        distinct = pl.Series(sorted(set(texts)))
        sets = shingle_sets(distinct, given)
        rows_of = np.repeat(np.arange(len(sets)), [s.size for s in sets])
        signed = signatures(rows_of, np.concatenate(sets), len(sets), num_perm=given.num_perm)
        for i, j in combinations(range(len(sets)), 2):
            true = jaccard(sets[i], sets[j])
            if 0.05 < true < 0.95:
                error = float((signed[i] == signed[j]).mean()) - true
                scaled.append(error / (true * (1 - true) / given.num_perm) ** 0.5)
    assert len(scaled) > 500
    assert abs(np.mean(scaled)) < 0.1
    assert 0.85 < np.mean(np.square(scaled)) < 1.15


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=7).map(" ".join), max_size=12), st.randoms())
def test_input_order_plays_no_part_and_pairs_are_sound(texts: list[str], rng: random.Random) -> None:
    named = {f"t{i}": text for i, text in enumerate(texts)}
    got = pairs(named, rule(0.5, 2))
    shuffled = list(named.items())
    rng.shuffle(shuffled)
    assert pairs(dict(shuffled), rule(0.5, 2)) == got
    dropped = [name for _, name, _ in got]
    assert len(set(dropped)) == len(dropped)
    assert not {kept for kept, _, _ in got} & set(dropped)
    for kept, name, value in got:
        assert value == pytest.approx(exact(named[kept], named[name], 2))


def test_labelled_near_duplicates_are_found_and_no_other() -> None:
    rows = real_rows("neardup_articles_1000.jsonl.gz")
    labelled = {frozenset((row["id"], row["dup_of"])) for row in rows if row["dup_of"]}
    texts = {row["id"]: row["text"] for row in rows}
    for n in (3, 5):
        got = pairs(texts, rule(size=n))
        assert {frozenset((kept, dropped)) for kept, dropped, _ in got} == labelled
        assert len(got) == 10
        for kept, dropped, value in got:
            assert value == pytest.approx(exact(texts[kept], texts[dropped], n))


def test_real_rollouts_against_brute_force() -> None:
    """All pairs of each problem: recall of candidates, soundness and completeness of what is dropped."""
    problems: dict[str, dict[str, str]] = {}
    for row in real_rows("tir_mathcoder_gsm8k_even.jsonl.gz"):
        problems.setdefault(row["problem_id"], {})[row["id"]] = row["text"]
    threshold, n = 0.6, 5
    bands = choose_bands(threshold, 128)
    n_near = n_found = n_dropped = n_left = 0
    for texts in problems.values():
        number: dict[str, int] = {}
        for text in texts.values():
            number.setdefault(" ".join(text.lower().split()), len(number))
        sets = shingle_sets(pl.Series(list(number)), rule(size=n))
        rows_of = np.repeat(np.arange(len(sets)), [s.size for s in sets])
        keys = band_keys(signatures(rows_of, np.concatenate(sets), len(sets), num_perm=128), bands)
        plain = [shingles(text, n) for text in number]
        brute = {
            (i, j): len(plain[i] & plain[j]) / len(plain[i] | plain[j]) for i, j in combinations(range(len(plain)), 2)
        }
        near = [pair for pair, value in brute.items() if value >= threshold + 0.05]
        n_near += len(near)
        n_found += sum(bool((keys[i] == keys[j]).any()) for i, j in near)
        got = table(texts, rule(threshold, n)).rows()
        for kept, dropped, value, linked, linked_value in got:
            assert value == pytest.approx(exact(texts[kept], texts[dropped], n))
            assert linked_value == pytest.approx(exact(texts[linked], texts[dropped], n))
            assert linked_value >= threshold
        n_dropped += len(got)
        kept_names = texts.keys() - {dropped for _, dropped, *_ in got}
        kept_texts = sorted(number[" ".join(texts[name].lower().split())] for name in kept_names)
        assert len(set(kept_texts)) == len(kept_texts), "no exact copy is left"
        n_left += sum(brute[pair] >= threshold for pair in combinations(kept_texts, 2))
    assert n_near > 100
    assert n_found / n_near >= 0.98
    assert n_dropped > 500
    assert n_left / n_dropped < 0.01, "pairs that brute force would not leave"
