"""The interpreter of one trajectory: opened for its first call, closed at its end.

Where calls were made by an earlier process, or in an earlier round of hints, they are not made again until a new one
comes; then a fresh interpreter runs their code, compares what it prints, and marks the results from there on `diverged`
where it differs.
"""

from collections.abc import Awaitable, Callable, Sequence

from factory.rollout.journal import Story
from factory.rollout.live import Tally
from schemas.errors import SandboxError
from schemas.protocols import Block, ExecResult, Session
from schemas.records import ToolCall
from schemas.vocabulary import ExecStatus

OpenSession = Callable[[Sequence[Block]], Awaitable[Session]]
"""Opens an interpreter in which these blocks have been run."""


class Tools:
    """Runs the code blocks of one trajectory."""

    def __init__(self, open_session: OpenSession, story: Story, tally: Tally) -> None:
        self._open_session, self._story, self._tally = open_session, story, tally
        self._session: Session | None = None

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
        if self._session is None:
            self._session = await self._open_session([block_of(call) for call in earlier])
        result = await self._session.run(code)
        if result.status is ExecStatus.LOST:
            raise SandboxError(f"the sandbox lost an execution: {result.stderr[:200]}")
        self._story.record(key, result)
        self._tally.n_calls += 1
        return result

    async def aclose(self) -> None:
        """End the interpreter."""
        if self._session is not None:
            await self._session.aclose()


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
