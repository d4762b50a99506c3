"""Repair: the paper's unpublished "modify", as named rules. A repaired trajectory is a new row; the old one stays.

Every rule here is a cut: it finds where a text should have ended. What follows is dropped if the model wrote it, or
if it is a hint that nothing answers; a rule never drops a tool output, and changes no character before the cut.

A rule names a range of places that are equally right (blanks around the cut belong to neither side). Where token ids
are known, the text ends on a token boundary inside that range and the ids stay exact. Where there is none, or no
`decode` to find it with, the ids of the cut segment become null and its n_tokens is estimated by length.

stop_reason, hints kept, tool calls and times are the parent's: they say what happened. A repaired row costs no time
(wall_s is 0), has no answer_text until somebody extracts it, and must be scored again.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Sequence

from schemas.errors import RecipeError
from schemas.records import Segment, Trajectory
from schemas.vocabulary import Origin
from warehouse.repair_rules import RULES, Span

Decode = Callable[[Sequence[int]], str]
HALF_CHARACTER = 4
"""Tokens that may hold the bytes of one character; a text that ends within them decodes to more or fewer characters."""


def check_rules(names: Sequence[str]) -> None:
    """Refuse a rule that does not exist.

    Raises:
        RecipeError: lists the rules there are.
    """
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise RecipeError(f"repair.rules: no rule '{unknown[0]}'. Known rules: {', '.join(RULES)}")


def repair(trajectory: Trajectory, rules: Sequence[str], decode: Decode | None = None) -> Trajectory | None:
    """Apply named rules in order, each at most once.

    Args:
        trajectory: Never changed.
        rules: Names from `RULES`.
        decode: Token ids to text, of the engine that wrote it.

    Returns:
        A new trajectory with `parent_id` the old one's id and `repairs` the rules that applied, or None where none
        did. A cut that would leave nothing but blanks is not made.

    Raises:
        RecipeError: an unknown rule.
    """
    check_rules(rules)
    applied: list[str] = []
    segments = trajectory.segments
    for name in rules:
        span = RULES[name].find(segments)
        shorter = cut(segments, span, decode) if span else segments
        if shorter != segments and "".join(s.text for s in shorter).strip():
            segments = shorter
            applied.append(name)
    if not applied:
        return None
    n_hints_dropped = _count(trajectory.segments, Origin.HINT) - _count(segments, Origin.HINT)
    text = "".join(segment.text for segment in segments)
    identity = json.dumps([trajectory.trajectory_id, applied, text], ensure_ascii=False)
    return trajectory.model_copy(
        update={
            "trajectory_id": "t_" + hashlib.sha256(identity.encode()).hexdigest()[:16],
            "parent_id": trajectory.trajectory_id,
            "segments": segments,
            "hints": trajectory.hints[: len(trajectory.hints) - n_hints_dropped],
            "repairs": (*trajectory.repairs, *applied),
            "answer_text": None,
            "n_tokens_model": _tokens(segments, Origin.MODEL),
            "n_tokens_hint": _tokens(segments, Origin.HINT),
            "n_tokens_tool": _tokens(segments, Origin.TOOL),
            "wall_s": 0.0,
        }
    )


def cut(segments: tuple[Segment, ...], span: Span, decode: Decode | None) -> tuple[Segment, ...]:
    """End the text inside `span`, on a token boundary where there is one.

    Raises:
        ValueError: tool output would be dropped or shortened, or a hint shortened.
    """
    kept: list[Segment] = []
    at = 0
    for segment in segments:
        end = at + len(segment.text)
        if end <= span.earliest:
            kept.append(segment)
        elif segment.origin is Origin.TOOL or (segment.origin is Origin.HINT and at < span.earliest):
            raise ValueError(f"a cut at {span} would drop or shorten a {segment.origin} segment")
        elif at < span.earliest:
            kept.append(_prefix(segment, Span(span.earliest - at, span.latest - at), decode))
        at = end
    return tuple(kept)


def _prefix(segment: Segment, span: Span, decode: Decode | None) -> Segment:
    ids = segment.token_ids
    if ids is not None and decode is not None:
        near = bisect_left(range(len(ids)), span.earliest, key=lambda k: len(decode(ids[:k])))
        for n in range(max(near - HALF_CHARACTER, 0), len(ids)):
            text = decode(ids[:n])
            if len(text) > span.latest and n > near + HALF_CHARACTER:
                break
            if span.earliest <= len(text) <= span.latest and segment.text.startswith(text):
                return Segment(origin=segment.origin, text=text, n_tokens=n, token_ids=ids[:n])
    text = segment.text[: span.earliest]
    n_tokens = -(-segment.n_tokens * len(text) // len(segment.text))
    return Segment(origin=segment.origin, text=text, n_tokens=n_tokens)


def _count(segments: tuple[Segment, ...], origin: Origin) -> int:
    return sum(segment.origin is origin for segment in segments)


def _tokens(segments: tuple[Segment, ...], origin: Origin) -> int:
    return sum(segment.n_tokens for segment in segments if segment.origin is origin)
