"""The whole path after generation, at three sizes: seconds and memory per trajectory.

    python benchmarks/warehouse.py [--sizes 10000,100000,1000000] [--plot docs/warehouse.png] [--check]

Trajectories of 2 to 8 KB are made from real ones (`warehouse_parts/corpus.py`) and stored as a build leaves them once
they are judged; making them is not measured. Then the build's own steps run, each over all rows: signals, repair (its
copies judged and measured), duplicates, the SQL models into `factory.duckdb`, the gate, the snapshot. Every size runs
in a process of its own, whose peak memory is the most that it, or any one of the checkers it starts, held. It is
measured against itself at a smaller size: a row at 1 million may cost 1.3 times what it costs at 100 thousand.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.warehouse_parts.corpus import make_home, read_pieces, reopened
from factory.builds.parts import show_funnel
from factory.progress import Reporter, make_console, make_table
from factory.release.promote import promote
from factory.run import Run
from factory.steps.duplicates import mark_duplicates
from factory.steps.judging import judge_trajectories
from factory.steps.repair import repair_trajectories
from factory.steps.signals import measure_signals
from factory.workbench import Workbench

MOST_RATIO, MOST_GIB, MOST_SECONDS = 1.3, 12.0, 3600.0
RECIPE = """
description = "benchmark"
[problems]
sources = [{ kind = "file", path = "none.jsonl" }]
[engine]
kind = "scripted"
model = "script.jsonl"
[repair]
rules = ["cut_loop", "cut_after_answer", "drop_trailing_open_block", "drop_trailing_hint"]
[gate]
replay = false
[d_start]
samples = 8
[d_start.selection]
quota_math = 10000000
"""


def main() -> None:
    """Measure, print the tables, and exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--folder", type=Path, help="where the homes lie for a while; default: a temporary one")
    parser.add_argument("--plot", type=Path, help="a .png")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--walk", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no data in {options.data}: name the folder with --data")
    if options.make:
        make_home(
            home_of(options.folder, options.make), read_pieces(options.data), options.make, recipe_in(options.folder)
        )
        return
    if options.walk:
        print(json.dumps(walk(home_of(options.folder, options.walk), recipe_in(options.folder))))
        return
    found = []
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            own = [sys.executable, __file__, "--data", str(options.data), "--folder", folder]
            subprocess.run([*own, "--make", str(size)], check=True)
            done = subprocess.run([*own, "--walk", str(size)], stdout=subprocess.PIPE, text=True, check=True)
            found.append({"n": size, **json.loads(done.stdout.splitlines()[-1])})
        show(found)
    if options.plot:
        plot(found, options.plot)
    missed = check(found)
    for line in missed:
        print(line)
    sys.exit(1 if options.check and missed else 0)


def home_of(folder: Path, n: int) -> Path:
    """Where a size lies."""
    return folder / f"home-{n}"


def recipe_in(folder: Path) -> Path:
    """The recipe, written there."""
    script, recipe = folder / "script.jsonl", folder / "recipe.toml"
    script.write_text("")
    recipe.write_text(RECIPE.replace("script.jsonl", str(script)))
    return recipe


def walk(home: Path, recipe: Path) -> dict[str, Any]:
    """Seconds of each step and peak memory."""
    run, seconds = reopened(home, recipe), dict[str, float]()
    n_selected = asyncio.run(take_steps(run, seconds))
    own = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    most = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    sizes = {part: _bytes(home / part) for part in ("raw", "derived", "factory.duckdb", "snapshots")}
    return {"n_selected": n_selected, "seconds": seconds, "gib": most / 2**20, "bytes": sizes}


async def take_steps(run: Run, seconds: dict[str, float]) -> int:
    """The build after its verdicts, as in `factory.builds.d_start`; rows of the snapshot."""
    ui = Reporter()

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[name] = seconds.get(name, 0) + time.perf_counter() - began

    async with Workbench(run.recipe, run.store.home, trust=False) as bench:
        with timed("signals"):
            measure_signals(run, ui)
        with timed("repair"):
            await repair_trajectories(run, bench, ui)
            await judge_trajectories(run, bench, ui, "repair verdicts")
        with timed("signals"):
            measure_signals(run, ui)
        with timed("duplicates"):
            mark_duplicates(run, ui)
        with timed("SQL"):
            run.store.publish(run.params)
        show_funnel(run, ui)
        with timed("gate and snapshot"):
            return promote(run).n_rows


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def show(found: list[dict[str, Any]]) -> None:
    """Tables: milliseconds per trajectory by step; totals, memory, bytes."""
    console = make_console()
    steps = list(found[0]["seconds"])
    rows: list[list[Any]] = [[s, *(f"{row['seconds'][s] / row['n'] * 1e3:.3f}" for row in found)] for s in steps]
    total = [sum(row["seconds"].values()) for row in found]
    rows.append(["all", *(f"{all_ / row['n'] * 1e3:.3f}" for all_, row in zip(total, found, strict=True))])
    rows.append(["all, seconds", *(f"{all_:,.0f}" for all_ in total)])
    rows.append(["peak memory, GiB", *(f"{row['gib']:.2f}" for row in found)])
    rows.append(["peak memory, KB per trajectory", *(f"{row['gib'] * 2**20 / row['n']:.1f}" for row in found)])
    rows += [[f"{part}, GB", *(f"{row['bytes'][part] / 1e9:.2f}" for row in found)] for part in found[0]["bytes"]]
    rows.append(["rows of the snapshot", *(f"{row['n_selected']:,}" for row in found)])
    names = ["milliseconds per trajectory", *(f"{row['n']:,}" for row in found)]
    console.print(make_table(names, rows))


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds per trajectory by step, stacked, and peak memory, over the size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    names, bottom = [f"{row['n']:,}" for row in found], [0.0] * len(found)
    for step in found[0]["seconds"]:
        height = [row["seconds"][step] / row["n"] * 1e3 for row in found]
        left.bar(names, height, bottom=bottom, label=step)
        bottom = [a + b for a, b in zip(bottom, height, strict=True)]
    left.set(xlabel="trajectories", ylabel="milliseconds per trajectory")
    left.legend(frameon=False, fontsize=8)
    right.plot([row["n"] for row in found], [row["gib"] for row in found], "o-")
    right.axhline(MOST_GIB, color="grey", linestyle=":", label="12 GiB")
    right.set(xscale="log", xlabel="trajectories", ylabel="peak memory, GiB", ylim=(0, MOST_GIB * 1.1))
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def check(found: list[dict[str, Any]]) -> list[str]:
    """What misses a bar of the issue; sizes that were not measured are missed."""
    by_size = {row["n"]: row for row in found}
    small, large = by_size.get(100_000), by_size.get(1_000_000)
    if small is None or large is None:
        return ["not measured at 100,000 and 1,000,000"]
    per_row = [sum(row["seconds"].values()) / row["n"] for row in (small, large)]
    ratio, seconds = per_row[1] / per_row[0], sum(large["seconds"].values())
    figures = (
        ("time per row, 1,000,000 over 100,000", ratio, MOST_RATIO, ""),
        ("peak memory at 1,000,000", large["gib"], MOST_GIB, " GiB"),
        ("time at 1,000,000", seconds, MOST_SECONDS, " s"),
    )
    for name, value, bar, unit in figures:
        print(f"{name}: {value:.2f}{unit} (at most {bar:g})")
    return [f"MISSED: {name}" for name, value, bar, _ in figures if value > bar]


if __name__ == "__main__":
    main()
