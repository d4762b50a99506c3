"""One attempt: from a plan to the row of raw.trajectories that it becomes."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from factory.rollout.loop import Budget, Draft, Means, roll_out
from factory.rollout.outputs import spelled
from factory.rollout.plan import Planned
from factory.run import Run
from quality.answers import extract_answer
from quality.programs.final import written_program
from schemas.protocols import Codec, Engine
from schemas.records import HintUse, Problem, Segment, Trajectory
from schemas.vocabulary import Domain, Origin, SandboxLevel, StopReason

FAILED = (StopReason.ENGINE_ERROR, StopReason.SANDBOX_LOST)


async def attempt(run: Run, plan: Planned, means: Means, level: SandboxLevel | None) -> Trajectory:
    """Make one trajectory.

    Args:
        run: The run.
        plan: What to make.
        means: Engine, sandbox, journal.
        level: What isolates its code; null where it may run none.
    """
    started, engine = time.monotonic(), means.engine
    prompt = engine.prompt(plan.messages)
    draft = Draft(engine.encode(prompt, special=True))
    if plan.earlier is not None:
        draft.segments += plan.earlier.segments
        draft.tool_calls += plan.earlier.tool_calls
        draft.hints += plan.earlier.hints
    if plan.hint is not None:
        draft.hints.append(_insert(plan, draft, engine))
    sandbox = run.recipe.sandbox
    budget = Budget(plan.max_tokens, plan.max_calls, sandbox.shown_chars, sandbox.used_up, plan.reassurance, plan.round)
    await roll_out(draft, means, sampling=plan.sampling, seed=plan.seed, budget=budget)
    segments = tuple(draft.segments)
    return Trajectory(
        trajectory_id=plan.trajectory_id,
        parent_id=_parent(plan),
        run_id=run.run_id,
        recipe_id=plan.recipe_id,
        problem_id=plan.problem.problem_id,
        arm=plan.arm,
        sample_index=plan.sample_index,
        seed=plan.seed,
        engine=engine.name,
        sandbox=level if plan.max_calls else None,
        sampling=json.dumps(
            {
                "temperature": plan.sampling.temperature,
                "top_p": plan.sampling.top_p,
                "max_tokens": plan.max_tokens,
            }
        ),
        prompt=prompt,
        segments=segments,
        hints=tuple(draft.hints),
        tool_calls=tuple(draft.tool_calls),
        answer_text=answer_of(plan.problem, text_of(segments) if plan.answers_anywhere else answer_region(segments)),
        stop_reason=draft.stop_reason or StopReason.END,
        error=draft.error,
        n_tokens_model=_count(segments, Origin.MODEL),
        n_tokens_hint=_count(segments, Origin.HINT),
        n_tokens_tool=_count(segments, Origin.TOOL),
        wall_s=round(time.monotonic() - started, 3),
        engine_s=round(draft.engine_s, 3),
        sandbox_s=round(draft.sandbox_s, 3),
        created_at=datetime.now(UTC),
    )


def answer_of(problem: Problem, text: str) -> str | None:
    """The final answer, or for a code problem the final program; None where there is none."""
    if problem.domain is Domain.CODE:
        return written_program(text, json.loads(problem.meta).get("entry_point"))
    return extract_answer(text)


def answer_region(segments: Sequence[Segment]) -> str:
    """The text that holds a trajectory's answer: from the first hint on, for the baseline before it was wrong."""
    first = next((i for i, segment in enumerate(segments) if segment.origin is Origin.HINT), 0)
    return text_of(segments[first:])


def text_of(segments: Sequence[Segment]) -> str:
    """What segments concatenate to."""
    return "".join(segment.text for segment in segments)


def _parent(plan: Planned) -> str | None:
    if plan.earlier is not None:
        return plan.earlier.trajectory_id
    return plan.baseline["trajectory_id"] if plan.baseline else None


def _count(segments: Sequence[Segment], origin: Origin) -> int:
    return sum(segment.n_tokens for segment in segments if segment.origin is origin)


def _insert(plan: Planned, draft: Draft, engine: Engine) -> HintUse:
    """Put the hint into a draft, after the kept part of the baseline or after all of an earlier round."""
    assert plan.hint is not None
    point, hint = plan.hint.point, plan.hint.hint
    if plan.baseline is not None and plan.earlier is None:
        kept = plan.baseline["text"][: point.char_offset]
        draft.add(Origin.MODEL, kept, ids_of_prefix(engine, plan.baseline["text"], plan.baseline["token_ids"], kept))
    draft.add(Origin.HINT, *spelled(plan.hint.text, engine))
    return HintUse(
        hint_id=hint.hint_id,
        function=hint.function,
        cut=point.cut,
        trigger=point.trigger,
        char_offset=point.char_offset,
        round=plan.round,
    )


def ids_of_prefix(codec: Codec, text: str, token_ids: Sequence[int] | None, prefix: str) -> list[int]:
    """Token ids that decode to exactly `prefix` of `text`, the sampled ones as far as whole tokens go.

    Where the prefix ends inside a token, that token's first characters are encoded anew; where the text has no ids, or
    they do not decode to it, all of it is.
    """
    ids = list(token_ids or ())
    if codec.decode(ids) != text:
        return codec.encode(prefix)
    low, high = 0, len(ids)  # the number of tokens that fit
    while low < high:
        middle = (low + high + 1) // 2
        if len(codec.decode(ids[:middle])) <= len(prefix):
            low = middle
        else:
            high = middle - 1
    while not prefix.startswith(done := codec.decode(ids[:low])):  # half a character decodes to something else
        low -= 1
    return ids[:low] + codec.encode(prefix[len(done) :])
