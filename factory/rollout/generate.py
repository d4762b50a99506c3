"""From plans to rows of raw.trajectories: many rollouts at once, each going its own way, written as they end.

Two bounds decide how many are under way: requests at the engine, and interpreters of the sandbox. A new trajectory
starts when the engine has a place that no trajectory under way wants, so the engine is kept busy however slow the tools
are, and what is begun gets finished. Plans are taken one by one and rows leave for their shard as they come, so memory
holds what is under way and no more.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain

from factory.progress import Advance
from factory.rollout.attempt import attempt
from factory.rollout.gate import Gate, Seat
from factory.rollout.journal import Journal
from factory.rollout.live import Tally, watch
from factory.rollout.loop import Means
from factory.rollout.plan import Planned
from factory.rollout.writer import Writer, check_failures
from factory.run import Run
from factory.workbench import Workbench
from schemas.protocols import Block, Engine, Sandbox, Session
from schemas.recipe import Recipe
from schemas.vocabulary import Executor

AHEAD = 8
"""An engine of n places is handed n + n / AHEAD + 1 requests, so that a place that falls free has work at once."""


async def generate(run: Run, bench: Workbench, planned: Iterable[Planned], n_planned: int, advance: Advance) -> None:
    """Make the planned trajectories and store them: raw.trajectories.

    Args:
        run: The run.
        bench: Engine and sandbox.
        planned: Taken one by one. All of them may run code, or none.
        n_planned: How many there are.
        advance: Shows progress.

    Raises:
        EngineError, SandboxError: neither could be started.
        HomeError: nothing can be written.
        StepFailed: a larger share of rollouts failed than the recipe allows. The rows are stored all the same, and
            the same command tries the failed ones again, from where they failed.
    """
    if not n_planned:
        return
    if run.recipe.executor.kind is Executor.RAY:
        from factory.rollout.on_ray import generate_on_ray

        await generate_on_ray(run, bench, planned, n_planned, advance)
        return
    engine = await bench.engine()
    plans = iter(planned)
    first = next(plans)
    sandbox = await bench.sandbox() if first.max_calls else None
    journal, tally = Journal(run.store.home / "journal"), Tally()
    try:
        async with watch(tally, advance, run.store.home), Writer(run, journal, n_planned) as writer:
            places = n_places(run.recipe)
            await roll_out_all(run, chain([first], plans), engine, sandbox, journal, writer, tally, places=places)
    finally:
        journal.close()
    check_failures(writer.failures, n_planned, run.recipe)


def n_places(recipe: Recipe) -> int:
    """Requests that an engine is given at the same time."""
    return recipe.engine.max_running + recipe.engine.max_running // AHEAD + 1


async def roll_out_all(
    run: Run,
    planned: Iterable[Planned],
    engine: Engine,
    sandbox: Sandbox | None,
    journal: Journal,
    writer: Writer,
    tally: Tally,
    *,
    places: int,
) -> None:
    """Drive all plans to their ends, as many at a time as the bounds allow; `places` are those at the engine."""
    gate = Gate(places)
    under_way = asyncio.Semaphore(places + run.recipe.sandbox.max_sessions)
    timeout_s = run.recipe.engine.timeout_s

    async def open_session(earlier: Sequence[Block]) -> Session:
        assert sandbox is not None
        return await sandbox.session(earlier=earlier)

    async def make(plan: Planned, seat: Seat) -> None:
        try:
            story = journal.story(plan.trajectory_id)
            means = Means(engine, open_session, story, seat, timeout_s, tally)
            trajectory = await attempt(run, plan, means, sandbox.level if sandbox else None)
        finally:
            seat.give_back()
            under_way.release()
        await writer.add(trajectory)
        tally.n_done += 1

    try:
        async with asyncio.TaskGroup() as tasks:
            for rank, plan in enumerate(planned):
                await under_way.acquire()
                seat = Seat(gate, rank)
                await seat.take()
                if writer.has_failed:
                    break
                tasks.create_task(make(plan, seat))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
