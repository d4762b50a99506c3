"""The sandbox against what a user would otherwise take, in turns within one run, with two clients on two cores.

    python benchmarks/sandbox.py [--rounds 5] [--seconds 1.5] [--executions 10000] [--level namespaces] [--check]

A is `print(sum(i*i for i in range(1000)))`; B imports sympy and solves a cubic. Every output is compared. A round runs
each contestant for `--seconds`, every second round in the opposite order; the first round warms up and does not count.
A ratio is the median over the rounds of what both did in the same round.

The limit is `os.fork` and `os._exit` in two processes, plain, with numpy and sympy loaded and warm. The peers are
bubblewrap with a new Python per run, and process pools that isolate nothing and run earlier blocks again.

Not measured: nsjail, which no Python package ships.
"""

import argparse
import asyncio
import importlib.metadata
import os
import platform
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script, and again in each worker of the pool

from benchmarks.sandbox_parts.bars import leftover_bars, memory_bar, speed_bars
from benchmarks.sandbox_parts.footprint import Held, idle_sessions, leftovers
from benchmarks.sandbox_parts.laps import N_CLIENTS, Contestant, contestants, ratio
from benchmarks.sandbox_parts.peers import Bubblewrap, ForkAndExit, ReplayPool, RoundPools
from benchmarks.sandbox_parts.snippets import WARM_UP, A
from factory.sandbox.pool import open_sandbox
from schemas.vocabulary import SandboxLevel

WARM_UP_S = 0.5


async def speed(level: SandboxLevel | None, rounds: int, seconds: float) -> tuple[dict[str, Contestant], SandboxLevel]:
    """All contestants in turns, and the level of ours."""
    async with AsyncExitStack() as stack:
        sandbox = await open_sandbox(n_slots=N_CLIENTS, level=level)
        stack.push_async_callback(sandbox.aclose)
        pool = stack.enter_context(ReplayPool())
        pools = RoundPools()
        stack.callback(pools.close)
        bare, loaded = ForkAndExit(""), ForkAndExit(WARM_UP)
        stack.callback(bare.close)
        stack.callback(loaded.close)
        rows = contestants(sandbox, find_bubblewrap(), pools, pool, bare, loaded)
        for turn in range(rounds + 1):
            for row in list(rows.values())[:: -1 if turn % 2 else 1]:
                per_s = await row.lap(seconds if turn else WARM_UP_S)
                say(f"round {turn} of {rounds}: {row.name} {per_s:.1f}/s")
                if turn:
                    row.rates.append(per_s)
        return rows, sandbox.level


def find_bubblewrap() -> Bubblewrap | None:
    """Null, with the reason on stderr, where it is not installed or does not run."""
    try:
        bubblewrap = Bubblewrap()
        bubblewrap.run(A)
    except Exception as error:
        say(f"no comparison with bubblewrap: {error}")
        return None
    return bubblewrap


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def show_speed(rows: dict[str, Contestant]) -> None:
    """One line per contestant. Their limit is that with numpy and sympy, for A and for B."""
    print(f"{'per second, 2 clients':<44} {'median':>8} {'of limit':>8}  all rounds")
    for key, row in rows.items():
        rounds = ", ".join(f"{per_s:.1f}" for per_s in row.rates)
        print(f"{row.name:<44} {row.median:>8.1f} {ratio(rows, key, 'limit'):>8.2f}  {rounds}")


def show_memory(held: list[Held]) -> None:
    """One line per state; `machine` is what MemAvailable fell by, neighbours included."""
    print(f"\n{'memory of 2 slots, MB':<36} {'pages':>7} {'tables':>7} {'sum':>7} {'machine':>8}  processes")
    for one in held:
        pages = "hidden" if one.pages_mb is None else f"{one.pages_mb:.1f}"
        own = "hidden" if one.own_mb is None else f"{one.own_mb:.1f}"
        print(f"{one.what:<36} {pages:>7} {one.tables_mb:>7.1f} {own:>7} {one.machine_mb:>8.0f}  {one.n_processes}")


def machine() -> str:
    """What the figures depend on."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "sympy"))
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, Linux {platform.release()}, Python {platform.python_version()}, {versions}"


def load() -> str:
    """Load averages of 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def main() -> int:
    """Print tables and bars; with --check, exit non-zero where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one contestant in one round")
    parser.add_argument("--executions", type=int, default=10_000, help="of the search for leftovers")
    parser.add_argument("--level", type=SandboxLevel, choices=list(SandboxLevel)[:2], help="default: the strongest")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    load_before = load()
    # Before the peers start, so that all processes and all memory are the sandbox's.
    held = asyncio.run(idle_sessions(options.level))
    say(f"{options.executions:,} executions")
    started = time.monotonic()
    first, last = asyncio.run(leftovers(options.level, options.executions))
    say(f"  took {time.monotonic() - started:.0f} s")
    rows, level = asyncio.run(speed(options.level, options.rounds, options.seconds))
    user = "root" if os.geteuid() == 0 else "an ordinary user"
    print(f"{machine()}; level {level} as {user}; load {load_before} before, {load()} after\n")
    show_speed(rows)
    show_memory(held)
    bars = [*speed_bars(rows), memory_bar(held), *leftover_bars(first, last, options.executions)]
    print(f"\n{'bar':<36} {'':<7} {'needed':<16} measured")
    for bar in bars:
        print(f"{bar.what:<36} {'met' if bar.met else 'MISSED':<7} {bar.bar:<16} {bar.figure}")
    return int(options.check and not all(bar.met for bar in bars))


if __name__ == "__main__":
    sys.exit(main())
