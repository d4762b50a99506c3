"""The step that fills raw.trajectories with repaired copies, and derived.repairs with what became of each."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from factory.progress import Reporter
from factory.rollout.attempt import answer_of, answer_region
from factory.rollout.tools import block_of
from factory.run import Run
from factory.sandbox.reproduce import reproduce
from factory.steps.reading import query, stream_tables
from factory.workbench import Workbench
from schemas.errors import SandboxError
from schemas.protocols import ExecResult
from schemas.records import Trajectory
from schemas.tables import REPAIRS, TRAJECTORIES
from schemas.vocabulary import ExecStatus, RepairOutcome
from warehouse.repair import may_repair, needs_replay, repair

ROWS_AT_ONCE = 2_000
_ACCEPTED = (
    "from intermediate.trajectories_judged as j "
    "where not j.is_repaired and coalesce(j.drop_reason, 'repetitive') in ({curable}) and not exists "
    "(select 1 from derived.repairs as d where d.trajectory_id = j.trajectory_id and d.recipe_id = '{recipe_id}') "
    "and not exists "
    "(select 1 from intermediate.trajectories_judged as c where c.is_repaired and c.parent_id = j.trajectory_id)"
)


async def repair_trajectories(run: Run, bench: Workbench, ui: Reporter) -> None:
    """Fill raw.trajectories with repaired copies of accepted rows that a rule applies to, and derived.repairs.

    A copy that runs other code than its parent is made only where that code, in a fresh interpreter, gives the recorded
    outputs again. Rows are read some thousand at a time, and become records only where whole columns say that a rule
    can apply; each lot is stored before the next, so that a killed step goes on where it was.

    Raises:
        SandboxError: no interpreter could be had, or it was lost; the lots before are stored.
    """
    rules = run.recipe.repair.rules
    if not rules:
        return
    curable = "'repetitive', 'tool_error'" if "drop_failed_attempts" in rules else "'repetitive'"
    accepted = _ACCEPTED.format(recipe_id=run.ids.repair, curable=curable)
    n = query(run, f"select count(*) as n {accepted}")[0]["n"]
    counts: Counter[str] = Counter()
    sql = f"select * from raw.trajectories where trajectory_id in (select j.trajectory_id {accepted})"
    with ui.step("repair", n, "trajectories") as advance:
        for table in stream_tables(run, sql, ROWS_AT_ONCE) if n else ():
            rows = table.filter(pa.array(may_repair(pl.DataFrame(table), rules)))
            counts += await _repair(run, bench, [Trajectory.model_validate(row) for row in rows.to_pylist()])
            advance(table.num_rows, note=_note(counts))
    if counts:
        ui.say(f"repair: {_note(counts, n)}")


async def _repair(run: Run, bench: Workbench, parents: Sequence[Trajectory]) -> Counter[str]:
    """Make and store the copies of some rows; how many had which outcome."""
    rules = run.recipe.repair.rules
    broken = [parent for parent in parents if repair(parent, rules)]
    if not broken:
        return Counter()
    decode = bench.codec().decode  # edits then fall on token boundaries, and the ids stay exact
    pairs = [(parent, fixed) for parent in broken if (fixed := repair(parent, rules, decode))]
    details = await asyncio.gather(*(_difference(bench, parent, fixed) for parent, fixed in pairs))
    outcomes = [RepairOutcome.NOT_REPRODUCED if detail else RepairOutcome.MADE for detail in details]
    made = [fixed for (_, fixed), outcome in zip(pairs, outcomes, strict=True) if outcome is RepairOutcome.MADE]
    run.store.append(TRAJECTORIES, [_row(run, fixed) for fixed in made])
    run.store.append(
        REPAIRS,
        [
            {
                "trajectory_id": parent.trajectory_id,
                "recipe_id": run.ids.repair,
                "outcome": str(outcome),
                "repaired_id": fixed.trajectory_id,
                "rules": list(fixed.repairs),
                "n_blocks_dropped": len(parent.tool_calls) - len(fixed.tool_calls),
                "detail": detail,
            }
            for (parent, fixed), outcome, detail in zip(pairs, outcomes, details, strict=True)
        ],
    )
    return Counter(map(str, outcomes))


async def _difference(bench: Workbench, parent: Trajectory, fixed: Trajectory) -> str:
    """Where the code that is left gives something else than recorded; empty where it does not."""
    if not fixed.tool_calls or not needs_replay(fixed, parent):
        return ""
    recorded = [block_of(call).result for call in fixed.tool_calls]
    differences = await reproduce(await bench.sandbox(), [call.code for call in fixed.tool_calls], recorded)
    if not differences:
        return ""
    first = differences[0]
    if first.again.status is ExecStatus.LOST:
        raise SandboxError(f"the sandbox lost an execution: {first.again.stderr[:200]}")
    said, again = _last_line(recorded[first.block]), _last_line(first.again)
    return f"block {first.block + 1} of {len(recorded)}: {said}; again: {again}"


def _last_line(result: ExecResult) -> str:
    lines = (result.stderr or result.stdout).strip().splitlines() or [""]
    return f"{result.status} {lines[-1][:100]!r}"


def _row(run: Run, fixed: Trajectory) -> dict[str, Any]:
    answer = answer_of(run.problems[fixed.problem_id], answer_region(fixed.segments))
    update = {"recipe_id": run.ids.repair, "run_id": run.run_id, "answer_text": answer}
    return fixed.model_copy(update=update).model_dump()


def _note(counts: Counter[str], n: int | None = None) -> str:
    made, failed = counts[RepairOutcome.MADE], counts[RepairOutcome.NOT_REPRODUCED]
    note = f"{made:,}{'' if n is None else f' of {n:,} accepted trajectories'} got a repaired copy"
    return note + (f"; {failed:,} stay as they are: what is left of their code gives something else" if failed else "")
