"""The `factory` command: a list of thin calls. Heavy libraries are imported by the command that needs them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from factory.commands.options import INTERRUPTED, Format, Home, Limit, Mapping, ProblemsFile, RecipeName, Values, place
from factory.commands.replay import replay
from factory.commands.versions import diff, gc, lineage, rebuild, rollback
from schemas.errors import FactoryError, UsageError
from schemas.protocols import Limits
from schemas.vocabulary import Build, Executor, ExportFormat, SandboxLevel

app = typer.Typer(
    help="A dataset factory for reasoning models that use Python (an open START).",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
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


@app.command()
def build(
    dataset: Annotated[
        Build,
        typer.Argument(
            help="d_seed: hints on what the model gets wrong. d_start: a trained model's own samples with tools. "
            "d_rft: the ablation, samples without tools. d_import: trajectories written elsewhere, from --trajectories."
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of a recipe or path of a .toml. Default: demo; of d_import: import."),
    ] = None,
    problems: ProblemsFile = None,
    trajectories: Annotated[
        Path | None,
        typer.Option(
            help="d_import: a file of texts or chats. --map says which columns are text (or messages), "
            "statement, gold_answer, model, label."
        ),
    ] = None,
    map_: Mapping = None,
    format_: Format = None,
    limit: Limit = None,
    engine: Annotated[str | None, typer.Option(help="transformers, vllm, server or scripted.")] = None,
    model: Annotated[
        str | None, typer.Option(help="`embedded`, a hub id or a local folder. d_start needs it: START-0.")
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option(help="Of a server, such as http://127.0.0.1:8000; repeatable. Engine `server`.")
    ] = None,
    executor: Annotated[Executor | None, typer.Option(help="local: this process. ray: tasks of a Ray cluster.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="Of a running cluster. Default: one of this machine.")] = None,
    set_: Values = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Put bad rows into raw.rejected_problems and go on.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--i-trust-this-code", help="Run model code unisolated where the kernel refuses; marked.")
    ] = False,
    home: Home = None,
) -> None:
    """Build a dataset and promote it as the next snapshot; the same command goes on where it was broken off."""
    import asyncio

    from factory.builds.d_import import build_d_import
    from factory.builds.d_seed import build_d_seed
    from factory.builds.d_start import build_sampled
    from factory.overrides import collect
    from factory.progress import Reporter
    from factory.settings import load_recipe

    if dataset is Build.D_START and model is None:
        raise UsageError("build d_start samples a trained model: name it with --model (a folder of `train run`).")
    if (problems if dataset is Build.D_IMPORT else trajectories) is not None:
        raise UsageError(
            "--trajectories is for d_import, which takes its problems from there, --problems for the others."
        )
    file = trajectories or problems
    overrides = collect(
        file, map_ or [], format_, limit, engine, model, url or [], executor, ray_address, set_ or [],
        skip_bad_rows=skip_bad_rows,
    )  # fmt: skip
    recipe = recipe or ("import" if dataset is Build.D_IMPORT else "demo")
    settings, at, ui = load_recipe(recipe, overrides), place(home), Reporter()
    if dataset is Build.D_IMPORT:
        building = build_d_import(settings, at, ui, trust=trust)
    elif dataset is Build.D_SEED:
        building = build_d_seed(settings, at, ui, trust=trust)
    else:
        building = build_sampled(dataset, settings, at, ui, trust=trust)
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


@app.command()
def decontaminate(
    recipe: RecipeName = "demo",
    problems: ProblemsFile = None,
    map_: Mapping = None,
    format_: Format = None,
    limit: Limit = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="aime24, NAME=FILE or org/name?split=test, instead of the recipe's benchmarks; repeatable."),
    ] = None,
    set_: Values = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Leave bad rows out and go on.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Also what each method and threshold would remove.")] = False,
    out: Annotated[Path | None, typer.Option(help="Evidence as rows: .jsonl, .jsonl.gz or .parquet.")] = None,
) -> None:
    """Compare problems with benchmarks, with evidence, before anything is built; nothing is stored."""
    from factory.contamination import decontaminate as compare
    from factory.overrides import collect
    from factory.settings import load_recipe

    overrides = collect(
        problems, map_ or [], format_, limit, None, None, [], None, None, set_ or [], skip_bad_rows=skip_bad_rows
    )
    if problems is not None and limit is None:
        overrides["problems.limit"] = None  # the recipe's limit is about its own sources
    if against:
        overrides["decontamination.benchmarks"] = against
    compare(load_recipe(recipe, overrides), report=report, out=out)


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
    """What is under way, and what the home holds: runs, trajectories, snapshots."""
    from factory.views import show_status

    show_status(place(home))


@app.command()
def sql(
    query: Annotated[str | None, typer.Argument(help='Such as "from marts.funnel".')] = None,
    file: Annotated[Path | None, typer.Option(help="A file that holds the query.")] = None,
    csv: Annotated[bool, typer.Option(help="Print CSV instead of a table.")] = False,
    home: Home = None,
) -> None:
    """Ask the warehouse (DuckDB SQL, read-only). Without a query: the tables and what they hold."""
    from factory.views import show_query

    show_query(place(home), query, file, as_csv=csv)


@app.command()
def why(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A problem_id or a trajectory_id; its beginning will do.")],
    snapshot: Annotated[
        str | None, typer.Option(help="As d_seed@v1 saw it. Default: the last run, else the newest that has it.")
    ] = None,
    home: Home = None,
) -> None:
    """The whole story of one problem: baseline, hints, tool calls, verdicts, drop reasons."""
    from factory.views import show_story

    show_story(place(home), id_, snapshot)


for command in (diff, lineage, rollback, rebuild, gc):
    app.command()(command)


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
    export_snapshot(place(home), snapshot, format_, out, options)


app.command()(replay)


@app.command()
def doctor() -> None:
    """What this machine offers: Python, packages, sandbox levels, the embedded model."""
    from factory.doctor import show_doctor

    show_doctor()


if __name__ == "__main__":
    main()
