"""Problems that repeat a benchmark item, with evidence.

Two methods, tried in this order; a problem gets its best match:

- `exact`: the normalised texts are equal, operators included;
- `ngram_lcs` (Qwen2.5-Math): a run of `ngram` words in common, and a longest common subsequence of words of at least
  `lcs_ratio` of the shorter text. Texts of fewer words can only match exactly.

Normalised: Unicode NFKC, lower case, LaTeX sizing commands away, words and numbers kept, the rest are separators.

Not covered: rephrasings and translations (few n-grams survive them), the same problem with other numbers (it may be
flagged or not), and stock phrases: two short contest problems that share "m and n are relatively prime positive
integers, find m+n" reach the ratio through it when little else is in them.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.vocabulary import ContaminationMethod

_SIZING = re.compile(r"\\(?:left|right|displaystyle|[,;:!])(?![a-z])|\\(?=[dt]frac(?![a-z]))")
_WORD = re.compile(r"[^\W_]+")
_WORD_OR_OPERATOR = re.compile(r"[^\W_]+|[-+*/=<>^|!]")


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One item that must not be trained on."""

    benchmark: str
    item: str
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text as it is compared."""

    key: str
    """For `exact`: words and operators."""
    words: tuple[str, ...]


def normalise(text: str) -> Text:
    """What of a text counts."""
    text = (
        _SIZING.sub("", unicodedata.normalize("NFKC", text).lower()).replace("dfrac", "frac").replace("tfrac", "frac")
    )
    return Text(" ".join(_WORD_OR_OPERATOR.findall(text)), tuple(_WORD.findall(text)))


def find_contamination(
    problems: Iterable[tuple[str, str]],
    items: Sequence[BenchmarkItem],
    *,
    ngram: int = 13,
    lcs_ratio: float = 0.6,
    recipe_id: str,
) -> list[dict[str, Any]]:
    """Compare every problem with every benchmark item.

    Args:
        problems: problem_id and statement.
        items: All items of all benchmarks.
        ngram: Words in a row that must be shared.
        lcs_ratio: In [0, 1]; longest common subsequence over the shorter text, in words.
        recipe_id: Hash of the rule and of the benchmarks' contents.

    Returns:
        Rows of derived.contamination, at most one per problem, in the order of the problems.
    """
    texts = [normalise(item.text) for item in items]
    exact: dict[str, int] = {}
    index: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    for i, text in enumerate(texts):
        if text.words:
            exact.setdefault(text.key, i)
        for gram in _ngrams(text.words, ngram):
            index[gram].add(i)

    rows = []
    for problem_id, statement in problems:
        text = normalise(statement)
        if (same := exact.get(text.key)) is not None:
            found = (ContaminationMethod.EXACT, same, 1.0)
        else:
            candidates = set().union(*(index[gram] for gram in _ngrams(text.words, ngram) if gram in index))
            scores = [(lcs_share(text.words, texts[i].words), -i) for i in candidates]
            score, position = max(scores, default=(-1.0, 0))
            if score < lcs_ratio:
                continue
            found = (ContaminationMethod.NGRAM_LCS, -position, score)
        method, i, score = found
        rows.append(
            {
                "problem_id": problem_id,
                "recipe_id": recipe_id,
                "benchmark": items[i].benchmark,
                "item": items[i].item,
                "method": str(method),
                "score": score,
                "matched_text": " ".join(longest_common_run(text.words, texts[i].words)),
            }
        )
    return rows


def _ngrams(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[i:] for i in range(n)), strict=False)


def lcs_share(a: Sequence[str], b: Sequence[str]) -> float:
    """Longest common subsequence over the shorter length; 0.0 where one is empty.

    Bit-parallel (Hyyrö 2004): one big-integer step per word of the longer text, not one per pair of words.
    """
    if len(a) > len(b):
        a, b = b, a
    if not a:
        return 0.0
    places: defaultdict[str, int] = defaultdict(int)
    for position, word in enumerate(a):
        places[word] |= 1 << position
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        matches = row & places[word] if word in places else 0
        row = ((row + matches) | (row - matches)) & full
    return (len(a) - row.bit_count()) / len(a)


def longest_common_run(a: Sequence[str], b: Sequence[str]) -> Sequence[str]:
    """The longest sequence of words that both have without a gap, the first of several in `a`."""
    best_end, best = 0, 0
    previous: dict[int, int] = {}
    places: defaultdict[str, list[int]] = defaultdict(list)
    for j, word in enumerate(b):
        places[word].append(j)
    for i, word in enumerate(a):
        current = {j: previous.get(j - 1, 0) + 1 for j in places.get(word, ())}
        for length in current.values():
            if length > best:
                best_end, best = i + 1, length
        previous = current
    return a[best_end - best : best_end]
