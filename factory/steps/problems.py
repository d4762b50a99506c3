"""Steps about problems: raw.problems, derived.gold_checks, derived.contamination."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from factory.problems.coded import bare_statement
from factory.progress import Reporter
from factory.run import Run
from factory.steps.reading import BATCH
from factory.workbench import Workbench
from quality.decontamination.embeddings import load_encoder
from quality.decontamination.find import BenchmarkItem, find_contamination
from quality.programs.scoring import check_program_golds
from quality.scoring import check_golds
from schemas.recipe import Decontamination
from schemas.records import Problem
from schemas.tables import CONTAMINATION, GOLD_CHECKS, PROBLEMS
from schemas.vocabulary import Domain
from warehouse.store import chunks


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
