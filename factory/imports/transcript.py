"""A text with fences, written elsewhere, as segments by author and the tool calls they show.

One rule, and a strict one: a closed block that names Python, with an output block as the next thing after it, was run
there. Such an output block, its fences and the line break after it included, is a segment of the tool; everything
else is the model's. Fences are read as the rollout loop reads them (`warehouse.fences`, the strict reading). What looks
like something else is counted, never guessed: the caller shows the counts.

An output is an error where it holds a traceback, or where its first or last line is that of an exception. Only the
output is known: what went to stderr, how long it took and which limit it hit is not.
"""

import builtins
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from schemas.records import ToolCall
from schemas.vocabulary import ExecStatus, Origin
from warehouse.fences import Block, blocks

VERSION = 1
"""Raised where the same text gives other segments than before; then files are imported anew."""
OUTPUT = ("output",)
NOT_RUN = "Python block without an output"
_TRACEBACK = re.compile(r"^(?:Traceback \(most recent call last\)|-{70,}[ \n])", re.MULTILINE)
"""Python's first line of one, or the rule of 75 dashes that IPython draws above it."""
_EXCEPTION = re.compile(r"^\s*(?:\w+\.)*(\w+)(?::|\s*$)")
_NAMES = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)}
_NAMES = {name for name in _NAMES if not name.endswith("Warning")}
_UNMARKED = re.compile(r"\s*(?:>>>|(?:execution )?(?:output|result)s?\s*:)", re.IGNORECASE)
_TAG = re.compile(r"<(tool_call|tool_response|output|interpreter|execute|code)>|<\|(python_tag|ipython)\|>")


@dataclass
class Transcript:
    """What a text became."""

    segments: list[tuple[Origin, str]] = field(default_factory=list)
    """By author, none empty, no two neighbours of one author. They concatenate to exactly the text."""
    tool_calls: list[ToolCall] = field(default_factory=list)
    """One per segment of the tool."""
    is_open: bool = False
    """It ends inside a block: it was cut off."""
    oddities: Counter[str] = field(default_factory=Counter)
    """What was not recognised, in words, and how often."""

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(text for _, text in self.segments)

    def add(self, origin: Origin, text: str) -> None:
        """Put a piece at the end."""
        if self.segments and self.segments[-1][0] is origin:
            self.segments[-1] = (origin, self.segments[-1][1] + text)
        elif text:
            self.segments.append((origin, text))

    def add_call(self, code: str, output: str, shown: str, *, is_cut: bool = False) -> None:
        """Put an output at the end, and the call that it belongs to: `output` of it is what stands in `shown`."""
        self.segments.append((Origin.TOOL, shown))
        self.tool_calls.append(call_of(code, output, is_cut=is_cut))


def read_transcript(text: str, output_fences: Collection[str] = OUTPUT) -> Transcript:
    """Cut a text by author.

    Args:
        text: As the model and the tool wrote it together.
        output_fences: Languages of fences that hold an output, lower case.
    """
    made = Transcript()
    at, before = 0, None
    for block in blocks(text):
        follows = before is not None and not text[before.end : block.begin].strip()
        is_output = block.language.lower() in output_fences
        if before is not None and follows and is_output:
            end = block.end + text.startswith("\n", block.end)
            made.add(Origin.MODEL, text[at : block.begin])
            made.add_call(before.code, block.code, text[block.begin : end], is_cut=not block.is_closed)
            at = end
        else:
            _note(made, text, before, block, follows=follows, is_output=is_output)
        if before is not None and not (follows and is_output):
            made.oddities[NOT_RUN] += 1
        before = block if block.is_python and block.is_closed else None
        made.is_open = not block.is_closed
    if before is not None:
        made.oddities[NOT_RUN] += 1
        if _UNMARKED.match(text, before.end):
            made.oddities["output without a fence after a Python block"] += 1
    if tag := _TAG.search(text):
        made.oddities[f"tag {tag[0]}"] += 1
    made.add(Origin.MODEL, text[at:])
    return made


def _note(made: Transcript, text: str, before: Block | None, block: Block, *, follows: bool, is_output: bool) -> None:
    """Count a block that is no output of a call, where one could have expected it to be."""
    if is_output:
        made.oddities["output block without a Python block right before it"] += 1
    elif before is not None and follows and not block.is_python:
        made.oddities[f"block ```{block.language[:20]} right after a Python block"] += 1
    if not block.is_closed:
        made.oddities["last block is not closed"] += 1
    if before is not None and _UNMARKED.match(text, before.end):
        made.oddities["output without a fence after a Python block"] += 1


def call_of(code: str, output: str, *, is_cut: bool = False) -> ToolCall:
    """A call as far as its output tells: `ok`, or `error` with the exception's name where it is known."""
    error = error_in(output)
    return ToolCall(
        code=code,
        stdout=output,
        error_type=error or None,
        traceback=None,
        status=ExecStatus.OK if error is None else ExecStatus.ERROR,
        exit_code=0 if error is None else 1,
        wall_ms=0,
        output_truncated=is_cut,
    )


def error_in(output: str) -> str | None:
    """The exception that an output ends or begins with; empty: a traceback that names none; None: no error."""
    lines = [line for line in output.splitlines() if line.strip()]
    has_traceback = _TRACEBACK.search(output) is not None
    for line in reversed(lines) if has_traceback else (lines[-1:] + lines[:1]):
        match = _EXCEPTION.match(line)
        if match and _is_exception(match[1]):
            return match[1]
    return "" if has_traceback else None


def _is_exception(name: str) -> bool:
    """Python's own, and what is named as one. The bare word `Error` is what programs print, not what they raise."""
    return name in _NAMES or (name[:1].isupper() and name.endswith(("Error", "Exception")) and name != "Error")
