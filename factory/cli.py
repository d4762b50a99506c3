"""The `factory` command: a list of thin calls. Heavy libraries are imported by the command that needs them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import FactoryError
from schemas.protocols import Limits
from schemas.vocabulary import ExportFormat, SandboxLevel

app = typer.Typer(
    help="A dataset factory for reasoning models that use Python (an open START).",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
build_app = typer.Typer(help="Build a dataset and promote it as the next snapshot.", no_args_is_help=True)
app.add_typer(build_app, name="build")

RecipeOption = Annotated[str, typer.Option(help="Name of a recipe (demo, arxiv_v1, emnlp) or path of a .toml.")]
ProblemsOption = Annotated[Path | None, typer.Option(help="A problems file instead of the recipe's sources.")]
MapOption = Annotated[
    list[str] | None, typer.Option("--map", help="ours=theirs, such as statement=problem; repeatable.")
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Use only the first so many problems.")]
EngineOption = Annotated[str | None, typer.Option(help="transformers, vllm, server or scripted.")]
ModelOption = Annotated[str | None, typer.Option(help="`embedded`, a hub id or a local folder.")]
StartModelOption = Annotated[str, typer.Option("--model", help="START-0: a folder that `train run` made, or a hub id.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Any value of the recipe: section.key=value; repeatable.")
]
SkipOption = Annotated[bool, typer.Option("--skip-bad-rows", help="Put bad rows into raw.rejected_problems and go on.")]
TrustOption = Annotated[
    bool, typer.Option("--i-trust-this-code", help="Run model code unisolated where the kernel refuses; marked.")
]
Home = Annotated[Path | None, typer.Option(help="Where everything is kept. Default: $FACTORY_HOME or warehouse/data.")]
INTERRUPTED = 130
LIMITS = Limits()


def main() -> None:
    """Run a command; a mistake of the user's ends in its message, without a traceback."""
    run_app(app)


def run_app(command: Callable[[], Any]) -> None:
    """Call a command line; errors of ours become a message and an exit code."""
    try:
        command()
    except FactoryError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stderr.close()
        sys.exit(0)


def _home(home: Path | None) -> Path:
    from factory.settings import default_home

    return home.expanduser() if home else default_home()


@build_app.command("d_seed")
def build_d_seed(
    recipe: RecipeOption = "demo",
    problems: ProblemsOption = None,
    map_: MapOption = None,
    limit: LimitOption = None,
    engine: EngineOption = None,
    model: ModelOption = None,
    set_: SetOption = None,
    skip_bad_rows: SkipOption = False,
    trust: TrustOption = False,
    home: Home = None,
) -> None:
    """Problems, baseline, hint-infer, verdicts, duplicates, repair, selection, gate, snapshot."""
    from factory.overrides import collect

    overrides = collect(problems, map_ or [], limit, engine, model, set_ or [], skip_bad_rows=skip_bad_rows)
    _build("d_seed", recipe, overrides, home, trust=trust)


@build_app.command("d_start")
def build_d_start(
    model: StartModelOption,
    recipe: RecipeOption = "demo",
    problems: ProblemsOption = None,
    map_: MapOption = None,
    limit: LimitOption = None,
    engine: EngineOption = None,
    set_: SetOption = None,
    skip_bad_rows: SkipOption = False,
    trust: TrustOption = False,
    home: Home = None,
) -> None:
    """A trained model by itself: samples with tools and without hints, verdicts, ..., at most one per problem."""
    from factory.overrides import collect

    overrides = collect(problems, map_ or [], limit, engine, model, set_ or [], skip_bad_rows=skip_bad_rows)
    _build("d_start", recipe, overrides, home, trust=trust)


@build_app.command("d_rft")
def build_d_rft(
    recipe: RecipeOption = "demo",
    problems: ProblemsOption = None,
    map_: MapOption = None,
    limit: LimitOption = None,
    engine: EngineOption = None,
    model: ModelOption = None,
    set_: SetOption = None,
    skip_bad_rows: SkipOption = False,
    home: Home = None,
) -> None:
    """The ablation: the base model's own right answers, sampled without tools from the same problems."""
    from factory.overrides import collect

    overrides = collect(problems, map_ or [], limit, engine, model, set_ or [], skip_bad_rows=skip_bad_rows)
    _build("d_rft", recipe, overrides, home, trust=False)


def _build(name: str, recipe: str, overrides: dict[str, Any], home: Path | None, *, trust: bool) -> None:
    """Run a build and say what it made."""
    import asyncio

    from factory.builds.d_seed import build_d_seed
    from factory.builds.d_start import build_sampled
    from factory.progress import Reporter
    from factory.settings import load_recipe

    settings, place, ui = load_recipe(recipe, overrides), _home(home), Reporter()
    if name == "d_seed":
        building = build_d_seed(settings, place, ui, trust=trust)
    else:
        building = build_sampled(name, settings, place, ui, trust=trust)
    try:
        built = asyncio.run(building)
    except KeyboardInterrupt:  # caught here, because typer would end without a word
        print("interrupted: everything finished is stored; the same command goes on.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    promotion = built.promotion
    if not promotion.is_new:
        print(f"unchanged, {promotion.reference}: {promotion.n_rows:,} rows, {built.n_generated:,} newly generated")
    else:
        print(f"{promotion.reference}: {promotion.n_rows:,} rows")
    folder, here = promotion.folder.absolute(), Path.cwd()
    print(f"content hash {promotion.content_hash}")
    print(folder.relative_to(here) if folder.is_relative_to(here) else folder)


@app.command("exec")
def exec_(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A Python file; - reads the code from stdin.")],
    stdin: Annotated[
        Path | None, typer.Option(help="What the program reads. Default: stdin, unless that is a terminal.")
    ] = None,
    wall_s: Annotated[float, typer.Option(help="Seconds by the clock, for each execution.")] = LIMITS.wall_s,
    cpu_s: Annotated[float, typer.Option(help="Seconds of processor time, for each execution.")] = LIMITS.cpu_s,
    memory_mb: Annotated[int, typer.Option(help="Memory, beside what the interpreter needs.")] = LIMITS.memory_mb,
    output_bytes: Annotated[int, typer.Option(help="Of stdout and of stderr.")] = LIMITS.output_bytes,
    level: Annotated[SandboxLevel | None, typer.Option(help="This isolation, or none at all is run.")] = None,
    session: Annotated[bool, typer.Option("--session", help="Run the files as blocks that share their state.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per execution.")] = False,
    trust: Annotated[
        bool, typer.Option("--i-trust-this-code", help="Run it unisolated where the kernel refuses isolation.")
    ] = False,
) -> None:
    """Run a Python file in the sandbox, as model-written code is run."""
    import asyncio

    try:
        from factory.execute import Order, execute, limits

        allowed = limits(wall_s, cpu_s, memory_mb, output_bytes)
        order = Order(files, stdin, allowed, level, session, as_json, trust)
        code = asyncio.run(execute(order))
    except KeyboardInterrupt:
        print("factory exec: interrupted; the program was killed.", file=sys.stderr)
        code = INTERRUPTED
    raise typer.Exit(code)


@app.command()
def status(home: Home = None) -> None:
    """What the home holds: tables, runs, snapshots."""
    from factory.views import show_status

    show_status(_home(home))


@app.command()
def sql(
    query: Annotated[str | None, typer.Argument(help='Such as "from marts.funnel".')] = None,
    file: Annotated[Path | None, typer.Option(help="A file that holds the query.")] = None,
    csv: Annotated[bool, typer.Option(help="Print CSV instead of a table.")] = False,
    home: Home = None,
) -> None:
    """Ask the warehouse (DuckDB SQL, read-only). Without a query: the tables and what they hold."""
    from factory.views import show_query

    show_query(_home(home), query, file, as_csv=csv)


@app.command()
def why(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A problem_id or a trajectory_id; its beginning will do.")],
    home: Home = None,
) -> None:
    """The whole story of one problem: baseline, hints, tool calls, verdicts, drop reasons."""
    from factory.views import show_story

    show_story(_home(home), id_)


@app.command()
def export(
    snapshot: Annotated[
        str, typer.Argument(help="d_seed@latest, d_seed@v3, a folder, or hf://org/name@revision (pulled and checked).")
    ],
    out: Annotated[Path, typer.Option(help="The file: its ending is .jsonl, .jsonl.gz or .parquet.")],
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="What the other trainer takes; grpo: problems with pass rates.")
    ] = ExportFormat.MESSAGES,
    tool_turns: Annotated[
        bool, typer.Option("--tool-turns", help="messages: tool output in turns of its own, role `tool`.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="pretokenised: whose tokenizer. Default: the model that wrote the snapshot.")
    ] = None,
    hint_loss: Annotated[bool, typer.Option("--hint-loss", help="pretokenised: let hints carry loss.")] = False,
    min_pass_rate: Annotated[float | None, typer.Option(help="grpo: leave out harder problems. Default: none.")] = None,
    max_pass_rate: Annotated[float | None, typer.Option(help="grpo: leave out easier problems. Default: none.")] = None,
    home: Home = None,
) -> None:
    """Write a snapshot as a file for another trainer, and say what the format cannot say."""
    from factory.release.export import Options, export_snapshot

    options = Options(tool_turns, model, hint_loss, min_pass_rate, max_pass_rate)
    export_snapshot(_home(home), snapshot, format_, out, options)


@app.command()
def doctor() -> None:
    """What this machine offers: Python, packages, sandbox levels, the embedded model."""
    from factory.doctor import show_doctor

    show_doctor()


if __name__ == "__main__":
    main()
