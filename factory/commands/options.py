"""Options that several commands share. Light: `factory --help` imports this."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.vocabulary import ProblemFormat

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
Home = Annotated[Path | None, typer.Option(help="Where everything is kept. Default: $FACTORY_HOME or warehouse/data.")]
RecipeName = Annotated[str, typer.Option(help="Name of a recipe (demo, arxiv_v1, emnlp) or path of a .toml.")]
ProblemsFile = Annotated[Path | None, typer.Option(help="A problems file instead of the recipe's sources.")]
Mapping = Annotated[list[str] | None, typer.Option("--map", help="ours=theirs, such as statement=problem; repeatable.")]
Format = Annotated[
    ProblemFormat | None, typer.Option("--format", help="Of code problems: how the file's tests are written.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first so many problems.")]
Values = Annotated[
    list[str] | None, typer.Option("--set", help="Any value of the recipe: section.key=value; repeatable.")
]


def place(home: Path | None) -> Path:
    """The home that a command means."""
    from factory.settings import default_home

    return home.expanduser() if home else default_home()
