"""A stateful interpreter: one live guest per session, frozen between blocks, rebuilt by replay when it dies.

Replay runs all blocks again that left the interpreter alive, those that raised included, and compares what they print;
from a difference on, every result of the session says `diverged`.

Not covered: what the block that killed the interpreter changed before is gone.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from factory.sandbox.launcher import Lost
from factory.sandbox.reproduce import same_outcome
from factory.sandbox.results import lost
from factory.sandbox.slot import Slot
from factory.sandbox.testing import ATTEMPTS
from factory.sandbox.worker import Worker
from schemas.protocols import ExecResult, Limits


class GuestSession:
    """`schemas.protocols.Session`: a worker, and the blocks that rebuild it."""

    def __init__(
        self,
        choose_slot: Callable[[], Slot],
        running: asyncio.Semaphore,
        limits: Limits,
        bury: Callable[[Worker], None],
        on_close: Callable[["GuestSession"], None],
    ) -> None:
        self._choose_slot = choose_slot
        self._running = running
        self._limits = limits
        self._bury = bury
        self._on_close = on_close
        self._worker: Worker | None = None
        self._n_blocks = 0
        self._blocks: dict[int, tuple[str, ExecResult]] = {}
        self._diverged = False
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def open(self) -> None:
        """Start the interpreter.

        Raises:
            Lost, OSError: it could not be started, three times in a row.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._revive()
            except (Lost, OSError):
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    async def run(self, code: str) -> ExecResult:
        """See `schemas.protocols.Session.run`."""
        async with self._one_at_a_time, self._running:
            self._n_blocks += 1
            reason = "the session was closed"
            for _ in range(ATTEMPTS):
                if self._closed:
                    break
                try:
                    worker = await self._revive()
                    result = await worker.run_block(self._n_blocks, code, self._limits)
                except (Lost, OSError) as error:
                    reason = str(error)
                    self._drop()
                except BaseException:  # cancelled in mid-block: its state is nobody's
                    self._drop()
                    raise
                else:
                    if self._closed:
                        break
                    if worker.alive:
                        self._blocks[self._n_blocks] = (code, result)
                    else:
                        self._drop()
                    return replace(result, diverged=self._diverged)
            return lost(reason)

    async def _revive(self) -> Worker:
        """The live worker, or a new one that has run the earlier blocks."""
        if self._worker is not None and self._worker.alive:
            return self._worker
        self._drop()
        worker = self._worker = await Worker.start(self._choose_slot(), self._limits)
        # A block that just made it within its time must not fail now because the machine is busier.
        patient = replace(self._limits, wall_s=2 * self._limits.wall_s, cpu_s=2 * self._limits.cpu_s)
        for number, (code, first) in self._blocks.items():
            result = await worker.run_block(number, code, patient)
            if not worker.alive:
                raise Lost(f"block {number} ended as '{result.status}' when it was run again")
            self._diverged |= not same_outcome(first, result)
        return worker

    def _drop(self) -> None:
        if self._worker is not None:
            worker, self._worker = self._worker, None
            self._bury(worker)

    async def aclose(self) -> None:
        """End the interpreter: not one line of it runs after this. Never raises."""
        if not self._closed:
            self._closed = True
            self._drop()
            self._on_close(self)
