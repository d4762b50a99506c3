"""The problems of a build with the shares of right answers, as TRL's GRPO takes them: prompts, and what a reward needs.

All columns but `prompt` reach a reward function as keyword arguments, one value per completion; `train.grpo` has one
that calls the problem's own verifier. Pass rates are those of `marts.pass_rates`: measured with the very prompt that
the row holds, by the model that the snapshot names. A problem that is always or never solved gives GRPO nothing to
compare, so the two bounds leave such problems out where wanted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from factory.views import open_warehouse
from schemas.errors import HomeError, UsageError
from schemas.records import Manifest
from schemas.tables import FLOAT, INT, MESSAGE, STRING
from schemas.vocabulary import Domain

PROBLEM_SET = pa.schema(
    [
        pa.field("prompt", pa.list_(MESSAGE)),
        pa.field("answer", STRING),
        pa.field("problem_id", STRING),
        pa.field("domain", STRING),
        pa.field("source", STRING),
        pa.field("verifier", STRING),
        pa.field("meta", STRING),
        pa.field("pass_rate", FLOAT),
        pa.field("n_samples", INT),
        pa.field("n_correct", INT),
        pa.field("licence", STRING),
    ]
)
BATCH_ROWS = 1000
WITHOUT_HINTS = ("d_start", "d_rft", "d_import")
"""Builds whose pass rates are the model's own: those of D_seed are of answers that a hint has helped."""
SELECT = """
    select p.statement, p.gold_answer as answer, p.problem_id, p.domain, p.source, p.verifier, p.meta,
        r.pass_rate, r.n_samples, r.n_correct, p.licence
    from marts.pass_rates as r
    join raw.problems as p on p.problem_id = r.problem_id
    where r.pass_rate between ? and ?
    order by p.problem_id
"""


@dataclass(frozen=True)
class ProblemSet:
    """Problems within the bounds, and how many there are without."""

    rows: Iterator[dict[str, Any]]
    n_tried: int


def problem_rows(home: Path, manifest: Manifest, lowest: float, highest: float) -> ProblemSet:
    """The problems that a snapshot's run has sampled and whose pass rate lies within two bounds, both included.

    Problems with a gold that its own verifier refuses, and those that a benchmark contains, were never sampled and so
    are not among them. Nor are those of which every single sample was undecided: nobody knows their pass rate. Where
    some were, `n_samples` counts them and `pass_rate` does not.

    Args:
        home: The home that the snapshot was built in.
        manifest: Of the snapshot.
        lowest: From 0.
        highest: To 1.

    Raises:
        UsageError: the snapshot is of a build with hints.
        HomeError: the home has no pass rates, or those of another run.
    """
    name = manifest.snapshot.partition("@")[0]
    if name not in WITHOUT_HINTS:
        raise UsageError(
            f"{manifest.snapshot}: pass rates for GRPO are those of a build without hints, and {name} has hints.\n"
            "  next:   build d_start first: factory build d_start, then --format grpo with d_start@latest"
        )
    with open_warehouse(home) as con:
        _check_run(con, manifest)
        n_tried = int(con.execute("select count(*) from marts.pass_rates").fetchall()[0][0])
    return ProblemSet(_rows(home, manifest, lowest, highest), n_tried)


def _check_run(con: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    """Pass rates exist, and are those of the snapshot's run: the warehouse shows the run that was started last."""
    again = f"  next:   the command that built {manifest.snapshot} again (nothing is generated anew), then this one"
    last = con.execute("select arg_max(run_id, started_at) from raw.runs").fetchall()[0][0]
    if last != manifest.run_id:
        raise HomeError(
            f"the warehouse shows run {last or 'none'}; {manifest.snapshot} is of {manifest.run_id}.\n{again}"
        )
    found = con.execute(
        "select count(*) from duckdb_tables() where schema_name = 'marts' and table_name = 'pass_rates'"
    ).fetchall()
    if not found[0][0]:
        raise HomeError(
            "this warehouse has no table marts.pass_rates.\n  next:   build d_start first: factory build d_start"
        )


def _rows(home: Path, manifest: Manifest, lowest: float, highest: float) -> Iterator[dict[str, Any]]:
    prompt = manifest.recipe.get("prompt", {})
    system, suffix = prompt.get("system", ""), prompt.get("suffix", "")
    before = [{"role": "system", "content": system}] if system else []
    with open_warehouse(home) as con:
        cursor = con.execute(SELECT, [lowest, highest])
        names = [column[0] for column in cursor.description]
        while batch := cursor.fetchmany(BATCH_ROWS):
            for values in batch:
                row = dict(zip(names, values, strict=True))
                asked_for = "" if row["domain"] == Domain.CODE else suffix  # as `factory.rollout.plan` asks
                asked = {"role": "user", "content": row.pop("statement") + asked_for}
                yield {"prompt": [*before, asked], **row}
