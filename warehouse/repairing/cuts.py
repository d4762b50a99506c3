r"""The rules that are cuts: where a text should have ended. They change no character before the cut.

A rule must be right wherever it applies, so each rather does nothing: an answer that the model goes on to doubt is left
alone, for instance. A cut drops what the model wrote, or a hint that nothing answers, and never a tool output.
"""

import re

import polars as pl

from schemas.records import Segment
from warehouse.fences import Block, blocks
from warehouse.loops import LOOP_CHARS, LOOP_PROBE, find_loop
from warehouse.repairing.edits import Edit
from warehouse.repairing.written import HINT, MODEL, TOOL, Example, Rule, Written

Segments = tuple[Segment, ...]
_BOX = re.compile(r"\\boxed\s*\{")
_AFTER_BOX = re.compile(r"(?:[\s.,!*]*(?:\\\]|\\\)|\$\$?))?")
_BRACE = re.compile(r"\\.|[{}]")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_SECOND_THOUGHTS = re.compile(
    r"\b(wait|alternatively|however|actually|hmm|but|check|verify|mistake|wrong|incorrect|answer)\b|</?think>", re.I
)
_SENTENCE_END = re.compile(r"\n|[.!?] ")
LAST_BOXES = 20
"""Looked at for one that is closed, however many a text opens."""
_FENCE_LINE = r"(?m)^ {0,3}`{3,}[^`\n]*$"


def cut_loop(written: Written) -> list[Edit]:
    """The text ends in one passage again and again: keep it once.

    A passage is a loop when it stands at least 4 times in a row, exactly, over at least 200 characters, up to the
    very end (where it may break off), and holds a letter.
    """
    segments = written.segments
    text = _last_of_model(segments)
    begin = _length(segments) - len(text)
    loop = find_loop(text)
    if loop is None:
        return []
    start, period = loop
    ends = (m.end() for m in _SENTENCE_END.finditer(text, start + period - 2, start + 2 * period))
    end = next((end for end in ends if end >= start + period), start + period)
    return _cut(text, end, begin, _length(segments))


def cut_after_answer(written: Written) -> list[Edit]:
    r"""The model goes on after its last `\boxed{}`, with something else: end with the paragraph of the answer.

    Not where what follows goes on with the sentence, voices a doubt, checks, or speaks of an answer.
    """
    segments = written.segments
    text = _last_of_model(segments)
    begin = _length(segments) - len(text)
    last = list(_BOX.finditer(text))[-LAST_BOXES:]
    box = next((m for m in reversed(last) if closing_brace(text, m.end()) is not None), None)
    if box is None or _open_block("".join(s.text for s in segments)[: begin + box.start()]) is not None:
        return []
    end = _AFTER_BOX.match(text, closing_brace(text, box.end()) or 0)
    blank = _BLANK_LINE.search(text, end.end() if end else 0)
    rest = text[blank.end() :].lstrip() if blank else ""
    if blank is None or not rest or rest[0].islower() or _SECOND_THOUGHTS.search(rest):
        return []
    return _cut(text, blank.end(), begin, _length(segments))


def drop_trailing_open_block(written: Written) -> list[Edit]:
    """The text breaks off inside a Python block: drop the block, and the hint that opened it if one did."""
    segments = written.segments
    text = "".join(segment.text for segment in segments)
    block = _open_block(text)
    if block is None or not block.is_python or "```" in block.code:
        return []
    at = 0
    for segment in segments:
        end = at + len(segment.text)
        if at <= block.begin < end:
            if segment.origin is TOOL:
                return []
            if segment.origin is HINT:
                return [Edit(at, at, len(text))]
            return _cut(segment.text, block.begin - at, at, len(text))
        at = end
    return []


def drop_trailing_hint(written: Written) -> list[Edit]:
    """Nothing follows the last hint: drop it."""
    segments = written.segments
    at = _length(segments)
    for segment in reversed(segments):
        at -= len(segment.text)
        if segment.origin is HINT:
            return [Edit(at, at, _length(segments))]
        if segment.text.strip() or segment.origin is TOOL:
            return []
    return []


def _last_of_model(segments: Segments) -> str:
    return segments[-1].text if segments and segments[-1].origin is MODEL else ""


def _length(segments: Segments) -> int:
    return sum(len(segment.text) for segment in segments)


def _cut(text: str, end: int, begin: int, length: int) -> list[Edit]:
    """End at `end` of a segment that begins at `begin`, or at the blanks before it."""
    return [Edit(begin + len(text[:end].rstrip()), begin + end, length)]


def closing_brace(text: str, at: int) -> int | None:
    """Offset after the brace that closes the one opened just before `at`."""
    depth = 1
    for brace in _BRACE.finditer(text, at):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.end()
    return None


def _open_block(text: str) -> Block | None:
    """The block that the text ends in, if it does."""
    found = blocks(text)
    return found[-1] if found and not found[-1].is_closed else None


_RAN = ((MODEL, "Let me compute.\n```python\nprint(6*7)\n```\n"), (TOOL, "```output\n42\n```\n"))
_HINT = (HINT, "Wait, Python can do this.\n```python\n")
_AGAIN = "We add them again and again. "
_SO = "So it is \\boxed{42}."

_ENDS_AS_BEFORE = (pl.col("text").str.head(-1).str.contains(pl.col("text").str.tail(LOOP_PROBE), literal=True)) & (
    pl.col("text").str.len_chars() >= LOOP_CHARS
)
_LAST_FENCE = pl.col("text").str.extract_all(_FENCE_LINE).list.last()
_LAST_FENCE_OPENS = _LAST_FENCE.str.contains(r"`[ \t]*\S") | pl.col("text").str.contains("````", literal=True)
_ENDS_IN_HINT = pl.col("segments").list.tail(3).list.eval(pl.element().struct.field("origin") == str(HINT)).list.any()

CUTS: dict[str, Rule] = {
    "cut_loop": Rule(
        cut_loop,
        _ENDS_AS_BEFORE,
        (
            Example(((MODEL, "First.\n" + _AGAIN * 20 + "We add"),), "First.\n" + _AGAIN.strip()),
            Example((*_RAN, (MODEL, "x = 1 and so on\n" * 20)), "".join(t for _, t in _RAN) + "x = 1 and so on"),
            Example(((MODEL, "First.\n" + _AGAIN * 20 + "Done."),), None),
            Example(((MODEL, "First.\n" + _AGAIN * 3),), None),
            Example(((MODEL, "1/3 = 0." + "3" * 500),), None),
            Example(((MODEL, "Look:\n"), (TOOL, "```output\n" + "again\n" * 99 + "```\n")), None),
        ),
    ),
    "cut_after_answer": Rule(
        cut_after_answer,
        pl.col("text").str.contains(r"(?s)\\boxed\s*\{.*?\n[ \t]*\n\s*\S"),
        (
            Example(((MODEL, _SO + "\n\nQuestion: what is 1 + 1?\nThat is 2."),), _SO),
            Example(
                ((MODEL, "\\[\n\\boxed{\\frac{1}{2}}\n\n\\]\n\nI hope this helps!"),),
                "\\[\n\\boxed{\\frac{1}{2}}\n\n\\]",
            ),
            Example(((MODEL, _SO + "\n\nWait, let me see whether 6 times 7 is 42."),), None),
            Example(((MODEL, _SO + "\n\n"),), None),
            Example(((MODEL, "$$\n\\boxed{42}\n$$\n\nminutes."),), None),
            Example(((MODEL, "\\boxed{1 + \n\nI hope this helps!"),), None),
            Example(((MODEL, "```python\nprint('\\\\boxed{1}')\n\nx = 2"),), None),
            Example(((MODEL, _SO + "\n\n"), *_RAN), None),
        ),
    ),
    "drop_trailing_open_block": Rule(
        drop_trailing_open_block,
        _LAST_FENCE_OPENS,
        (
            Example(((MODEL, _SO + "\n\n```python\nfor i in range("),), _SO),
            Example((*_RAN, (MODEL, "\n```python\nfor i in range(")), "".join(text for _, text in _RAN)),
            Example(((MODEL, _SO + "\n"), _HINT, (MODEL, "for i in range(")), _SO + "\n"),
            Example((*_RAN, (MODEL, _SO)), None),
            Example(((MODEL, "```python\nprint(1)```\n" + _SO),), None),
            Example(((MODEL, "```text\nno program"),), None),
            Example(((TOOL, "```python\nas an output"),), None),
        ),
    ),
    "drop_trailing_hint": Rule(
        drop_trailing_hint,
        _ENDS_IN_HINT,
        (
            Example(((MODEL, _SO + "\n"), _HINT), _SO + "\n"),
            Example(((MODEL, _SO + "\n"), _HINT, (MODEL, "\n")), _SO + "\n"),
            Example(((MODEL, _SO + "\n"), _HINT, (MODEL, "print(1)\n```\n"), _RAN[1]), None),
            Example(((MODEL, _SO),), None),
        ),
    ),
}
