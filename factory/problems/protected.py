"""The items that no build may train on: the benchmarks of a recipe's `[decontamination]`, as texts.

A benchmark is a source of the recipe or a name of `factory.problems.registry`; `?statement=COLUMN` says where a file
or dataset that is not registered has its questions. Answers are not needed, so they may be missing.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from factory.problems.coded import bare_statement
from factory.problems.registry import choose_columns, find_benchmark, raw_rows, read_named, read_source
from factory.problems.rows import Bad, is_between
from quality.decontamination.find import BenchmarkItem
from schemas.errors import ProblemsError, UsageError
from schemas.recipe import Decontamination, Source
from schemas.vocabulary import SourceKind

_COLUMN = "statement"
SETTINGS = (_COLUMN, "released_after", "released_before")
"""Of a name, besides those of every benchmark."""


def load_items(settings: Decontamination, *, base: Path) -> list[BenchmarkItem]:
    """Every row with a text, of every benchmark; items are numbered from 1, as rows.

    Raises:
        UsageError: unknown name.
        ProblemsError: a benchmark cannot be read, is gated, or has no text at all.
        RecipeError: unknown task or setting of a source.
    """
    items = []
    for place in settings.benchmarks:
        name, texts = _of_source(place, base) if isinstance(place, Source) else _of_name(place, base)
        found = [BenchmarkItem(name, str(number), text) for number, text in texts if text.strip()]
        if not found:
            raise ProblemsError(f"{_shown(name)} holds no text.\n  state:   nothing was written.")
        items += found
    return items


Texts = Iterator[tuple[int | str, str]]


def _of_source(source: Source, base: Path) -> tuple[str, Texts]:
    if source.kind is SourceKind.REASONING_GYM or source.format is not None:
        read = read_source(source, base=base)
        return read.name, ((item, bare_statement(problem)) for item, problem in read.items)
    name = Path(str(source.path)).name if source.kind is SourceKind.FILE else str(source.path)
    return name, _column(name, source, source.map.get(_COLUMN, _COLUMN), base)


def _of_name(text: str, base: Path) -> tuple[str, Texts]:
    named = find_benchmark(text, SETTINGS)
    window = [_day(text, named.entry.get(setting)) for setting in SETTINGS[1:]]
    if named.entry["format"] != "answer" or any(window):
        read = read_named(named, base=base)
        inside = (item for item in read.items if not any(window) or is_between(item[1].released_at, *window))
        return named.name, ((item, bare_statement(problem)) for item, problem in inside)
    source = named.source(base)
    column = named.entry.get(_COLUMN)
    if column is None:
        first = next((set(row) for _, row in raw_rows(source, base=base) if not isinstance(row, Bad)), set())
        column = choose_columns(named.entry["columns"], first, {}).get(_COLUMN, _COLUMN)
    return named.name, _column(named.name, source, column, base)


def _day(text: str, day: str | None) -> date | None:
    try:
        return date.fromisoformat(day) if day else None
    except ValueError:
        raise UsageError(f"benchmark {text}: write a date as 2024-07-01, not {day}.") from None


def _column(name: str, source: Source, column: str, base: Path) -> Texts:
    seen: dict[str, None] = {}
    is_there = False
    for number, row in raw_rows(source, base=base):
        if isinstance(row, Bad):
            continue
        seen |= dict.fromkeys(row)
        is_there = is_there or column in row
        yield number, str(row.get(column) or "")
    if not is_there:
        raise ProblemsError(
            f"{_shown(name)} has no column '{column}'.\n"
            f"  columns: {', '.join(list(seen)[:40])}\n"
            f'  next:    NAME=FILE?{_COLUMN}=COLUMN, or map = {{ {_COLUMN} = "COLUMN" }} in the recipe\n'
            "  state:   nothing was written."
        )


def _shown(name: str) -> str:
    return f"the benchmark {name} of [decontamination]"
