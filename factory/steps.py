"""Steps between tables: each does the rows that are missing, and says which table it fills.

A step reads what it needs with SQL, hands it to a pure function of `quality` or `warehouse`, and appends the result.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from factory.problems.coded import bare_statement
from factory.progress import Reporter
from factory.rollout.attempt import answer_of, answer_region
from factory.run import Run
from factory.workbench import Workbench
from quality.decontamination.embeddings import load_encoder
from quality.decontamination.find import BenchmarkItem, find_contamination
from quality.programs.scoring import check_program_golds, score_programs
from quality.scoring import check_golds, score
from schemas.errors import StepFailed
from schemas.recipe import Decontamination
from schemas.records import Problem, Segment, Trajectory
from schemas.tables import CONTAMINATION, DUPLICATE_PAIRS, GOLD_CHECKS, PROBLEMS, SIGNALS, TRAJECTORIES, VERDICTS
from schemas.vocabulary import Domain
from warehouse.duplicates import duplicate_pairs
from warehouse.models import build_models
from warehouse.repair import repair
from warehouse.signals import signals
from warehouse.store import chunks, fetch

BATCH = 512


def query(run: Run, sql: str) -> list[dict[str, Any]]:
    """Rows of a query over the shards, after building the models that it names."""
    with run.store.connect() as con:
        build_models(con, run.params, needed_by=sql)
        return fetch(con, sql)


def stream(run: Run, sql: str) -> Iterator[dict[str, Any]]:
    """As `query`, some hundred rows at a time."""
    with run.store.connect() as con:
        build_models(con, run.params, needed_by=sql)
        for batch in con.sql(sql).to_arrow_reader(BATCH):
            yield from batch.to_pylist()


def store_problems(run: Run) -> None:
    """Fill raw.problems with those it does not hold yet."""
    known = run.store.ids(PROBLEMS, "problem_id")
    new = [problem.model_dump(mode="json") for problem in run.problems.values() if problem.problem_id not in known]
    run.store.append(PROBLEMS, new)


async def check_gold_answers(run: Run, bench: Workbench, ui: Reporter) -> None:
    """Fill derived.gold_checks with what each problem's own verifier, or its tests, say of its gold."""
    done = run.store.ids(GOLD_CHECKS, "problem_id", recipe_id=run.ids.judge)
    missing = [problem for problem in run.problems.values() if problem.problem_id not in done]
    with ui.step("gold check", len(missing), "problems") as advance:
        for batch in chunks(missing, BATCH):
            programs, answers = _by_domain(batch)
            rows = []
            if programs:
                rows += await check_program_golds(programs, await bench.sandbox(), run.ids.judge, run.recipe.judge)
            if answers:
                rows += await check_golds(answers, await bench.checkers(), run.ids.judge)
            run.store.append(GOLD_CHECKS, rows)
            advance(len(batch))


def _by_domain(problems: Iterable[Problem]) -> tuple[list[Problem], list[Problem]]:
    """Those judged by tests, and the others."""
    ordered = list(problems)
    return [p for p in ordered if p.domain is Domain.CODE], [p for p in ordered if p.domain is not Domain.CODE]


def mark_contamination(run: Run, items: Sequence[BenchmarkItem], ui: Reporter) -> None:
    """Fill derived.contamination with the problems that repeat a benchmark item."""
    shard = run.ids.contamination
    if run.store.has(CONTAMINATION, shard):
        return
    if not items:
        ui.say("decontamination: the recipe names no benchmarks, so nothing is compared with any")
    statements = {problem_id: bare_statement(problem) for problem_id, problem in run.problems.items()}
    found = compare_with_benchmarks(statements, items, run.recipe.decontamination, ui, recipe_id=shard)
    run.store.replace(CONTAMINATION, shard, found)


def compare_with_benchmarks(
    statements: Mapping[str, str],
    items: Sequence[BenchmarkItem],
    rule: Decontamination,
    ui: Reporter,
    *,
    recipe_id: str = "",
) -> list[dict[str, Any]]:
    """Rows of derived.contamination, with progress: a sentence model reads every text.

    Args:
        statements: By problem_id, without the sentences that a format adds.
        items: Of all benchmarks.
        rule: Methods and thresholds.
        ui: Shows progress.
        recipe_id: As in the rows.
    """
    has_model = bool(rule.embedding_model and items)
    n_texts = len(statements) + (len(items) if has_model else 0)
    with ui.step("decontamination", n_texts, "texts") as advance:
        encode = load_encoder(rule.embedding_model, advance) if has_model else None
        found = find_contamination(statements.items(), items, rule, recipe_id=recipe_id, encode=encode)
        advance(n_texts - advance.meter.done)
    return found


async def judge_trajectories(run: Run, bench: Workbench, ui: Reporter, what: str) -> None:
    """Fill derived.verdicts for trajectories that have none under these judging settings."""
    missing = query(
        run,
        "select t.trajectory_id, t.problem_id, t.segments from staging.trajectories as t "
        "anti join staging.verdicts as v on v.trajectory_id = t.trajectory_id "
        "where t.stop_reason not in ('engine_error', 'sandbox_lost') order by t.trajectory_id",
    )
    with ui.step(what, len(missing), "trajectories") as advance:
        for batch in chunks(missing, BATCH):
            texts = [
                (row["trajectory_id"], answer_region(_segments(row)), run.problems[row["problem_id"]]) for row in batch
            ]
            programs = [item for item in texts if item[2].domain is Domain.CODE]
            answers = [item for item in texts if item[2].domain is not Domain.CODE]
            judging = []
            if programs:
                judging.append(score_programs(programs, await bench.sandbox(), run.ids.judge, run.recipe.judge))
            if answers:
                judging.append(score(answers, await bench.checkers(), run.ids.judge))
            rows = []
            for verdicts in judging:
                async for verdict in verdicts:
                    rows.append(verdict)
                    advance()
            run.store.append(VERDICTS, rows)
    _check_share(run)


def _check_share(run: Run) -> None:
    """Stop where more checks timed out or failed than the recipe allows: those verdicts say nothing."""
    counts = {
        row["verdict"]: row["n"] for row in query(run, "select verdict, count(*) as n from staging.verdicts group by 1")
    }
    n, n_failed = sum(counts.values()), counts.get("undecided", 0) + counts.get("timeout", 0)
    if n_failed > run.recipe.gate.max_failed_share * n:
        reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
        raise StepFailed(
            f"{n_failed:,} of {n:,} checks gave no verdict ({reasons}); the recipe allows "
            f"{run.recipe.gate.max_failed_share:.0%} (gate.max_failed_share).\n"
            '  look:   factory sql "select detail, count(*) from derived.verdicts group by 1 order by 2 desc"\n'
            "  next:   a longer judge.timeout_s judges anew; a higher gate.max_failed_share goes on without them\n"
            "  state:  all rollouts and verdicts are stored; nothing was promoted."
        )


def measure_signals(run: Run) -> None:
    """Fill derived.signals for candidates that have none."""
    missing = query(
        run,
        "select t.trajectory_id, t.segments, t.tool_calls from staging.trajectories as t "
        "anti join derived.signals as s on s.trajectory_id = t.trajectory_id where t.is_candidate "
        "and t.stop_reason not in ('engine_error', 'sandbox_lost') order by 1",  # made again later
    )
    for batch in chunks(missing, BATCH):
        run.store.append(SIGNALS, signals(_frame(batch)).to_dicts())


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
    decode = (await bench.engine()).decode  # cuts then fall on token boundaries, and the ids stay exact
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


def mark_duplicates(run: Run) -> None:
    """Fill derived.duplicate_pairs with the accepted trajectories that repeat another."""
    rows = query(
        run,
        "select l.trajectory_id, t.segments, l.n_tokens_model as n_tokens from intermediate.trajectories_live as l "
        "join staging.trajectories as t on t.trajectory_id = l.trajectory_id order by 1",
    )
    pairs = duplicate_pairs(_frame(rows, n_tokens=pl.Int64), **run.recipe.duplicates.model_dump())
    run.store.replace(DUPLICATE_PAIRS, run.run_id, [{"run_id": run.run_id, **pair} for pair in pairs.to_dicts()])


def _frame(rows: list[dict[str, Any]], **more: pl.DataType | type[pl.DataType]) -> pl.DataFrame:
    """Rows as a frame with the store's types, so that an empty list or column keeps its type."""
    types = dict(pl.Schema(TRAJECTORIES.arrow_schema)) | more
    names = rows[0] if rows else ("trajectory_id", "segments", *more)
    return pl.DataFrame(rows, schema={name: types[name] for name in names})


def _segments(row: dict[str, Any]) -> list[Segment]:
    return [Segment.model_validate(segment) for segment in row["segments"]]
