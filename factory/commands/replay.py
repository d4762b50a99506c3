"""`factory replay`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from factory.commands.options import INTERRUPTED, Home, place

DIFFERS = 1
"""Exit code where an output differs for real."""


def replay(
    snapshot: Annotated[
        str, typer.Argument(help="d_seed@latest, d_seed@v3, a folder, or hf://org/name@revision (pulled and checked).")
    ],
    out: Annotated[
        Path | None, typer.Option(help="What differs, a row per block: .jsonl, .jsonl.gz or .parquet.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Show so many differing blocks, the classes in turn.")] = 5,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again what was replayed in this environment.")] = False,
    trust: Annotated[
        bool, typer.Option("--i-trust-this-code", help="Run it unisolated where the kernel refuses isolation.")
    ] = False,
    home: Home = None,
) -> None:
    """Run the code of every row again and compare outputs; exit 1 where one differs for real."""
    from factory.progress import Reporter
    from factory.replay.command import replay_snapshot

    try:
        n_real = replay_snapshot(place(home), snapshot, out=out, n_shown=show, fresh=fresh, trust=trust, ui=Reporter())
    except KeyboardInterrupt:
        print("interrupted: what was replayed is stored; the same command goes on.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if n_real:
        print(f"{n_real:,} outputs are not what their code prints.", file=sys.stderr)
        raise typer.Exit(DIFFERS)
