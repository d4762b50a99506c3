"""The interpreter of one trajectory: opened while the model writes its first block, closed at the trajectory's end.

Where calls were made by an earlier process, or in an earlier round of hints, they are not made again until a new one
comes; then a fresh interpreter runs their code, compares what it prints, and marks the results from there on `diverged`
where it differs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from factory.rollout.journal import Story
from factory.rollout.live import Tally
from schemas.errors import SandboxError
from schemas.protocols import Block, ExecResult, Session
from schemas.records import ToolCall
from schemas.vocabulary import ExecStatus

OpenSession = Callable[[Sequence[Block]], Coroutine[object, object, Session]]
"""Opens an interpreter in which these blocks have been run."""


class Tools:
    """Runs the code blocks of one trajectory."""

    def __init__(self, open_session: OpenSession, story: Story, tally: Tally) -> None:
        self._open_session, self._story, self._tally = open_session, story, tally
        self._opening: asyncio.Task[Session] | None = None

    def expect(self, earlier: Sequence[ToolCall]) -> asyncio.Task[Session]:
        """Open the interpreter, if it is not open, without waiting for it: a call comes soon.

        Args:
            earlier: The calls so far.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(self._open_session([block_of(call) for call in earlier]))
        return self._opening

    async def run(self, code: str, earlier: Sequence[ToolCall]) -> ExecResult:
        """Run a block, or recall what it gave.

        Args:
            code: The block.
            earlier: The calls before it.

        Raises:
            SandboxError: no interpreter could be had, or it was lost.
        """
        key = self._story.call_key(code)
        result = self._story.recall_call(key)
        if result is not None:
            return result
        session = await self.expect(earlier)
        result = await session.run(code)
        if result.status is ExecStatus.LOST:
            raise SandboxError(f"the sandbox lost an execution: {result.stderr[:200]}")
        self._story.record(key, result)
        self._tally.n_calls += 1
        return result

    async def aclose(self) -> None:
        """End the interpreter."""
        if self._opening is not None:
            self._opening.cancel()  # without effect where it is open
            await asyncio.wait([self._opening])
            if not self._opening.cancelled() and self._opening.exception() is None:
                await self._opening.result().aclose()


def block_of(call: ToolCall) -> Block:
    """A recorded call, as a session takes it back."""
    result = ExecResult(
        status=call.status,
        exit_code=call.exit_code,
        stdout=call.stdout,
        stderr=call.traceback or "",
        output_truncated=call.output_truncated,
        wall_ms=call.wall_ms,
        cpu_ms=0.0,
        max_rss_kb=0,
        survived=call.survived,
        diverged=call.diverged,
    )
    return Block(call.code, result)
