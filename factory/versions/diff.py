"""`factory diff`: what changed between two snapshots, rows with their reasons and settings."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from factory.release.pull import locate
from factory.versions.frozen import frozen, stories
from schemas.errors import FactoryError, SnapshotError
from schemas.records import Manifest
from schemas.vocabulary import DropReason
from warehouse.attach import literal
from warehouse.snapshots import read_manifest
from warehouse.store import fetch

ADDED, REMOVED, CHANGED, REPLACED = "added", "removed", "changed", "replaced"
NEEDS = "marts.trajectories_scored marts.problems"
NOT_IN_RUN, NOT_OF_RUN = "problem_not_in_run", "not_made_by_run"


@dataclass(frozen=True)
class Diff:
    """Two snapshots side by side."""

    old: Manifest
    new: Manifest
    n_same: int
    rows: list[dict[str, Any]]
    """trajectory_id, problem_id, change, reason, detail; of a replaced row also `by`."""
    settings: list[tuple[str, str, str, str]]
    """What kind, name, old, new."""
    funnel: list[tuple[Any, ...]]
    """step, unit, in and kept of the old, of the new, and the differences."""
    note: str = ""
    """Why reasons are unknown, where they are."""

    def counts(self) -> dict[str, int]:
        """Rows by change."""
        return {c: sum(row["change"] == c for row in self.rows) for c in (ADDED, REMOVED, REPLACED, CHANGED)}

    def as_json(self) -> str:
        """All of it, as one JSON object."""
        return json.dumps(
            {
                "old": self.old.snapshot, "new": self.new.snapshot, "same": self.n_same, **self.counts(),
                "note": self.note, "rows": self.rows,
                "settings": [dict(zip(("kind", "name", "old", "new"), row, strict=True)) for row in self.settings],
                "funnel": [dict(zip(FUNNEL_NAMES, row, strict=True)) for row in self.funnel],
            },
            indent=2, ensure_ascii=False,
        )  # fmt: skip


FUNNEL_NAMES = ("step", "unit", "old_in", "old_kept", "new_in", "new_kept", "more_in", "more_kept")


def diff(home: Path, old: str, new: str) -> Diff:
    """Compare two snapshots.

    Args:
        home: The home. Where it holds the runs of both, every removed or added row gets its reason.
        old: Any name that `factory export` takes.
        new: Likewise.

    Raises:
        SnapshotError: there is no such snapshot, or its data cannot be read.
    """
    folders = locate(home, old), locate(home, new)
    before, after = (read_manifest(folder) for folder in folders)
    with duckdb.connect() as con:
        try:
            n_same, rows = _compare(con, *folders)
        except duckdb.Error as error:
            first = str(error).partition("\n")[0]
            raise SnapshotError(
                f"the rows of {before.snapshot} or {after.snapshot} cannot be read: {first}\n"
                f"  next:   factory rebuild SNAPSHOT --verify says what is wrong with it\n"
                "  state:  nothing was changed."
            ) from error
    note = _explain(home, before, after, rows)
    return Diff(before, after, n_same, rows, list(_settings(before, after)), _funnels(before, after), note)


def _compare(con: duckdb.DuckDBPyConnection, old: Path, new: Path) -> tuple[int, list[dict[str, Any]]]:
    """Rows that are not the same. Hashes stand for the rows, so that no text leaves the database."""
    names: list[list[str]] = []
    for side, folder in (("old", old), ("new", new)):
        files = literal(str(folder / "data" / "*.parquet"))
        con.execute(f"create view {side}_rows as select * from read_parquet({files})")
        names.append([row[0] for row in con.execute(f"describe {side}_rows").fetchall()])
    both = [name for name in names[0] if name in names[1]]
    hashes = ", ".join(f'hash("{name}")' for name in both)
    for side in ("old", "new"):
        con.execute(f"create table {side} as select trajectory_id, problem_id, [{hashes}] as h from {side}_rows")
    (n_same,) = con.execute(
        "select count(*) from old join new using (trajectory_id) where old.h = new.h"
    ).fetchone() or (0,)
    found = fetch(
        con,
        """
        with gone as (select old.* from old anti join new using (trajectory_id)),
        come as (select new.* from new anti join old using (trajectory_id)),
        pairs as (  -- the n-th that goes is replaced by the n-th that comes, of one problem
            select g.trajectory_id, c.trajectory_id as instead
            from (select *, row_number() over (partition by problem_id order by trajectory_id) as n from gone) as g
            join (select *, row_number() over (partition by problem_id order by trajectory_id) as n from come) as c
            on c.problem_id = g.problem_id and c.n = g.n
        )
        select g.trajectory_id, g.problem_id, if(p.instead is null, 'removed', 'replaced') as change, p.instead as "by",
            null as h, null as i
        from gone as g left join pairs as p on p.trajectory_id = g.trajectory_id
        union all
        select c.trajectory_id, c.problem_id, 'added', null, null, null
        from come as c where c.trajectory_id not in (select instead from pairs)
        union all
        select o.trajectory_id, o.problem_id, 'changed', null, o.h, n.h
        from old as o join new as n on n.trajectory_id = o.trajectory_id where o.h <> n.h
        order by change, problem_id, trajectory_id
        """,
    )
    rows = []
    for row in found:
        before, after = row.pop("h"), row.pop("i")  # of a changed row only
        columns = [name for i, name in enumerate(both) if before and before[i] != after[i]]
        rows.append({**row, "reason": "other content" if columns else "", "detail": ", ".join(columns)})
    return n_same, rows


def _explain(home: Path, before: Manifest, after: Manifest, rows: list[dict[str, Any]]) -> str:
    """Fill in the reasons of rows that went (under the new run) and came (under the old one)."""
    notes = []
    for manifest, changes in ((after, (REMOVED, REPLACED)), (before, (ADDED,))):
        own = [row for row in rows if row["change"] in changes]
        if not own:
            continue
        try:
            with frozen(home, manifest, NEEDS) as con:
                told = stories(con, [row["trajectory_id"] for row in own])
                problems = {
                    row["problem_id"]: row
                    for row in fetch(
                        con,
                        "select problem_id, drop_reason, selected_trajectory_id from marts.problems "
                        "where problem_id in (select unnest(?))",
                        [[row["problem_id"] for row in own]],
                    )
                }
        except FactoryError as error:
            for row in own:
                row["reason"] = "unknown"
            notes.append(f"reasons under {manifest.snapshot} are unknown: {str(error).partition(chr(10))[0]}")
            continue
        for row in own:
            story, problem = told.get(row["trajectory_id"]), problems.get(row["problem_id"])
            row["reason"], row["detail"] = _reason(story, problem)
    return "\n".join(notes)


def _reason(story: Mapping[str, Any] | None, problem: Mapping[str, Any] | None) -> tuple[str, str]:
    """Why a run does not have a row in its snapshot, and the evidence."""
    if problem is None:
        return NOT_IN_RUN, ""
    if story is None:
        return (
            (str(problem["drop_reason"]), "of the problem")
            if problem["drop_reason"]
            else (NOT_OF_RUN, "other settings, or more samples than its recipe asks for")
        )
    reason = story["drop_reason"]
    if reason == DropReason.DUPLICATE:
        return reason, f"of {story['duplicate_of']}"
    if reason == DropReason.NOT_BEST:
        return reason, f"{problem['selected_trajectory_id']} was preferred"
    if reason in {DropReason.WRONG_ANSWER, DropReason.UNDECIDED}:
        return reason, f"verdict {story['verdict']}, answer {story['answer_text']}"
    if reason == DropReason.REPETITIVE:
        return reason, f"8-grams {story['ngram_repetition']}, lines {story['line_repetition']}"
    if reason in {DropReason.NO_TOOL_SUCCESS, DropReason.TOOL_ERROR}:
        return reason, f"{story['n_tool_success']} calls ended ok, {story['n_tool_errors']} did not"
    return (str(reason), "") if reason else ("selected", "the row is in, under another representation")


def _settings(before: Manifest, after: Manifest) -> Iterator[tuple[str, str, str, str]]:
    old, new = dict(_flat(before.recipe)), dict(_flat(after.recipe))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield "recipe", key, str(old.get(key, "(none)")), str(new.get(key, "(none)"))
    for name in sorted(before.sql_hashes.keys() | after.sql_hashes.keys()):
        a, b = before.sql_hashes.get(name, ""), after.sql_hashes.get(name, "")
        if a != b:
            yield "sql", name, a[:12] or "(none)", b[:12] or "(none)"
    for field in ("engine", "tokenizer", "sandbox", "factory_version", "code_hash", "pyarrow_version", "run_id"):
        a, b = getattr(before, field), getattr(after, field)
        if a != b:
            yield "run", field, str(a), str(b)
    if before.columns != after.columns:
        gone, come = set(before.columns) - set(after.columns), set(after.columns) - set(before.columns)
        yield "columns", "of the rows", ", ".join(sorted(gone)) or "-", ", ".join(sorted(come)) or "-"


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, json.dumps(value, ensure_ascii=False)


def _funnels(before: Manifest, after: Manifest) -> list[tuple[Any, ...]]:
    steps: dict[tuple[str, str], list[Any]] = {}
    order = {(r["step"], r["unit"]): r["step_no"] for m in (before, after) for r in m.funnel}
    for side, manifest in enumerate((before, after)):
        for row in manifest.funnel:
            counts = steps.setdefault((row["step"], row["unit"]), [None] * 4)
            counts[2 * side : 2 * side + 2] = row["rows_in"], row["rows_kept"]
    rows = []
    for (step, unit), (a, b, c, d) in sorted(steps.items(), key=lambda item: order[item[0]]):
        more = [None if x is None or y is None else y - x for x, y in ((a, c), (b, d))]
        rows.append((step, unit, a, b, c, d, *more))
    return rows
