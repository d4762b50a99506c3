"""The command line's shorthands as recipe values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.settings import parse_overrides
from schemas.errors import RecipeError
from schemas.vocabulary import Executor, ProblemFormat


def collect(
    problems: Path | None,
    mapping: Sequence[str],
    problem_format: ProblemFormat | None,
    limit: int | None,
    engine: str | None,
    model: str | None,
    urls: Sequence[str],
    executor: Executor | None,
    ray_address: str | None,
    assignments: Sequence[str],
    *,
    skip_bad_rows: bool,
) -> dict[str, Any]:
    """`section.key` -> value, of all options that were given.

    Raises:
        RecipeError: `--map` without a file, or an assignment without `=`.
    """
    values = parse_overrides(assignments)
    if problems is not None:
        pairs = dict(pair(text) for text in mapping)
        source = {"kind": "file", "path": str(problems), "map": pairs, "format": problem_format}
        values["problems.sources"] = [{key: value for key, value in source.items() if value is not None}]
    elif mapping or problem_format:
        option = "--map says which columns" if mapping else "--format says how the tests"
        raise RecipeError(f"{option} of a file are meant: it needs --problems FILE.")
    given = {
        "problems.limit": limit,
        "engine.kind": engine or ("server" if urls else None),
        "engine.model": model,
        "engine.urls": list(urls) or None,
        "executor.kind": executor or (Executor.RAY if ray_address else None),
        "executor.ray_address": ray_address,
    }
    values |= {key: value for key, value in given.items() if value is not None}
    if skip_bad_rows:
        values["problems.skip_bad_rows"] = True
    return values


def pair(text: str) -> tuple[str, str]:
    """`ours=theirs` of a --map option.

    Raises:
        RecipeError: it has no such form.
    """
    ours, sign, theirs = text.partition("=")
    if not sign or not ours.strip() or not theirs.strip():
        raise RecipeError(f"--map {text}: write it as ours=theirs, such as --map statement=problem.")
    return ours.strip(), theirs.strip()
