"""Which part of a benchmark is evaluated: by release date, and the first so many."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import islice

from factory.problems.rows import is_between
from schemas.errors import ProblemsError, UsageError
from schemas.records import Problem


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's problems by item, a number from 1."""

    name: str
    items: dict[str, Problem]
    n_left_out: int = 0
    """Bad and repeated rows."""


@dataclass(frozen=True)
class Window:
    """Which part of a benchmark: release dates (both included), and the first `limit` of those."""

    after: date | None = None
    before: date | None = None
    limit: int | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Our column -> the source's, in place of what the registry says."""


def windowed(name: str, items: Iterator[tuple[str, Problem]], bad: list[str], window: Window) -> Benchmark:
    """The items inside the window, each problem once.

    Args:
        name: Of the benchmark.
        items: Item and problem, in order; read no further than the limit.
        bad: What is wrong with the rows that were left out; grows while the items are read.
        window: Dates and limit.

    Raises:
        UsageError: no problem was released in the window.
        ProblemsError: there is no usable problem.
    """
    dates: list[str] = []

    def inside() -> Iterator[tuple[str, Problem]]:
        seen: set[str] = set()
        for item, problem in items:
            if window.after or window.before:
                if problem.released_at:
                    dates.append(problem.released_at[:10])
                if not is_between(problem.released_at, window.after, window.before):
                    continue
            if problem.problem_id in seen:
                bad.append(f"row {item}: repeats an earlier one")
                continue
            seen.add(problem.problem_id)
            yield item, problem

    kept = dict(islice(inside(), window.limit))
    if kept:
        return Benchmark(name, kept, len(bad))
    if window.after or window.before:
        span = f"they span {min(dates)} to {max(dates)}" if dates else "it has no release dates (--map released_at=...)"
        raise UsageError(
            f"{name}: no problem was released between {window.after or 'the beginning'} and "
            f"{window.before or 'today'}; {span}."
        )
    reasons = "".join(f"\n  {reason}" for reason in bad[:5])
    raise ProblemsError(f"{name} holds no usable problem; {len(bad):,} rows were left out.{reasons}")


def parse_date(text: str | None, option: str) -> date | None:
    """A date of the command line.

    Raises:
        UsageError: it is none.
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{option} {text}: write a date as 2024-08-01.") from None
