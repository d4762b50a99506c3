"""The state machine of one trajectory: generate until a closed Python block, run it, append its output, go on.

The text is held as segments with their token ids; ids are kept from round to round and never made from decoded text
again. A failing engine or sandbox ends this trajectory with a stop_reason and no other.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from factory.rollout.gate import Seat
from factory.rollout.hints import Reassurance
from factory.rollout.journal import Story
from factory.rollout.live import Tally
from factory.rollout.outputs import output_block, shown_output, spelled
from factory.rollout.tools import OpenSession, Tools
from factory.sandbox.results import error_type
from schemas.errors import EngineError, SandboxError
from schemas.protocols import Completion, Engine, ExecResult, Sampling
from schemas.records import HintUse, Segment, ToolCall
from schemas.vocabulary import Cut, ExecStatus, HintFunction, Origin, StopReason
from warehouse.fences import blocks

OPENING = ("```python", "```py\n")
CLOSING = ("```",)


@dataclass(frozen=True, slots=True)
class Budget:
    """What one trajectory may use."""

    max_tokens: int
    """Written by the model in this rollout."""
    max_calls: int
    """0: no tools at all."""
    shown_chars: int
    """Of one tool output."""
    used_up: str = ""
    """What the model is told after its last allowed call."""
    reassurance: Reassurance | None = None
    """What it is told, once, where it begins to doubt an output."""
    round: int = 1
    """Of the hints, that a reassurance counts to."""


@dataclass
class Draft:
    """A trajectory being made."""

    prompt_ids: list[int]
    segments: list[Segment] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    hints: list[HintUse] = field(default_factory=list)
    n_new: int = 0
    stop_reason: StopReason | None = None
    error: str | None = None
    engine_s: float = 0.0
    """Waiting for the engine, in line before it included."""
    sandbox_s: float = 0.0
    """Waiting for the sandbox, in line before it included."""

    @property
    def ids(self) -> list[int]:
        """Everything so far."""
        return self.prompt_ids + [i for segment in self.segments for i in segment.token_ids or ()]

    def add(self, origin: Origin, text: str, ids: Sequence[int]) -> None:
        """Append text; what the model writes in several turns without anything between is one segment."""
        if not text:
            return
        ids = tuple(ids)
        last = self.segments[-1] if self.segments else None
        if last is not None and last.origin is origin and origin is Origin.MODEL:
            self.segments.pop()
            text, ids = last.text + text, (last.token_ids or ()) + ids
        self.segments.append(Segment(origin=origin, text=text, n_tokens=len(ids), token_ids=ids))

    def since_last_output(self) -> str:
        """Text after the last tool output: blocks before it are settled."""
        texts: list[str] = []
        for segment in reversed(self.segments):
            if segment.origin is Origin.TOOL:
                break
            texts.append(segment.text)
        return "".join(reversed(texts))


@dataclass(frozen=True, slots=True)
class Means:
    """What one rollout works with."""

    engine: Engine
    open_session: OpenSession
    story: Story
    seat: Seat
    timeout_s: float
    """Of one request to the engine."""
    tally: Tally


async def roll_out(draft: Draft, means: Means, *, sampling: Sampling, seed: int, budget: Budget) -> None:
    """Drive `draft` to its end, in place.

    Turns and calls that the story holds are taken from it. The interpreter is opened while the model writes the first
    block that it does not hold, and then runs the earlier blocks again.

    Raises nothing that an engine or a sandbox may fail with: the reason lands in the draft.
    """
    tools = Tools(means.open_session, means.story, means.tally)
    try:
        while draft.stop_reason is None:
            in_code = _open_python(draft)
            with_tools = len(draft.tool_calls) < budget.max_calls
            stop = () if not with_tools else CLOSING if in_code else OPENING
            doubts = () if in_code else _doubts(draft, budget)
            caller = tools if in_code and with_tools else None
            completion = await _turn(draft, means, stop + doubts, caller, sampling=sampling, seed=seed, budget=budget)
            if completion.stopped_on is None:
                break
            if completion.stopped_on in doubts:
                _reassure(draft, means.engine, budget, completion.stopped_on)
            if in_code and (code := _closed_python(draft)) is not None:
                means.seat.give_back()
                with _clock(draft, means.tally, "sandbox_s"):
                    result = await tools.run(code, draft.tool_calls)
                _append_output(draft, means.engine, code, result, budget)
    except EngineError as error:
        draft.stop_reason, draft.error = StopReason.ENGINE_ERROR, str(error)
    except SandboxError as error:
        draft.stop_reason, draft.error = StopReason.SANDBOX_LOST, str(error)
    finally:
        await tools.aclose()


async def _turn(
    draft: Draft,
    means: Means,
    stop: tuple[str, ...],
    tools: Tools | None,
    *,
    sampling: Sampling,
    seed: int,
    budget: Budget,
) -> Completion:
    """One completion, with `tools` if it ends in a call; decides the stop_reason if it was the last."""
    ids, window = draft.ids, means.engine.max_model_len
    n_left = min(budget.max_tokens - draft.n_new, window - len(ids))
    if n_left <= 0:
        draft.stop_reason = StopReason.CONTEXT if len(ids) >= window else StopReason.LENGTH
        return Completion("", (), None, False, 0.0)
    key = means.story.turn_key(ids, stop, n_left, sampling, seed + draft.n_new)
    completion = means.story.recall_turn(key)
    if completion is None:
        request = {"stop": stop, "sampling": sampling, "seed": seed + draft.n_new}
        if tools is not None:
            tools.expect(draft.tool_calls)
        with _clock(draft, means.tally, "engine_s"):
            completion = await _ask(means, ids, max_tokens=n_left, **request)
        means.story.record(key, completion)
        means.tally.n_tokens += len(completion.token_ids)
    draft.add(Origin.MODEL, completion.text, completion.token_ids)
    draft.n_new += len(completion.token_ids)
    if completion.stopped_on is None:
        if completion.finished:
            draft.stop_reason = StopReason.END
        else:
            draft.stop_reason = StopReason.CONTEXT if len(draft.ids) >= window else StopReason.LENGTH
    return completion


def _doubts(draft: Draft, budget: Budget) -> tuple[str, ...]:
    """Words at which the model is to be interrupted: only after an output, and only once."""
    told = any(hint.function is HintFunction.TRUST_OUTPUT for hint in draft.hints)
    return budget.reassurance.doubts if budget.reassurance and draft.tool_calls and not told else ()


def _reassure(draft: Draft, engine: Engine, budget: Budget, doubt: str) -> None:
    """Insert the reassurance after the words of doubt."""
    assert budget.reassurance is not None
    hint = budget.reassurance.hint
    place = sum(len(segment.text) for segment in draft.segments)
    draft.add(Origin.HINT, hint.text, engine.encode(hint.text))
    draft.hints.append(
        HintUse(
            hint_id=hint.hint_id,
            function=hint.function,
            cut=Cut.DOUBT,
            trigger=doubt,
            char_offset=place,
            round=budget.round,
        )
    )


@contextlib.contextmanager
def _clock(draft: Draft, tally: Tally, name: Literal["engine_s", "sandbox_s"]) -> Iterator[None]:
    """Add the time of the block to the trajectory's and to the step's."""
    started = time.monotonic()
    try:
        yield
    finally:
        for counter in (draft, tally):
            setattr(counter, name, getattr(counter, name) + time.monotonic() - started)


async def _ask(means: Means, ids: Sequence[int], *, max_tokens: int, **request: Any) -> Completion:
    """A completion that is what it says it is.

    Raises:
        EngineError: the engine failed, did not answer in time, or answered nonsense.
    """
    async with means.seat:
        try:
            async with asyncio.timeout(means.timeout_s):
                completion = await means.engine.complete(ids, max_tokens=max_tokens, **request)
        except TimeoutError:
            raise EngineError(f"no answer within {means.timeout_s:g} s (engine.timeout_s)") from None
    if problem := _nonsense(completion, means.engine, max_tokens):
        raise EngineError(f"the engine's answer cannot be used: {problem}")
    return completion


def _nonsense(completion: Completion, engine: Engine, max_tokens: int) -> str | None:
    """What is wrong with a completion, if anything is."""
    n = len(completion.token_ids)
    if not n and not completion.finished:
        return "it is empty, and the model did not end its turn"
    if n > max_tokens:
        return f"{n} tokens where {max_tokens} were asked for"
    if engine.decode(completion.token_ids) != completion.text:
        return "its token ids do not decode to its text"
    if completion.stopped_on is not None and completion.stopped_on not in completion.text:
        return f"it says that it stopped at {completion.stopped_on!r}, which it does not hold"
    return None


def _open_python(draft: Draft) -> bool:
    """Whether the text ends inside a Python block."""
    found = blocks(draft.since_last_output())
    return bool(found) and not found[-1].is_closed and found[-1].is_python


def _closed_python(draft: Draft) -> str | None:
    """Code of the Python block that the text just closed."""
    found = blocks(draft.since_last_output())
    return found[-1].code if found and found[-1].is_closed and found[-1].is_python else None


def _append_output(draft: Draft, engine: Engine, code: str, result: ExecResult, budget: Budget) -> None:
    """Append what the model gets to see of an execution, and after the last allowed one the line that says so."""
    shown, was_cut = shown_output(result, budget.shown_chars)
    draft.tool_calls.append(
        ToolCall(
            code=code,
            stdout=result.stdout,
            error_type=error_type(result.stderr) if result.status is not ExecStatus.OK else None,
            traceback=result.stderr or None,
            status=result.status,
            exit_code=result.exit_code,
            wall_ms=round(result.wall_ms, 3),
            output_truncated=result.output_truncated or was_cut,
            survived=result.survived,
            diverged=result.diverged,
        )
    )
    text = ("" if draft.segments[-1].text.endswith("\n") else "\n") + output_block(shown)
    if budget.used_up and len(draft.tool_calls) == budget.max_calls:
        text += budget.used_up + "\n"
    draft.add(Origin.TOOL, *spelled(text, engine))
