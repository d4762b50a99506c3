"""A whole build on the scripted engine: real sandbox, real checkers, real store, a model that is a list of rules."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

RULES: list[dict[str, Any]] = [
    # after an output: say the result
    {"pattern": r"```output\n(-?\d+)\n```\n\Z", "reply": r"So the product is \1.", "finished": True},
    # inside the opened print( of a hint: multiply; one hint in the library leads to a program that fails
    {
        "pattern": r"multiplication: (\d+) \* (\d+)\..*another way[^\n]*\n```python\nprint\(\Z",
        "reply": "undefined)\n```\n",
    },
    {"pattern": r"multiplication: (\d+) \* (\d+)\..*```python\nprint\(\Z", "reply": r"\1 * \2)" + "\n```\n"},
    {"pattern": r"Error[^\n]*\n```\n\Z", "reply": "I do not know.", "finished": True},
    # the baseline: right where a factor ends in 1, wrong elsewhere
    {
        "pattern": r"multiplication: (\d+) \* 11\..*<assistant>\n\Z",
        "reply": "That is easy. It is 11.",
        "finished": True,
    },
    {
        "pattern": r"multiplication: (\d+) \* (\d+)\..*<assistant>\n\Z",
        "reply": "Let me multiply. Wait, that is hard. It is \\1.",
        "finished": True,
    },
]
PRODUCTS = '{ kind = "reasoning-gym", task = "products", count = COUNT, seed = 3, licence = "Apache-2.0" }'
RECIPE = """
description = "test"
seed = 5
[problems]
sources = [SOURCE]
[engine]
kind = "scripted"
model = "SCRIPT"
max_running = 8
[prompt]
system = "You can run Python."
[hint]
cuts = ["start", "sentence", "conjunction"]
code_start = "print("
branches = 2
[judge]
n_workers = 1
[repair]
rules = ["cut_loop", "drop_trailing_open_block"]
[decontamination]
benchmarks = [{ kind = "reasoning-gym", task = "products", count = 30, seed = 900 }]
"""


def write_recipe(folder: Path, *, count: int = 24, extra: str = "") -> Path:
    """A script and a recipe that uses it."""
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps(rule) + "\n" for rule in RULES))
    recipe = folder / "test.toml"
    text = RECIPE.replace("SOURCE", PRODUCTS).replace("COUNT", str(count)).replace("SCRIPT", str(script))
    recipe.write_text(text + extra)
    return recipe


def factory(
    *arguments: str | Path, home: Path, seconds: float = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    return subprocess.run(
        command(*arguments),
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        **options,
    )


def command(*arguments: str | Path) -> list[str]:
    """The command line as a list."""
    return [sys.executable, "-m", "factory.cli", *map(str, arguments)]


def environment(home: Path) -> dict[str, str]:
    """This process's environment with another home."""
    return {**os.environ, "FACTORY_HOME": str(home), "HF_HUB_OFFLINE": "1"}
