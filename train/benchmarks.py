"""What `--on` names: benchmarks of the registry (benchmarks.toml), files, hub datasets, generators, the held-out set.

    aime24                            of the registry, from the hub
    aime24=copy.jsonl.gz              the same from a file or dataset folder
    mine=problems.jsonl               any file of statements and golds (--map ours=theirs)
    org/name?split=test&config=main   any dataset of the hub
    reasoning-gym:products?count=200&seed=900011&max_digits=3
    held-out                          the recipe's decontamination.benchmarks, which no build trains on

A benchmark's name is part of every result's key: a generator's holds its seed and a hash of its settings, so that two
of one task are two benchmarks. Bad and repeated rows are left out and counted.
"""

import difflib
import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from factory.problems import files, hub, load_source, source_name
from factory.problems.formats import CODE_FORMATS, OPTIONAL, choice
from factory.problems.rows import Bad
from factory.settings import fingerprint
from schemas.errors import ProblemsError, UsageError
from schemas.recipe import Recipe, Source
from schemas.records import Problem
from schemas.vocabulary import Domain, SourceKind
from train.windows import Benchmark, Window, windowed

FORMATS: dict[str, Callable[..., Problem]] = {"choice": choice} | {str(key): made for key, made in CODE_FORMATS.items()}
REGISTRY = Path(__file__).parent / "benchmarks.toml"
HELD_OUT = "held-out"
GENERATOR = "reasoning-gym:"
HELD_OUT_SEED, HELD_OUT_COUNT = 900_001, 100


def registry() -> dict[str, dict[str, Any]]:
    """The registered benchmarks."""
    return tomllib.loads(REGISTRY.read_text(encoding="utf-8"))


def load_benchmarks(wanted: Sequence[str], recipe: Recipe, window: Window, *, base: Path) -> list[Benchmark]:
    """All benchmarks that `--on` names, in order.

    Args:
        wanted: See the module's docstring.
        recipe: For `held-out`, and for what no evaluation may use: the problems it trains on.
        window: Which part of each.
        base: Folder that relative paths start from.

    Raises:
        UsageError: unknown name, or the window leaves nothing.
        ProblemsError: a source cannot be read, is gated, or has other columns.
        RecipeError: unknown task or setting of a generator.
    """
    found: dict[str, Benchmark] = {}
    for text in wanted:
        sources = recipe.decontamination.benchmarks if text == HELD_OUT else ()
        made = [windowed(*_of_source(s, window, base), window) for s in sources] or [_load(text, recipe, window, base)]
        for benchmark in made:
            if benchmark.name in found:
                raise UsageError(f"--on names {benchmark.name} twice.")
            found[benchmark.name] = benchmark
    return list(found.values())


def _load(text: str, recipe: Recipe, window: Window, base: Path) -> Benchmark:
    place, _, query = text.partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    if text == HELD_OUT:
        raise UsageError(f"recipe {recipe.name} names no decontamination.benchmarks, so it has no held-out problems.")
    if place.startswith(GENERATOR):
        source = _generator(place.removeprefix(GENERATOR), settings, recipe)
        return windowed(*_of_source(source, window, base), window)
    name, sign, path = place.partition("=")
    entry = registry().get(name)
    if entry is None and not sign and "/" not in name:
        known = registry()
        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"no benchmark is called '{name}'." + (f" Did you mean '{close[0]}'?" if close else "") + "\n"
            f"  known:  {', '.join(known)}, {HELD_OUT}\n"
            "  or:     NAME=FILE, a hub id such as org/name?split=test, or reasoning-gym:TASK?count=200&seed=900001"
        )
    entry = entry or {"path": name, "split": "test", "format": "answer", "columns": {}}
    entry = entry | {key: value for key, value in settings.items() if key in ("config", "split", "revision")}
    if unknown := settings.keys() - {"config", "split", "revision"}:
        raise UsageError(f"--on {text}: unknown setting {', '.join(sorted(unknown))}; known: config, split, revision")
    return _registered(name, entry, path or None, window, base)


def _generator(task: str, settings: dict[str, str], recipe: Recipe) -> Source:
    params = {key: _value(value) for key, value in settings.items() if key not in ("count", "seed")}
    try:
        count, seed = int(settings.get("count", HELD_OUT_COUNT)), int(settings.get("seed", HELD_OUT_SEED))
    except ValueError:
        raise UsageError(f"--on {GENERATOR}{task}: count and seed are whole numbers.") from None
    for source in recipe.problems.sources:
        if source.kind is SourceKind.REASONING_GYM and (source.task, source.seed) == (task, seed):
            raise UsageError(
                f"recipe {recipe.name} trains on {task} with seed {seed}: those problems are not held out.\n"
                f"  next:  another seed, such as {seed + HELD_OUT_SEED}"
            )
    return Source(kind=SourceKind.REASONING_GYM, task=task, count=count, seed=seed, params=params)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _registered(name: str, entry: dict[str, Any], path: str | None, window: Window, base: Path) -> Benchmark:
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
        rows = read()
        columns = next((set(row) for _, row in rows if not isinstance(row, Bad)), set())
        chosen = _choose(entry["columns"], columns, window.mapping)
        if entry["format"] == "answer":
            return windowed(*_of_source(source.model_copy(update={"map": chosen}), window, base, name), window)
        found, n_bad = _converted(read(), FORMATS[entry["format"]], chosen, columns, name, str(source.licence))
    except ProblemsError as error:
        if str(error).startswith(str(source.path)):
            raise
        raise ProblemsError(f"{name} ({source.path}): {error}\n  state:   nothing was written.") from None
    return windowed(name, found, n_bad, window)


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


def _of_source(
    source: Source, window: Window, base: Path, name: str | None = None
) -> tuple[str, Iterator[tuple[str, Problem]], list[str]]:
    """Problems with a gold, through the factory's own loader."""
    if window.limit and not (window.after or window.before):
        source = source.model_copy(update={"limit": window.limit})
    loaded = load_source(source, base=base)
    if name is None:
        params = f".{fingerprint(source.params)[:4]}" if source.params else ""
        name = source_name(source) + (f"@{source.seed}{params}" if source.kind is SourceKind.REASONING_GYM else "")
    bad = [f"row {row['line']}: {row['reason']}: {row['detail']}" for row in loaded.rejected]
    return name, ((str(i), problem) for i, problem in enumerate(loaded.problems, 1)), bad
