"""Where a stored baseline can be cut before a hint is inserted (paper: positions)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from factory.rollout.fences import blocks
from schemas.vocabulary import Cut, StopReason

SENTENCE_END = re.compile(r"[.!?:](?=\s|\Z)|\n")
INLINE_CODE = re.compile(r"`[^`\n]+`")


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
    - `conjunction`: before a trigger as a whole word, as written (upper and lower case differ), outside code.
    - `end`: before the stop token; a baseline that was cut off by its budget has none.

    No cut falls inside a code block, an unfinished one included, nor inside inline code.
    """
    code = [(block.begin, block.end) for block in blocks(text)]
    code += [match.span() for match in INLINE_CODE.finditer(text)]

    def in_code(offset: int) -> bool:
        return any(begin <= offset < end for begin, end in code)

    if cut is Cut.START:
        return [CutPoint(cut, 0)]
    if cut is Cut.SENTENCE:
        for match in SENTENCE_END.finditer(text):
            if re.search(r"[^\W\d_]", text[: match.start()]) and not in_code(match.start()):
                return [CutPoint(cut, match.end())]
        return []
    if cut is Cut.END:
        whole = stop_reason is StopReason.END and text.strip() and all(b.is_closed for b in blocks(text))
        return [CutPoint(cut, len(text))] if whole else []
    word = re.compile(r"(?<![\w'-])(" + "|".join(map(re.escape, triggers)) + r")(?![\w'-])")
    return [CutPoint(cut, m.start(), m[1]) for m in word.finditer(text) if not in_code(m.start())]
