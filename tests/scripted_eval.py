"""A small evaluation on the scripted engine: real sandbox, real checkers, a model that is a list of rules."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from factory.progress import Reporter
from factory.settings import load_recipe
from schemas.vocabulary import EvalArm
from tests.scripted_build import write_recipe
from train.benchmarks import load_benchmarks
from train.evaluate import Evaluated, Order, evaluate
from train.windows import Window

ASKED = r"multiplication: (\d+) \* (\d+)\."
RULES: list[dict[str, Any]] = [
    # the third block uses what the first one defined, two rounds ago
    {"pattern": r"(?:```python.*){3}```output\n(\d+)\n```\n\Z", "reply": r"All right, \1.", "finished": True},
    {"pattern": r"(?:```python.*){3}\n\Z", "reply": "print(x)\n```\n"},
    {"pattern": r"(?:```python.*){2}```output\n(\d+)\n```\n\Z", "reply": r"Rather \1.", "finished": True},
    {"pattern": r"(?:```python.*){2}\n\Z", "reply": "print(x + 1)\n```\n"},
    {"pattern": r"```output\n(\d+)\n```\n\Z", "reply": r"So it is \1.", "finished": True},
    {"pattern": ASKED + r".*```python\n\Z", "reply": "x = \\1 * \\2\nprint(x)\n```\n"},
    # the plain answer: cut off by the budget where a factor begins with 9, else wrong
    {"pattern": ASKED.replace(r"(\d+)\.", r"(9\d+)\.") + r".*<assistant>\n\Z", "reply": "Hm, " * 200},
    {"pattern": ASKED + r".*<assistant>\n\Z", "reply": r"Easy. It is \1.", "finished": True},
]
HELD_OUT = ("held-out",)


def recipe_file(folder: Path, rules: Sequence[dict[str, Any]] = RULES) -> Path:
    """The recipe of the scripted build with another script; hints come before the stop token."""
    recipe = write_recipe(folder)
    (folder / "script.jsonl").write_text("".join(json.dumps(rule) + "\n" for rule in rules))
    text = recipe.read_text().replace('cuts = ["start", "sentence", "conjunction"]', 'cuts = ["end"]')
    recipe.write_text(text.replace('code_start = "print("', ""))
    return recipe


def run_eval(
    recipe: Path,
    home: Path,
    *arms: str,
    on: Sequence[str] = HELD_OUT,
    rounds: int = 3,
    samples: int = 1,
    limit: int | None = 8,
    label: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Evaluated:
    """`train eval` without its command line."""
    loaded = load_recipe(str(recipe), settings or {})
    benchmarks = load_benchmarks(on, loaded, Window(limit=limit), base=recipe.parent)
    order = Order(tuple(EvalArm(arm) for arm in arms or ("plain",)), rounds, samples, label)
    return asyncio.run(evaluate(loaded, benchmarks, order, home, Reporter()))


def ask(home: Path, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with duckdb.connect(str(home / "factory.duckdb"), read_only=True) as con:
        return con.sql(query).fetchall()
