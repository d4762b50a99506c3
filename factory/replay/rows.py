"""Many rows, run again at the same time; what was found is stored on the way, so that a killed replay goes on.

A stored result belongs to the trajectory, to the code and outputs that were recorded (`CALLS_HASH`), and to the
environment: so a changed output is found however often its trajectory was replayed before, and a new version of numpy
makes every row new.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from factory.progress import Advance
from factory.replay.classify import Found, differences
from factory.replay.environment import Environment
from factory.replay.experiments import Laboratory
from factory.replay.texts import recorded_calls
from schemas.tables import REPLAYS
from schemas.vocabulary import OutputDifference
from warehouse.store import Store

PER_SLOT = 4
STORE_ROWS, STORE_S = 512, 10.0
SHOWN_CHARS = 2_000
"""Of an output that differs, how much is stored."""
CALLS_HASH = """md5(
    to_json([[c.code, c.stdout, c.traceback, c.status] for c in {row}.tool_calls])::varchar
    || to_json([s.text for s in {row}.segments if s.origin = 'tool'])::varchar
)"""
"""SQL: what is recorded of a row's calls, and shown in its text. marts.replays says the same."""
REPLAYED = """exists (
    select 1 from derived.replays as r where r.trajectory_id = {row}.trajectory_id
    and r.calls_hash = {row}.calls_hash and starts_with(r.environment_id, '{rules}/')
)"""
"""SQL: whether a row with a calls_hash has a result in an environment, at whatever level."""
WORST_FIRST = tuple(reversed(OutputDifference))


@dataclass(frozen=True, slots=True)
class Where:
    """What the stored rows of one replay have in common."""

    store: Store
    environment: Environment
    level: str


async def replay_rows(
    lab: Laboratory, where: Where, rows: Iterable[Mapping[str, Any]], n_at_once: int, advance: Advance
) -> None:
    """Replay rows and fill derived.replays.

    Args:
        lab: Where they run.
        where: Where the results go.
        rows: With trajectory_id, calls_hash, sandbox, segments and tool_calls; read as they are needed.
        n_at_once: Sessions open at the same time.
        advance: Counts rows.

    Raises:
        SandboxError: no interpreter could be had, or it was lost; what was found before is stored.
        HomeError: the home cannot be written.
    """
    done: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    last = time.monotonic()
    waiting = iter(rows)
    running: set[asyncio.Task[dict[str, Any]]] = set()
    try:
        while True:
            running |= {
                asyncio.create_task(_replay(lab, where, row)) for row in _next(waiting, n_at_once - len(running))
            }
            if not running:
                break
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                done.append(task.result())
                counts[done[-1]["worst"] or "same"] += 1
                advance(note=_note(counts))
            if len(done) >= STORE_ROWS or time.monotonic() - last > STORE_S:
                where.store.append(REPLAYS, done)
                done, last = [], time.monotonic()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        where.store.append(REPLAYS, done)


def _next(rows: Iterator[Mapping[str, Any]], most: int) -> Iterator[Mapping[str, Any]]:
    for _ in range(most):
        row = next(rows, None)
        if row is None:
            return
        yield row


def _note(counts: Counter[str]) -> str:
    n_differ = counts.total() - counts["same"]
    return f"{n_differ:,} differ" if n_differ else ""


async def _replay(lab: Laboratory, where: Where, row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of derived.replays."""
    calls = recorded_calls(row)
    found = await differences(lab, calls) if calls else []
    classes = sorted({one.kind for one in found}, key=WORST_FIRST.index)
    return {
        "trajectory_id": row["trajectory_id"],
        "calls_hash": row["calls_hash"],
        "environment_id": where.environment.id(where.level),
        "environment": f"{where.environment.words}, {where.level}",
        "n_calls": len(calls),
        "n_same": len(calls) - len(found),
        "classes": [str(one) for one in classes],
        "worst": str(classes[0]) if classes else None,
        "detail": json.dumps([_evidence(one) for one in found], ensure_ascii=False),
        "replayed_at": datetime.now(UTC),
    }


def _evidence(found: Found) -> dict[str, Any]:
    return {
        "block": found.block + 1,
        "class": str(found.kind),
        "why": found.why,
        "recorded": found.recorded[:SHOWN_CHARS],
        "again": found.again[:SHOWN_CHARS],
    }
