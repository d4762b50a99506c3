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

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from factory.problems import source_name
from factory.problems.registry import Read, read_benchmark, read_source
from factory.settings import fingerprint
from schemas.errors import UsageError
from schemas.recipe import Recipe, Source
from schemas.vocabulary import SourceKind
from train.windows import Benchmark, Window, windowed

HELD_OUT = "held-out"
GENERATOR = "reasoning-gym:"
HELD_OUT_SEED, HELD_OUT_COUNT = 900_001, 100


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
    limit = None if window.after or window.before else window.limit
    found: dict[str, Benchmark] = {}
    for text in wanted:
        for place in _held_out(recipe) if text == HELD_OUT else (text,):
            read = _read(place, recipe, window, base, limit)
            if read.name in found:
                raise UsageError(f"--on names {read.name} twice.")
            found[read.name] = windowed(read.name, read.items, read.bad, window)
    return list(found.values())


def _held_out(recipe: Recipe) -> Sequence[Source | str]:
    if not recipe.decontamination.benchmarks:
        raise UsageError(f"recipe {recipe.name} names no decontamination.benchmarks, so it has no held-out problems.")
    return recipe.decontamination.benchmarks


def _read(place: Source | str, recipe: Recipe, window: Window, base: Path, limit: int | None) -> Read:
    if isinstance(place, str) and place.startswith(GENERATOR):
        place = _generator(place.removeprefix(GENERATOR), recipe)
    if isinstance(place, Source):
        return read_source(place, base=base, name=_name(place), limit=limit)
    return read_benchmark(place, base=base, mapping=window.mapping, limit=limit)


def _name(source: Source) -> str:
    params = f".{fingerprint(source.params)[:4]}" if source.params else ""
    return source_name(source) + (f"@{source.seed}{params}" if source.kind is SourceKind.REASONING_GYM else "")


def _generator(text: str, recipe: Recipe) -> Source:
    task, _, query = text.partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
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
