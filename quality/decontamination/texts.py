"""What of a statement counts when two are compared.

Unicode NFKC, lower case, LaTeX sizing commands away, words and numbers kept, the rest are separators.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SIZING = re.compile(r"\\(?:left|right|displaystyle|[,;:!])(?![a-z])|\\(?=[dt]frac(?![a-z]))")
_WORD = re.compile(r"[^\W_]+")
_WORD_OR_OPERATOR = re.compile(r"[^\W_]+|[-+*/=<>^|!]")
_NUMBER = re.compile(r"\d+")

Ngram = tuple[str, ...]
Match = tuple[int, int, float]
"""A problem, an item, both by position, and their score."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text as it is compared."""

    key: str
    """Words and operators, parted by blanks: equal for texts that differ in layout only."""
    words: tuple[str, ...]

    @property
    def numbers(self) -> list[str]:
        """Its runs of digits, in order."""
        return _NUMBER.findall(self.key)


def normalise(text: str) -> Text:
    """What of a text counts."""
    text = (
        _SIZING.sub("", unicodedata.normalize("NFKC", text).lower()).replace("dfrac", "frac").replace("tfrac", "frac")
    )
    return Text(" ".join(_WORD_OR_OPERATOR.findall(text)), tuple(_WORD.findall(text)))


def ngrams(words: Sequence[str], n: int) -> Iterable[Ngram]:
    """Every run of n words, in order; none where there are fewer."""
    return zip(*(words[i:] for i in range(n)), strict=False)


def longest_common_run(a: Sequence[str], b: Sequence[str]) -> Sequence[str]:
    """The longest sequence of words that both have without a gap, the first of several in `a`."""
    best_end, best = 0, 0
    previous: dict[int, int] = {}
    places: dict[str, list[int]] = {}
    for j, word in enumerate(b):
        places.setdefault(word, []).append(j)
    for i, word in enumerate(a):
        current = {j: previous.get(j - 1, 0) + 1 for j in places.get(word, ())}
        for length in current.values():
            if length > best:
                best_end, best = i + 1, length
        previous = current
    return a[best_end - best : best_end]
