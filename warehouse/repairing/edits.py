"""Edits of a text held in segments, with exact token ids where that is possible.

Where an edit takes away text at token boundaries and puts nothing in its place, the ids of what is left stay as they
were sampled. Elsewhere, or without `decode` to find boundaries with, the ids of the segment become null and its
n_tokens is estimated by length. No edit makes ids: a text encoded again is not what the model wrote.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from schemas.records import Segment
from schemas.vocabulary import Origin

Decode = Callable[[Sequence[int]], str]
HALF_CHARACTER = 4
"""Tokens that may hold the bytes of one character; a text that ends within them decodes to more or fewer characters."""


class Edit(NamedTuple):
    """Replace what stands from `earliest` to `end` by `text`, in characters of the whole text.

    What is taken away may begin as late as `latest`; between the two are only blanks.
    """

    earliest: int
    latest: int
    end: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit made."""

    segments: tuple[Segment, ...]
    tools_kept: tuple[int, ...]
    """Of the tool segments before, by their number from 0."""
    hints_kept: tuple[int, ...]
    """Of the hints before, likewise."""
    moved: tuple[int, ...]
    """Per kept hint, how many characters it moved back."""


def apply(segments: Sequence[Segment], edits: Sequence[Edit], decode: Decode | None) -> Edited:
    """Make edits that do not overlap.

    Raises:
        ValueError: tool output or a hint would be changed, or dropped in part.
    """
    done: list[Segment] = []
    kept: dict[Origin, list[int]] = {Origin.TOOL: [], Origin.HINT: []}
    seen, moved = dict.fromkeys(kept, 0), []
    at = new_at = 0
    ordered = sorted(edits)
    for index, segment in enumerate(segments):
        end = at + len(segment.text)
        is_last = index == len(segments) - 1
        here = [
            e
            for e in ordered
            if (at <= e.earliest or e.end > at) and (e.earliest < end or (is_last and e.earliest == end))
        ]
        if segment.origin is Origin.MODEL:
            left: Segment | None = _edited(segment, [_within(e, at, end) for e in here], decode) if here else segment
        else:
            left = _whole_or_none(segment, here, at, end)
        if left is not None and segment.origin is not Origin.MODEL:
            kept[segment.origin].append(seen[segment.origin])
        if left is not None and segment.origin is Origin.HINT:
            moved.append(at - new_at)
        if segment.origin is not Origin.MODEL:
            seen[segment.origin] += 1
        if left is not None and (left.text or left is segment):
            new_at += len(left.text)
            done.append(left)
        at = end
    return Edited(_merged(done, segments), tuple(kept[Origin.TOOL]), tuple(kept[Origin.HINT]), tuple(moved))


def _within(edit: Edit, at: int, end: int) -> Edit:
    """The part of an edit in one segment, in its own characters; the new text goes where the edit begins."""
    begins = edit.earliest >= at
    return Edit(
        max(edit.earliest, at) - at,
        min(max(edit.latest, at), end) - at,
        min(edit.end, end) - at,
        edit.text if begins else "",
    )


def _whole_or_none(segment: Segment, edits: Sequence[Edit], at: int, end: int) -> Segment | None:
    """A segment that no edit may change: kept, or dropped as a whole."""
    touching = [e for e in edits if e.end > at and e.earliest < end]
    if not touching:
        return segment
    if any(e.earliest <= at and e.end >= end for e in touching):
        return None
    raise ValueError(f"the edit {touching[0]} would change a {segment.origin} segment")


def _edited(segment: Segment, edits: Sequence[Edit], decode: Decode | None) -> Segment:
    """One segment of the model with its edits made."""
    ids = segment.token_ids
    if ids is not None and decode is not None and not any(e.text for e in edits):
        exact = _exact(segment, ids, edits, decode)
        if exact is not None:
            return exact
    text, at = "", 0
    for edit in edits:
        text += segment.text[at : edit.earliest] + edit.text
        at = edit.end
    text += segment.text[at:]
    n_tokens = -(-segment.n_tokens * len(text) // len(segment.text)) if segment.text else 0
    return Segment(origin=segment.origin, text=text, n_tokens=n_tokens)


def _exact(segment: Segment, ids: Sequence[int], edits: Sequence[Edit], decode: Decode) -> Segment | None:
    """The segment without what was taken away, in the sampled ids; None where an edge is no token boundary."""
    left: list[int] = []
    text, n, at = "", 0, 0
    for edit in edits:
        begin = _boundary(segment.text, ids, edit.earliest, edit.latest, decode)
        end = _boundary(segment.text, ids, edit.end, edit.end, decode)
        if begin is None or end is None:
            return None
        left += ids[n : begin[0]]
        text += segment.text[at : begin[1]]
        n, at = end
    left += ids[n:]
    text += segment.text[at:]
    if decode(left) != text:
        return None
    return Segment(origin=segment.origin, text=text, n_tokens=len(left), token_ids=tuple(left))


def _boundary(text: str, ids: Sequence[int], first: int, last: int, decode: Decode) -> tuple[int, int] | None:
    """So many ids, and so many characters from `first` to `last`, that are the same text."""
    if first >= len(text):
        return len(ids), len(text)
    near = bisect_left(range(len(ids)), first, key=lambda k: len(decode(ids[:k])))
    for n in range(max(near - HALF_CHARACTER, 0), len(ids)):
        start = decode(ids[:n])
        if len(start) > last and n > near + HALF_CHARACTER:
            return None
        if first <= len(start) <= last and text.startswith(start):
            return n, len(start)
    return None


def _merged(segments: Sequence[Segment], before: Sequence[Segment]) -> tuple[Segment, ...]:
    """Join what the model wrote with nothing between any more; what stood apart before stays so."""
    apart = {id(one): id(two) for one, two in pairwise(before)}
    done: list[Segment] = []
    for segment in segments:
        last = done[-1] if done else None
        if (
            last is None
            or last.origin is not segment.origin
            or segment.origin is not Origin.MODEL
            or apart.get(id(last)) == id(segment)
        ):
            done.append(segment)
            continue
        ids = None if last.token_ids is None or segment.token_ids is None else last.token_ids + segment.token_ids
        done[-1] = Segment(
            origin=Origin.MODEL, text=last.text + segment.text, n_tokens=last.n_tokens + segment.n_tokens, token_ids=ids
        )
    return tuple(done)
