"""The step that fills derived.replays with what would enter the snapshot: the gate holds it against marts.replays."""

from factory.progress import Reporter
from factory.replay.environment import environment_of, limits_of
from factory.replay.experiments import Laboratory
from factory.replay.rows import CALLS_HASH, PER_SLOT, REPLAYED, Where, replay_rows
from factory.run import Run
from factory.steps.reading import query, stream
from factory.workbench import Workbench, n_cores

_CHOSEN = """
from marts.selected as s
join raw.trajectories as t on t.trajectory_id = s.trajectory_id
where len(t.tool_calls) > 0
"""


async def replay_selected(run: Run, bench: Workbench, ui: Reporter) -> None:
    """Fill derived.replays with the rows of the next snapshot that have none in this environment.

    Nothing is marked and no other row is taken in the place of one that differs: whether a snapshot with such a row may
    be promoted is for the gate, which says which and why.

    Raises:
        SandboxError: no interpreter could be had, or it was lost; what was replayed before is stored.
    """
    if not run.recipe.gate.replay:
        return
    environment = environment_of(run.recipe)
    hashed = f"select t.trajectory_id, t.sandbox, t.segments, t.tool_calls, {CALLS_HASH.format(row='t')} as calls_hash"
    missing = f"from ({hashed} {_CHOSEN}) as c where not {REPLAYED.format(row='c', rules=environment.rules)}"
    n = query(run, f"select count(*) as n {missing}")[0]["n"]
    if not n:
        return
    sandbox = await bench.sandbox()
    async with Laboratory(sandbox, limits_of(run.recipe)) as lab:
        where = Where(run.store, environment, sandbox.level)
        with ui.step("replay", n, "rows") as advance:
            rows = stream(run, f"select c.* {missing} order by c.trajectory_id")
            await replay_rows(lab, where, rows, n_cores() * PER_SLOT, advance)
