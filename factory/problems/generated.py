"""Generated problems: `reasoning-gym` makes them in any number, offline, and ships the scorer of each task.

`meta` holds what that scorer needs: {"task", "params", "entry"}, where `entry` is what the generator gave (question,
answer, metadata) after JSON, so tuples are lists. Two tasks of 0.1.25 (`arc_agi`, `rearc`) compare tuples and do
not accept their own gold after that; the gold check marks their problems.
"""

import difflib
import json
from collections.abc import Iterator
from typing import Any

from factory.problems.rows import problem_id
from schemas.errors import RecipeError
from schemas.recipe import Source
from schemas.records import Problem
from schemas.vocabulary import VerifierName

LICENCE = "Apache-2.0"


def generate(source: Source) -> Iterator[Problem]:
    """The problems of one task, lazily, in the generator's order. A repeated problem is left out, silently.

    The problems of a smaller `count` are the first of a larger one's, so a raised count only adds.

    Raises:
        RecipeError: unknown task, settings that the task does not have or refuses, or a task without gold answers.
    """
    task, count = str(source.task), source.count or 0
    dataset = _dataset(task, count, source)
    seen: set[str] = set()
    for index in range(count):
        try:
            entry = dataset[index]
            meta = json.dumps({"task": task, "params": source.params, "entry": entry}, ensure_ascii=False)
        except Exception as error:
            raise RecipeError(f"reasoning-gym task '{task}': problem {index} cannot be made: {_why(error)}") from error
        if entry["answer"] is None:
            raise RecipeError(f"reasoning-gym task '{task}' gives no reference answers, so nothing can be verified.")
        statement, gold = str(entry["question"]), str(entry["answer"])
        identity = problem_id(source.domain, statement, gold, None)
        if identity in seen:
            continue
        seen.add(identity)
        yield Problem(
            problem_id=identity,
            domain=source.domain,
            source=f"reasoning-gym/{task}",
            split=source.split,
            statement=statement,
            gold_answer=gold,
            difficulty=_difficulty(entry),
            licence=LICENCE,
            verifier=VerifierName.REASONING_GYM,
            meta=meta,
        )


def _dataset(task: str, count: int, source: Source) -> Any:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        close = difflib.get_close_matches(task, DATASETS, n=3, cutoff=0.5)
        hint = (
            f"Close names: {', '.join(close)}." if close else f"It has {len(DATASETS)}: {', '.join(sorted(DATASETS))}."
        )
        raise RecipeError(f"reasoning-gym has no task '{task}'. {hint}")
    known = sorted(set(DATASETS[task][1].__dataclass_fields__) - {"size", "seed"})
    for name in source.params:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"Close names: {', '.join(close)}. " if close else ""
            raise RecipeError(f"reasoning-gym task '{task}' has no setting '{name}'. {hint}It has: {', '.join(known)}.")
    try:
        return reasoning_gym.create_dataset(task, size=count, seed=source.seed, **source.params)
    except Exception as error:
        raise RecipeError(f"reasoning-gym task '{task}' refuses {source.params}: {_why(error)}") from error


def _difficulty(entry: dict[str, Any]) -> str | None:
    """What the generator says of it, as JSON; null where it says nothing."""
    difficulty = (entry.get("metadata") or {}).get("difficulty")
    return json.dumps(difficulty) if difficulty else None


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
