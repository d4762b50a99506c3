"""A stateful interpreter: one live guest per session, frozen between blocks, rebuilt by replay when it dies.

Replay runs all blocks again that left the interpreter alive, those that raised included, and compares what they print;
from a difference on, every result of the session says `diverged`.

Not covered: what the block that killed the interpreter changed before is gone.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from factory.sandbox.launcher import ATTEMPTS, Lost
from factory.sandbox.reproduce import same_outcome
from factory.sandbox.results import lost
from factory.sandbox.slot import Slot
from factory.sandbox.worker import Worker
from schemas.protocols import LARGEST_LIMITS, Block, ExecResult, Limits
from schemas.vocabulary import ExecStatus

_REPLAY_S = 5.0
"""What a replay may take beyond twice the time of the first run."""


def _patient(limits: Limits, left_s: float) -> Limits:
    """Twice the time: that the machine is busier than the first time is no reason to fail."""
    wall_s = min(left_s, 2 * limits.wall_s, LARGEST_LIMITS["wall_s"])
    return replace(limits, wall_s=wall_s, cpu_s=min(2 * limits.cpu_s, LARGEST_LIMITS["cpu_s"]))


class GuestSession:
    """`schemas.protocols.Session`: a worker, and the blocks that rebuild it."""

    def __init__(
        self,
        choose_slot: Callable[[], Slot],
        turns: asyncio.Semaphore,
        limits: Limits,
        bury: Callable[[Worker], None],
        on_close: Callable[["GuestSession"], None],
        earlier: Sequence[Block] = (),
    ) -> None:
        self._choose_slot = choose_slot
        self._turns = turns
        self._limits = limits
        self._bury = bury
        self._on_close = on_close
        self._worker: Worker | None = None
        self._n_blocks = len(earlier)
        self._blocks = {i: (b.code, b.result) for i, b in enumerate(earlier, 1) if b.result.survived}
        self._diverged = any(block.result.diverged for block in earlier)
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def open(self) -> None:
        """Start the interpreter; where there are blocks to run again, that waits for the first new one.

        Raises:
            Lost, OSError: it could not be started, three times in a row.
        """
        if self._blocks:
            return
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._turns:  # thousands asked for at once would wait at the fork server and seem lost
                    await self._revive()
            except (Lost, OSError):
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    async def run(self, code: str) -> ExecResult:
        """See `schemas.protocols.Session.run`."""
        async with self._one_at_a_time, self._turns:
            self._n_blocks += 1
            reason = "the session was closed"
            for _ in range(ATTEMPTS):
                if self._closed:
                    break
                try:
                    worker = await self._revive()
                    result, survived = await worker.run_block(self._n_blocks, code, self._limits)
                except (Lost, OSError) as error:
                    reason = str(error)
                    self._drop()
                except BaseException:  # cancelled in mid-block: its state is nobody's
                    self._drop()
                    raise
                else:
                    if self._closed:
                        break
                    if survived:
                        self._blocks[self._n_blocks] = (code, result)
                    else:
                        self._drop()
                        ended_itself = result.status is ExecStatus.OK  # the interpreter that later blocks need
                        status = ExecStatus.ERROR if ended_itself else result.status
                        result = replace(result, status=status, survived=False)
                    return replace(result, diverged=self._diverged)
            return lost(reason)

    async def _revive(self) -> Worker:
        """The live worker, or a new one that has run the earlier blocks.

        A block that kills the interpreter this time did what it did: it is left out from now on, and so are all if they
        take far longer than the first time. That is the code's doing and not a failure of the sandbox.
        """
        if self._worker is not None and self._worker.alive:
            return self._worker
        self._drop()
        while True:
            worker = self._worker = await Worker.start(self._choose_slot(), self._limits)
            left_s = _REPLAY_S + 2 * sum(first.wall_ms / 1000 for _, first in self._blocks.values())
            for number, (code, first) in list(self._blocks.items()):
                result, survived = await worker.run_block(number, code, _patient(self._limits, left_s))
                left_s -= result.wall_ms / 1000
                self._diverged |= not survived or not same_outcome(first, result)
                if not survived:
                    del self._blocks[number]
                    break
                if left_s <= 0:
                    self._blocks.clear()
                    break
            else:
                return worker
            self._drop()

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
