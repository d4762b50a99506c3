"""`train eval`: benchmarks answered by the factory's own rollout, judged by its own verifiers.

Arms: `plain` (no tools), `tools` (Python runs, no hints), `hint` (test-time scaling by rounds of hints, see
`factory.rollout.rounds`; round 0 is the plain sample). The recipe gives prompt, sandbox, judge and hints; an evaluation
is a run of build `eval` in `raw.runs`, which the warehouse never shows as its current build, and its problems stay out
of `raw.problems`: a statement stands in the prompt of its trajectories, a gold in `raw.evaluations`.

Trajectories and verdicts are stored as they are made, under hashes of everything that determines them, so the same
command goes on after a kill. An answer is looked for in the whole text. A check or a rollout that failed is not
correct, and is counted as undecided.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from factory.progress import Reporter
from factory.rollout.attempt import FAILED, text_of
from factory.rollout.generate import generate
from factory.rollout.plan import Planned
from factory.rollout.rounds import plan_answers, plan_round, tools_recipe_id
from factory.run import EVAL, Run, open_run, rebuild_database
from factory.steps.problems import check_gold_answers
from factory.workbench import Workbench, name_of_engine
from quality.programs.scoring import score_programs
from quality.scoring import score
from schemas.recipe import Recipe
from schemas.records import Trajectory
from schemas.tables import GOLD_CHECKS, VERDICTS
from schemas.vocabulary import Domain, EvalArm
from train.evaluation_rows import Attempt, evaluation_rows, judge_id, query, store_evaluations, verdicts_of
from train.windows import Benchmark
from warehouse.files import locked
from warehouse.store import Store, chunks

BATCH = 256


@dataclass(frozen=True)
class Order:
    """What is evaluated."""

    arms: tuple[EvalArm, ...]
    n_rounds: int
    """Of hints."""
    n_samples: int
    label: str | None = None


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation made."""

    evaluation_ids: tuple[str, ...]
    n_generated: int
    """Trajectories made by this call; 0 where everything was there."""


async def evaluate(
    recipe: Recipe, benchmarks: Sequence[Benchmark], order: Order, home: Path, ui: Reporter, *, trust: bool = False
) -> Evaluated:
    """Answer, judge and store: rows of raw.evaluations, then marts.leaderboard.

    Args:
        recipe: Prompt, engine, sampling, sandbox, judge and hints.
        benchmarks: What to answer.
        order: Arms, rounds, samples, label.
        home: Where everything is kept.
        ui: Shows progress.
        trust: Run model code without isolation where the kernel refuses it; every row is marked.

    Raises:
        FactoryError: any of `schemas.errors`; all finished work is kept.
    """
    problems = {problem.problem_id: problem for b in benchmarks for problem in b.items.values()}
    engine = name_of_engine(recipe)
    with locked(home):
        store = Store(home)
        store.tidy()
        async with Workbench(recipe, home, trust=trust) as bench:
            names = [benchmark.name for benchmark in benchmarks]
            run = open_run(EVAL, recipe, store, engine, list(problems.values()), names)  # raw.runs, .run_problems
            ui.say(f"{engine}, recipe {recipe.name}: {', '.join(f'{b.name} {len(b.items):,}' for b in benchmarks)}")
            await _check_golds(run, bench, ui)  # derived.gold_checks
            attempts, n_generated = await _attempts(run, bench, ui, order)  # raw.trajectories
            await _judge(run, bench, ui, [attempt.trajectory for attempt in attempts])  # derived.verdicts
            rows = await evaluation_rows(
                run, bench, benchmarks, attempts, verdicts_of(run), order.label or engine.partition("@")[0]
            )
            store_evaluations(store, rows)  # raw.evaluations
            rebuild_database(store)  # marts.leaderboard
    return Evaluated(tuple({row["evaluation_id"]: None for row in rows}), n_generated)


async def _check_golds(run: Run, bench: Workbench, ui: Reporter) -> None:
    """Say how many golds their own verifier refuses. They stay in the benchmark, where they can only be missed."""
    with_gold = {id_: problem for id_, problem in run.problems.items() if problem.domain is not Domain.CODE}
    await check_gold_answers(replace(run, problems=with_gold), bench, ui)
    refused = run.store.ids(GOLD_CHECKS, "problem_id", recipe_id=run.ids.judge, is_accepted="false")
    if bad := sorted(refused & with_gold.keys()):
        ui.say(f"{len(bad):,} golds are not accepted by their own verifier: {', '.join(bad[:5])}")


async def _attempts(run: Run, bench: Workbench, ui: Reporter, order: Order) -> tuple[list[Attempt], int]:
    """All samples of all arms and rounds, those that are missing made now."""
    problems, n_made = list(run.problems.values()), 0
    attempts: list[Attempt] = []

    async def make(name: str, planned: list[Planned]) -> dict[str, Trajectory]:
        nonlocal n_made
        made, n_new = await _make(run, bench, ui, name, planned)
        n_made += n_new
        return made

    if EvalArm.TOOLS in order.arms:
        found = await make("tools", plan_answers(run, problems, order.n_samples, tools=True))
        attempts += [Attempt(EvalArm.TOOLS, 0, tools_recipe_id(run), t) for t in found.values()]
    if EvalArm.PLAIN in order.arms or EvalArm.HINT in order.arms:
        found = await make("plain", plan_answers(run, problems, order.n_samples, tools=False))
        attempts += [Attempt(EvalArm.PLAIN, 0, run.ids.baseline, t) for t in found.values()]
        last = list(found.values())
        for number in range(1, order.n_rounds + 1) if EvalArm.HINT in order.arms else ():
            planned = list(plan_round(run, last, number))
            found = await make(f"hint round {number}", planned)
            after = {str(t.parent_id): t for t in found.values()}
            last = [after.get(t.trajectory_id, t) for t in last]
            ui.say(f"hint round {number}: {len(planned):,} of {len(last):,} samples could be continued")
            attempts += [Attempt(EvalArm.HINT, number, run.ids.rollout, t) for t in last]
    return attempts, n_made


async def _make(
    run: Run, bench: Workbench, ui: Reporter, name: str, planned: list[Planned]
) -> tuple[dict[str, Trajectory], int]:
    """The planned trajectories by id, those that are missing or failed made now, and how many those were."""
    stored = _stored(run.store, planned)
    missing = [p for p in planned if p.trajectory_id not in stored or stored[p.trajectory_id].stop_reason in FAILED]
    if missing:
        await bench.prepare(ui.say)
    with ui.step(name, len(missing), "trajectories") as advance:
        await generate(run, bench, missing, len(missing), advance)
    return (_stored(run.store, planned) if missing else stored), len(missing)


def _stored(store: Store, planned: Sequence[Planned]) -> dict[str, Trajectory]:
    ids = [plan.trajectory_id for plan in planned]
    rows = query(store, "from raw.trajectories where trajectory_id in (select unnest($ids))", ids=ids)
    found = {row["trajectory_id"]: Trajectory.model_validate(row) for row in rows}
    return {id_: found[id_] for id_ in ids if id_ in found}


async def _judge(run: Run, bench: Workbench, ui: Reporter, trajectories: Iterable[Trajectory]) -> None:
    """Fill derived.verdicts for the trajectories that have none under these judging settings."""
    known = verdicts_of(run)
    unique = {t.trajectory_id: t for t in trajectories if t.stop_reason not in FAILED}
    missing = [t for t in unique.values() if t.trajectory_id not in known]
    with ui.step("verdicts", len(missing), "trajectories") as advance:
        for is_code in (False, True):
            mine = [t for t in missing if (run.problems[t.problem_id].domain is Domain.CODE) is is_code]
            for batch in chunks(mine, BATCH):
                texts = [(t.trajectory_id, text_of(t.segments), run.problems[t.problem_id]) for t in batch]
                judged: AsyncIterator[dict[str, Any]]
                if is_code:
                    id_ = judge_id(run, texts[0][2])
                    judged = score_programs(texts, await bench.sandbox(), id_, run.recipe.judge)
                else:
                    judged = score(texts, await bench.checkers(), run.ids.judge)
                rows = []
                async for row in judged:
                    rows.append(row)
                    advance()
                run.store.append(VERDICTS, rows)
