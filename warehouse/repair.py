"""Repair: the paper's unpublished "modify", as named rules. A repaired trajectory is a new row; the old one stays.

A rule finds edits (`warehouse.repairing`): places to cut, marks to write properly, executed blocks to leave out. Edits
are made on segments, so that token ids stay exact wherever they can. A tool output is never changed; rules that say so
take a block away together with its output and its call, and what is left must then be run again
(`factory.steps.repair`), for later blocks may need what an earlier one did.

stop_reason, hints kept, calls kept and times are the parent's: they say what happened. A repaired row costs no time
(wall_s is 0), has no answer_text until somebody extracts it, and must be scored again.
"""

import hashlib
import json
from collections.abc import Sequence

import polars as pl

from schemas.errors import RecipeError
from schemas.records import Segment, Trajectory
from schemas.vocabulary import Origin
from warehouse.repairing.edits import Decode, apply
from warehouse.repairing.rules import RULES
from warehouse.repairing.written import Written

VERSION = 1
"""Raised when a rule decides otherwise than before: rows repaired under another version are made anew."""


def check_rules(names: Sequence[str]) -> None:
    """Refuse a rule that does not exist.

    Raises:
        RecipeError: lists the rules there are.
    """
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise RecipeError(f"repair.rules: no rule '{unknown[0]}'. Known rules: {', '.join(RULES)}")


def may_repair(trajectories: pl.DataFrame, rules: Sequence[str]) -> pl.Series:
    """Whether any of these rules can apply, seen by whole columns: where it says no, `repair` returns None.

    It is cheap, and says yes more often than a rule applies in the end.

    Args:
        trajectories: N rows with the columns `segments` and `tool_calls` of raw.trajectories.
        rules: Names from `RULES`.

    Returns:
        N booleans.

    Raises:
        RecipeError: an unknown rule.
    """
    check_rules(rules)
    text = pl.col("segments").list.eval(pl.element().struct.field("text")).list.join("")
    tests = [RULES[name].may_apply.fill_null(value=False) for name in rules]
    columns = trajectories.select("segments", "tool_calls").with_columns(text=text)
    return columns.select(may=pl.any_horizontal(pl.lit(value=False), *tests)).to_series()


def repair(trajectory: Trajectory, rules: Sequence[str], decode: Decode | None = None) -> Trajectory | None:
    """Apply named rules in order, each at most once.

    Args:
        trajectory: Never changed.
        rules: Names from `RULES`.
        decode: Token ids to text, of the engine that wrote it.

    Returns:
        A new trajectory with `parent_id` the old one's id and `repairs` the rules that applied, or None where none
        did. An edit that would leave nothing but blanks is not made.

    Raises:
        RecipeError: an unknown rule.
    """
    check_rules(rules)
    applied: list[str] = []
    now = trajectory
    for name in rules:
        changed = _apply(now, name, decode)
        if changed is not None:
            now = changed
            applied.append(name)
    if not applied:
        return None
    identity = json.dumps([trajectory.trajectory_id, applied, now.text], ensure_ascii=False)
    return now.model_copy(
        update={
            "trajectory_id": "t_" + hashlib.sha256(identity.encode()).hexdigest()[:16],
            "parent_id": trajectory.trajectory_id,
            "repairs": (*trajectory.repairs, *applied),
            "answer_text": None,
            "n_tokens_model": _tokens(now.segments, Origin.MODEL),
            "n_tokens_hint": _tokens(now.segments, Origin.HINT),
            "n_tokens_tool": _tokens(now.segments, Origin.TOOL),
            "wall_s": 0.0,
        }
    )


def needs_replay(repaired: Trajectory, parent: Trajectory) -> bool:
    """Whether other code is run than before, so that its outputs must be reproduced before the row may be used."""
    return [call.code for call in repaired.tool_calls] != [call.code for call in parent.tool_calls]


def _apply(trajectory: Trajectory, name: str, decode: Decode | None) -> Trajectory | None:
    rule = RULES[name]
    edits = rule.find(Written(trajectory.segments, trajectory.tool_calls, trajectory.stop_reason))
    if not edits:
        return None
    edited = apply(trajectory.segments, edits, decode)
    n_tools = sum(segment.origin is Origin.TOOL for segment in trajectory.segments)
    if len(edited.tools_kept) != n_tools and not rule.drops_calls:
        raise ValueError(f"{name} would drop a tool output")
    if edited.segments == trajectory.segments or not "".join(segment.text for segment in edited.segments).strip():
        return None
    calls, hints = trajectory.tool_calls, trajectory.hints
    if len(edited.tools_kept) != n_tools:
        calls = tuple(calls[i] for i in edited.tools_kept)
    moved = zip(edited.hints_kept, edited.moved, strict=True)
    kept = tuple(
        hints[i].model_copy(update={"char_offset": max(hints[i].char_offset - back, 0)})
        for i, back in moved
        if i < len(hints)
    )
    return trajectory.model_copy(update={"segments": edited.segments, "hints": kept, "tool_calls": calls})


def _tokens(segments: Sequence[Segment], origin: Origin) -> int:
    return sum(segment.n_tokens for segment in segments if segment.origin is origin)
