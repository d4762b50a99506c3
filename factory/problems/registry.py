"""Benchmarks by name: what `train eval --on` asks, and what no build trains on (`protected`).

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
from factory.problems.formats import CODE_FORMATS, OPTIONAL, choice
from factory.problems.rows import Bad
from schemas.errors import ProblemsError, UsageError
from schemas.recipe import Source
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


@dataclass(frozen=True)
class Named:
    """A benchmark that is not read yet."""

    name: str
    entry: dict[str, Any]
    """As in the registry: path, split, format, columns, ..., with the settings of the name laid over it."""
    path: str | None
    """A file or folder in place of the hub."""

    def source(self, base: Path) -> Source:
        """Where its rows are."""
        is_file = self.path is not None and not (base / Path(self.path).expanduser()).is_dir()
        return Source(
            kind=SourceKind.FILE if is_file else SourceKind.HUB,
            path=self.path or self.entry["path"],
            config=None if self.path is not None else self.entry.get("config"),
            revision=self.entry.get("revision"),
            split=self.entry["split"],
            domain=Domain(self.entry.get("domain", Domain.MATH)),
            licence=self.entry.get("licence"),
        )


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
    return read_named(find_benchmark(text), base=base, mapping=mapping, limit=limit)


def find_benchmark(text: str, more_settings: Sequence[str] = ()) -> Named:
    """What a name means, by the registry.

    Raises:
        UsageError: unknown name or setting.
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
    known_settings = (*_SETTINGS, *more_settings)
    if unknown := settings.keys() - set(known_settings):
        raise UsageError(
            f"benchmark {text}: unknown setting {', '.join(sorted(unknown))}; known: {', '.join(known_settings)}"
        )
    entry = (entry or {"path": name, "split": "test", "format": "answer", "columns": {}}) | settings
    return Named(name, entry, path or None)


def read_source(source: Source, *, base: Path, name: str | None = None, limit: int | None = None) -> Read:
    """A source of a recipe, through the factory's own loader; the name is the source's unless given.

    Raises:
        ProblemsError: it cannot be read.
        RecipeError: unknown task, setting or column.
    """
    loaded = load_source(source.model_copy(update={"limit": limit}) if limit else source, base=base)
    bad = [f"row {row['line']}: {row['reason']}: {row['detail']}" for row in loaded.rejected]
    return Read(name or loaded.name, ((str(i), problem) for i, problem in enumerate(loaded.problems, 1)), bad)


def raw_rows(source: Source, *, base: Path) -> Iterator[tuple[int, Any]]:
    """Rows of a file or a hub dataset as they are, numbered from 1."""
    if source.kind is SourceKind.HUB:
        return hub.read_rows(source, base=base)
    return files.read_rows(base / Path(str(source.path)).expanduser())


def read_named(named: Named, *, base: Path, mapping: Mapping[str, str] | None = None, limit: int | None = None) -> Read:
    """As `read_benchmark`, of a name that was looked up."""
    name, entry, source = named.name, named.entry, named.source(base)
    try:
        columns = next((set(row) for _, row in raw_rows(source, base=base) if not isinstance(row, Bad)), set())
        chosen = choose_columns(entry["columns"], columns, mapping or {})
        if entry["format"] == "answer":
            return read_source(source.model_copy(update={"map": chosen}), base=base, name=name, limit=limit)
        items, bad = _converted(
            raw_rows(source, base=base), FORMATS[entry["format"]], chosen, columns, name, str(source.licence)
        )
        return Read(name, items, bad)
    except ProblemsError as error:
        if str(error).startswith(str(source.path)):
            raise
        raise ProblemsError(f"{name} ({source.path}): {error}\n  state:   nothing was written.") from None


def choose_columns(columns: Mapping[str, Sequence[str]], there: set[str], mapping: Mapping[str, str]) -> dict[str, str]:
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
