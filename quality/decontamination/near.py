"""Nearly equal texts: the same numbers in the same order, and most runs of characters in common.

For what only differs in spelling, layout or a word or two, short texts too, in which no thirteen words stand in a row.
The numbers must be the same, because short problems of one kind differ in nothing else.

Which pairs are compared is found by prefix filtering, which leaves none out: two sets of Jaccard similarity of at least
t share one of the first |A| - ceil(t |A|) + 1 elements of each, in any one order of all elements. In the order from
rare to common few texts share such elements.

Source: Chaudhuri, Ganti, Kaushik 2006, "A primitive operator for similarity joins in data cleaning".
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from quality.decontamination.texts import Match, Text

RUN_CHARS = 5


def near_exact(problems: Sequence[Text], items: Sequence[Text], *, similarity: float) -> Iterator[Match]:
    """Pairs of a problem and an item that are nearly equal.

    Args:
        problems: Normalised statements.
        items: Normalised benchmark items.
        similarity: In (0, 1]; Jaccard similarity of their sets of runs of five characters, blanks left out.
    """
    sets = [_runs(item) for item in items]
    n_items = Counter(run for runs in sets for run in runs)
    index: defaultdict[str, list[int]] = defaultdict(list)
    for i, runs in enumerate(sets):
        for run in _prefix(runs, n_items, similarity):
            index[run].append(i)
    for p, problem in enumerate(problems):
        runs = _runs(problem)
        candidates = {i for run in _prefix(runs, n_items, similarity) for i in index.get(run, ())}
        for i in sorted(candidates):
            score = len(runs & sets[i]) / len(runs | sets[i])
            if score >= similarity and problem.numbers == items[i].numbers:
                yield p, i, score


def _runs(text: Text) -> frozenset[str]:
    letters = text.key.replace(" ", "")
    return frozenset(letters[i : i + RUN_CHARS] for i in range(max(1, len(letters) - RUN_CHARS + 1))) - {""}


def _prefix(runs: frozenset[str], n_items: Counter[str], similarity: float) -> list[str]:
    n = len(runs) - math.ceil(similarity * len(runs)) + 1
    return sorted(runs, key=lambda run: (n_items[run], run))[:n] if runs else []
