"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere. Everything goes to stderr."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

LINE_EVERY_S = 10.0
PIPE_WIDTH = 400
Show = Callable[[], None]


@dataclass
class Meter:
    """One step's counter."""

    name: str
    total: int
    unit: str
    done: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    """What else is counted, such as tokens."""
    note: str = ""
    """What else the step wants to say of itself, such as its loss."""
    started: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> str:
        """Units per second, and what else is counted."""
        elapsed = max(time.monotonic() - self.started, 1e-6)
        text = f"{self.done / elapsed:.1f} {self.unit}/s"
        for name, count in self.counts.items():
            rate = count / elapsed
            text += f", {rate:.{0 if rate >= 10 else 1}f} {name}/s" if count else ""
        return text + (f", {self.note}" if self.note else "")

    @property
    def left(self) -> str:
        """How long it will take yet; nothing is known of it before the first unit is done."""
        if not self.done:
            return "no estimate yet"
        seconds = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        return f"about {seconds:.0f} s left"


def make_table(names: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> Table:
    """A table for the terminal; control characters in texts are shown, not obeyed."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        is_number = bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    return table


def shown(value: object) -> str:
    """A value as text that is safe to print."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int):
        text = str(value)
        return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return f"{value:,}"


def make_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; wide enough not to fold where the output is read by a program."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPE_WIDTH)


class Reporter:
    """Shows steps as they run."""

    def __init__(self) -> None:
        self.console = make_console(stderr=True)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False)

    def table(self, names: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
        """A table; numbers stand right."""
        self.console.print(make_table(names, rows, title=title))

    @contextlib.contextmanager
    def step(self, name: str, total: int, unit: str) -> Iterator["Advance"]:
        """Count `total` units of work; nothing is shown where there is none."""
        meter = Meter(name, total, unit)
        if not total:
            yield Advance(meter)
        elif sys.stderr.isatty():
            columns = (
                TextColumn("{task.description:<14}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
            )
            with Progress(*columns, console=self.console) as bar:
                task = bar.add_task(name, total=total, rate="")
                yield Advance(meter, lambda: bar.update(task, completed=meter.done, rate=meter.rate))
        else:
            self.say(f"{name}: {total:,} {unit}")
            yield Advance(meter, self._lines(meter))
            self.say(f"{name}: {meter.done:,} of {total:,} {unit}, {meter.rate}")

    def _lines(self, meter: Meter) -> Show:
        last = time.monotonic()

        def show() -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_EVERY_S and meter.done < meter.total:
                last = time.monotonic()
                self.say(f"  {meter.done:,} of {meter.total:,}, {meter.rate}, {meter.left}")

        return show


@dataclass
class Advance:
    """Tells a step what was done."""

    meter: Meter
    show: Show = lambda: None

    def __call__(self, n: int = 1, *, extra: float = 0.0, extra_unit: str = "", note: str = "") -> None:
        """Count `n` more units."""
        if extra:
            self.meter.counts[extra_unit] = self.meter.counts.get(extra_unit, 0) + extra
        self.to(self.meter.done + n, self.meter.counts, note)

    def to(self, done: int, counts: Mapping[str, float], note: str = "") -> None:
        """Set the counts."""
        self.meter.done = done
        self.meter.counts = dict(counts)
        self.meter.note = note or self.meter.note
        self.show()
