"""Decontamination: the rule on small texts, and what it finds in real benchmarks."""

import random
import time
from typing import Any

import pytest

from quality.decontamination import BenchmarkItem, find_contamination, lcs_share, longest_common_run, normalise
from schemas.tables import CONTAMINATION
from tests.shared_data import rows

LONG = "A farmer has 17 sheep and 23 goats in 4 fields, and sells half of the sheep on Monday to his neighbour."


def find(problems: dict[str, str], items: dict[str, str], **rule: Any) -> dict[str, tuple[str, str]]:
    found = find_contamination(
        problems.items(), [BenchmarkItem("bench", item, text) for item, text in items.items()], recipe_id="r", **rule
    )
    return {row["problem_id"]: (row["item"], row["method"]) for row in found}


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
    assert find(problems, items) == {
        "same": ("farm", "exact"),
        "near": ("farm", "ngram_lcs"),
        "far": ("farm", "ngram_lcs"),
        "short": ("sum", "exact"),
    }
    # The n-gram alone is not enough: its share of the shorter text counts.
    assert find({"far": other}, {"farm": LONG + " " + " ".join(f"u{i}" for i in range(40))}) == {}
    assert "far" not in find(problems, items, lcs_ratio=0.8)
    assert "near" not in find(problems, items, ngram=19)

    (row,) = find_contamination([("near", almost)], [BenchmarkItem("bench", "farm", LONG)], recipe_id="r1")
    assert list(row) == [column.name for column in CONTAMINATION.columns]
    assert row["score"] == pytest.approx(21 / 22)
    assert row["matched_text"] == normalise(LONG.partition("Monday")[0]).key.replace(" ,", "")


def test_the_best_match_is_reported() -> None:
    items = {"worse": LONG.replace("17", "18").replace("4 fields", "5 barns"), "better": LONG.replace("17", "18")}
    assert find({"p": LONG}, items, ngram=8)["p"] == ("better", "ngram_lcs")


def test_empty_texts_match_nothing() -> None:
    assert find({"p": "", "q": "..."}, {"a": "", "b": "..."}) == {}


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


@pytest.fixture(scope="module")
def benchmarks() -> list[BenchmarkItem]:
    names = ("aime24", "aime25", "amc23", "math500", "olympiadbench")
    return [BenchmarkItem(name, row["id"], row["problem"]) for name in names for row in rows(f"bench_{name}")]


def against(benchmarks: list[BenchmarkItem], source: str) -> list[dict[str, Any]]:
    problems = [(row["id"], row["problem"]) for row in rows(source)]
    return find_contamination(problems, benchmarks, recipe_id="r")


def test_math_train_against_all_benchmarks_in_seconds(benchmarks: list[BenchmarkItem]) -> None:
    started = time.process_time()
    found = against(benchmarks, "math_math_train")
    assert time.process_time() - started < 10
    assert not [row for row in found if row["benchmark"] in {"aime24", "aime25"}], "a stock phrase alone is no leak"
    assert 0 < len(found) < 150
    assert {row["method"] for row in found} == {"ngram_lcs"}


def test_true_leaks_are_found(benchmarks: list[BenchmarkItem]) -> None:
    def exact(source: str, benchmark: str) -> int:
        found = against(benchmarks, source)
        return len({row["item"] for row in found if row["benchmark"] == benchmark and row["method"] == "exact"})

    assert exact("math_math_test5000", "math500") == 500
    assert exact("math_aime_1983_2023", "math500") == 6
    assert exact("math_amc_2022_2023", "amc23") == 40


def test_gsm8k_is_clean(benchmarks: list[BenchmarkItem]) -> None:
    assert against(benchmarks, "math_gsm8k_train") == []
