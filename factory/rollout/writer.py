"""Finished trajectories on their way into shards, written by a thread while others go on."""

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from factory.rollout.attempt import FAILED
from factory.rollout.journal import Journal
from factory.run import Run
from schemas.errors import StepFailed
from schemas.recipe import Recipe
from schemas.records import Trajectory
from schemas.tables import TRAJECTORIES
from warehouse.store import Store

SHARD_ROWS = 512
SHARD_S = 20.0
"""A shard is written at least this often. Until then the journal holds what a killed process would lose."""


class Writer:
    """Collects trajectories into shards of raw.trajectories, and counts failures. Use it in an `async with` block."""

    def __init__(self, run: Run, journal: Journal, n_planned: int) -> None:
        """`n_planned` is that of the whole step, whose share of failures counts."""
        self.run, self.journal, self.n_planned = run, journal, n_planned
        self.failures: dict[str, int] = {}
        self._waiting: list[Trajectory] = []
        self._last = time.monotonic()
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._flush()

    async def add(self, trajectory: Trajectory) -> None:
        """Take a trajectory; waits for the disk where a shard is full.

        Raises:
            HomeError: the disk is full, or the home cannot be written.
        """
        if trajectory.stop_reason in FAILED:
            reason = f"{trajectory.stop_reason}: {(trajectory.error or '').splitlines()[0][:160]}"
            self.failures[reason] = self.failures.get(reason, 0) + 1
        self._waiting.append(trajectory)
        if len(self._waiting) >= SHARD_ROWS or time.monotonic() - self._last > SHARD_S:
            await self._flush()

    async def _flush(self) -> None:
        async with self._one_at_a_time:
            rows, self._waiting, self._last = self._waiting, [], time.monotonic()
            await asyncio.to_thread(self._write, rows)
        self.journal.stored(t.trajectory_id for t in rows if t.stop_reason not in FAILED)

    def _write(self, rows: list[Trajectory]) -> None:
        self.run.store.append(TRAJECTORIES, [row.model_dump() for row in rows])

    @property
    def has_failed(self) -> bool:
        """Whether more rollouts failed than the recipe allows."""
        return too_many(self.failures, self.n_planned, self.run.recipe)


def finished_ids(store: Store) -> set[str]:
    """Trajectories that are in a shard and did not fail."""
    with store.connect() as con:
        failed = ", ".join(f"'{reason}'" for reason in FAILED)
        rows = con.execute(f"select trajectory_id from raw.trajectories where stop_reason not in ({failed})").fetchall()
    return {row[0] for row in rows}


def too_many(failures: Mapping[str, int], n_planned: int, recipe: Recipe) -> bool:
    """Whether these failures, by reason, are more than the recipe allows of so many rollouts."""
    return sum(failures.values()) > recipe.gate.max_failed_share * n_planned


def check_failures(failures: Mapping[str, int], n_planned: int, recipe: Recipe) -> None:
    """Say so if too many failed.

    Raises:
        StepFailed: with the commonest reasons.
    """
    if not too_many(failures, n_planned, recipe):
        return
    worst = sorted(failures.items(), key=lambda item: -item[1])[:3]
    raise StepFailed(
        f"{sum(failures.values()):,} of {n_planned:,} rollouts failed; the recipe allows "
        f"{recipe.gate.max_failed_share:.0%} (gate.max_failed_share).\n  "
        + "\n  ".join(f"{n:,} x {reason}" for reason, n in worst)
        + "\n  next:   mend the cause and give the same command: the failed ones are tried again\n"
        "  state:  all finished rollouts are stored; nothing was promoted."
    )
