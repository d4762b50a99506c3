"""Duplicates against brute force: nothing above the threshold slips through, nothing below it is dropped."""

import gzip
import json
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.duplicates import PAIR_SCHEMA, duplicate_pairs, shingle_sets
from warehouse.minhash import band_keys, choose_bands, signatures

DATA = Path(__file__).parents[2] / "shared" / "data"
SEGMENT = pl.Struct({"origin": pl.String, "text": pl.String, "n_tokens": pl.Int64})


def frame(texts: dict[str, str], n_tokens: dict[str, int] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "trajectory_id": list(texts),
            "n_tokens": [(n_tokens or {}).get(name, len(text)) for name, text in texts.items()],
            "segments": [[{"origin": "model", "text": text, "n_tokens": 1}] for text in texts.values()],
        },
        schema={"trajectory_id": pl.String, "n_tokens": pl.Int64, "segments": pl.List(SEGMENT)},
    )


def pairs(texts: dict[str, str], **arguments: Any) -> list[tuple[str, str, float]]:
    given = {"similarity": 0.85, "shingle_words": 3, "n_tokens": None} | arguments
    rows = duplicate_pairs(frame(texts, given.pop("n_tokens")), **given).rows()
    return [(kept, dropped, round(value, 9)) for kept, dropped, value in rows]


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


def test_only_what_the_model_wrote_is_compared() -> None:
    rows = frame({"a": words(50), "b": words(50)})
    tool = pl.Series(
        [[{"origin": "tool", "text": text, "n_tokens": 1}] for text in ("1 2 3", "4 5 6")], dtype=pl.List(SEGMENT)
    )
    rows = rows.with_columns(segments=pl.concat_list("segments", tool))
    assert duplicate_pairs(rows, similarity=0.85, shingle_words=3).height == 1


def test_texts_without_words_have_no_duplicates() -> None:
    assert pairs({"a": "", "b": " \n", "c": ""}) == []
    assert pairs({}) == []
    assert duplicate_pairs(frame({}), similarity=0.85, shingle_words=3).schema == PAIR_SCHEMA


def test_short_texts_are_one_shingle() -> None:
    assert pairs({"a": "yes", "b": "yes", "c": "no", "d": "yes it is so"}) == [("a", "b", 1.0)]


def test_a_chain_does_not_drop_what_is_not_similar_to_the_kept_row() -> None:
    texts = {"a": words(100), "b": words(100, 6), "c": words(100, 12)}  # each step shares 92 of 104 shingles
    assert exact(texts["a"], texts["b"], 3) > 0.85 > exact(texts["a"], texts["c"], 3)
    assert pairs(texts, n_tokens={"a": 1, "b": 2, "c": 3}) == [("a", "b", round(92 / 104, 9))]
    assert [dropped for _, dropped, _ in pairs(texts, n_tokens={"a": 2, "b": 1, "c": 3})] == ["a", "c"]


def test_a_dropped_row_is_paired_with_the_kept_row_it_resembles_most() -> None:
    texts = {"a": words(100), "b": words(100, 9), "c": words(100, 5)}
    assert pairs(texts, n_tokens={"a": 1, "b": 2, "c": 3}) == [("b", "c", round(94 / 102, 9))]


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=7).map(" ".join), max_size=12), st.randoms())
def test_input_order_plays_no_part_and_pairs_are_sound(texts: list[str], rng: random.Random) -> None:
    named = {f"t{i}": text for i, text in enumerate(texts)}
    got = pairs(named, similarity=0.5, shingle_words=2)
    shuffled = list(named.items())
    rng.shuffle(shuffled)
    assert pairs(dict(shuffled), similarity=0.5, shingle_words=2) == got
    dropped = [name for _, name, _ in got]
    assert len(set(dropped)) == len(dropped)
    assert not {kept for kept, _, _ in got} & set(dropped)
    for kept, name, value in got:
        assert value == pytest.approx(exact(named[kept], named[name], 2))
        assert value >= 0.5


def test_labelled_near_duplicates_are_found_and_no_other() -> None:
    rows = real_rows("neardup_articles_1000.jsonl.gz")
    labelled = {frozenset((row["id"], row["dup_of"])) for row in rows if row["dup_of"]}
    texts = {row["id"]: row["text"] for row in rows}
    for n in (3, 5):
        got = pairs(texts, shingle_words=n)
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
        sets = shingle_sets(pl.Series(list(number)), n)
        rows_of = np.repeat(np.arange(len(sets)), [s.size for s in sets])
        keys = band_keys(signatures(rows_of, np.concatenate(sets), len(sets), num_perm=128), bands)
        plain = [shingles(text, n) for text in number]
        brute = {
            (i, j): len(plain[i] & plain[j]) / len(plain[i] | plain[j]) for i, j in combinations(range(len(plain)), 2)
        }
        near = [pair for pair, value in brute.items() if value >= threshold + 0.05]
        n_near += len(near)
        n_found += sum(bool((keys[i] == keys[j]).any()) for i, j in near)
        got = pairs(texts, similarity=threshold, shingle_words=n)
        for kept, dropped, value in got:
            assert value == pytest.approx(exact(texts[kept], texts[dropped], n))
            assert value >= threshold
        n_dropped += len(got)
        kept_names = texts.keys() - {dropped for _, dropped, _ in got}
        kept_texts = sorted(number[" ".join(texts[name].lower().split())] for name in kept_names)
        assert len(set(kept_texts)) == len(kept_texts), "no exact copy is left"
        n_left += sum(brute[pair] >= threshold for pair in combinations(kept_texts, 2))
    assert n_near > 100
    assert n_found / n_near >= 0.98
    assert n_dropped > 500
    assert n_left / n_dropped < 0.01, "pairs that brute force would not leave"
