"""A text cut at its code fences: prose, code, tool output."""

import re
from dataclasses import dataclass
from enum import StrEnum

_OPENING = re.compile(r"```[ \t]*([A-Za-z][\w+.-]*)?[ \t]*$")
_CLOSING = re.compile(r"```[ \t]*$")
_PROSE_FENCES = frozenset({"", "text", "txt", "plaintext", "markdown", "latex", "math", "answer"})


class Kind(StrEnum):
    """What a piece of text is."""

    PROSE = "prose"
    CODE = "code"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text, without its fence lines."""

    kind: Kind
    text: str


def split_fences(text: str) -> list[Piece]:
    """Cut `text` at lines that open or close a fence.

    A fence may open at the end of a line of prose, closes at a line that ends in ``` (a model often forgets the line
    break before it), and a fence with a language closes the one before it. One that is never closed runs to the end.
    """
    pieces: list[Piece] = []
    kind, lines, is_open = Kind.PROSE, list[str](), False

    def close(next_kind: Kind, now_open: bool) -> None:
        nonlocal kind, lines, is_open
        if lines:
            pieces.append(Piece(kind, "\n".join(lines)))
        kind, lines, is_open = next_kind, [], now_open

    for line in text.split("\n"):
        opening = _OPENING.search(line) if "```" in line else None
        if opening is None:
            lines.append(line)
            continue
        head, word = line[: opening.start()], (opening[1] or "").lower()
        if head.strip():
            lines.append(head)
        if is_open and _CLOSING.search(line):
            close(Kind.PROSE, False)
        else:
            close(Kind.OUTPUT if word == "output" else Kind.PROSE if word in _PROSE_FENCES else Kind.CODE, True)
    close(Kind.PROSE, False)
    return pieces
