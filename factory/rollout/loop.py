"""The state machine of one trajectory: generate until a closed Python block, run it, append its output, go on.

The text is held as segments with their token ids; ids are kept from round to round and never made from decoded text
again. A failing engine or sandbox ends this trajectory with a stop_reason and no other.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from factory.sandbox.results import error_type
from schemas.errors import EngineError, SandboxError
from schemas.protocols import Completion, Engine, ExecResult, Sampling, Session
from schemas.records import Segment, ToolCall
from schemas.vocabulary import ExecStatus, Origin, StopReason
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


@dataclass
class Draft:
    """A trajectory being made."""

    prompt_ids: list[int]
    segments: list[Segment] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    n_new: int = 0
    stop_reason: StopReason | None = None
    error: str | None = None

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


async def roll_out(
    draft: Draft,
    engine: Engine,
    open_session: Callable[[], Awaitable[Session]],
    *,
    sampling: Sampling,
    seed: int,
    budget: Budget,
) -> None:
    """Drive `draft` to its end, in place.

    Raises nothing that an engine or a sandbox may fail with: the reason lands in the draft.
    """
    session: Session | None = None
    try:
        while draft.stop_reason is None:
            in_code = _open_python(draft)
            with_tools = len(draft.tool_calls) < budget.max_calls
            stop = () if not with_tools else CLOSING if in_code else OPENING
            completion = await _turn(draft, engine, stop, sampling=sampling, seed=seed, budget=budget)
            if completion.stopped_on is None:
                break
            if in_code and (code := _closed_python(draft)) is not None:
                session = session or await open_session()
                await _call(draft, engine, session, code, budget.shown_chars)
    except EngineError as error:
        draft.stop_reason, draft.error = StopReason.ENGINE_ERROR, str(error)
    except SandboxError as error:
        draft.stop_reason, draft.error = StopReason.SANDBOX_LOST, str(error)
    finally:
        if session is not None:
            await session.aclose()


async def _turn(
    draft: Draft, engine: Engine, stop: tuple[str, ...], *, sampling: Sampling, seed: int, budget: Budget
) -> Completion:
    """One completion; decides the stop_reason if it was the last."""
    ids = draft.ids
    n_left = min(budget.max_tokens - draft.n_new, engine.max_model_len - len(ids))
    if n_left <= 0:
        full = len(ids) >= engine.max_model_len
        draft.stop_reason = StopReason.CONTEXT if full else StopReason.LENGTH
        return Completion("", (), None, False, 0.0)
    completion = await engine.complete(ids, stop=stop, max_tokens=n_left, sampling=sampling, seed=seed + draft.n_new)
    draft.add(Origin.MODEL, completion.text, completion.token_ids)
    draft.n_new += len(completion.token_ids)
    if completion.stopped_on is None:
        if completion.finished:
            draft.stop_reason = StopReason.END
        else:
            full = len(draft.ids) >= engine.max_model_len
            draft.stop_reason = StopReason.CONTEXT if full else StopReason.LENGTH
    return completion


def _open_python(draft: Draft) -> bool:
    """Whether the text ends inside a Python block."""
    found = blocks(draft.since_last_output())
    return bool(found) and not found[-1].is_closed and found[-1].is_python


def _closed_python(draft: Draft) -> str | None:
    """Code of the Python block that the text just closed."""
    found = blocks(draft.since_last_output())
    return found[-1].code if found and found[-1].is_closed and found[-1].is_python else None


async def _call(draft: Draft, engine: Engine, session: Session, code: str, shown_chars: int) -> None:
    """Run a block and append what the model gets to see of it."""
    result = await session.run(code)
    if result.status is ExecStatus.LOST:
        raise SandboxError(f"the sandbox lost an execution: {result.stderr[:200]}")
    shown, was_cut = shown_output(result, shown_chars)
    draft.tool_calls.append(
        ToolCall(
            code=code,
            stdout=result.stdout,
            error_type=error_type(result.stderr) if result.status is not ExecStatus.OK else None,
            traceback=result.stderr or None,
            status=result.status,
            wall_ms=round(result.wall_ms, 3),
            output_truncated=result.output_truncated or was_cut,
            diverged=result.diverged,
        )
    )
    text = ("" if draft.segments[-1].text.endswith("\n") else "\n") + output_block(shown)
    draft.add(Origin.TOOL, text, engine.encode(text))


def shown_output(result: ExecResult, limit: int) -> tuple[str, bool]:
    """What the model sees: the output, then the last line of the traceback; the middle of a long text left out."""
    text = result.stdout
    if result.status is not ExecStatus.OK:
        lines = result.stderr.strip().splitlines()
        text += ("" if not text or text.endswith("\n") else "\n") + (lines[-1] if lines else f"[{result.status}]")
    if len(text) <= limit:
        return text, False
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}", True


def output_block(text: str) -> str:
    """A tool output as the model sees it. The fence outgrows any backticks inside, so the text cannot close it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = text if not text or text.endswith("\n") else text + "\n"
    return f"{fence}output\n{body}{fence}\n"
