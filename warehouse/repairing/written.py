"""What a rule sees: the segments, the calls, and which block of the text each call ran."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from schemas.records import Segment, ToolCall
from schemas.vocabulary import Origin, StopReason
from warehouse.fences import Block, blocks
from warehouse.repairing.edits import Edit

MODEL, HINT, TOOL = Origin.MODEL, Origin.HINT, Origin.TOOL


@dataclass(frozen=True, slots=True)
class Executed:
    """A block that was run, with its output. Offsets are in characters of the whole text."""

    begin: int
    """Of its opening fence."""
    out_begin: int
    """Of the output's segment."""
    out_end: int
    call: ToolCall


@dataclass(frozen=True)
class Written:
    """A trajectory as rules see it."""

    segments: tuple[Segment, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    stop_reason: StopReason = StopReason.END

    @cached_property
    def text(self) -> str:
        """The whole text."""
        return "".join(segment.text for segment in self.segments)

    @cached_property
    def places(self) -> tuple[tuple[int, int, Segment], ...]:
        """Every segment with its begin and end."""
        places, at = [], 0
        for segment in self.segments:
            places.append((at, at + len(segment.text), segment))
            at += len(segment.text)
        return tuple(places)

    @cached_property
    def outputs(self) -> tuple[tuple[int, int, int], ...]:
        """Per output where the text before it begins, that is behind the output before, its own begin and its end."""
        outputs, since = [], 0
        for begin, end, segment in self.places:
            if segment.origin is TOOL:
                outputs.append((since, begin, end))
                since = end
        return tuple(outputs)

    @cached_property
    def executed(self) -> tuple[Executed, ...]:
        """Every call with its block; empty where text and calls do not agree, so that a rule has nothing to go by."""
        if len(self.outputs) != len(self.tool_calls):
            return ()
        done = []
        for (since, begin, end), call in zip(self.outputs, self.tool_calls, strict=True):
            block = ran(self.text[since:begin], call)
            if block is None:
                return ()
            done.append(Executed(since + block.begin, begin, end, call))
        return tuple(done)

    def is_of_model(self, begin: int, end: int, *, outputs: bool = False) -> bool:
        """Whether the model alone wrote a range; with `outputs`, whole tool outputs may stand in it."""
        for at, stop, segment in self.places:
            if at < end and stop > begin and segment.origin is not MODEL:
                is_whole = segment.origin is TOOL and begin <= at and stop <= end
                if not (outputs and is_whole):
                    return False
        return True


def ran(before: str, call: ToolCall, *, loose: bool = False) -> Block | None:
    """The block before an output that its call ran; None where the last one is another, or not closed."""
    found = blocks(before, loose=loose)
    last = found[-1] if found else None
    if last is None or not (last.is_closed and last.is_python) or before[last.end :].strip():
        return None
    return last if last.code.strip() == call.code.strip() else None


@dataclass(frozen=True)
class Example:
    """What a rule does to a text; `after` is None where it must leave it alone.

    An output whose last line names an error is that of a failing call.
    """

    before: tuple[tuple[Origin, str], ...]
    after: str | None
    stop_reason: StopReason = StopReason.END


@dataclass(frozen=True)
class Rule:
    """A named rule. `find` is pure."""

    find: Callable[[Written], list[Edit]]
    may_apply: pl.Expr
    """A test of whole columns (`text`, `segments`, `tool_calls`): where it says no, `find` finds nothing."""
    examples: tuple[Example, ...]
    drops_calls: bool = False
    """Whether it may take executed blocks away, together with their outputs."""
