"""The step that fills raw.trajectories with repaired copies."""

from factory.progress import Reporter
from factory.rollout.attempt import answer_of, answer_region
from factory.run import Run
from factory.steps.reading import query
from factory.workbench import Workbench
from schemas.records import Trajectory
from schemas.tables import TRAJECTORIES
from warehouse.repair import repair


async def repair_trajectories(run: Run, bench: Workbench, ui: Reporter) -> None:
    """Fill raw.trajectories with repaired copies of accepted rows that a rule applies to."""
    rules = run.recipe.repair.rules
    if not rules:
        return
    rows = query(
        run,
        "select r.* from intermediate.trajectories_judged as j "
        "join raw.trajectories as r on r.trajectory_id = j.trajectory_id "
        "where not j.is_repaired and coalesce(j.drop_reason, 'repetitive') = 'repetitive' and not exists "
        "(select 1 from intermediate.trajectories_judged as c where c.is_repaired and c.parent_id = j.trajectory_id) "
        "order by j.trajectory_id",
    )
    broken = [trajectory for row in rows if repair(trajectory := Trajectory.model_validate(row), rules)]
    if not broken:
        return
    decode = bench.codec().decode  # cuts then fall on token boundaries, and the ids stay exact
    made = [fixed for trajectory in broken if (fixed := repair(trajectory, rules, decode))]
    update = {"recipe_id": run.ids.repair, "run_id": run.run_id}
    run.store.append(
        TRAJECTORIES,
        [
            fixed.model_copy(
                update={
                    **update,
                    "answer_text": answer_of(run.problems[fixed.problem_id], answer_region(fixed.segments)),
                }
            ).model_dump()
            for fixed in made
        ],
    )
    ui.say(f"repair: {len(made):,} of {len(rows):,} accepted trajectories got a repaired copy")
