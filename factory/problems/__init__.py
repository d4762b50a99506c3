"""Problems from generators, files and the hub: checked row by row, folded, and named by their content.

Sources take turns, one problem each, so a limit keeps a bit of each, and a raised limit only adds problems at the
end. Rows are read as they are asked for: what lies behind the limit is neither read nor checked, and what lies
before it is checked in full.

Not covered: the same statement with two golds in *different* sources (within one source it is a bad row).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from factory.problems import files, hub
from factory.problems.code import check_code_map, check_code_rows
from factory.problems.generated import generate
from factory.problems.rows import Rejected, WrongColumns, check_map, check_rows, is_between, normalise, problem_id
from schemas.errors import ProblemsError, RecipeError
from schemas.recipe import Problems, Source
from schemas.records import Problem
from schemas.vocabulary import Domain, ProblemFormat, RejectReason, SourceKind

__all__ = [
    "Loaded",
    "LoadedProblems",
    "load_problems",
    "load_source",
    "normalise",
    "problem_id",
    "report",
    "source_name",
]

SHOWN_ROWS = 10


@dataclass(frozen=True)
class Loaded:
    """One source. `rejected` are rows of `raw.rejected_problems`."""

    name: str
    problems: list[Problem]
    rejected: list[dict[str, Any]]


@dataclass(frozen=True)
class LoadedProblems:
    """All sources together, in the order of their turns."""

    problems: list[Problem]
    rejected: list[dict[str, Any]]
    n_folded: int
    """Problems left out because an earlier source has the same one."""


class _Stream:
    """One source being read: draws good problems, collects bad rows and the error that ended it."""

    def __init__(self, source: Source, base: Path) -> None:
        self.name = source_name(source)
        self.rejected: list[Rejected] = []
        self.n_outside = 0
        """Problems that were not released in the source's window, or nobody knows when."""
        self._window = source.released_after, source.released_before
        self.error: ProblemsError | None = None
        self._items = islice(self._good(_items(source, base, self.name)), source.limit)

    def _good(self, items: Iterator[Problem | Rejected]) -> Iterator[Problem]:
        try:
            for item in items:
                if isinstance(item, Rejected):
                    self.rejected.append(item)
                elif any(self._window) and not is_between(item.released_at, *self._window):
                    self.n_outside += 1
                else:
                    yield item
        except ProblemsError as error:
            self.error = error
            if isinstance(error, WrongColumns):
                self.rejected = [r for r in self.rejected if r.bad.reason is not RejectReason.MISSING_COLUMN]

    def __iter__(self) -> Iterator[Problem]:
        return self._items

    def rejected_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "source": self.name,
                "line": rejected.line,
                "reason": str(rejected.bad.reason),
                "detail": rejected.bad.detail,
                "excerpt": rejected.bad.excerpt,
            }
            for rejected in self.rejected
        ]


def source_name(source: Source) -> str:
    """What the `source` column says: the task, the hub id, or the name of the file or folder without its path."""
    if source.kind is SourceKind.REASONING_GYM:
        return f"reasoning-gym/{source.task}"
    path = str(source.path)
    if source.kind is SourceKind.HUB and path.count("/") <= 1 and not path.startswith((".", "/", "~")):
        return path
    return Path(path).name


def load_source(source: Source, *, base: Path) -> Loaded:
    """One source up to its own limit; bad rows are returned, not raised.

    Args:
        source: Generator, file or hub dataset.
        base: Folder that relative paths start from.

    Raises:
        ProblemsError: the source as a whole cannot be read, or no row has a required column.
        RecipeError: unknown task, setting or column name; code problems without a format.
    """
    stream = _Stream(source, base)
    problems = list(stream)
    if stream.error:
        raise ProblemsError(f"{source.path or stream.name}: {stream.error}\n  state:   nothing was written.")
    return Loaded(stream.name, problems, stream.rejected_rows())


def load_problems(settings: Problems, *, base: Path) -> LoadedProblems:
    """All sources of a recipe, in turns, each problem once, up to the limit.

    Args:
        settings: Sources, limit, and whether bad rows are skipped.
        base: Folder that relative paths start from.

    Raises:
        ProblemsError: bad rows without `skip_bad_rows`, an unreadable source, or no usable row at all: one report
            on all sources.
        RecipeError: see load_source.
    """
    streams = [_Stream(source, base) for source in settings.sources]
    problems: dict[str, Problem] = {}
    n_folded = 0
    turns = _take_turns(streams)
    while settings.limit is None or len(problems) < settings.limit:
        problem = next(turns, None)
        if problem is None:
            break
        n_folded += problem.problem_id in problems
        problems.setdefault(problem.problem_id, problem)
    rejected = [row for stream in streams for row in stream.rejected_rows()]
    is_bad = bool(rejected) and not settings.skip_bad_rows
    if is_bad or not problems or any(stream.error for stream in streams):
        raise ProblemsError(report(settings, streams, len(problems)))
    return LoadedProblems(list(problems.values()), rejected, n_folded)


def _items(source: Source, base: Path, name: str) -> Iterator[Problem | Rejected]:
    if source.domain is Domain.CODE and source.format is None:
        formats = ", ".join(ProblemFormat)
        raise RecipeError(f"{name}: code problems need a format that says how their tests are written: {formats}.")
    (check_map if source.format is None else check_code_map)(source)
    if source.kind is SourceKind.REASONING_GYM:
        return iter(generate(source))
    if source.kind is SourceKind.HUB:
        rows = hub.read_rows(source, base=base)
    else:
        rows = files.read_rows(base / Path(str(source.path)).expanduser())
    return (check_rows if source.format is None else check_code_rows)(rows, source, name=name)


def _take_turns(streams: list[_Stream]) -> Iterator[Problem]:
    waiting = [iter(stream) for stream in streams]
    while waiting:
        for stream in list(waiting):
            problem = next(stream, None)
            if problem is None:
                waiting.remove(stream)
            else:
                yield problem


class Readable(Protocol):
    """What a report asks of a source that was read."""

    name: str
    rejected: list[Rejected]
    n_outside: int
    error: ProblemsError | None


def report(
    settings: Problems, streams: Sequence[Readable], n_good: int, *, noun: str = "problem", nouns: str = "problems"
) -> str:
    """What to say where not every row of every source is good: all of it at once.

    Args:
        settings: Whose sources were read.
        streams: One per source.
        n_good: Good rows.
        noun: What a good row is.
        nouns: More of them.
    """
    lines: list[str] = []
    for source, stream in zip(settings.sources, streams, strict=True):
        where = source.path or stream.name
        if stream.error:
            lines.append(f"{where}: {stream.error}")
        if stream.rejected:
            n_bad = len(stream.rejected)
            lines.append(f"{where}: {n_bad:,} bad {'row' if n_bad == 1 else 'rows'}")
            lines += [f"  line {r.line:,}: {r.bad.reason}: {r.bad.detail}" for r in stream.rejected[:SHOWN_ROWS]]
            rest = Counter(str(r.bad.reason) for r in stream.rejected[SHOWN_ROWS:])
            if rest:
                lines.append(
                    f"  and {rest.total():,} more: {', '.join(f'{n:,} {why}' for why, n in rest.most_common())}"
                )
        if stream.n_outside and not n_good:
            lines.append(f"{where}: {stream.n_outside:,} problems have no release date in its window, or none at all")
    lines = lines or [f"the sources hold no {nouns}."]
    if n_good and any(s.rejected for s in streams) and not any(s.error for s in streams):
        lines.append(
            f"next:  mend the rows, or add --skip-bad-rows: it goes on with the {n_good:,} good "
            f"{noun if n_good == 1 else nouns} and records the bad rows in raw.rejected_problems."
        )
    elif not n_good and not any(s.error for s in streams):
        lines.append("next:  mend the rows; there is no usable one to go on with.")
    lines.append("state: nothing was written.")
    return "\n".join(lines)
