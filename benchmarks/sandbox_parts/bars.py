"""What the figures must reach."""

from dataclasses import dataclass

from benchmarks.sandbox_parts.footprint import N_SESSIONS, Held, State
from benchmarks.sandbox_parts.laps import Contestant, ratio

MEMORY_MB, GROWTH_MB = 250.0, 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure must reach."""

    what: str
    figure: str
    bar: str
    met: bool


def speed_bars(rows: dict[str, Contestant]) -> list[Bar]:
    """Of the table."""
    bars = []
    for key, name, least in (("a", "A fresh", 200), ("b", "B fresh", 50)):
        per_s, of_limit = rows[key].median, ratio(rows, key, "limit")
        met = per_s >= least or of_limit >= 0.75
        bars.append(Bar(name, f"{per_s:.1f}/s, {of_limit:.2f} of the limit", f"{least}/s or 0.75", met))
    per_s = rows["a session"].median
    bars.append(Bar("A in sessions", f"{per_s:.0f}/s", "900/s", per_s >= 900))
    for key, name, least in (("a", "A against bubblewrap", 5), ("b", "B against bubblewrap", 20)):
        if f"{key} bwrap" in rows:
            times = ratio(rows, key, f"{key} bwrap")
            bars.append(Bar(name, f"{times:.1f} times", f"{least} times", times >= least))
        else:
            bars.append(Bar(name, "comparison is missing: not installed, or does not run", f"{least} times", False))
    times, reused = ratio(rows, "ours", "rounds"), ratio(rows, "ours", "replayed")
    figure = f"{times:.2f} times ({reused:.2f} of workers never replaced)"
    return [*bars, Bar("trajectories against CoRT's pools", figure, "1 times", times >= 1)]


def memory_bar(held: list[Held]) -> Bar:
    """Of sessions that are open and wait for their first block."""
    empty, idle = held[:2]
    mb = idle.machine_mb if idle.own_mb is None else idle.own_mb
    source = "by MemAvailable, neighbours included" if empty.own_mb is None else f"{empty.own_mb:.0f} MB without them"
    return Bar(f"{N_SESSIONS} idle sessions", f"{mb:.0f} MB ({source})", f"< {MEMORY_MB:.0f} MB", mb < MEMORY_MB)


def leftover_bars(first: State, last: State, n: int) -> list[Bar]:
    """Nothing may be left of n executions."""
    restarted = "" if first.processes & last.processes == first.processes else " (others)"
    counts = [
        ("processes", len(first.processes), f"{len(last.processes)}{restarted}", first.processes == last.processes),
        ("descriptors", first.descriptors, last.descriptors, first.descriptors == last.descriptors),
        ("mounts", first.mounts, last.mounts, first.mounts == last.mounts),
        ("temporary files", first.files, last.files, first.files == last.files),
    ]
    bars = [Bar(f"{n:,} executions: {what}", f"{a} -> {b}", "the same", met) for what, a, b, met in counts]
    sizes = [("supervisor", first.supervisor_mb, last.supervisor_mb)]
    if first.servers_mb is not None and last.servers_mb is not None:
        sizes.append(("fork servers", first.servers_mb, last.servers_mb))
    for what, before, after in sizes:
        figure, met = f"{before:.1f} -> {after:.1f} MB", after - before < GROWTH_MB
        bars.append(Bar(f"{n:,} executions: {what}", figure, f"< {GROWTH_MB:.0f} MB more", met))
    return bars
