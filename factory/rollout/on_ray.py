"""The `ray` executor: the same rollouts as tasks of a Ray cluster, one engine actor per replica.

A task rolls out a shard of plans as `generate` does in one process, with a sandbox of its own, and writes the same
Parquet shards into the same home, which therefore lies where every node sees it. A task that dies is started again by
Ray and goes on from its journal, so a dead worker costs what it had in hand, and an engine that dies is loaded anew.
Tasks are handed out as workers fall free; plans and rows that nobody works on are in no worker's memory.

Not covered: a home that only the driver sees (it is noticed and refused).
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from factory.progress import Advance
from factory.rollout.generate import n_places, roll_out_all
from factory.rollout.journal import Events, Journal
from factory.rollout.live import FILE, LOOK_S, Tally, show
from factory.rollout.plan import Planned
from factory.rollout.ray_actors import Counts, RemoteEngine, Replica
from factory.rollout.writer import Writer, check_failures, finished_ids, too_many
from factory.run import Run
from factory.workbench import Workbench, load_codec
from schemas.errors import EngineError, FactoryError, HomeError
from schemas.protocols import Engine
from schemas.recipe import Recipe
from warehouse.store import chunks

NEEDS_ACTOR = {"transformers", "vllm"}
"""Engines that hold a model; the others are opened by every task for itself."""


@dataclass(frozen=True)
class Work:
    """What a task has to know."""

    run: Run
    plans: Sequence[Planned]
    stories: Mapping[str, Events]
    n_planned: int
    """Of the whole step."""
    share: float
    """Of the engines' places."""
    token: str
    """A folder that the driver has put into the home."""
    trust: bool


async def generate_on_ray(
    run: Run, bench: Workbench, planned: Iterable[Planned], n_planned: int, advance: Advance
) -> None:
    """As `generate`, on a cluster.

    Raises:
        EngineError: Ray is not installed or there is no such cluster, or an engine cannot be loaded.
        HomeError: a worker does not see the home.
        StepFailed: a larger share of rollouts failed than the recipe allows.
    """
    settings, home = run.recipe.executor, run.store.home
    with _connected(settings.ray_address) as ray, _token(home) as token:
        n_workers = min(_n_cores_for_tasks(ray, run.recipe), -(-n_planned // settings.shard_rows))
        engines = [_start_engine(ray, run.recipe, home) for _ in range(_n_engines(run.recipe))]
        for facts in await asyncio.gather(*(engine.facts.remote() for engine in engines)):
            if isinstance(facts, str):
                raise EngineError(facts)
        counter = ray.remote(Counts).options(num_cpus=0).remote()
        shards = enumerate(chunks(planned, settings.shard_rows))
        inherited = Journal(home / "journal").inherited
        roll_out_shard = ray.remote(_roll_out_shard).options(max_retries=-1, num_cpus=1)

        def start() -> list[Any]:
            """The next shard under way, if there is one."""
            number, plans = next(shards, (0, []))
            if not plans:
                return []
            stories = {p.trajectory_id: inherited[p.trajectory_id] for p in plans if p.trajectory_id in inherited}
            share = max(1, len(engines)) / n_workers
            work = Work(run, plans, stories, n_planned, share, token, bench.trust)
            engine = engines[number % len(engines)] if engines else None
            return [roll_out_shard.remote(work, engine, counter)]

        failures: Counter[str] = Counter()
        under_way: list[Any] = []
        try:
            for _ in range(n_workers):
                under_way += start()
            while under_way:
                done, under_way = await asyncio.to_thread(ray.wait, under_way, timeout=LOOK_S)
                for task in done:
                    failures.update(await _result(ray, task))
                    if not too_many(failures, n_planned, run.recipe):
                        under_way += start()
                tally = Tally(**await counter.total.remote())
                show(tally, advance, home)
        finally:
            (home / FILE).unlink(missing_ok=True)
            for task in under_way:
                ray.cancel(task, force=True)
            for actor in (*engines, counter):
                ray.kill(actor)
    check_failures(failures, n_planned, run.recipe)
    if not failures:
        shutil.rmtree(home / "journal", ignore_errors=True)


async def _result(ray: Any, task: Any) -> dict[str, int]:
    """What a task returned; what it raised as it was."""
    try:
        failures: dict[str, int] = await task
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, FactoryError):
            raise error.cause from None
        raise
    return failures


def _n_engines(recipe: Recipe) -> int:
    return recipe.executor.replicas if recipe.engine.kind in NEEDS_ACTOR else 0


def _n_cores_for_tasks(ray: Any, recipe: Recipe) -> int:
    """Cores of the cluster beside one per engine."""
    n_cores, n_engines = int(ray.cluster_resources().get("CPU", 0)), _n_engines(recipe)
    if n_cores <= n_engines:
        raise EngineError(
            f"the Ray cluster has {n_cores} cores; {n_engines} engines and at least one task need {n_engines + 1}.\n"
            f"  next:   add nodes, or --set executor.replicas=N\n"
            f"  state:  nothing was generated."
        )
    return n_cores - n_engines


def _start_engine(ray: Any, recipe: Recipe, home: Path) -> Any:
    """An actor that holds an engine, on the accelerators that it needs, started again when it dies."""
    has_accelerator = ray.cluster_resources().get("GPU", 0) > 0 and recipe.engine.device != "cpu"
    n_devices = recipe.engine.tensor_parallel * recipe.engine.data_parallel if has_accelerator else 0
    options = {"num_cpus": 1, "num_gpus": n_devices, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Replica).options(**options, max_concurrency=100_000).remote(recipe, str(home))


def _roll_out_shard(work: Work, actor: Any, counter: Any) -> dict[str, int]:
    """The task: roll out the plans that are not stored yet; failures by reason."""
    return asyncio.run(_shard(work, actor, counter))


async def _shard(work: Work, actor: Any, counter: Any) -> dict[str, int]:
    import ray

    home, recipe = work.run.store.home, work.run.recipe
    if not (home / work.token).is_dir():
        node = os.uname().nodename
        raise HomeError(f"the worker on {node} does not see {home}: put the home where every node finds it.")
    journal = Journal(home / "journal" / work.plans[0].trajectory_id, work.stories)
    finished = finished_ids(work.run.store) if journal.has_files else set()  # files: this shard was begun before
    plans = [plan for plan in work.plans if plan.trajectory_id not in finished]
    engine: Engine
    tally, name = Tally(n_done=len(work.plans) - len(plans)), work.plans[0].trajectory_id
    async with Workbench(recipe, home, trust=work.trust) as bench:
        if actor is None:
            engine = await bench.engine()
        else:
            facts = await actor.facts.remote()
            if isinstance(facts, str):  # it was started again meanwhile
                raise EngineError(facts)
            engine = RemoteEngine(ray, actor, load_codec(recipe, home), *facts)
        sandbox = await bench.sandbox() if any(plan.max_calls for plan in plans) else None

        async def report() -> None:
            while True:
                counter.put.remote(name, replace(tally))
                await asyncio.sleep(LOOK_S)

        reporting = asyncio.create_task(report())
        try:
            async with Writer(work.run, journal, work.n_planned) as writer:
                places = max(1, round(n_places(recipe) * work.share))
                await roll_out_all(work.run, plans, engine, sandbox, journal, writer, tally, places=places)
        finally:
            journal.close()
            reporting.cancel()
        await counter.put.remote(name, tally)
    return writer.failures


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster."""
    try:
        import ray
    except ImportError:
        raise EngineError(
            "executor 'ray': Ray is not installed.\n"
            "  install it:  pip install 'start-factory[ray]'\n"
            "  state:       nothing was generated."
        ) from None
    try:
        own = {} if address else {"include_dashboard": False}  # of a cluster that is there it is not ours to say
        # `local`: without it Ray takes whatever cluster was started last on this machine, a dead one included
        ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **own)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        raise EngineError(
            f"no Ray cluster answers at '{address}': {error}\n"
            f"  next:   start one, or give the token of one that asks for it: RAY_AUTH_MODE=token RAY_AUTH_TOKEN=...\n"
            f"  state:  nothing was generated."
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _token(home: Path) -> Iterator[str]:
    """A folder by which a worker knows that it sees the home. What a killed driver leaves, the next build removes."""
    folder = Path(tempfile.mkdtemp(dir=home, prefix=".draft-"))
    folder.chmod(0o755)
    try:
        yield folder.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
