"""How near the rollout comes to the time that no scheduler could beat, and how far ahead of a lockstep loop it is.

    python benchmarks/rollout.py [--sizes 64/64,256/256,2000/64,2000/2000] [--rounds 3] [--check]

A size is trajectories/request slots. A scripted engine whose turns take log-normal times, 1 to 6 calls per trajectory,
the real sandbox with isolation, the real loop, journal and shards. The bound of a plan is the largest of: its longest
trajectory; its model time divided by the request slots; the processor time that its calls need in the sandbox, divided
by the cores. The last is measured in the same round: the same blocks in sessions of the same sandbox, with nothing else
going on.

2,000 with as many slots is there for the memory of 2,000 in flight. On two cores it is a test of the sandbox and not of
the scheduler: 6,000 calls want more processor time than the model wants wall time, and every step of our own adds to
it. So its share of the bound is printed, and no bar.
"""

import argparse
import asyncio
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script

from benchmarks.rollout_parts.lockstep import lockstep
from benchmarks.rollout_parts.workload import Workload, make_workload, open_workload
from benchmarks.sandbox_parts.footprint import descendants
from factory.progress import Advance, Meter
from factory.rollout.generate import generate
from factory.sandbox.pool import open_sandbox
from factory.workbench import Workbench, n_cores
from schemas.protocols import Sandbox

CALLS = {64: 189, 256: 729, 2000: 6000}
SIZES = "64/64,256/256,2000/64,2000/2000"
SESSIONS = 256
"""The default of a recipe. The lockstep loop keeps an interpreter per trajectory open, so it may."""
MOST_SLOTS = 256
"""Where the bound has a bar; see above."""
BARS = {"of bound": 1.10, "lockstep": 1.5, "memory MB": 1024.0}


@dataclass
class Round:
    """One size, once."""

    bound_s: float
    sandbox_s: float
    """Processor seconds of the calls alone, per core."""
    ours_s: float
    lockstep_s: float
    grown_mb: float


def cpu_s() -> float:
    """Of this process and of all that it has waited for; living children count through /proc."""
    own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    ticks = 0
    for pid in descendants(os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))  # its own and its dead children's, user and system
    return own + ticks / os.sysconf("SC_CLK_TCK")


async def calls_alone(sandbox: Sandbox, workload: Workload) -> float:
    """Processor seconds of the sandbox for these calls, its supervision in this process included."""
    at_once = asyncio.Semaphore(2 * n_cores())

    async def one(codes: list[str]) -> None:
        async with at_once:
            session = await sandbox.session()
            for code in codes:
                await session.run(code)
            await session.aclose()

    before = cpu_s()
    await asyncio.gather(*map(one, workload.codes))
    return cpu_s() - before


class Memory:
    """The largest resident size of this process while the block runs, beyond what it was before."""

    def __enter__(self) -> "Memory":
        self.before, self.most, self.stop = _resident_mb(), 0.0, threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def _look(self) -> None:
        while not self.stop.wait(0.05):
            self.most = max(self.most, _resident_mb() - self.before)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(n: int, n_calls: int, turn: int, slots: int) -> Round:
    """One round of one size."""
    workload = make_workload(n, n_calls, seed=turn)
    with tempfile.TemporaryDirectory() as folder:
        run, planned = open_workload(workload, Path(folder) / "home", slots, sessions=SESSIONS)
        async with Workbench(run.recipe, run.store.home, trust=False) as bench:
            engine, sandbox = await bench.engine(), await bench.sandbox()
            alone_s = await calls_alone(sandbox, workload) / n_cores()

            async def ours() -> tuple[float, float]:
                advance = Advance(Meter("rollout", n, "trajectories"))
                with Memory() as memory:
                    started = time.monotonic()
                    await generate(run, bench, planned, n, advance)
                    return time.monotonic() - started, memory.most

            async def theirs() -> float:
                wide = await open_sandbox(n_slots=n_cores(), max_sessions=max(n, SESSIONS))
                try:
                    started = time.monotonic()
                    made = await lockstep(engine, wide, planned)
                    assert made == n_calls, made
                    return time.monotonic() - started
                finally:
                    await wide.aclose()

            if turn % 2:
                lockstep_s = await theirs()
                ours_s, grown_mb = await ours()
            else:
                ours_s, grown_mb = await ours()
                lockstep_s = await theirs()
        with run.store.connect() as con:
            row = con.execute("select count(*), sum(len(tool_calls)) from raw.trajectories where stop_reason = 'end'")
            assert row.fetchone() == (n, n_calls)
    bound_s = max(workload.longest_s, workload.model_s / slots, alone_s)
    return Round(bound_s, alone_s, ours_s, lockstep_s, grown_mb)


def main() -> int:
    """Print a table; with --check, exit non-zero where a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    missed = False
    print(f"{'trajectories':>12} {'slots':>6} {'calls':>6} {'bound s':>8} {'sandbox s':>9} {'ours s':>7} "
          f"{'lockstep s':>10} {'of bound':>9} {'x lockstep':>10} {'grown MB':>9}")  # fmt: skip
    for size in options.sizes.split(","):
        n, slots = map(int, size.split("/"))
        n_calls = CALLS.get(n, 3 * n)
        rounds = [asyncio.run(measure(n, n_calls, turn, slots)) for turn in range(options.rounds)]
        of_bound = statistics.median(r.ours_s / r.bound_s for r in rounds)
        faster = statistics.median(r.lockstep_s / r.ours_s for r in rounds)
        middle = {name: statistics.median(getattr(r, name) for r in rounds) for name in vars(rounds[0])}
        values = [(middle["bound_s"], 8), (middle["sandbox_s"], 9), (middle["ours_s"], 7), (middle["lockstep_s"], 10)]
        values += [(of_bound, 9), (faster, 10), (middle["grown_mb"], 9)]
        print(
            f"{n:>12} {slots:>6} {n_calls:>6} " + " ".join(f"{value:>{width}.2f}" for value, width in values),
            flush=True,
        )
        too_slow = of_bound > BARS["of bound"] and slots <= MOST_SLOTS
        missed |= too_slow or faster < BARS["lockstep"] or middle["grown_mb"] > BARS["memory MB"]
    print(f"bars: at most {BARS['of bound']} of the bound, at least {BARS['lockstep']} times the lockstep loop, "
          f"at most {BARS['memory MB']:.0f} MB more")  # fmt: skip
    return int(options.check and missed)


if __name__ == "__main__":
    sys.exit(main())
