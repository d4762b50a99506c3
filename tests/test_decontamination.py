"""Decontamination: each method on small texts, its evidence, and what it finds in real benchmarks."""

import random
import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from quality.decontamination.embeddings import LEAST_NUMBERS, Encode, load_encoder, numbers, numbers_agree
from quality.decontamination.find import BenchmarkItem, find_contamination
from quality.decontamination.near import near_exact
from quality.decontamination.overlap import lcs_share, ngram_lcs
from quality.decontamination.texts import longest_common_run, normalise
from schemas.errors import RecipeError
from schemas.recipe import Decontamination
from schemas.tables import CONTAMINATION
from tests.shared_data import rows

LONG = "A farmer has 17 sheep and 23 goats in 4 fields, and sells half of the sheep on Monday to his neighbour."
STOCK = " can be written as m/n, where m and n are relatively prime positive integers. Find m + n."


def find(
    problems: dict[str, str], items: dict[str, str], *, encode: Encode | None = None, **rule: Any
) -> dict[str, dict[str, str]]:
    """Per problem, method -> item."""
    made = [BenchmarkItem("bench", item, text) for item, text in items.items()]
    found: dict[str, dict[str, str]] = {}
    for row in find_contamination(problems.items(), made, Decontamination(**rule), recipe_id="r", encode=encode):
        found.setdefault(row["problem_id"], {})[row["method"]] = row["item"]
    return found


def test_normalised_text() -> None:
    a = normalise("Compute  $\\left(\\dfrac{1}{2}\\right)^{2}$, \u210d-times.")
    assert a == normalise(r"compute (\frac{1}{2})^2 H-times")
    assert normalise("2 + 2").key != normalise("2 - 2").key
    assert normalise("2 + 2").words == ("2", "2")


def test_methods_and_their_evidence() -> None:
    almost = LONG.replace("Monday", "Tuesday")  # the 19th of 22 words
    other = "He said: " + " ".join(LONG.split()[:14]) + " " + " ".join(f"w{i}" for i in range(40))
    problems = {"same": LONG.upper() + " ...", "near": almost, "far": other, "short": "What is 2 + 2?", "minus": "2-2"}
    items = {"farm": LONG, "sum": "what is 2+2", "plus": "2+2", "long": " ".join(f"v{i}" for i in range(60))}
    farm = {"near_exact": "farm", "ngram_lcs": "farm"}
    assert find(problems, items, near_similarity=0.8) == {
        "same": {"exact": "farm", **farm},
        "near": farm,
        "far": {"ngram_lcs": "farm"},
        "short": {"exact": "sum", "near_exact": "sum"},
    }
    # The n-gram alone is not enough: its share of the shorter text counts.
    assert find({"far": other}, {"farm": LONG + " " + " ".join(f"u{i}" for i in range(40))}) == {}
    assert "far" not in find(problems, items, lcs_ratio=0.8)
    assert "near" not in find(problems, items, ngram=19, near_similarity=None)
    assert find(problems, items, near_similarity=0.8, lcs_ratio=None)["near"] == {"near_exact": "farm"}

    rule = Decontamination(near_similarity=None)
    (row,) = find_contamination([("near", almost)], [BenchmarkItem("bench", "farm", LONG)], rule, recipe_id="r1")
    assert list(row) == [column.name for column in CONTAMINATION.columns]
    assert row["score"] == pytest.approx(21 / 22)
    assert row["matched_text"] == normalise(LONG.partition("Monday")[0]).key.replace(" ,", "")


def test_each_benchmark_and_method_has_its_best_match() -> None:
    items = {"worse": LONG.replace("17", "18").replace("4 fields", "5 barns"), "better": LONG.replace("17", "18")}
    assert find({"p": LONG}, items, ngram=8)["p"] == {"ngram_lcs": "better"}  # other numbers are not nearly equal
    two = [BenchmarkItem("a", "1", LONG), BenchmarkItem("b", "1", LONG.replace("neighbour", "neighbor"))]
    found = find_contamination([("p", LONG)], two, Decontamination(), recipe_id="r")
    assert [(row["method"], row["benchmark"]) for row in found] == [
        ("exact", "a"), ("near_exact", "a"), ("near_exact", "b"), ("ngram_lcs", "a"), ("ngram_lcs", "b"),
    ]  # fmt: skip


def test_empty_texts_match_nothing() -> None:
    assert find({"p": "", "q": "..."}, {"a": "", "b": "..."}) == {}


def test_a_stock_phrase_alone_is_no_evidence() -> None:
    items = {"torus": "The ratio of the radius of a torus to that of a sphere" + STOCK}
    problems = {
        "die": "The chance of a six" + STOCK,
        "logs": "The solution x of an equation with logarithms" + STOCK,
        "sheep": "The share of sheep" + STOCK,
    }
    assert set(find(problems, items, stock_texts=0)) == set(problems)  # the rule as it was published
    assert find(problems, items) == {}
    # The same phrase in the benchmark alone, as in a generator's template.
    asked = {str(i): f"How many 1 bits are there in the binary form of the whole number {i}?" for i in range(5)}
    assert find({"p": asked["1"].replace("1?", "77?")}, asked, stock_texts=0) != {}
    assert find({"p": asked["1"].replace("1?", "77?")}, asked) == {}
    assert find({"p": asked["3"]}, asked)["p"]["exact"] == "3"


def test_copies_of_a_leaked_problem_make_no_stock_phrase() -> None:
    leaked = LONG + " How many sheep and goats has he then, and how many stand in each field on average?"
    copies = {f"copy{i}": leaked.replace("farmer", f"farmer{i}").replace("Monday", f"day {i}") for i in range(9)}
    found = find(copies, {"farm": leaked}, near_similarity=None)
    assert found == {copy: {"ngram_lcs": "farm"} for copy in copies}
    wrapped = {f"w{i}": " ".join(f"x{i}{j}" for j in range(40)) + " " + leaked for i in range(9)}
    assert set(find(wrapped, {"farm": leaked}, near_similarity=None)) == set(wrapped)


def test_a_leak_beside_a_stock_phrase_is_found() -> None:
    leaked = LONG[:-1] + ", whose share of all sheep" + STOCK
    others = {f"other{i}": " ".join(f"w{i}{j}" for j in range(12)) + STOCK for i in range(5)}
    found = find({"leak": leaked.replace("Monday", "Sunday"), **others}, {"farm": leaked}, near_similarity=None)
    assert found == {"leak": {"ngram_lcs": "farm"}}


def test_nearly_equal_texts_have_the_same_numbers() -> None:
    items = {"tan": r"Compute $\tan 60^\circ$ in the unit circle.", "binomial": r"Compute $\dbinom{8}{4}$."}
    problems = {
        "spelled": r"compute \( \tan 60 ^{\circ} \) in the unit  circle",
        "other": r"Compute $\tan 30^\circ$ in the unit circle.",
        "binomial5": r"Compute $\dbinom{8}{5}$.",
        "typo": r"Compute $\tan 60^\circ$ in the unit circel.",
    }
    found = find(problems, items, near_similarity=0.8)
    assert {problem: methods["near_exact"] for problem, methods in found.items()} == {"spelled": "tan", "typo": "tan"}


def test_prefix_filtering_leaves_no_pair_out() -> None:
    draw = random.Random(0)
    base = [" ".join(draw.choices(["sheep", "goat", "field", "sold", "half", "of"], k=12)) for _ in range(8)]
    texts = [normalise("".join(c if draw.random() > 0.02 else "x" for c in draw.choice(base))) for _ in range(160)]
    problems, items = texts[:80], texts[80:]

    def runs(text: str) -> set[str]:
        letters = text.replace(" ", "")
        return {letters[i : i + 5] for i in range(len(letters) - 4)}

    for least in (0.5, 0.7, 0.85, 1.0):
        expected = {
            (p, i): len(runs(a.key) & runs(b.key)) / len(runs(a.key) | runs(b.key))
            for (p, a), (i, b) in product(enumerate(problems), enumerate(items))
        }
        found = {(p, i): score for p, i, score in near_exact(problems, items, similarity=least)}
        assert found == {pair: score for pair, score in expected.items() if score >= least}
        assert found, "the texts are alike enough for something to be found"


def test_lcs_equals_the_textbook_one() -> None:
    def textbook(a: list[str], b: list[str]) -> int:
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
        return table[-1][-1]

    draw = random.Random(0)
    for _ in range(300):
        a, b = (draw.choices("abcde", k=draw.randint(1, 90)) for _ in range(2))
        assert lcs_share(a, b) == lcs_share(b, a) == textbook(a, b) / min(len(a), len(b))
    assert lcs_share([], ["a"]) == 0.0
    assert longest_common_run("xxabcyy", "zabcz") == "abc"


@pytest.mark.parametrize(
    ("a", "b", "agree"),
    [
        ("2 bolts and half of 1,000", "two bolts, 1000.0 of which one half", True),
        ("three for $2", "3 for 2 dollars", True),
        ("no numbers", "none here either", True),
        ("5 apples", "no apples", False),
        ("12 and 34 and 56", "12 and 34 and 57", True),  # 2 of 4
        ("12 and 34", "12 and 35", False),  # 1 of 3
    ],
)
def test_numbers_of_a_rephrasing(a: str, b: str, agree: bool) -> None:
    assert LEAST_NUMBERS == 0.5
    assert numbers_agree(numbers(a), numbers(b)) is numbers_agree(numbers(b), numbers(a)) is agree


def test_vectors_and_numbers_must_agree() -> None:
    vectors = {"bench 12": [1.0, 0.0], "same 12": [0.9, 0.19**0.5], "same 13": [1.0, 0.0], "other 12": [0.0, 1.0]}

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.array([vectors[text] for text in texts], np.float32)

    problems = {text: text for text in vectors if text != "bench 12"}
    found = find(problems, {"1": "bench 12"}, encode=encode, near_similarity=None, embedding_similarity=0.8)
    assert found == {"same 12": {"embedding": "1"}}
    assert find(problems, {"1": "bench 12"}, encode=encode, near_similarity=None, embedding_similarity=0.95) == {}


def test_a_sentence_model_that_is_not_there(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(RecipeError, match=r"(?s)not installed.*'\.\[embedding\]'"):
        load_encoder("embedded")


@pytest.fixture(scope="module")
def benchmarks() -> list[BenchmarkItem]:
    names = ("aime24", "aime25", "amc23", "math500", "olympiadbench")
    return [BenchmarkItem(name, row["id"], row["problem"]) for name in names for row in rows(f"bench_{name}")]


def against(benchmarks: list[BenchmarkItem], source: str, **rule: Any) -> list[dict[str, Any]]:
    problems = [(row["id"], row["problem"]) for row in rows(source)]
    found: list[dict[str, Any]] = find_contamination(problems, benchmarks, Decontamination(**rule), recipe_id="r")
    return found


def test_math_train_against_all_benchmarks_in_seconds(benchmarks: list[BenchmarkItem]) -> None:
    started = time.process_time()
    found = against(benchmarks, "math_math_train")
    assert time.process_time() - started < 30
    assert not [row for row in found if row["benchmark"] in {"aime24", "aime25"}], "a stock phrase alone is no leak"
    assert 0 < len({row["problem_id"] for row in found}) < 150
    assert {row["method"] for row in found} == {"near_exact", "ngram_lcs"}


def test_true_leaks_are_found_and_stock_phrases_are_not(benchmarks: list[BenchmarkItem]) -> None:
    def exact(found: list[dict[str, Any]], benchmark: str) -> int:
        return len({row["item"] for row in found if row["benchmark"] == benchmark and row["method"] == "exact"})

    assert exact(against(benchmarks, "math_math_test5000"), "math500") == 500
    assert exact(against(benchmarks, "math_amc_2022_2023"), "amc23") == 40
    old_aime = against(benchmarks, "math_aime_1983_2023")
    assert exact(old_aime, "math500") == 6
    assert not [row for row in old_aime if row["benchmark"] in {"aime24", "aime25"}]
    published = against(benchmarks, "math_aime_1983_2023", stock_texts=0)
    assert {row["benchmark"] for row in published if row["method"] == "ngram_lcs"} >= {"aime24", "aime25"}


def test_gsm8k_is_clean(benchmarks: list[BenchmarkItem]) -> None:
    assert against(benchmarks, "math_gsm8k_train") == []


@pytest.mark.slow
def test_the_sentence_model_finds_rephrasings() -> None:
    pairs = rows("decontam_gsm8k_rephrase")[:250]
    items = [BenchmarkItem("gsm8k", row["bench_id"], row["bench_text"]) for row in pairs]
    problems = [(row["bench_id"], row["train_text"]) for row in pairs]
    rule = Decontamination(embedding_model="embedded")
    found = find_contamination(problems, items, rule, recipe_id="r", encode=load_encoder("embedded"))
    by_model = [row for row in found if row["method"] == "embedding"]
    right = sum(row["item"] == row["problem_id"] for row in by_model)
    assert right >= 0.9 * len(pairs)
    assert right >= 0.95 * len(by_model)
    by_words = {row["problem_id"] for row in found if row["method"] != "embedding"}
    assert len(by_words) < 0.3 * len(pairs), "runs of words do not survive a rephrasing"


def test_stock_phrases_do_not_depend_on_the_order_of_the_problems() -> None:
    texts = [normalise(f"{' '.join(f'w{i}{j}' for j in range(i))}{STOCK}") for i in range(1, 9)]
    item = [normalise("The ratio of a torus" + STOCK)]
    assert list(ngram_lcs(texts, item, ngram=13, lcs_ratio=0.6, stock_texts=3)) == []
    assert list(ngram_lcs(texts[::-1], item, ngram=13, lcs_ratio=0.6, stock_texts=3)) == []
