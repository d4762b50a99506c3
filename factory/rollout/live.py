"""What a rollout step does at the moment: tokens, calls, and what is waited for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from factory.progress import Advance

LOOK_S = 1.0


@dataclass
class Tally:
    """Counts of one step, of what this process did itself and not of what it took from the journal."""

    n_done: int = 0
    n_tokens: int = 0
    n_calls: int = 0
    engine_s: float = 0.0
    """Seconds of all trajectories together that were spent waiting for the engine."""
    sandbox_s: float = 0.0

    @property
    def waits(self) -> str:
        """How the waiting is shared."""
        total = self.engine_s + self.sandbox_s
        if not self.n_calls or not total:
            return ""
        return f"waiting {self.engine_s / total:.0%} for the engine, {self.sandbox_s / total:.0%} for the sandbox"


@contextlib.asynccontextmanager
async def watch(tally: Tally, advance: Advance) -> AsyncIterator[None]:
    """Show the tally every second."""

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            show()

    def show() -> None:
        advance.to(tally.n_done, {"tokens": tally.n_tokens, "calls": tally.n_calls}, tally.waits)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        show()
