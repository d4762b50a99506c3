"""Code fences in a text that is still being written.

A fence is three or more backticks at the start of a line, at most three spaces in; the closing one is at least as long
and stands alone (CommonMark, without the tilde form, which models do not write). Not covered: fences inside lists and
quotes that are indented further.
"""

import re
from dataclasses import dataclass

FENCE = re.compile(r"^ {0,3}(`{3,})[ \t]*([^`\n]*)$", re.MULTILINE)
PYTHON = frozenset({"python", "py", "python3", "Python"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    begin: int
    """Offset of the opening fence."""
    end: int
    """Offset after the closing fence; the length of the text where it is still open."""
    language: str
    code: str
    is_closed: bool

    @property
    def is_python(self) -> bool:
        """Whether the opening fence names Python."""
        return self.language in PYTHON


def blocks(text: str) -> list[Block]:
    """All blocks of a text in order; only the last can be open."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    for fence in FENCE.finditer(text):
        info = fence[2].strip()
        if opening is None:
            opening = fence
        elif not info and len(fence[1]) >= len(opening[1]):
            found.append(_block(opening, text[opening.end() + 1 : fence.start()], fence.end(), is_closed=True))
            opening = None
    if opening is not None:
        found.append(_block(opening, text[opening.end() + 1 :], len(text), is_closed=False))
    return found


def _block(opening: re.Match[str], code: str, end: int, *, is_closed: bool) -> Block:
    words = opening[2].split()
    return Block(opening.start(), end, words[0] if words else "", code, is_closed)


def output_block(text: str) -> str:
    """A tool output as the model sees it. The fence outgrows any backticks inside, so the text cannot close it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = text if not text or text.endswith("\n") else text + "\n"
    return f"{fence}output\n{body}{fence}\n"
