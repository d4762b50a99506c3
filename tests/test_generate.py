"""Many rollouts at once: bounds, failures that stay where they belong, and the same text whatever the company."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rollout_parts.workload import make_workload, open_workload
from factory.engines.scripted import ScriptedEngine
from factory.progress import Advance, Meter
from factory.rollout import live
from factory.rollout.generate import generate
from factory.run import Run
from factory.sandbox.pool import open_sandbox
from schemas.errors import EngineError, StepFailed
from schemas.protocols import Completion, Engine, Sandbox
from schemas.records import Trajectory

Change = Callable[[int, Completion], Awaitable[Completion]]


class Faulty:
    """An engine whose every fifth answer is replaced by what `change` makes of it."""

    def __init__(self, inner: ScriptedEngine, change: Change) -> None:
        self.inner, self.change, self.n = inner, change, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def complete(self, *arguments: Any, **options: Any) -> Completion:
        self.n += 1
        number = self.n
        made = await self.inner.complete(*arguments, **options)
        if number % 5:
            return made
        return await self.change(number, made)


class Bench:
    """What `generate` needs of a workbench."""

    def __init__(self, engine: Any, sandbox: Sandbox) -> None:
        self._engine, self._sandbox = engine, sandbox

    async def engine(self) -> Engine:
        engine: Engine = self._engine
        return engine

    async def sandbox(self) -> Sandbox:
        return self._sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = await open_sandbox(n_slots=2, preload=(), max_sessions=16)
    yield opened
    await opened.aclose()


def quick(run: Run, **values: Any) -> Run:
    """The run with other engine settings."""
    engine = run.recipe.engine.model_copy(update=values)
    return replace(run, recipe=run.recipe.model_copy(update={"engine": engine}))


async def roll(folder: Path, sandbox: Sandbox, *, n: int = 40, slots: int = 8, change: Change | None = None,
               scale: float = 0.05, **values: Any) -> dict[str, Trajectory]:  # fmt: skip
    """Roll out `n` trajectories; rows of raw.trajectories by id."""
    workload = make_workload(n, 2 * n, seed=4)
    for tale in workload.tales:
        tale["turns"] = [{**turn, "seconds": turn["seconds"] * scale} for turn in tale["turns"]]
    run, planned = open_workload(workload, folder, slots, sessions=16)
    run = quick(run, **values)
    engine: Any = ScriptedEngine(run.recipe.engine)
    if change:
        engine = Faulty(engine, change)
    bench: Any = Bench(engine, sandbox)
    try:
        await generate(run, bench, planned, n, Advance(Meter("test", n, "trajectories")))
    finally:
        with run.store.connect() as con:
            cursor = con.execute("from raw.trajectories")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {row["trajectory_id"]: Trajectory.model_validate(row) for row in rows}


async def test_the_same_text_whatever_the_company(tmp_path: Path, sandbox: Sandbox) -> None:
    few = await roll(tmp_path / "few", sandbox, slots=1, scale=0.001)
    many = await roll(tmp_path / "many", sandbox, slots=40)
    assert len(few) == 40
    texts = [sorted((t.problem_id, t.segments, t.seed) for t in rows.values()) for rows in (few, many)]
    assert texts[0] == texts[1]


async def raises(number: int, made: Completion) -> Completion:
    raise EngineError(f"request {number} failed")


async def garbage(number: int, made: Completion) -> Completion:
    return replace(made, text="something else")


async def empty(number: int, made: Completion) -> Completion:
    return Completion("", (), None, False, 0.0)


async def hangs(number: int, made: Completion) -> Completion:
    await asyncio.sleep(3600)
    return made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (raises, r"request \d+ failed"),
        (garbage, "do not decode to its text"),
        (empty, "it is empty"),
        (hangs, "no answer within 0.5 s"),
    ],
)
async def test_what_the_engine_does_to_one_its_siblings_do_not_feel(
    tmp_path: Path, sandbox: Sandbox, change: Any, said: str
) -> None:
    with pytest.raises(StepFailed, match=said) as error:
        await roll(tmp_path / "home", sandbox, change=change, timeout_s=0.5)
    assert "of 40 rollouts failed; the recipe allows 20%" in str(error.value)
    assert error.value.exit_code != 0


async def test_failures_below_the_allowed_share_are_rows_and_the_same_call_tries_them_again(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async def third(number: int, made: Completion) -> Completion:
        return await raises(number, made) if number == 15 else made

    rows = await roll(tmp_path / "home", sandbox, change=third)
    assert Counter(str(t.stop_reason) for t in rows.values()) == {"end": 39, "engine_error": 1}
    assert (tmp_path / "home" / "journal").is_dir()


async def test_a_slow_tool_call_delays_its_own_trajectory_and_no_other(tmp_path: Path, sandbox: Sandbox) -> None:
    workload = make_workload(24, 48, seed=4)
    for tale in workload.tales:
        tale["turns"] = [{**turn, "seconds": 0.01} for turn in tale["turns"]]
    slow = workload.tales[0]["turns"][0]
    slow["text"] = "I wait.\n```python\nimport time\ntime.sleep(8)\nprint(1)\n```"
    run, planned = open_workload(workload, tmp_path / "home", 2, sessions=16)
    bench: Any = Bench(ScriptedEngine(run.recipe.engine), sandbox)
    await generate(run, bench, planned, 24, Advance(Meter("test", 24, "trajectories")))
    with run.store.connect() as con:
        waits = con.execute("select wall_s from raw.trajectories order by wall_s").fetchall()
    assert waits[-1][0] > 8
    assert waits[-2][0] < 7  # they would all wait where one held up the others


def test_another_terminal_sees_what_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert live.look(tmp_path) is None
    meter = Meter("sampling", 100, "trajectories", started=time.monotonic() - 10)
    live.show(live.Tally(20, 5000, 30, 90.0, 10.0), Advance(meter), tmp_path)
    said = live.look(tmp_path)
    assert said is not None
    assert re.fullmatch(
        r"sampling: 20 of 100 trajectories, 2.0 trajectories/s, 500 tokens/s, 3.0 calls/s, "
        r"waiting 90% for the engine, 10% for the sandbox, about 40 s left",
        said,
    )
    monkeypatch.setattr(live, "STALE_S", -1.0)  # left by a killed process
    assert live.look(tmp_path) is None
