"""Where a stored baseline can be cut before a hint is inserted (paper: positions)."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.vocabulary import Cut, StopReason
from warehouse.fences import Block, Kind, blocks

LETTER = re.compile(r"[^\W\d_]")
SENTENCE_END = re.compile(r"[.!?:](?=\s|\Z)|\n")
INLINE_CODE = re.compile(r"(?<!`)(`++).*?[^`\n]\1(?!`)")
"""A run of backticks, up to the next run of that length on the same line."""
CALCULATION = re.compile(
    r"\d\s*(?:[-+*/\u00d7\u00b7\u00f7^]|\\times|\\cdot|\\div)\s*\(?\d"
    r"[^\n=]{0,200}(?:=|\\approx|\u2248)\s*\$?-?\d"
)
"""Numbers, an operator between them, and what they come to."""
FENCE_LIKE = re.compile(r"^ {0,3}```.*", re.MULTILINE)
"""A line with more backticks to come is no fence, but would be one if it were cut before them."""


@dataclass(frozen=True, slots=True)
class CutPoint:
    """A place to cut: `text[:char_offset]` is kept."""

    cut: Cut
    char_offset: int
    trigger: str = ""
    """The conjunction found there, which the kept text does not include."""


def find_cuts(text: str, cut: Cut, *, triggers: Sequence[str], stop_reason: StopReason) -> list[CutPoint]:
    """All places of one kind, in order; empty where the text has none.

    - `start`: before the first character.
    - `sentence`: after the first sentence that holds a letter (so not after the number of a list).
    - `conjunction`: before a trigger as a whole word, as written (upper and lower case differ), outside code. A word
      that a hyphen or an apostrophe joins to another is part of it; of two triggers at one place the longer counts.
    - `computation`: before the first line in which numbers are combined and the result stands, outside code.
    - `end`: before the stop token; a baseline that was cut off by its budget has none, nor one that ends in code.

    No cut falls inside a code block, an unfinished one included, nor inside inline code.
    """
    if cut is Cut.DOUBT:
        raise ValueError("a doubt is met in the middle of a rollout; no stored text is cut there")
    if cut is Cut.START:
        return [CutPoint(cut, 0)]
    fenced = _fenced(text)
    if cut is Cut.END:
        whole = stop_reason is StopReason.END and text.strip() and all(block.is_closed for block in fenced)
        return [CutPoint(cut, len(text))] if whole else []
    pieces = (match.span() for pattern in (INLINE_CODE, FENCE_LIKE) for match in pattern.finditer(text))
    code = _merged([*((block.begin, block.end) for block in fenced), *pieces])
    begins = [begin for begin, _ in code]

    def in_code(offset: int) -> bool:
        at = bisect_right(begins, offset) - 1
        return at >= 0 and offset < code[at][1]

    if cut is Cut.SENTENCE:
        letter = LETTER.search(text)
        ends = SENTENCE_END.finditer(text, letter.end()) if letter else ()
        return [CutPoint(cut, m.end()) for m in ends if not in_code(m.start())][:1]
    if cut is Cut.COMPUTATION:
        found_at = (m.start() for m in CALCULATION.finditer(text) if not in_code(m.start()))
        return [CutPoint(cut, text.rfind("\n", 0, at) + 1) for at in found_at][:1]
    words = "|".join(re.escape(word) for word in sorted(triggers, key=len, reverse=True) if word)
    if not words:
        return []
    found = re.finditer(rf"(?<![\w'\u2019-])(?:{words})(?![\w'\u2019-])", text)
    return [CutPoint(cut, m.start(), m[0]) for m in found if not in_code(m.start())]


def _fenced(text: str) -> list[Block]:
    """Blocks as the loop reads them, and code that only the loose reading sees, such as a fence in a line of prose."""
    loose = (block for block in blocks(text, loose=True) if block.kind is not Kind.PROSE)
    return [*blocks(text), *loose]


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap joined."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged
