"""The `train` command: a list of thin calls. Heavy libraries are imported by the command that needs them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from factory.cli import run_app
from factory.commands.options import INTERRUPTED

app = typer.Typer(
    help="Train on snapshots of the factory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run a command; a mistake of the user's ends in its message, without a traceback."""
    run_app(app)


@app.callback()
def train() -> None:
    """Train on snapshots of the factory."""


@app.command()
def examples(
    snapshot: Annotated[str, typer.Argument(help="Such as d_seed@latest, d_seed@v3, or a folder.")],
    out: Annotated[Path | None, typer.Option(help="Write input_ids and labels to this Parquet file.")] = None,
    model: Annotated[str, typer.Option(help="Whose tokenizer: `embedded`, a hub id or a local folder.")] = "embedded",
    hint_loss: Annotated[bool, typer.Option(help="Let hints carry loss.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where snapshots are kept. Default: as for factory.")] = None,
) -> None:
    """Turn a snapshot into token ids and labels, and say how many tokens carry loss."""
    from train.pretokenise import pretokenise

    pretokenise(snapshot, out, model, home, hint_loss=hint_loss)


@app.command()
def run(
    snapshot: Annotated[str, typer.Argument(help="Such as d_seed@latest, d_seed@v3, or a folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the trained model; an interrupted training goes on there.")],
    model: Annotated[str, typer.Option(help="What to train: `embedded`, a hub id or a local folder.")] = "embedded",
    recipe: Annotated[str, typer.Option(help="Name of a recipe (demo, arxiv_v1) or path of a .toml.")] = "demo",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any value of the recipe: section.key=value; repeatable.")
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Where snapshots are kept. Default: as for factory.")] = None,
) -> None:
    """Train a model on a snapshot; the same command goes on where it was interrupted."""
    from factory.settings import default_home
    from train.recipe import load_training_recipe

    settings = load_training_recipe(recipe, set_ or [])
    try:
        from train.sft import train_model

        train_model(snapshot, model, settings, out, home or default_home())
    except KeyboardInterrupt:  # caught here, because typer would end without a word
        print(f"interrupted: the same command goes on from the newest checkpoint in {out}.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


@app.command("eval")
def eval_(
    on: Annotated[
        list[str],
        typer.Option(help="Benchmarks: aime24,math500=FILE,org/name,reasoning-gym:TASK?seed=7,held-out; repeatable."),
    ],
    model: Annotated[
        str | None, typer.Option(help="`embedded`, a hub id or a local folder. Default: the recipe's.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="What `train compare` calls it. Default: the model's name.")] = None,
    recipe: Annotated[str, typer.Option(help="Prompt, sandbox, judge and hints: a recipe's name or path.")] = "demo",
    arms: Annotated[str, typer.Option(help="Of plain, tools, hint.")] = "plain",
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Rounds of hints in the arm hint.")] = 1,
    samples: Annotated[int, typer.Option(min=1, help="Answers per problem.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")] = 1.0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of an answer, and of each round. Default: the recipe's.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems of each.")] = None,
    released_after: Annotated[str | None, typer.Option(help="Only problems released on this day or later.")] = None,
    released_before: Annotated[str | None, typer.Option(help="Only problems released on this day or before.")] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", help="ours=theirs, for columns; repeatable.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any value of the recipe: section.key=value; repeatable.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--i-trust-this-code", help="Run model code unisolated where the kernel refuses; marked.")
    ] = False,
    home: Annotated[Path | None, typer.Option(help="Where results are kept. Default: as for factory.")] = None,
) -> None:
    """Answer benchmarks without and with tools and hints, and put the results on marts.leaderboard."""
    from train.commands import run_evaluation

    run_evaluation(
        on, model, label, recipe, arms, rounds, samples, temperature, top_p, max_tokens, limit,
        released_after, released_before, map_ or [], set_ or [], home, trust=trust,
    )  # fmt: skip


@app.command()
def compare(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Labels, models, folders; base:hint2 is one arm."),
    ],
    on: Annotated[list[str] | None, typer.Option(help="Only these benchmarks; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Draw plots (PNG and CSV) into this folder.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where results are kept. Default: as for factory.")] = None,
) -> None:
    """Print evaluated models side by side, with 95 % intervals and paired differences from the first; draw plots."""
    from train.compare import show_comparison

    show_comparison(models, on or [], out, home)


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="Recorded outputs; the rows of one problem are its samples.")],
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="ours=theirs; ours: statement, gold_answer, text, problem_id.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")] = None,
    label: Annotated[str | None, typer.Option(help="Store the results under this label.")] = None,
    trust: Annotated[
        bool, typer.Option("--i-trust-this-code", help="Judge unconfined where the kernel refuses confinement.")
    ] = False,
    home: Annotated[Path | None, typer.Option(help="Where to store them. Default: as for factory.")] = None,
) -> None:
    """Grade outputs that were made elsewhere; nothing is stored without --label or --home."""
    from train.grade import grade_file

    grade_file(file, map_ or [], limit, label, home, trust=trust)


if __name__ == "__main__":
    main()
