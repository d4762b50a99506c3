"""From plans to rows of raw.trajectories: many rollouts at once, written as they end."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from factory.progress import Advance
from factory.rollout.loop import Budget, Draft, roll_out
from factory.rollout.plan import Planned
from factory.run import Run
from factory.workbench import Workbench
from quality.answers import extract_answer
from schemas.errors import StepFailed
from schemas.protocols import Engine, Sandbox
from schemas.records import HintUse, Segment, ToolCall, Trajectory
from schemas.tables import TRAJECTORIES
from schemas.vocabulary import ExecStatus, Origin, StopReason

FAILED = (StopReason.ENGINE_ERROR, StopReason.SANDBOX_LOST)
SHARD_ROWS = 256
SHARD_S = 5.0
"""A finished trajectory waits at most this long for its shard: what a killed process can lose."""
WAITING_ROLLOUTS = 8
"""Rollouts in flight beyond what the engine runs at once, so that it has work while others wait for the sandbox."""


async def generate(run: Run, bench: Workbench, planned: Sequence[Planned], advance: Advance) -> None:
    """Make the planned trajectories and store them: raw.trajectories.

    Raises:
        EngineError, SandboxError: neither could be started.
        StepFailed: a larger share of rollouts failed than the recipe allows. The rows are stored all the same, and
            the same command tries the failed ones again.
    """
    if not planned:
        return
    engine = await bench.engine()
    sandbox = await bench.sandbox() if any(plan.max_calls for plan in planned) else None
    writer = _Writer(run)
    ahead = iter(planned)

    async def work() -> None:
        for plan in _shared(ahead):
            trajectory = await make(run, plan, engine, sandbox)
            writer.add(trajectory)
            advance(extra=trajectory.n_tokens_model, extra_unit="tokens")

    n_in_flight = min(run.recipe.engine.max_running + WAITING_ROLLOUTS, len(planned))
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(n_in_flight):
                tasks.create_task(work())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        writer.flush()
    writer.check(run.recipe.gate.max_failed_share, len(planned))


def _shared(ahead: Iterator[Planned]) -> Iterator[Planned]:
    """Take from an iterator that others take from too."""
    yield from ahead


async def make(run: Run, plan: Planned, engine: Engine, sandbox: Sandbox | None) -> Trajectory:
    """One trajectory, from its plan to its record."""
    started = time.monotonic()
    prompt = engine.prompt(plan.messages)
    draft = Draft(engine.encode(prompt, special=True))
    hints: tuple[HintUse, ...] = ()
    earlier_calls: tuple[ToolCall, ...] = ()
    if plan.earlier is not None:
        draft.segments += plan.earlier.segments
        draft.tool_calls += plan.earlier.tool_calls
        hints, earlier_calls = plan.earlier.hints, plan.earlier.tool_calls
    if plan.hint is not None:
        hints += (_insert(plan, draft, engine),)

    async def open_session() -> Any:
        assert sandbox is not None
        session = await sandbox.session()
        for call in earlier_calls:  # what earlier rounds defined is there; blocks that killed it then are left out
            if call.status in (ExecStatus.OK, ExecStatus.ERROR):
                await session.run(call.code)
        return session

    await roll_out(
        draft,
        engine,
        open_session,
        sampling=plan.sampling,
        seed=plan.seed,
        budget=Budget(plan.max_tokens, plan.max_calls, run.recipe.sandbox.shown_chars),
    )
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
        sandbox=sandbox.level if sandbox is not None and plan.max_calls else None,
        sampling=json.dumps(
            {
                "temperature": plan.sampling.temperature,
                "top_p": plan.sampling.top_p,
                "max_tokens": plan.max_tokens,
            }
        ),
        prompt=prompt,
        segments=segments,
        hints=hints,
        tool_calls=tuple(draft.tool_calls),
        answer_text=extract_answer(text_of(segments) if plan.answers_anywhere else answer_region(segments)),
        stop_reason=draft.stop_reason or StopReason.END,
        error=draft.error,
        n_tokens_model=_count(segments, Origin.MODEL),
        n_tokens_hint=_count(segments, Origin.HINT),
        n_tokens_tool=_count(segments, Origin.TOOL),
        wall_s=round(time.monotonic() - started, 3),
        created_at=datetime.now(UTC),
    )


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
    if plan.earlier is None:
        assert plan.baseline is not None
        kept = plan.baseline["text"][: point.char_offset]
        draft.add(Origin.MODEL, kept, ids_of_prefix(engine, plan.baseline["text"], plan.baseline["token_ids"], kept))
    draft.add(Origin.HINT, plan.hint.text, engine.encode(plan.hint.text))
    return HintUse(
        hint_id=hint.hint_id,
        function=hint.function,
        cut=point.cut,
        trigger=point.trigger,
        char_offset=point.char_offset,
        round=plan.round,
    )


def ids_of_prefix(engine: Engine, text: str, token_ids: Sequence[int] | None, prefix: str) -> list[int]:
    """Token ids that decode to exactly `prefix` of `text`, the sampled ones as far as whole tokens go.

    Where the prefix ends inside a token, that token's first characters are encoded anew; where the text has no ids, or
    they do not decode to it, all of it is.
    """
    ids = list(token_ids or ())
    if engine.decode(ids) != text:
        return engine.encode(prefix)
    low, high = 0, len(ids)  # the number of tokens that fit
    while low < high:
        middle = (low + high + 1) // 2
        if len(engine.decode(ids[:middle])) <= len(prefix):
            low = middle
        else:
            high = middle - 1
    while not prefix.startswith(done := engine.decode(ids[:low])):  # half a character decodes to something else
        low -= 1
    return ids[:low] + engine.encode(prefix[len(done) :])


class _Writer:
    """Collects finished trajectories into shards and counts failures."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows: list[dict[str, Any]] = []
        self.last = time.monotonic()
        self.n = 0
        self.failures: dict[str, int] = {}

    def add(self, trajectory: Trajectory) -> None:
        self.n += 1
        if trajectory.stop_reason in FAILED:
            reason = f"{trajectory.stop_reason}: {(trajectory.error or '').splitlines()[0][:160]}"
            self.failures[reason] = self.failures.get(reason, 0) + 1
        self.rows.append(trajectory.model_dump())
        if len(self.rows) >= SHARD_ROWS or time.monotonic() - self.last > SHARD_S:
            self.flush()

    def flush(self) -> None:
        self.run.store.append(TRAJECTORIES, self.rows)
        self.rows, self.last = [], time.monotonic()

    def check(self, max_share: float, n_planned: int) -> None:
        n_failed = sum(self.failures.values())
        if n_failed > max_share * n_planned:
            worst = sorted(self.failures.items(), key=lambda item: -item[1])[:3]
            raise StepFailed(
                f"{n_failed:,} of {n_planned:,} rollouts failed; the recipe allows {max_share:.0%} "
                f"(gate.max_failed_share).\n  "
                + "\n  ".join(f"{n:,} x {reason}" for reason, n in worst)
                + "\n  next:   mend the cause and give the same command: the failed ones are tried again\n"
                "  state:  all rollouts are stored; nothing was promoted."
            )
