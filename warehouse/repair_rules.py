"""The repair rules: where a text should have ended, each with examples that a test runs.

A rule looks at segments and names a span, or nothing where it does not apply. It must be right wherever it applies,
so each rather does nothing: an answer that the model goes on to doubt is left alone, for instance.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from schemas.records import Segment
from schemas.vocabulary import Origin
from warehouse.fences import Block, blocks

Segments = tuple[Segment, ...]
MODEL, HINT, TOOL = Origin.MODEL, Origin.HINT, Origin.TOOL

_BOX = re.compile(r"\\boxed\s*\{")
_AFTER_BOX = re.compile(r"(?:[\s.,!*]*(?:\\\]|\\\)|\$\$?))?")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_SECOND_THOUGHTS = re.compile(
    r"\b(wait|alternatively|however|actually|hmm|but|check|verify|mistake|wrong|incorrect|answer)\b|</?think>", re.I
)
_SENTENCE_END = re.compile(r"\n|[.!?] ")
LOOP_CHARS, LOOP_REPEATS, LOOP_PROBE = 200, 4, 50


class Span(NamedTuple):
    """The text should end at a character offset from `earliest` to `latest`; between them are only blanks."""

    earliest: int
    latest: int


@dataclass(frozen=True)
class Example:
    """What a rule does to a text; `after` is None where it must leave it alone."""

    before: tuple[tuple[Origin, str], ...]
    after: str | None


@dataclass(frozen=True)
class Rule:
    """A named rule. `find` is pure."""

    find: Callable[[Segments], Span | None]
    examples: tuple[Example, ...]


def cut_loop(segments: Segments) -> Span | None:
    """The text ends in one passage again and again: keep it once.

    A passage is a loop when it stands at least 4 times in a row, exactly, over at least 200 characters, up to the
    very end (where it may break off), and holds a letter.
    """
    text = _last_of_model(segments)
    begin = _length(segments) - len(text)
    probe, at = text[-LOOP_PROBE:], len(text) - LOOP_PROBE
    while len(text) >= LOOP_CHARS and (at := text.rfind(probe, 0, at + len(probe) - 1)) >= 0:
        period = len(text) - len(probe) - at
        if period * LOOP_REPEATS > len(text):
            return None
        length = max(LOOP_CHARS, period * LOOP_REPEATS)
        if text[-length + period :] == text[-length:-period] and re.search(r"[^\W\d_]", text[-period:]):
            start = len(text) - length
            while start and text[start - 1] == text[start - 1 + period]:
                start -= 1
            ends = (m.end() for m in _SENTENCE_END.finditer(text, start + period - 2, start + 2 * period))
            end = next((end for end in ends if end >= start + period), start + period)
            return _without_blanks(text, end, begin)
    return None


def cut_after_answer(segments: Segments) -> Span | None:
    r"""The model goes on after its last `\boxed{}`, with something else: end with the paragraph of the answer.

    Not where what follows goes on with the sentence, voices a doubt, checks, or speaks of an answer.
    """
    text = _last_of_model(segments)
    begin = _length(segments) - len(text)
    box = next((m for m in reversed(list(_BOX.finditer(text))) if _close(text, m.end()) is not None), None)
    if box is None or _open_block("".join(s.text for s in segments)[: begin + box.start()]) is not None:
        return None
    end = _AFTER_BOX.match(text, _close(text, box.end()) or 0)
    blank = _BLANK_LINE.search(text, end.end() if end else 0)
    rest = text[blank.end() :].lstrip() if blank else ""
    if blank is None or not rest or rest[0].islower() or _SECOND_THOUGHTS.search(rest):
        return None
    return _without_blanks(text, blank.end(), begin)


def drop_trailing_open_block(segments: Segments) -> Span | None:
    """The text breaks off inside a Python block: drop the block, and the hint that opened it if one did."""
    text = "".join(segment.text for segment in segments)
    block = _open_block(text)
    if block is None or not block.is_python or "```" in block.code:
        return None
    at = 0
    for segment in segments:
        end = at + len(segment.text)
        if at <= block.begin < end:
            if segment.origin is TOOL:
                return None
            return Span(at, at) if segment.origin is HINT else _without_blanks(segment.text, block.begin - at, at)
        at = end
    return None


def drop_trailing_hint(segments: Segments) -> Span | None:
    """Nothing follows the last hint: drop it."""
    at = _length(segments)
    for segment in reversed(segments):
        at -= len(segment.text)
        if segment.origin is HINT:
            return Span(at, at)
        if segment.text.strip() or segment.origin is TOOL:
            return None
    return None


def _last_of_model(segments: Segments) -> str:
    return segments[-1].text if segments and segments[-1].origin is MODEL else ""


def _length(segments: Segments) -> int:
    return sum(len(segment.text) for segment in segments)


def _without_blanks(text: str, end: int, begin: int) -> Span:
    return Span(begin + len(text[:end].rstrip()), begin + end)


def _close(text: str, at: int) -> int | None:
    """Offset after the brace that closes the one opened just before `at`."""
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text[at:]):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return at + brace.end()
    return None


def _open_block(text: str) -> Block | None:
    """The block that the text ends in, if it does."""
    found = blocks(text)
    return found[-1] if found and not found[-1].is_closed else None


_RAN = ((MODEL, "Let me compute.\n```python\nprint(6*7)\n```\n"), (TOOL, "```output\n42\n```\n"))
_HINT = (HINT, "Wait, Python can do this.\n```python\n")
_AGAIN = "We add them again and again. "
_SO = "So it is \\boxed{42}."

RULES: dict[str, Rule] = {
    "cut_loop": Rule(
        cut_loop,
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
        (
            Example(((MODEL, _SO + "\n"), _HINT), _SO + "\n"),
            Example(((MODEL, _SO + "\n"), _HINT, (MODEL, "\n")), _SO + "\n"),
            Example(((MODEL, _SO + "\n"), _HINT, (MODEL, "print(1)\n```\n"), _RAN[1]), None),
            Example(((MODEL, _SO),), None),
        ),
    ),
}
"""In the order in which a recipe does well to name them."""
