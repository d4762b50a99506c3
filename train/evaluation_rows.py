"""Rows of `raw.evaluations`: one per sample, treatment and benchmark, with what it says on the leaderboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from factory.rollout.attempt import text_of
from factory.run import Run, program_rules
from factory.settings import fingerprint
from factory.workbench import Workbench
from quality.answers import extract_answer
from schemas.records import Problem, Trajectory
from schemas.tables import EVALUATIONS
from schemas.vocabulary import Domain, EvalArm, ExecStatus, Judgement, VerifierName
from train.votes import vote_keys
from train.windows import Benchmark
from warehouse.store import Store, chunks, fetch

SHARD_ROWS = 100_000


@dataclass(frozen=True)
class Attempt:
    """One sample under one treatment. Rounds that could not go on share the trajectory of the round before."""

    arm: EvalArm
    n_rounds: int
    recipe_id: str
    trajectory: Trajectory


def query(store: Store, sql: str, **values: object) -> list[dict[str, Any]]:
    """Rows of a query over the shards."""
    with store.connect() as con:
        return fetch(con, sql, values)


def judge_id(run: Run, problem: Problem) -> str:
    """Hash of what decides a verdict; for programs the sandbox's limits, too."""
    if problem.domain is Domain.CODE:
        return fingerprint(run.ids.judge, "code tests", program_rules(run.recipe))
    return run.ids.judge


def verdicts_of(run: Run) -> dict[str, dict[str, Any]]:
    """By trajectory, under these judging settings."""
    ids = sorted({judge_id(run, problem) for problem in run.problems.values()})
    rows = query(run.store, "from derived.verdicts where recipe_id in (select unnest($ids))", ids=ids)
    return {row["trajectory_id"]: row for row in rows}


async def evaluation_rows(
    run: Run,
    bench: Workbench,
    benchmarks: Sequence[Benchmark],
    attempts: Sequence[Attempt],
    verdicts: Mapping[str, dict[str, Any]],
    label: str,
) -> list[dict[str, Any]]:
    """Rows of raw.evaluations, but for their time.

    Args:
        run: The run.
        bench: For its checkers, which say whether two wrong answers mean the same.
        benchmarks: A problem that stands in several gets a row in each.
        attempts: All samples of all arms and rounds.
        verdicts: Rows of derived.verdicts by trajectory; a trajectory without one failed as a rollout.
        label: What the user calls the model.
    """
    by_problem: dict[tuple[str, EvalArm, int], list[Attempt]] = {}
    for attempt in attempts:
        by_problem.setdefault((attempt.trajectory.problem_id, attempt.arm, attempt.n_rounds), []).append(attempt)
    places: dict[str, list[tuple[str, str]]] = {}
    for benchmark in benchmarks:
        for item, problem in benchmark.items.items():
            places.setdefault(problem.problem_id, []).append((benchmark.name, item))
    rows = []
    for (problem_id, _, _), group in by_problem.items():
        problem = run.problems[problem_id]
        graded = [_graded(run, attempt, problem, verdicts.get(attempt.trajectory.trajectory_id)) for attempt in group]
        keys = await keys_of(problem, graded, bench)
        for row, key in zip(graded, keys, strict=True):
            for benchmark_name, item in places[problem_id]:
                rows.append({**row, "answer_key": key, "label": label, "benchmark": benchmark_name, "item": item})
    return rows


async def keys_of(problem: Problem, graded: Sequence[dict[str, Any]], bench: Workbench) -> list[str | None]:
    """Which samples vote together."""

    async def same(one: str, other: str) -> bool:
        if problem.verifier != VerifierName.MATH_VERIFY:
            return False
        check = await (await bench.checkers()).check(VerifierName.MATH_VERIFY, one, other)
        return check.is_correct is True

    return await vote_keys([row["answer_text"] for row in graded], [row["is_correct"] for row in graded], same)


def _graded(run: Run, attempt: Attempt, problem: Problem, verdict: dict[str, Any] | None) -> dict[str, Any]:
    trajectory = attempt.trajectory
    is_code = problem.domain is Domain.CODE
    return {
        "evaluation_id": "e_" + fingerprint(attempt.recipe_id, judge_id(run, problem)),
        "model": run.engine_name,
        "problem_id": problem.problem_id,
        "domain": str(problem.domain),
        "gold_answer": None if is_code else problem.gold_answer,
        "arm": str(attempt.arm),
        "n_rounds": attempt.n_rounds,
        "sample_index": trajectory.sample_index,
        "trajectory_id": trajectory.trajectory_id,
        "is_correct": verdict["is_correct"] if verdict else None,
        "verdict": verdict["verdict"] if verdict else str(Judgement.UNDECIDED),
        "answer_text": None if is_code else extract_answer(text_of(trajectory.segments)),
        "n_tokens": trajectory.n_tokens_model,
        "n_tool_calls": len(trajectory.tool_calls),
        "n_tool_errors": sum(call.status is not ExecStatus.OK for call in trajectory.tool_calls),
        "called_python": bool(trajectory.tool_calls),
        "recipe_id": attempt.recipe_id,
    }


def store_evaluations(store: Store, rows: Sequence[dict[str, Any]]) -> int:
    """Append the rows that are new or say something else than the stored ones; how many those were."""
    now = datetime.now(UTC)
    ids = sorted({row["evaluation_id"] for row in rows})
    stored = query(store, "from raw.evaluations where evaluation_id in (select unnest($ids))", ids=ids)
    known = {_key(row): {name: value for name, value in row.items() if name != "created_at"} for row in stored}
    new = [row for row in rows if known.get(_key(row)) != row]
    for batch in chunks(new, SHARD_ROWS):
        store.append(EVALUATIONS, [{**row, "created_at": now} for row in batch])
    return len(new)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in EVALUATIONS.key)
