"""How each contestant runs for a while, and how fast it was."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.sandbox_parts.peers import Bubblewrap, ForkAndExit, ReplayPool, RoundPools, require
from benchmarks.sandbox_parts.snippets import A, B, Snippet, Source, new_cubic, trajectories
from schemas.protocols import Sandbox

N_CLIENTS = 2

Lap = Callable[[float], Awaitable[float]]
"""Runs for some seconds and returns a rate per second."""


@dataclass(slots=True)
class Contestant:
    """One row of the table."""

    name: str
    lap: Lap
    rates: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.rates)


def ratio(rows: dict[str, Contestant], ours: str, theirs: str) -> float:
    """Median over the rounds."""
    return statistics.median(a / b for a, b in zip(rows[ours].rates, rows[theirs].rates, strict=True))


async def rate(n_clients: int, seconds: float, once: Callable[[int], Awaitable[object]]) -> float:
    """Call `once(client)` from so many clients at the same time. Each starts nothing after the end, but twice at least.

    Returns the sum of the clients' own rates, so a client that waits for the other's last call does not count as idle.
    """

    async def client(index: int) -> float:
        n, started = 0, time.monotonic()
        while n < 2 or time.monotonic() - started < seconds:
            await once(index)
            n += 1
        return n / (time.monotonic() - started)

    return sum(await asyncio.gather(*map(client, range(n_clients))))


def fresh(sandbox: Sandbox, source: Source, n_clients: int = N_CLIENTS) -> Lap:
    """Ours, a new interpreter per run."""

    async def once(_: int) -> None:
        snippet = source()
        result = await sandbox.run(snippet.code)
        require("the sandbox", snippet, result.stdout + result.stderr)

    return lambda seconds: rate(n_clients, seconds, once)


def in_session(sandbox: Sandbox, source: Source, n_clients: int = N_CLIENTS) -> Lap:
    """Ours, all runs of a client in one session, opened before the clock starts."""

    async def lap(seconds: float) -> float:
        sessions = [await sandbox.session() for _ in range(n_clients)]

        async def once(client: int) -> None:
            snippet = source()
            result = await sessions[client].run(snippet.code)
            require("a session", snippet, result.stdout + result.stderr)

        try:
            return await rate(n_clients, seconds, once)
        finally:
            for session in sessions:
                await session.aclose()

    return lap


def whole_sessions(sandbox: Sandbox, next_blocks: Callable[[], tuple[Snippet, ...]]) -> Lap:
    """Ours, sessions per second: opened, a few blocks, closed."""

    async def once(_: int) -> None:
        session = await sandbox.session()
        for snippet in next_blocks():
            result = await session.run(snippet.code)
            require("a session", snippet, result.stdout + result.stderr)
        await session.aclose()

    return lambda seconds: rate(N_CLIENTS, seconds, once)


def cold(bubblewrap: Bubblewrap | None, snippet: Snippet) -> Lap:
    """The peer, a new one per run; a thread per client waits for it."""

    async def once(_: int) -> None:
        assert bubblewrap, "a row that is left out where it is not installed"
        await asyncio.to_thread(bubblewrap.run, snippet)

    return lambda seconds: rate(N_CLIENTS, seconds, once)


def replaying(pool: ReplayPool) -> Lap:
    """The peer, trajectories per second."""
    mine = trajectories()
    return lambda seconds: rate(N_CLIENTS, seconds, lambda _: pool.run(next(mine)))


def lockstep(pools: RoundPools) -> Lap:
    """The peer, trajectories per second of whole batches."""
    mine = trajectories()

    async def lap(seconds: float) -> float:
        n, started = 0, time.monotonic()
        while n == 0 or time.monotonic() - started < seconds:
            await asyncio.to_thread(pools.run, list(itertools.islice(mine, pools.BATCH)))
            n += pools.BATCH
        return n / (time.monotonic() - started)

    return lap


def forking(forks: ForkAndExit) -> Lap:
    """The limit."""
    return lambda seconds: asyncio.to_thread(forks.forks_per_s, seconds)


def contestants(
    sandbox: Sandbox,
    bubblewrap: Bubblewrap | None,
    pools: RoundPools,
    pool: ReplayPool,
    bare: ForkAndExit,
    loaded: ForkAndExit,
) -> dict[str, Contestant]:
    """Every row, by key, in the order in which a round runs them: what is compared stands close together."""
    numbers, ours = itertools.count(), trajectories()

    def new() -> Snippet:
        return new_cubic(numbers)

    rows = {
        "bare": Contestant("limit: fork + exit, bare Python", forking(bare)),
        "a session": Contestant("A, blocks of live sessions", in_session(sandbox, lambda: A)),
        "a session 1": Contestant("A, blocks of a live session, one client", in_session(sandbox, lambda: A, 1)),
        "a of 8": Contestant("A x 8, sessions opened and closed", whole_sessions(sandbox, lambda: (A,) * 8)),
        "a bwrap": Contestant("A, bubblewrap", cold(bubblewrap, A)),
        "a": Contestant("A fresh", fresh(sandbox, lambda: A)),
        "limit": Contestant("limit: fork + exit, numpy and sympy loaded", forking(loaded)),
        "b": Contestant("B fresh", fresh(sandbox, lambda: B)),
        "b bwrap": Contestant("B, bubblewrap", cold(bubblewrap, B)),
        "b 1": Contestant("B fresh, one client", fresh(sandbox, lambda: B, 1)),
        "b new": Contestant("B fresh, a new cubic each time", fresh(sandbox, new)),
        "b session": Contestant("B, blocks of live sessions", in_session(sandbox, lambda: B)),
        "b session new": Contestant("B, the same, a new cubic each time", in_session(sandbox, new)),
        "ours": Contestant("4-block sympy trajectories, sessions", whole_sessions(sandbox, lambda: next(ours))),
        "rounds": Contestant("the same, a new pool each round (CoRT)", lockstep(pools)),
        "replayed": Contestant("the same, workers never replaced", replaying(pool)),
    }
    return {key: row for key, row in rows.items() if bubblewrap or "bwrap" not in key}
