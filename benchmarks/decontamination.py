"""What each method of decontamination finds: on labelled rephrasings, on real leaks, and how long it takes.

    python benchmarks/decontamination.py [--data ../shared/data] [--check]

1. Rephrasings of GSM8K and HumanEval (LMSYS). A pair of an item and its own rephrasing is right. Beside as many of
   these there are as many random pairs of a rephrasing with another item, and as many hard ones: with the other item
   of the same benchmark whose vector is nearest, so hardest for the method that compares vectors. Recall is over the
   right pairs, precision over all that a method takes of the three kinds. The last column is harder still: of all
   pairs of a rephrasing and any item that the method takes, the share that is right.
2. MATH train, old AIME, AMC 22/23, MATH test and GSM8K train against five benchmarks: problems flagged per benchmark,
   and the seconds that it took, loading aside; once more with the sentence model.

`ngram_lcs` stands twice: as published, and with stock phrases cut out, as in a build.
"""

import argparse
import gzip
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from quality.decontamination.embeddings import Encode, load_encoder, similar_texts
from quality.decontamination.find import BenchmarkItem, find_contamination
from quality.decontamination.near import near_exact
from quality.decontamination.overlap import ngram_lcs
from quality.decontamination.texts import normalise
from schemas.recipe import Decontamination

RULE = Decontamination(embedding_model="embedded")
BENCHMARKS = ("aime24", "aime25", "amc23", "math500", "olympiadbench")
SOURCES = (
    "math_math_train", "math_aime_1983_2023", "math_amc_2022_2023", "math_math_test5000", "math_gsm8k_train",
)  # fmt: skip
LEAST_RECALL, LEAST_PRECISION, MOST_SECONDS = 0.90, 0.95, 60.0
LEAKS = {
    ("math_math_test5000", "math500"): 500,
    ("math_aime_1983_2023", "math500"): 6,
    ("math_amc_2022_2023", "amc23"): 40,
}
"""Items of a benchmark that stand in a source word by word (the data's README)."""
Pairs = set[tuple[int, int]]


def main() -> None:
    """Measure, print the tables, and exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no data in {options.data}: name the folder with --data")

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(options.data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    encode = load_encoder("embedded")
    missed = []
    for name in ("decontam_gsm8k_rephrase", "decontam_humaneval_rephrase"):
        recall, precision = rephrasings(name, rows(name), encode)
        if "gsm8k" in name and (recall < LEAST_RECALL or precision < LEAST_PRECISION):
            missed.append(f"{name}: recall {recall:.3f}, precision {precision:.3f}")
    missed += leaks(rows, encode)
    print(
        f"\nbars: embedding on GSM8K: recall {LEAST_RECALL}, precision {LEAST_PRECISION}; "
        f"MATH train in {MOST_SECONDS:g} s; all leaks known, no AIME"
    )
    print("missed: " + ("; ".join(missed) or "none"))
    if options.check and missed:
        sys.exit(1)


def rephrasings(name: str, pairs: Sequence[dict[str, Any]], encode: Encode) -> tuple[float, float]:
    """Print recall and precision per method; those of `embedding` are returned."""
    kinds = sorted({row["kind"] for row in pairs})
    all_texts = list(dict.fromkeys(row["bench_text"] for row in pairs))
    place = {text: i for i, text in enumerate(all_texts)}
    own = [place[row["bench_text"]] for row in pairs]
    rephrased = [row["train_text"] for row in pairs]
    vectors, item_vectors = encode(rephrased), encode(all_texts)
    cosines = vectors @ item_vectors.T
    cosines[np.arange(len(own)), own] = -1
    draw = random.Random(0)
    right = {(p, i) for p, i in enumerate(own)}
    hard = {(p, int(i)) for p, i in enumerate(cosines.argmax(axis=1))}
    chance = {
        (p, draw.choice([i for i in (draw.randrange(len(all_texts)) for _ in range(9)) if i != own[p]]))
        for p in range(len(own))
    }
    print(f"\n{name} ({', '.join(kinds)}): {len(right):,} pairs, {len(chance):,} random ones, {len(hard):,} hard ones")
    print(f"{'method':36}{'recall':>8}{'precision':>11}{'of random':>11}{'of hard':>9}{'among all pairs':>17}")
    mine, theirs = [normalise(t) for t in rephrased], [normalise(t) for t in all_texts]
    found: dict[str, Iterable[tuple[int, int, float]]] = {
        "exact": [(p, i, 1.0) for p, a in enumerate(mine) for i, b in enumerate(theirs) if a.key == b.key],
        "near_exact": near_exact(mine, theirs, similarity=RULE.near_similarity or 1),
        "ngram_lcs as published": ngram_lcs(mine, theirs, ngram=13, lcs_ratio=0.6, stock_texts=0),
        "ngram_lcs": ngram_lcs(
            mine, theirs, ngram=RULE.ngram, lcs_ratio=RULE.lcs_ratio or 1, stock_texts=RULE.stock_texts
        ),
    }
    for least in (0.7, 0.75, 0.8, 0.85, 0.9):
        mark = " (default)" if least == RULE.embedding_similarity else ""
        found[f"embedding {least}{mark}"] = similar_texts(
            (rephrased, vectors), (all_texts, item_vectors), similarity=least
        )
    default = (0.0, 0.0)
    for method, matches in found.items():
        taken = {(p, i) for p, i, _ in matches}
        recall, precision = len(taken & right) / len(right), _share(taken & right, taken & (right | hard | chance))
        print(
            f"{method:36}{recall:8.3f}{precision:11.3f}{_share(taken & right, taken & (right | chance)):11.3f}"
            f"{_share(taken & right, taken & (right | hard)):9.3f}{_share(taken & right, taken):17.3f}"
        )
        if "default" in method:
            default = recall, precision
    return default


def _share(part: Pairs, whole: Pairs) -> float:
    return len(part) / len(whole) if whole else float("nan")


def leaks(rows: Callable[[str], list[dict[str, Any]]], encode: Encode) -> list[str]:
    """Print what is flagged in real sets; what misses a bar is returned."""
    items = [BenchmarkItem(name, row["id"], row["problem"]) for name in BENCHMARKS for row in rows(f"bench_{name}")]
    missed = []
    print(f"\nproblems flagged against {len(items):,} items (those with the published ngram_lcs alone in brackets)")
    print(f"{'source':22}{'problems':>10}{'seconds':>9}{'flagged':>9}" + "".join(f"{name:>15}" for name in BENCHMARKS))
    for source in SOURCES:
        problems = [(row["id"], row["problem"]) for row in rows(source)]
        started = time.perf_counter()
        found = find_contamination(problems, items, RULE, recipe_id="")
        seconds = time.perf_counter() - started
        published = Decontamination(near_similarity=None, stock_texts=0)
        by_words = _per_benchmark(
            [
                row
                for row in find_contamination(problems, items, published, recipe_id="")
                if row["method"] == "ngram_lcs"
            ]
        )
        flagged = _per_benchmark(found)
        cells = "".join(f"{f'{flagged[name]} ({by_words[name]})':>15}" for name in BENCHMARKS)
        print(f"{source:22}{len(problems):10,}{seconds:9.1f}{len({row['problem_id'] for row in found}):9,}{cells}")
        if source == "math_math_train":
            if seconds > MOST_SECONDS:
                missed.append(f"{source} took {seconds:.0f} s")
            started = time.perf_counter()
            with_model = find_contamination(problems, items, RULE, recipe_id="", encode=encode)
            took = time.perf_counter() - started
            more = {row["problem_id"] for row in with_model} - {row["problem_id"] for row in found}
            print(
                f"{'  with embedding':22}{'':10}{took:9.1f}{len(more) + len({row['problem_id'] for row in found}):9,}"
            )
        if source in SOURCES[:2] and flagged["aime24"] + flagged["aime25"]:
            missed.append(f"{source}: AIME flagged")
        exact = Counter(row["benchmark"] for row in found if row["method"] == "exact")
        missed += [
            f"{source}: {exact[name]} of {n} leaks of {name}"
            for (where, name), n in LEAKS.items()
            if where == source and exact[name] < n
        ]
    return missed


def _per_benchmark(found: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(benchmark for benchmark, _ in {(row["benchmark"], row["problem_id"]) for row in found})


if __name__ == "__main__":
    main()
