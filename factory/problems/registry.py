"""Benchmarks by name: what `train eval --on` asks, and what `[decontamination]` keeps out of the training data.

    aime24                            of the registry (benchmarks.toml), from the hub
    aime24=copy.jsonl.gz              the same from a file or dataset folder
    mine=problems.jsonl               any file of statements and golds
    org/name?split=test&config=main   any dataset of the hub

Bad and repeated rows are left out and counted.
"""

import difflib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from factory.problems import files, hub, load_source
from factory.problems.formats import CODE_FORMATS, OPTIONAL, bare_statement, choice
from factory.problems.rows import Bad
from quality.decontamination.find import BenchmarkItem
from schemas.errors import ProblemsError, UsageError
from schemas.recipe import Decontamination, Source
from schemas.records import Problem
from schemas.vocabulary import Domain, SourceKind

FORMATS: dict[str, Callable[..., Problem]] = {"choice": choice} | {str(key): made for key, made in CODE_FORMATS.items()}
REGISTRY = Path(__file__).parent / "benchmarks.toml"
_SETTINGS = ("config", "split", "revision")


@dataclass(frozen=True)
class Read:
    """A benchmark that is being read."""

    name: str
    items: Iterator[tuple[str, Problem]]
    """Item, a number from 1, and problem."""
    bad: list[str]
    """What is wrong with rows that were left out; grows while the items are read."""


def registry() -> dict[str, dict[str, Any]]:
    """The registered benchmarks."""
    return tomllib.loads(REGISTRY.read_text(encoding="utf-8"))


def read_benchmark(
    text: str, *, base: Path, mapping: Mapping[str, str] | None = None, limit: int | None = None
) -> Read:
    """A benchmark that the module's docstring shows how to name.

    Args:
        text: Its name.
        base: Folder that relative paths start from.
        mapping: Our column -> the source's, in place of what the registry says.
        limit: Rows that are enough; only a hint.

    Raises:
        UsageError: unknown name or setting.
        ProblemsError: it cannot be read, is gated, or has other columns.
    """
    place, _, query = text.partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    name, sign, path = place.partition("=")
    entry = registry().get(name)
    if entry is None and not sign and "/" not in name:
        known = registry()
        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"no benchmark is called '{name}'." + (f" Did you mean '{close[0]}'?" if close else "") + "\n"
            f"  known:  {', '.join(known)}\n"
            "  or:     NAME=FILE, a hub id such as org/name?split=test"
        )
    if unknown := settings.keys() - set(_SETTINGS):
        raise UsageError(
            f"benchmark {text}: unknown setting {', '.join(sorted(unknown))}; known: {', '.join(_SETTINGS)}"
        )
    entry = (entry or {"path": name, "split": "test", "format": "answer", "columns": {}}) | settings
    return _registered(name, entry, path or None, mapping or {}, base, limit)


def load_items(settings: Decontamination, *, base: Path) -> list[BenchmarkItem]:
    """What must not be trained on: every usable row of every benchmark of a recipe.

    Raises:
        UsageError: unknown name.
        ProblemsError: a benchmark cannot be read, is gated, or holds nothing usable.
        RecipeError: unknown task, setting or column of a source.
    """
    items = []
    for place in settings.benchmarks:
        read = read_benchmark(place, base=base) if isinstance(place, str) else read_source(place, base=base)
        found = [BenchmarkItem(read.name, item, bare_statement(problem)) for item, problem in read.items]
        if not found:
            raise ProblemsError(
                f"benchmark {read.name} of [decontamination] holds no usable row: {'; '.join(read.bad[:3])}\n"
                "  next:    mend it, or take it out of decontamination.benchmarks\n  state:   nothing was written."
            )
        items += found
    return items


def read_source(source: Source, *, base: Path, name: str | None = None, limit: int | None = None) -> Read:
    """A source of a recipe, through the factory's own loader; the name is the source's unless given.

    Raises:
        ProblemsError: it cannot be read.
        RecipeError: unknown task, setting or column.
    """
    loaded = load_source(source.model_copy(update={"limit": limit}) if limit else source, base=base)
    bad = [f"row {row['line']}: {row['reason']}: {row['detail']}" for row in loaded.rejected]
    return Read(name or loaded.name, ((str(i), problem) for i, problem in enumerate(loaded.problems, 1)), bad)


def _registered(
    name: str, entry: dict[str, Any], path: str | None, mapping: Mapping[str, str], base: Path, limit: int | None
) -> Read:
    is_file = path is not None and not (base / Path(path).expanduser()).is_dir()
    is_folder = path is not None and not is_file
    source = Source(
        kind=SourceKind.FILE if is_file else SourceKind.HUB,
        path=path or entry["path"],
        config=None if is_folder else entry.get("config"),
        revision=entry.get("revision"),
        split=entry["split"],
        domain=Domain(entry.get("domain", Domain.MATH)),
        licence=entry.get("licence"),
    )

    def read() -> Iterator[tuple[int, Any]]:
        return files.read_rows(base / Path(str(path)).expanduser()) if is_file else hub.read_rows(source, base=base)

    try:
        columns = next((set(row) for _, row in read() if not isinstance(row, Bad)), set())
        chosen = _choose(entry["columns"], columns, mapping)
        if entry["format"] == "answer":
            return read_source(source.model_copy(update={"map": chosen}), base=base, name=name, limit=limit)
        items, bad = _converted(read(), FORMATS[entry["format"]], chosen, columns, name, str(source.licence))
        return Read(name, items, bad)
    except ProblemsError as error:
        if str(error).startswith(str(source.path)):
            raise
        raise ProblemsError(f"{name} ({source.path}): {error}\n  state:   nothing was written.") from None


def _choose(columns: Mapping[str, Sequence[str]], there: set[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Of each of our columns the first of theirs that is there; else the first, for the message that it is missing."""
    chosen = {ours: next((name for name in theirs if name in there), theirs[0]) for ours, theirs in columns.items()}
    return {**chosen, **mapping}


def _converted(
    rows: Iterable[tuple[int, Any]],
    convert: Callable[[Mapping[str, Any], str, str], Problem],
    chosen: Mapping[str, str],
    columns: set[str],
    name: str,
    licence: str,
) -> tuple[Iterator[tuple[str, Problem]], list[str]]:
    missing = [theirs for ours, theirs in chosen.items() if theirs not in columns and ours not in OPTIONAL]
    if missing:
        raise ProblemsError(
            f"no column {', '.join(missing)}.\n  columns: {', '.join(sorted(columns))}\n  next:    --map"
        )
    bad: list[str] = []

    def items() -> Iterator[tuple[str, Problem]]:
        for line, row in rows:
            try:
                yield str(line), convert({ours: row.get(theirs) for ours, theirs in chosen.items()}, name, licence)
            except Exception as error:  # a row that its format's reader cannot use, whatever the reason
                bad.append(f"row {line}: {type(error).__name__}: {error}")

    return items(), bad
