"""Code fences in what a model writes, read in one of two ways. Both take linear time, whatever the text.

Strict is what the rollout loop runs code by: a fence is three or more backticks at the start of a line, at most three
spaces in; the closing one is at least as long and stands alone (CommonMark, without the tilde form, which models do
not write). A block that is still being written is open.

Loose is how answers are read, for models put fences where they should not: a fence may also end a line of prose or of
code, and one with a language, at least as long, closes the one before it. Still, what stands in a longer fence is
content: a tool output cannot end its own block.

Not covered: fences in lists and quotes that are indented further are seen by the loose reading alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

STRICT = re.compile(r"^ {0,3}+(`{3,}+)([^`\n]*+)$", re.MULTILINE)
LOOSE = re.compile(r"(?:^[ \t]*+|(?<!`))(`{3,}+)[ \t]*+([A-Za-z][\w+.-]*+)?[ \t]*+$", re.MULTILINE)
_TICKS = re.compile("`+")
PYTHON = frozenset({"python", "py", "python3", "Python"})
PROSE = frozenset({"", "text", "txt", "plaintext", "markdown", "latex", "math", "answer"})


class Kind(StrEnum):
    """What a piece of text is."""

    PROSE = "prose"
    CODE = "code"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    begin: int
    """Offset of the opening fence, the blanks before it included where they are all of its line."""
    end: int
    """Offset after the closing fence; the length of the text where it is still open."""
    language: str
    """First word of the opening fence, as written; empty where there is none."""
    code: str
    """Between the fences, the last line break included."""
    is_closed: bool

    @property
    def is_python(self) -> bool:
        """Whether the opening fence names Python."""
        return self.language in PYTHON

    @property
    def kind(self) -> Kind:
        """What the language says; without one, prose."""
        language = self.language.lower()
        return Kind.OUTPUT if language == "output" else Kind.PROSE if language in PROSE else Kind.CODE


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text, without its fence lines."""

    kind: Kind
    text: str


def blocks(text: str, *, loose: bool = False) -> list[Block]:
    """All blocks of a text in order; only the last can be open, and none overlaps another."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    for fence in _fences(text, LOOSE, " \t") if loose else _fences(text, STRICT, " "):
        if opening is None:
            opening = fence
        elif len(fence[1]) >= len(opening[1]):
            if not (fence[2] or "").strip():
                found.append(_block(text, opening, fence.start(), fence.end(), is_closed=True))
                opening = None
            elif loose:
                found.append(_block(text, opening, fence.start(), fence.start(), is_closed=True))
                opening = fence
    if opening is not None:
        found.append(_block(text, opening, len(text), len(text), is_closed=False))
    return found


def _fences(text: str, rule: re.Pattern[str], blanks: str) -> Iterator[re.Match[str]]:
    """As `rule.finditer(text)`, trying the rule only where backticks stand: most of a text has none."""
    end = 0
    while (at := text.find("```", end)) >= 0:
        begin = at
        while begin > end and text[begin - 1] in blanks:
            begin -= 1
        is_first = begin == 0 or text[begin - 1] == "\n"
        found = (rule.match(text, begin) if is_first else None) or rule.match(text, at)
        if found:
            yield found
        ticks = _TICKS.match(text, at)
        end = found.end() if found else ticks.end() if ticks else at + 3


def _block(text: str, opening: re.Match[str], code_end: int, end: int, *, is_closed: bool) -> Block:
    words = (opening[2] or "").split()
    return Block(opening.start(), end, words[0] if words else "", text[opening.end() + 1 : code_end], is_closed)


def split_fences(text: str) -> list[Piece]:
    """Cut a text into prose, code and tool output, by the loose reading. Blank prose between blocks is left out."""
    pieces: list[Piece] = []
    at = 0
    for block in blocks(text, loose=True):
        pieces.append(Piece(Kind.PROSE, text[at : block.begin]))
        pieces.append(Piece(block.kind, block.code))
        at = block.end
    pieces.append(Piece(Kind.PROSE, text[at:]))
    return [piece for piece in pieces if piece.kind is not Kind.PROSE or piece.text.strip()]
