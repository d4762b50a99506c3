"""Every match of a problem with a benchmark item, by every method that the recipe switches on, with its evidence.

| method | a match is | score |
|---|---|---|
| `exact` | equal texts, layout aside | 1 |
| `near_exact` | nearly the same characters, and the same numbers (`near`) | Jaccard similarity of character runs |
| `ngram_lcs` | 13 words in a row and most of the shorter text, stock phrases aside (`overlap`) | share of it |
| `embedding` | vectors of a sentence model that point the same way, and most numbers (`embeddings`) | cosine |

The methods do not know of each other: each says of each benchmark which of its items the problem is most like. So a
report can say what a method or a threshold removes, and a row of evidence stands for itself.

Not covered: translations, the same question with other numbers (`ngram_lcs` finds long ones), and, with `embedding`
off, rephrasings: few runs of words survive them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from quality.decontamination.embeddings import Encode, similar_texts
from quality.decontamination.near import near_exact
from quality.decontamination.overlap import ngram_lcs
from quality.decontamination.texts import Text, longest_common_run, normalise
from schemas.recipe import Decontamination
from schemas.vocabulary import ContaminationMethod

VERSION = 2
"""Part of the rule's hash: raised when the same texts would be matched otherwise."""
_SHOWN_CHARS = 500


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One item that must not be trained on."""

    benchmark: str
    item: str
    text: str


@dataclass(frozen=True, slots=True)
class _Match:
    problem: int
    item: int
    method: ContaminationMethod
    score: float


def find_contamination(
    problems: Iterable[tuple[str, str]],
    items: Sequence[BenchmarkItem],
    rule: Decontamination,
    *,
    recipe_id: str,
    encode: Encode | None = None,
) -> list[dict[str, Any]]:
    """Compare every problem with every benchmark item.

    Args:
        problems: problem_id and statement.
        items: All items of all benchmarks.
        rule: Thresholds of the methods; a method without one is off.
        recipe_id: Hash of the rule, the benchmarks' contents and the problems, which decide what is a stock phrase.
        encode: The sentence model; None where `rule.embedding_model` is empty.

    Returns:
        Rows of derived.contamination: per problem, benchmark and method the best match, in the order of the problems.
    """
    ids, statements = [], []
    for problem_id, statement in problems:
        ids.append(problem_id)
        statements.append(statement)
    texts, item_texts = [normalise(s) for s in statements], [normalise(item.text) for item in items]

    best: dict[tuple[int, str, ContaminationMethod], _Match] = {}
    for match in _matches(statements, texts, items, item_texts, rule, encode):
        key = (match.problem, items[match.item].benchmark, match.method)
        if key not in best or (match.score, -match.item) > (best[key].score, -best[key].item):
            best[key] = match
    order = {method: i for i, method in enumerate(ContaminationMethod)}
    return [
        {
            "problem_id": ids[m.problem],
            "recipe_id": recipe_id,
            "benchmark": benchmark,
            "item": items[m.item].item,
            "method": str(method),
            "score": m.score,
            "matched_text": _evidence(m, texts[m.problem], items[m.item], item_texts[m.item]),
        }
        for (_, benchmark, method), m in sorted(best.items(), key=lambda e: (e[0][0], order[e[0][2]], e[0][1]))
    ]


def _matches(
    statements: Sequence[str],
    texts: Sequence[Text],
    items: Sequence[BenchmarkItem],
    item_texts: Sequence[Text],
    rule: Decontamination,
    encode: Encode | None,
) -> Iterator[_Match]:
    exact: dict[str, list[int]] = {}
    for i, item in enumerate(item_texts):
        exact.setdefault(item.key, []).append(i)
    for p, text in enumerate(texts):
        for i in exact.get(text.key, ()) if text.words else ():
            yield _Match(p, i, ContaminationMethod.EXACT, 1.0)
    if rule.near_similarity is not None:
        for p, i, score in near_exact(texts, item_texts, similarity=rule.near_similarity):
            yield _Match(p, i, ContaminationMethod.NEAR_EXACT, score)
    if rule.lcs_ratio is not None:
        overlaps = ngram_lcs(
            texts, item_texts, ngram=rule.ngram, lcs_ratio=rule.lcs_ratio, stock_texts=rule.stock_texts
        )
        for p, i, score in overlaps:
            yield _Match(p, i, ContaminationMethod.NGRAM_LCS, score)
    if encode is not None:
        raw_items = [item.text for item in items]
        mine, theirs = (statements, encode(statements)), (raw_items, encode(raw_items))
        for p, i, score in similar_texts(mine, theirs, similarity=rule.embedding_similarity):
            yield _Match(p, i, ContaminationMethod.EMBEDDING, score)


def _evidence(match: _Match, text: Text, item: BenchmarkItem, item_text: Text) -> str:
    """The words both have in a row; of a rephrasing, which has none, the item itself."""
    if match.method is ContaminationMethod.EMBEDDING:
        return item.text if len(item.text) <= _SHOWN_CHARS else item.text[:_SHOWN_CHARS] + "\u2026"
    return " ".join(longest_common_run(text.words, item_text.words))
