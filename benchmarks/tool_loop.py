"""What the tool loop leaves of an engine's throughput: tokens per second of hint-infer, against one long batch.

    python benchmarks/tool_loop.py [--engine transformers] [--problems 96] [--rounds 3] [--check]

The loop rolls out one hint branch per problem with the real engine, the real sandbox, journal and shards: the model
writes code, it runs, its output goes back, the model goes on. The batch is one request per trajectory to the same
engine, all at once and without stop strings, with as many tokens to read (prompt, hint and tool outputs) and as many to
write. Each of its prompts repeats a number of its own, and the model goes on with that for as long as it is asked to.
Both take turns; every round has new problems, so that neither finds the other's prompts in a cache. The bar: at least
0.9 of the batch.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script

from factory.problems import load_problems
from factory.progress import Advance, Meter
from factory.rollout.generate import generate
from factory.rollout.plan import Planned, plan_branches
from factory.run import Run, open_run
from factory.settings import default_home, load_recipe
from factory.workbench import Workbench
from schemas.protocols import Engine
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


def open_problems(home: Path, kind: str, seed: int, n: int) -> Run:
    """A run over new products and sums."""
    sources = [
        {"kind": "reasoning-gym", "task": task, "count": n // 2, "seed": seed, "licence": "Apache-2.0"}
        for task in ("products", "chain_sum")
    ]
    values = {"problems.sources": sources, "problems.limit": None, "engine.kind": kind, "hint.cuts": ["start"],
              "hint.branches": 1}  # fmt: skip
    recipe = load_recipe("demo", values)
    problems = load_problems(recipe.problems, base=Path.cwd()).problems
    return open_run("d_seed", recipe, Store(home), "benchmark", problems, "")


async def tool_loop(run: Run, bench: Workbench) -> tuple[float, list[tuple[int, int]]]:
    """Tokens per second, and per trajectory the tokens that the model read and wrote."""
    planned = plans(run)
    started = time.monotonic()
    await generate(run, bench, planned, len(planned), Advance(Meter("loop", len(planned), "trajectories")))
    seconds = time.monotonic() - started
    with run.store.connect() as con:
        rows = con.execute(
            "select prompt, n_tokens_hint + n_tokens_tool, n_tokens_model, len(tool_calls) from raw.trajectories "
            "order by trajectory_id"
        ).fetchall()
    engine = await bench.engine()
    assert sum(row[3] for row in rows) >= len(rows) // 2, "hardly any trajectory ran code"
    lengths = [(len(engine.encode(prompt, special=True)) + n_added, n_model) for prompt, n_added, n_model, _ in rows]
    return sum(n for _, n in lengths) / seconds, lengths


async def batch(run: Run, engine: Engine, lengths: list[tuple[int, int]]) -> float:
    """Tokens per second of one long batch."""
    asked: list[tuple[list[int], int, Planned]] = []
    for plan, (n_prompt, n_model) in zip(plans(run), lengths, strict=False):
        beginning, _, _ = engine.prompt(plan.messages).rpartition(plan.messages[-1]["content"])
        ids = engine.encode(beginning + f" {len(asked) + 1}" * n_prompt, special=True)[:n_prompt]
        asked.append((ids, n_model, plan))
    started = time.monotonic()
    made = await asyncio.gather(
        *(engine.complete(ids, stop=(), max_tokens=n, sampling=p.sampling, seed=p.seed) for ids, n, p in asked)
    )
    seconds = time.monotonic() - started
    n_made, n_asked = sum(len(completion.token_ids) for completion in made), sum(n for _, n in lengths)
    assert n_made >= 0.95 * n_asked, "the batch ended early, so it is not of the same lengths"
    return n_made / seconds


async def measure(kind: str, n: int, rounds: int) -> list[tuple[float, float]]:
    """Both rates, per round."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        first = open_problems(Path(folder) / "warm", kind, 1, 16)
        async with Workbench(first.recipe, default_home(), trust=False) as bench:
            engine = await bench.engine()
            _, lengths = await tool_loop(first, bench)
            await batch(open_problems(Path(folder) / "warm2", kind, 2, 16), engine, lengths)
            for turn in range(rounds):
                run = open_problems(Path(folder) / f"loop{turn}", kind, 1000 + turn, n)
                other = open_problems(Path(folder) / f"batch{turn}", kind, 2000 + turn, n)
                loop_rate, lengths = await tool_loop(run, bench)
                batch_rate = await batch(other, engine, lengths)
                found.append((loop_rate, batch_rate))
                print(f"round {turn + 1}: loop {loop_rate:.1f}, batch {batch_rate:.1f} tokens/s", file=sys.stderr)
    return found


def main() -> int:
    """Print a table; with --check, exit non-zero where the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="transformers", choices=("transformers", "vllm"))
    parser.add_argument("--problems", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    found = asyncio.run(measure(options.engine, options.problems, options.rounds))
    loop_rate, batch_rate = (statistics.median(values) for values in zip(*found, strict=True))
    ratio = statistics.median(a / b for a, b in found)
    print(f"{options.engine}, {options.problems} problems: loop {loop_rate:.1f}, batch {batch_rate:.1f} tokens/s")
    print(f"median ratio of rounds: {ratio:.3f} (bar {BAR})")
    return int(options.check and ratio < BAR)


if __name__ == "__main__":
    sys.exit(main())
