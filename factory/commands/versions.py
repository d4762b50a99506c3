"""Commands about versions: diff, lineage, rollback, rebuild, gc."""

from enum import StrEnum
from typing import Annotated

import typer

from factory.commands.options import Home, place

Snapshot = Annotated[str, typer.Argument(help="d_seed@v3, d_seed@latest, a folder, or hf://org/name@revision.")]
OwnSnapshot = Annotated[str, typer.Argument(help="A version of this home, such as d_seed@v1.")]
SHOWN_ROWS = 10


class LineageFormat(StrEnum):
    """How a lineage is printed."""

    TABLE = "table"
    MERMAID = "mermaid"
    JSON = "json"


def diff(
    old: Snapshot,
    new: Snapshot,
    rows: Annotated[bool, typer.Option("--rows", help="List every row. Default: the first of each change.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with every row.")] = False,
    home: Home = None,
) -> None:
    """What changed between two snapshots: rows with their reasons, settings, the funnels side by side."""
    from factory.progress import make_console, make_table
    from factory.versions.diff import FUNNEL_NAMES
    from factory.versions.diff import diff as compare

    found = compare(place(home), old, new)
    if as_json:
        print(found.as_json())
        return
    out = make_console()
    counts = ", ".join(f"{n:,} {change}" for change, n in found.counts().items())
    print(f"{found.old.snapshot} -> {found.new.snapshot}: {counts}, {found.n_same:,} the same")
    shown, total = [], len(found.rows)
    for change in found.counts():
        own = [row for row in found.rows if row["change"] == change]
        shown += own if rows else own[:SHOWN_ROWS]
    if shown:
        table = [
            [row[k] or "" for k in ("change", "trajectory_id", "problem_id", "reason", "detail", "by")] for row in shown
        ]
        title = f"Rows, {len(shown):,} of {total:,}" + ("" if len(shown) == total else " (--rows lists all)")
        out.print(
            make_table(("change", "trajectory", "problem", "reason", "detail", "replaced by"), table, title=title)
        )
    if found.note:
        print(found.note)
    if found.settings:
        out.print(
            make_table(("kind", "name", found.old.snapshot, found.new.snapshot), found.settings, title="Settings")
        )
    funnel = [["" if value is None else value for value in row] for row in found.funnel]
    out.print(make_table(FUNNEL_NAMES, funnel, title="Funnels"))


def lineage(
    snapshot: Snapshot,
    format_: Annotated[LineageFormat, typer.Option("--format", help="How to print it.")] = LineageFormat.TABLE,
    home: Home = None,
) -> None:
    """What a snapshot was made from: run, recipe, SQL, shards, model, and what trained that model."""
    import json

    from factory.progress import make_console, make_table
    from factory.versions.lineage import lineage as follow

    graph = follow(place(home), snapshot)
    if format_ is LineageFormat.JSON:
        print(json.dumps(graph.as_dict(), indent=2))
    elif format_ is LineageFormat.MERMAID:
        print(graph.mermaid())
    else:
        made = {source: graph.nodes[of].name for of, source in graph.edges}
        table = [
            [
                node.kind,
                node.name,
                made.get(node.id, ""),
                "\n".join(f"{k} {_short(v)}" for k, v in node.facts.items() if v),
            ]
            for node in graph.nodes.values()
        ]
        make_console().print(make_table(("what", "name", "used by", "facts"), table))


def _short(value: object) -> str:
    """A whole SHA-256 is for `--format json`."""
    text = str(value)
    return text[:16] if len(text) == 64 else text


def rollback(
    snapshot: OwnSnapshot,
    reason: Annotated[str, typer.Option(help="Why, for `factory status`.")] = "",
    home: Home = None,
) -> None:
    """Make another version the latest; nothing is deleted, and the next new version ends it."""
    from factory.versions.rollback import rollback as go_back

    print(go_back(place(home), snapshot, reason))


def rebuild(
    snapshot: OwnSnapshot,
    verify: Annotated[bool, typer.Option("--verify", help="Only compare; write nothing into the home.")] = False,
    home: Home = None,
) -> None:
    """Make a snapshot's rows again from the shards: to verify it, or to restore lost or damaged data files."""
    from factory.versions.rebuild import rebuild as make_again

    print(make_again(place(home), snapshot, verify=verify))


def gc(
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Default: only say what would be done.")] = False,
    home: Home = None,
) -> None:
    """Remove what no snapshot, evaluation or last run needs, and join small shards."""
    from factory.progress import make_console, make_table
    from factory.versions.gc import collect_garbage, describe

    removals = collect_garbage(place(home), apply=apply)
    if not removals:
        print("nothing to remove")
        return
    names = ("what", "why", "files", "rows removed", "bytes")
    make_console().print(make_table(names, describe(removals)))
    print("done" if apply else "nothing was changed; factory gc --apply does it")
