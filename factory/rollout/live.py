"""What a rollout step does at the moment: tokens, calls, and what is waited for.

Shown on the terminal of the build, and left in `home/live.json` for `factory status` in another.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from factory.progress import Advance

LOOK_S = 1.0
FILE = "live.json"
STALE_S = 10.0
"""A file this old was left by a process that was killed."""


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


def show(tally: Tally, advance: Advance, home: Path) -> None:
    """Show the tally here and in other terminals."""
    advance.to(tally.n_done, {"tokens": tally.n_tokens, "calls": tally.n_calls}, tally.waits)
    meter = advance.meter
    text = f"{meter.name}: {meter.done:,} of {meter.total:,} {meter.unit}, {meter.rate}, {meter.left}"
    draft = home / f".draft-{FILE}"
    with contextlib.suppress(OSError):  # a full disk ends the run where it writes rows, and says so there
        draft.write_text(json.dumps({"at": time.time(), "text": text}))
        draft.replace(home / FILE)


def look(home: Path) -> str | None:
    """What a build of this home does at the moment, if one is in a rollout step."""
    try:
        live = json.loads((home / FILE).read_text())
        return str(live["text"]) if time.time() - live["at"] < STALE_S else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.asynccontextmanager
async def watch(tally: Tally, advance: Advance, home: Path) -> AsyncIterator[None]:
    """Show the tally every second."""

    async def keep_showing() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            show(tally, advance, home)

    showing = asyncio.create_task(keep_showing())
    try:
        yield
    finally:
        showing.cancel()
        show(tally, advance, home)
        (home / FILE).unlink(missing_ok=True)
