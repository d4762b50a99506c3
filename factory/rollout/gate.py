"""The gate in front of the engine: so many requests at once, and trajectories that have begun before new ones.

A trajectory's rank is its place in the plan, so of those that wait the oldest goes first: what is begun gets finished,
and few trajectories hold memory and interpreters at a time.
"""

import asyncio
import heapq
import itertools


class Gate:
    """`n` places, handed out by rank."""

    def __init__(self, n: int) -> None:
        self._free = n
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def enter(self, rank: int) -> None:
        """Take a place; waits while there is none, or while a lower rank waits."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given a place in the moment in which it gave up
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back."""
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Seat:
    """One trajectory's way through the gate: `async with seat:` around each request."""

    def __init__(self, gate: Gate, rank: int) -> None:
        self.gate, self.rank = gate, rank
        self.is_taken = False

    async def take(self) -> None:
        """Have a place for the next request before it is known."""
        await self.gate.enter(self.rank)
        self.is_taken = True

    async def __aenter__(self) -> None:
        if not self.is_taken:
            await self.take()

    async def __aexit__(self, *_: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Give the place back, if one is held."""
        if self.is_taken:
            self.is_taken = False
            self.gate.leave()
