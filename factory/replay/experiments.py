"""Runs of one row's code under changed circumstances: the same ones, other seeds, another date, another hash seed."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from factory.replay.texts import shown_text, trimmed
from factory.sandbox.pool import open_sandbox
from schemas.errors import SandboxError
from schemas.protocols import ExecResult, Limits, Sandbox
from schemas.vocabulary import ExecStatus, SandboxLevel

HASH_SEEDS = (1, 2, 3)
_RESEED = """
import random as _r
_r.seed({seed})
try:
    import numpy as _n
    _n.random.seed({seed})
except ImportError:
    pass
try:
    from sympy.core.random import seed as _s
    _s({seed})
    del _s
except ImportError:
    pass
for _name in ("_r", "_n"):
    globals().pop(_name, None)
del _name
"""
_SHIFT_CLOCK = """
def _shift(days):
    import datetime, time
    seconds = days * 86400
    now, now_ns, local, utc, text = time.time, time.time_ns, time.localtime, time.gmtime, time.strftime
    base_date, base_time = datetime.date, datetime.datetime
    class kind(type(base_date)):
        def __instancecheck__(cls, value):
            return isinstance(value, base_date if cls.__name__ == "date" else base_time)
    class date(base_date, metaclass=kind):
        @classmethod
        def today(cls):
            return base_date.today() + datetime.timedelta(days)
    class moment(base_time, metaclass=kind):
        @classmethod
        def now(cls, tz=None):
            return base_time.now(tz) + datetime.timedelta(days)
        @classmethod
        def utcnow(cls):
            return base_time.now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(days)
        @classmethod
        def today(cls):
            return cls.now()
    moment.__name__ = "datetime"
    datetime.date, datetime.datetime = date, moment
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + seconds * 10**9
    time.localtime = lambda at=None: local(now() + seconds if at is None else at)
    time.gmtime = lambda at=None: utc(now() + seconds if at is None else at)
    time.strftime = lambda form, at=None: text(form, time.localtime() if at is None else at)
_shift({days})
del _shift
"""


class Laboratory:
    """Where rows are run again. Use it in an `async with` block; sandboxes with other hash seeds open when needed."""

    def __init__(self, sandbox: Sandbox, limits: Limits) -> None:
        self.sandbox, self.limits = sandbox, limits
        self._others: dict[int, Sandbox] = {}
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self, blocks: Sequence[str], sandbox: Sandbox | None = None, before: str = "") -> list[ExecResult]:
        """The blocks in a new session; `before` is run first, and its result left out.

        Raises:
            SandboxError: no interpreter could be had, or it was lost.
        """
        session = await (sandbox or self.sandbox).session(self.limits)
        try:
            results = [await session.run(block) for block in ([before] if before else []) + list(blocks)]
        finally:
            await session.aclose()
        for result in results:
            if result.status is ExecStatus.LOST:
                raise SandboxError(f"the sandbox lost an execution: {result.stderr[:200]}")
        return results[1:] if before else results

    async def again(self, blocks: Sequence[str], times: int) -> list[list[str]]:
        """What is shown in so many further runs under the same circumstances; per run, per block."""
        return [shown(await self.run(blocks)) for _ in range(times)]

    async def reseeded(self, blocks: Sequence[str]) -> list[list[str]]:
        """The same with other seeds of the generators that the sandbox seeds; code that seeds them stays the same."""
        return [shown(await self.run(blocks, before=_RESEED.format(seed=seed))) for seed in (101, 102, 103)]

    async def other_dates(self, blocks: Sequence[str]) -> list[list[str]]:
        """The same on other days."""
        return [shown(await self.run(blocks, before=_SHIFT_CLOCK.replace("{days}", str(d)))) for d in (-401, 33)]

    async def other_hashes(self, blocks: Sequence[str]) -> list[list[str]]:
        """The same with other hash seeds."""
        return [shown(await self.run(blocks, await self._with_hashes(seed))) for seed in HASH_SEEDS]

    async def _with_hashes(self, seed: int) -> Sandbox:
        async with self._opening:
            if seed not in self._others:
                level = self.sandbox.level
                other = await open_sandbox(
                    n_slots=1, level=level, trust=level is SandboxLevel.NONE, limits=self.limits, hash_seed=seed
                )
                self._stack.push_async_callback(other.aclose)
                self._others[seed] = other
        return self._others[seed]


def shown(results: Sequence[ExecResult]) -> list[str]:
    """What a model would see of each, without layout."""
    return [trimmed(shown_text(result)) for result in results]
