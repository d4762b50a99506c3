"""What `train eval` does with its options before and after the evaluation itself."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from factory.commands.options import INTERRUPTED
from factory.overrides import pair
from factory.progress import Reporter
from factory.settings import default_home, load_recipe, parse_overrides
from schemas.errors import UsageError
from schemas.vocabulary import EvalArm
from train.benchmarks import load_benchmarks
from train.evaluate import Order, evaluate
from train.report import leaderboard
from train.windows import Window, parse_date
from warehouse.store import Store

ARMS = (EvalArm.PLAIN, EvalArm.TOOLS, EvalArm.HINT)


def run_evaluation(
    on: Sequence[str],
    model: str | None,
    label: str | None,
    recipe_name: str,
    arms: str,
    n_rounds: int,
    n_samples: int,
    temperature: float,
    top_p: float,
    max_tokens: int | None,
    limit: int | None,
    released_after: str | None,
    released_before: str | None,
    mapping: Sequence[str],
    assignments: Sequence[str],
    home: Path | None,
    *,
    trust: bool,
) -> None:
    """Load, evaluate, print the leaderboard's rows.

    Raises:
        UsageError: an unknown arm or benchmark, several greedy samples, a window that leaves nothing.
        FactoryError: see `train.evaluate.evaluate`.
    """
    if n_samples > 1 and temperature == 0:
        raise UsageError(f"--samples {n_samples} at temperature 0 would be {n_samples} times the same; try 0.6.")
    recipe = load_recipe(recipe_name, _overrides(model, temperature, top_p, max_tokens, assignments))
    order = Order(_arms(arms), n_rounds, n_samples, _label(label))
    after, before = parse_date(released_after, "--released-after"), parse_date(released_before, "--released-before")
    window = Window(after, before, limit, dict(pair(text) for text in mapping))
    wanted = [name.strip() for text in on for name in text.split(",") if name.strip()]
    home, ui = (home.expanduser() if home else default_home()), Reporter()
    benchmarks = load_benchmarks(wanted, recipe, window, base=Path.cwd())
    for benchmark in benchmarks:
        if benchmark.n_left_out:
            ui.say(f"{benchmark.name}: {benchmark.n_left_out:,} bad or repeated rows were left out")
    try:
        done = asyncio.run(evaluate(recipe, benchmarks, order, home, ui, trust=trust))
    except KeyboardInterrupt:  # caught here, because typer would end without a word
        print("interrupted: everything finished is stored; the same command goes on.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    with Store(home).read() as con:
        leaderboard(con, done.evaluation_ids, [benchmark.name for benchmark in benchmarks])
    print(f"{done.n_generated:,} newly generated")


def _overrides(
    model: str | None, temperature: float, top_p: float, max_tokens: int | None, assignments: Sequence[str]
) -> dict[str, Any]:
    """The command line as values of the recipe; what is set by hand counts more."""
    values: dict[str, Any] = {"engine.model": model} if model else {}
    for section in ("baseline", "hint"):
        values |= {f"{section}.temperature": temperature, f"{section}.top_p": top_p}
        if max_tokens is not None:
            values[f"{section}.max_tokens"] = max_tokens
    return values | parse_overrides(assignments)


def _arms(text: str) -> tuple[EvalArm, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in ARMS]:
        raise UsageError(f"--arms {text}: '{unknown[0]}' is no arm. Known: {', '.join(ARMS)}.")
    if not names:
        raise UsageError(f"--arms names none of {', '.join(ARMS)}.")
    return tuple(EvalArm(name) for name in names)


def _label(label: str | None) -> str | None:
    """A label may not hold what `train compare` reads as the start of an arm."""
    if label is not None and (":" in label or not label.strip()):
        raise UsageError("--label is a word without ':'.")
    return label
