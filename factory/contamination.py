"""`factory decontaminate`: what a recipe's problems share with benchmarks, before anything is built.

Nothing is written but what `--out` names. With `report` every method is run down to low thresholds, and a table says
what each of them would remove, alone and together with the others.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.problems import load_problems
from factory.problems.coded import bare_statement
from factory.problems.protected import load_items
from factory.progress import Reporter, make_console, make_table
from factory.release.row_files import check_ending, write_rows
from factory.steps.problems import compare_with_benchmarks
from quality.decontamination.find import BenchmarkItem, find_contamination
from schemas.errors import UsageError
from schemas.recipe import Decontamination, Recipe
from schemas.tables import CONTAMINATION
from schemas.vocabulary import ContaminationMethod

SHOWN_ROWS = 10
_SHOWN_CHARS = 100
EXACT, NEAR, NGRAM, EMBEDDING = ContaminationMethod
PLAIN = "ngram_lcs, stock phrases counted"
"""The rule of Qwen2.5-Math as it was published."""
THRESHOLDS: dict[str, tuple[float, ...]] = {
    EXACT: (1.0,),
    NEAR: (0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    NGRAM: (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    PLAIN: (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    EMBEDDING: (0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
}
STATEMENT = pa.field("statement", pa.string())
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """Problems, items, and every match between them."""

    statements: dict[str, str]
    items: Sequence[BenchmarkItem]
    rows: list[dict[str, Any]]
    plain_rows: list[dict[str, Any]]
    """Of `ngram_lcs` with stock phrases counted; empty without a report."""

    def flagged(self, rule: Decontamination) -> list[dict[str, Any]]:
        """The matches that the recipe's own thresholds take."""
        least = thresholds(rule)
        return [row for row in self.rows if row["score"] >= least.get(row["method"], 2.0)]


def thresholds(rule: Decontamination) -> dict[str, float]:
    """Per method that is on, its least score."""
    given = {
        EXACT: 1.0,
        NEAR: rule.near_similarity,
        NGRAM: rule.lcs_ratio,
        EMBEDDING: rule.embedding_similarity if rule.embedding_model else None,
    }
    return {str(method): least for method, least in given.items() if least is not None}


def decontaminate(recipe: Recipe, *, report: bool, out: Path | None) -> None:
    """Compare the recipe's problems with its benchmarks and print what was found.

    Args:
        recipe: Its problems and its `[decontamination]`.
        report: Also print what each method and threshold would remove.
        out: Where the evidence goes, or None.

    Raises:
        FactoryError: problems, benchmarks or the sentence model cannot be loaded; nothing was written.
    """
    if out is not None:
        check_ending(out)
    rule = recipe.decontamination
    if not rule.benchmarks:
        raise UsageError(
            f"recipe {recipe.name} names no benchmarks to compare with.\n"
            "  next:    --against NAME (aime24, math500, NAME=FILE, org/name?split=test), or decontamination.benchmarks"
        )
    found = _find(recipe, Reporter(), lower=report)
    flagged = found.flagged(rule)
    _show_benchmarks(found, flagged)
    _show_evidence(found, flagged)
    if report:
        _show_thresholds(found, rule)
    if out is not None:
        schema = pa.schema([f for f in CONTAMINATION.arrow_schema if f.name != "recipe_id"] + [STATEMENT])
        rows = [{**row, "statement": found.statements[row["problem_id"]]} for row in flagged]
        n_rows = write_rows(out, ({name: row[name] for name in schema.names} for row in rows), schema)
        print(f"{n_rows:,} rows of evidence in {out}")


def _find(recipe: Recipe, ui: Reporter, *, lower: bool) -> Found:
    problems = load_problems(recipe.problems, base=Path.cwd()).problems
    items = load_items(recipe.decontamination, base=Path.cwd())
    rule = recipe.decontamination
    statements = {problem.problem_id: bare_statement(problem) for problem in problems}
    if lower:
        low = {"near_similarity": min(THRESHOLDS[NEAR]), "lcs_ratio": min(THRESHOLDS[NGRAM])}
        rule = rule.model_copy(update={**low, "embedding_similarity": min(THRESHOLDS[EMBEDDING])})
    rows = compare_with_benchmarks(statements, items, rule, ui)
    plain: list[dict[str, Any]] = []
    if lower:
        only = rule.model_copy(update={"stock_texts": 0, "near_similarity": None})
        plain = find_contamination(statements.items(), items, only, recipe_id="")
    return Found(statements, items, rows, [row for row in plain if row["method"] == NGRAM])


def _show_benchmarks(found: Found, flagged: Sequence[Row]) -> None:
    rows = []
    for benchmark, n_items in Counter(item.benchmark for item in found.items).items():
        own = [row for row in flagged if row["benchmark"] == benchmark]
        by_method = [len(_problems(row for row in own if row["method"] == method)) for method in ContaminationMethod]
        rows.append([benchmark, n_items, len({row["item"] for row in own}), len(_problems(own)), *by_method])
    names = ("benchmark", "items", "items repeated", "problems", *(f"by {method}" for method in ContaminationMethod))
    make_console().print(make_table(names, rows))
    print(
        f"{len(_problems(flagged)):,} of {len(found.statements):,} problems repeat an item of a benchmark; "
        "a build leaves them out."
    )


def _show_evidence(found: Found, flagged: Sequence[Row]) -> None:
    best: dict[str, Row] = {}
    for row in flagged:
        best.setdefault(row["problem_id"], row)  # the surest method comes first
    shown = [
        (row["problem_id"], row["benchmark"], row["item"], row["method"], round(row["score"], 3),
         _cut(found.statements[row["problem_id"]]), _cut(row["matched_text"]))
        for row in islice(best.values(), SHOWN_ROWS)
    ]  # fmt: skip
    if shown:
        names = ("problem", "benchmark", "item", "method", "score", "statement", "matched")
        make_console().print(make_table(names, shown, title=f"Evidence, {len(shown):,} of {len(best):,} problems"))


def _show_thresholds(found: Found, rule: Decontamination) -> None:
    """Per method and threshold: problems removed, and those that no other method of the recipe finds."""
    own, rows = thresholds(rule), []
    for method, levels in THRESHOLDS.items():
        if method == EMBEDDING and not rule.embedding_model:
            continue
        others = _problems(row for row in found.flagged(rule) if not method.startswith(row["method"]))
        matches = found.plain_rows if method == PLAIN else [row for row in found.rows if row["method"] == method]
        for level in sorted({*levels, own.get(method, levels[0])}):
            taken = [row for row in matches if row["score"] >= level]
            ids = _problems(taken)
            hit = Counter(benchmark for benchmark, _ in {(row["benchmark"], row["problem_id"]) for row in taken})
            name = f"{method} (recipe)" if own.get(method) == level else method
            where = ", ".join(f"{benchmark} {n:,}" for benchmark, n in sorted(hit.items()))
            rows.append([name, level, len(ids), f"{len(ids) / len(found.statements):.2%}", len(ids - others), where])
    names = ("method", "threshold", "problems removed", "share", "by no other method", "of benchmarks")
    make_console().print(make_table(names, rows, title="What each method and threshold would remove"))


def _problems(rows: Iterable[Row]) -> set[str]:
    return {row["problem_id"] for row in rows}


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "\u2026"
