"""What the tool loop leaves of an engine's throughput: tokens per second of hint-infer, against one long batch.

    python benchmarks/tool_loop.py [--engine transformers] [--problems 96] [--max-tokens 128] [--check]

The loop rolls out one hint branch per problem with the real engine, the real sandbox, journal and shards: the model
writes code, it runs, its output goes back, the model goes on. It is held against two raw batches on the same engine,
each sent all at once and without stop strings:

- the loop's own requests: prompts of the same lengths, and as many tokens to write. The bar: at least 0.9 of it.
- whole trajectories: one request each, which reads its prompt, hint and tool outputs once, and writes what the loop
  wrote. An engine that keeps only whole blocks of a text's keys reads some of it again, and cannot reach that.

A prompt of a batch begins as all prompts of the loop do, then repeats a number of its own, and the model goes on with
that for as long as it is asked to. The three take turns; every round has new problems and numbers, so that nobody finds
another's prompts in a cache.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script

from factory.problems import load_problems
from factory.progress import Advance, Meter
from factory.rollout.generate import generate
from factory.rollout.plan import Planned, plan_branches
from factory.run import Run, open_run
from factory.settings import default_home, load_recipe
from factory.workbench import Workbench
from schemas.protocols import Completion, Engine
from schemas.vocabulary import StopReason
from warehouse.store import Store

BAR = 0.9


def plans(run: Run) -> list[Planned]:
    """A branch at the very start of every answer, as if the baseline had been empty."""
    rows = [
        {"problem_id": id_, "trajectory_id": f"t_{id_}", "text": "", "token_ids": [], "stop_reason": StopReason.END}
        for id_ in run.problems
    ]
    return list(plan_branches(run, rows))


def open_problems(home: Path, options: argparse.Namespace, seed: int, n: int) -> Run:
    """A run over new products and sums."""
    sources = [
        {"kind": "reasoning-gym", "task": task, "count": n // 2, "seed": seed, "licence": "Apache-2.0"}
        for task in ("products", "chain_sum")
    ]
    values = {
        "problems.sources": sources,
        "problems.limit": None,
        "engine.kind": options.engine,
        "hint.cuts": ["start"],
        "hint.branches": 1,
        "hint.max_tokens": options.max_tokens,
    }
    recipe = load_recipe("demo", values)
    problems = load_problems(recipe.problems, base=Path.cwd()).problems
    return open_run("d_seed", recipe, Store(home), "benchmark", problems, "")


@dataclass(frozen=True)
class Request:
    """Of a batch."""

    number: int
    """What its prompt repeats; those of one trajectory share it, as their prompts share a beginning."""
    n_prompt: int
    n_model: int


async def tool_loop(run: Run, bench: Workbench, first_number: int) -> tuple[float, list[Request], list[Request]]:
    """Tokens per second, the requests that the engine got, and the trajectories as one request each."""
    engine, planned = await bench.engine(), plans(run)
    asked: list[tuple[list[int], int]] = []
    complete = engine.complete

    async def recorded(prompt_ids: Sequence[int], **options: Any) -> Completion:
        completion = await complete(prompt_ids, **options)
        asked.append((list(prompt_ids), len(completion.token_ids)))
        return completion

    with patch.object(engine, "complete", recorded):
        started = time.monotonic()
        await generate(run, bench, planned, len(planned), Advance(Meter("loop", len(planned), "trajectories")))
        seconds = time.monotonic() - started
    with run.store.connect() as con:
        rows = con.execute(
            "select prompt, n_tokens_hint + n_tokens_tool, n_tokens_model, len(tool_calls) from raw.trajectories "
            "order by trajectory_id"
        ).fetchall()
    assert sum(n_calls for *_, n_calls in rows) >= len(rows) // 2, "hardly any trajectory ran code"
    requests, trajectories = [], []
    for number, (prompt, n_added, n_model, _) in enumerate(rows, first_number):
        ids = engine.encode(prompt, special=True)
        trajectories.append(Request(number, len(ids) + n_added, n_model))
        requests += [Request(number, len(asked_ids), n) for asked_ids, n in asked if asked_ids[: len(ids)] == ids]
    assert len(requests) == len(asked), "a request belongs to no trajectory, or to two"
    requests.sort(key=lambda request: request.n_prompt)  # turns of a trajectory in order
    return sum(n for _, n in asked) / seconds, requests, trajectories


async def batch(run: Run, engine: Engine, requests: list[Request]) -> float:
    """Tokens per second of requests that are sent all at once."""
    planned = plans(run)
    whole = [engine.encode(engine.prompt(plan.messages), special=True) for plan in planned]
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*whole, strict=False))]
    prompts = [(shared + engine.encode(f" {r.number}" * r.n_prompt))[: r.n_prompt] for r in requests]
    started = time.monotonic()
    made = await asyncio.gather(
        *(
            engine.complete(ids, stop=(), max_tokens=request.n_model, sampling=planned[0].sampling, seed=request.number)
            for ids, request in zip(prompts, requests, strict=True)
        )
    )
    seconds = time.monotonic() - started
    n_made, n_asked = sum(len(completion.token_ids) for completion in made), sum(r.n_model for r in requests)
    assert n_made >= 0.95 * n_asked, "the batch ended early, so it is not of the same lengths"
    return n_made / seconds


async def measure(options: argparse.Namespace) -> list[tuple[float, float, float]]:
    """The three rates, per round, after a short one that does not count."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        first = open_problems(Path(folder) / "0", options, 1, 16)
        async with Workbench(first.recipe, default_home(), trust=False) as bench:
            engine = await bench.engine()
            for turn in range(options.rounds + 1):
                run = open_problems(Path(folder) / f"{turn}", options, 999 + turn, options.problems) if turn else first
                first_number = 10_000 * (2 * turn + 1)
                loop_rate, requests, trajectories = await tool_loop(run, bench, first_number)
                of_requests = await batch(run, engine, requests)
                shifted = [replace(request, number=request.number + 10_000) for request in trajectories]
                of_trajectories = await batch(run, engine, shifted)
                if turn:
                    found.append((loop_rate, of_requests, of_trajectories))
                    print(
                        f"round {turn}: loop {loop_rate:.1f}, its requests {of_requests:.1f}, "
                        f"whole trajectories {of_trajectories:.1f} tokens/s",
                        file=sys.stderr,
                    )
    return found


def main() -> int:
    """Print a table; with --check, exit non-zero where the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="transformers", choices=("transformers", "vllm"))
    parser.add_argument("--problems", type=int, default=96)
    parser.add_argument("--max-tokens", type=int, default=128, help="that a trajectory may write")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    found = asyncio.run(measure(options))
    print(f"{options.engine}, {options.problems} problems, medians of {options.rounds} rounds")
    print("                    tokens/s   the loop's share")
    for place, name in enumerate(("loop", "its own requests", "whole trajectories")):
        rate = statistics.median(rates[place] for rates in found)
        share = statistics.median(rates[0] / rates[place] for rates in found)
        print(f"{name:18} {rate:9.1f} {share:18.3f}")
    ratio = statistics.median(loop / of_requests for loop, of_requests, _ in found)
    print(f"against its own requests: {ratio:.3f} (bar {BAR})")
    return int(options.check and ratio < BAR)


if __name__ == "__main__":
    sys.exit(main())
