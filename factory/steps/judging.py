"""The step that fills derived.verdicts."""

from typing import Any

from factory.progress import Reporter
from factory.rollout.attempt import answer_region
from factory.run import Run
from factory.steps.reading import BATCH, query, stream
from factory.workbench import Workbench
from quality.programs.scoring import score_programs
from quality.scoring import score
from schemas.errors import StepFailed
from schemas.records import Segment
from schemas.tables import VERDICTS
from schemas.vocabulary import Domain
from warehouse.store import chunks


async def judge_trajectories(run: Run, bench: Workbench, ui: Reporter, what: str) -> None:
    """Fill derived.verdicts for trajectories that have none under these judging settings."""
    missing = (
        "from staging.trajectories as t anti join staging.verdicts as v on v.trajectory_id = t.trajectory_id "
        "where t.stop_reason not in ('engine_error', 'sandbox_lost')"
    )
    n = query(run, f"select count(*) as n {missing}")[0]["n"]
    with ui.step(what, n, "trajectories") as advance:
        texts_of = stream(run, f"select t.trajectory_id, t.problem_id, t.segments {missing}") if n else ()
        for batch in chunks(texts_of, BATCH):
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


def _segments(row: dict[str, Any]) -> list[Segment]:
    return [Segment.model_validate(segment) for segment in row["segments"]]
