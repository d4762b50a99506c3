"""The rule of Qwen2.5-Math, which counts no stock phrase: a run of n words, and most of the shorter text in order.

A phrase such as "where m and n are relatively prime positive integers, find m+n" is shared by contest problems that
have nothing else in common. A run of n words is **stock** if

- at least `stock_texts` different benchmark items hold it (a benchmark does not ask one question so often), or
- at least `stock_texts` texts hold it, problems included, no two of which are copies or variants of one: beyond the
  words in a row that both have around it, they share less than half of their words, and each has more to say than
  those. So a leaked problem makes no stock phrases, however many copies of it there are.

Stock phrases are cut out of both texts before they are compared, so a run across such a cut is no run. What is left of
a text must then have n words in a row; texts too short for that can only be found by other methods.

Source: Qwen2.5-Math technical report (arXiv 2409.12122), data decontamination: n = 13, share 0.6. Stock phrases are
ours.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from quality.decontamination.texts import Match, Ngram, Text, ngrams

_ALIKE = 0.5
"""Jaccard similarity of the words outside of a common phrase from which two texts are variants of one."""
_WHOLE = 0.9
"""Share of a text from which a common phrase is the text itself."""
_MOST_COMPARED = 100
"""Texts that hold a phrase, of which so many are looked at."""


@dataclass
class _Shared:
    """Runs of words that stand in some item and some problem."""

    items: defaultdict[Ngram, list[int]] = field(default_factory=lambda: defaultdict(list))
    """All runs of the items, and where."""
    problems: defaultdict[Ngram, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Those of them that stand in a problem, and where."""


def ngram_lcs(
    problems: Sequence[Text], items: Sequence[Text], *, ngram: int, lcs_ratio: float, stock_texts: int
) -> Iterator[Match]:
    """Pairs of a problem and an item that share a run of words and, in order, most of the shorter text.

    Args:
        problems: Normalised statements.
        items: Normalised benchmark items.
        ngram: Words in a row that must be shared.
        lcs_ratio: In [0, 1]; longest common subsequence over the shorter text, in words, stock phrases left out.
        stock_texts: Texts that make a phrase stock; 0: none is, the rule of the paper.
    """
    shared = _shared(problems, items, ngram)
    stock = _stock(shared, problems, items, stock_texts) if stock_texts else frozenset()
    kept_of = {
        i: _without(items[i], stock, ngram) for found in map(shared.items.get, shared.problems) for i in found or ()
    }
    index: defaultdict[Ngram, set[int]] = defaultdict(set)
    for i, runs in kept_of.items():
        for run in runs:
            for gram in ngrams(run, ngram):
                index[gram].add(i)
    for p in sorted({p for found in shared.problems.values() for p in found}):
        runs = _without(problems[p], stock, ngram)
        candidates = set().union(*(index.get(gram, ()) for run in runs for gram in ngrams(run, ngram)))
        words = _joined(runs)
        for i in sorted(candidates):
            score = lcs_share(words, _joined(kept_of[i]))
            if score >= lcs_ratio:
                yield p, i, score


def _shared(problems: Sequence[Text], items: Sequence[Text], n: int) -> _Shared:
    shared = _Shared()
    for i, item in enumerate(items):
        for gram in set(ngrams(item.words, n)):
            shared.items[gram].append(i)
    for p, problem in enumerate(problems):
        for gram in set(ngrams(problem.words, n)):
            if gram in shared.items:
                shared.problems[gram].append(p)
    return shared


def _stock(shared: _Shared, problems: Sequence[Text], items: Sequence[Text], least: int) -> frozenset[Ngram]:
    stock = set()
    for gram, where in shared.items.items():
        in_items = {items[i].key for i in where}
        if len(in_items) >= least:
            stock.add(gram)
            continue
        others = shared.problems.get(gram, [])[:_MOST_COMPARED]
        if len(in_items) + len(others) < least:
            continue
        texts = [items[i].words for i in where] + [problems[p].words for p in others]
        if _are_different(texts, gram, least):
            stock.add(gram)
    return frozenset(stock)


def _are_different(texts: Sequence[Sequence[str]], phrase: Ngram, least: int) -> bool:
    """Whether `least` of the texts, taken greedily, are no copies of each other."""
    chosen: list[Sequence[str]] = []
    for text in texts:
        if not any(_are_copies(text, other, phrase) for other in chosen):
            chosen.append(text)
            if len(chosen) == least:
                return True
    return False


def _are_copies(a: Sequence[str], b: Sequence[str], phrase: Ngram) -> bool:
    start_a, start_b = _place(a, phrase), _place(b, phrase)
    end_a, end_b = start_a + len(phrase), start_b + len(phrase)
    while start_a and start_b and a[start_a - 1] == b[start_b - 1]:
        start_a, start_b = start_a - 1, start_b - 1
    while end_a < len(a) and end_b < len(b) and a[end_a] == b[end_b]:
        end_a, end_b = end_a + 1, end_b + 1
    if end_a - start_a >= _WHOLE * min(len(a), len(b)):
        return True
    rest_a, rest_b = _telling(*a[:start_a], *a[end_a:]), _telling(*b[:start_b], *b[end_b:])
    return len(rest_a & rest_b) >= _ALIKE * len(rest_a | rest_b)


def _telling(*words: str) -> set[str]:
    """Without numbers and single letters: a problem with others in their place is a variant of it."""
    return {word for word in words if len(word) > 1 and not word.isdigit()}


def _place(words: Sequence[str], phrase: Ngram) -> int:
    return next(i for i, gram in enumerate(ngrams(words, len(phrase))) if gram == phrase)


def _without(text: Text, stock: frozenset[Ngram], n: int) -> list[Sequence[str]]:
    """The text's words in the runs between stock phrases."""
    runs: list[Sequence[str]] = []
    start, free_from = 0, 0
    for position, gram in enumerate(ngrams(text.words, n)):
        if gram in stock:
            if position > free_from:
                runs.append(text.words[max(start, free_from) : position])
            free_from = position + n
    runs.append(text.words[free_from:])
    return [run for run in runs if run]


def _joined(runs: Sequence[Sequence[str]]) -> list[str]:
    return [word for run in runs for word in run]


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
