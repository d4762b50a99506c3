"""The `train` command. Training itself follows; what exists is the step before it, which any trainer can use."""

from pathlib import Path
from typing import Annotated

import typer

from factory.cli import run_app

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


if __name__ == "__main__":
    main()
