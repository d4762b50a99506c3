"""`train grade`: outputs that were made elsewhere, judged by the factory's verifiers and measured as an evaluation.

Rows have a statement, a gold, a text and a problem_id; without the last, rows of one statement and gold are samples of
one problem. Columns are found by their usual names, or by `--map ours=theirs`. With `--label` or `--home` the results
become rows of `raw.evaluations` (arm `recorded`), where a tool call is an output block in the text.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from factory.overrides import pair
from factory.problems import files, problem_id
from factory.problems.rows import Bad
from factory.progress import Reporter, make_console, make_table
from factory.run import EVAL, open_run, rebuild_database
from factory.sandbox.confine import confine_process
from factory.settings import default_home, fingerprint, load_recipe
from quality.answers import clean_gold, extract_answer
from quality.checkers import Check, Checkers
from schemas.errors import ProblemsError, UsageError
from schemas.recipe import Recipe
from schemas.vocabulary import Domain, EvalArm, VerifierName
from train.evaluation_rows import store_evaluations
from train.metrics import Interval, cluster_interval, majority_is_correct, pass_at_k
from train.votes import vote_keys
from warehouse.fences import Kind, blocks
from warehouse.files import locked
from warehouse.store import Store

COLUMNS = {
    "problem_id": ("problem_id",),
    "statement": ("statement", "problem", "question", "prompt"),
    "gold_answer": ("gold_answer", "gold", "answer"),
    "text": ("text", "completion", "response", "output", "generation"),
}
_ERROR = re.compile(r"^Traceback \(most recent|^[ \t]{0,8}\w{0,60}(?:Error|Exception)\b", re.MULTILINE)


@dataclass(frozen=True)
class Output:
    """One recorded text and what became of it."""

    problem: str
    item: str
    statement: str
    gold: str
    text: str
    answer: str | None
    check: Check


@dataclass(frozen=True)
class Grades:
    """The measures of a file."""

    n_problems: int
    k: int
    """Samples of the problem with the fewest."""
    pass_1: Interval
    pass_k: float
    majority: float
    n_outputs: int
    n_undecided: int


def grade_file(
    file: Path, mapping: Sequence[str], limit: int | None, label: str | None, home: Path | None, *, trust: bool
) -> None:
    """Grade a file, print the measures, and store them where asked.

    Raises:
        ProblemsError: the file cannot be read, has other columns, or bad rows.
        UsageError: --map names a column that we do not have.
    """
    recipe = load_recipe("demo", {})  # of which the judge counts alone
    rows = read_outputs(file, dict(pair(text) for text in mapping), limit)
    outputs, keys = asyncio.run(_grade(rows, recipe, Reporter(), trust=trust))
    grades = measure(outputs, keys)
    names = ("file", "problems", "samples", "pass@1", "95 % interval", f"pass@{grades.k}", f"majority@{grades.k}")
    interval = f"{grades.pass_1.low:.4f} to {grades.pass_1.high:.4f}"
    measures = (round(grades.pass_1.mean, 4), interval, round(grades.pass_k, 4), round(grades.majority, 4))
    row = (file.name, grades.n_problems, grades.k, *measures, grades.n_undecided)
    make_console().print(make_table((*names, "undecided"), [row]))
    if label is not None or home is not None:
        home = home.expanduser() if home else default_home()
        name = label or file.name.partition(".")[0]
        with locked(home):
            store, model = Store(home), _model(file)
            run = open_run(EVAL, recipe, store, model, [], [])  # without it the warehouse would know of no run
            n_new = store_evaluations(store, _rows(outputs, keys, model, name, fingerprint(model, run.ids.judge)))
            rebuild_database(store)
        print(f"{n_new:,} new rows in raw.evaluations, label {name}")


def read_outputs(file: Path, mapping: Mapping[str, str], limit: int | None) -> list[dict[str, str]]:
    """Rows with our columns and `item`, the row's number.

    Raises:
        ProblemsError, UsageError: see grade_file.
    """
    if unknown := sorted(mapping.keys() - COLUMNS.keys()):
        raise UsageError(f"--map {unknown[0]}=...: ours are {', '.join(COLUMNS)}.")
    found: list[dict[str, str]] = []
    try:
        for line, row in islice(files.read_rows(file), limit):
            if isinstance(row, Bad):
                raise ProblemsError(f"line {line:,}: {row.reason}: {row.detail}")
            found.append(_columns(row, mapping, line))
    except ProblemsError as error:
        raise ProblemsError(f"{file}: {error}\n  state:   nothing was graded.") from None
    return found


def _columns(row: Mapping[str, Any], mapping: Mapping[str, str], line: int) -> dict[str, str]:
    made = {"item": str(line)}
    for ours, usual in COLUMNS.items():
        names = (mapping[ours],) if ours in mapping else usual
        name = next((name for name in names if row.get(name) is not None), None)
        if name is not None:
            made[ours] = str(row[name])
        elif ours != "problem_id":
            raise ProblemsError(
                f"line {line:,}: no {ours}.\n  columns: {', '.join(row)}\n  next:    --map {ours}=COLUMN"
            )
    made.setdefault("problem_id", problem_id(Domain.MATH, made["statement"], made["gold_answer"], None))
    return made


async def _grade(
    rows: Sequence[Mapping[str, str]], recipe: Recipe, ui: Reporter, *, trust: bool
) -> tuple[list[Output], list[str | None]]:
    """Every output with its verdict, samples of one problem together, and which of them vote together."""
    by_problem: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        by_problem.setdefault(row["problem_id"], []).append(row)
    outputs: list[Output] = []
    keys: list[str | None] = []
    judge = recipe.judge
    confine = None if trust else confine_process
    async with Checkers(
        judge.n_workers, judge.timeout_s, judge.memory_mb, confine, precision=judge.precision
    ) as checkers:
        with ui.step("verdicts", len(rows), "outputs") as advance:
            for samples in by_problem.values():
                graded = list(await asyncio.gather(*(_judged(row, checkers) for row in samples)))
                keys += await _keys(graded, checkers)
                outputs += graded
                advance(len(graded))
    return outputs, keys


async def _judged(row: Mapping[str, str], checkers: Checkers) -> Output:
    gold, answer = clean_gold(row["gold_answer"]), extract_answer(row["text"])
    check = await checkers.check(VerifierName.MATH_VERIFY, gold, answer)
    return Output(row["problem_id"], row["item"], row["statement"], gold, row["text"], answer, check)


async def _keys(samples: Sequence[Output], checkers: Checkers) -> list[str | None]:
    async def same(one: str, other: str) -> bool:
        return (await checkers.check(VerifierName.MATH_VERIFY, one, other)).is_correct is True

    return await vote_keys([s.answer for s in samples], [s.check.is_correct for s in samples], same)


def measure(outputs: Sequence[Output], keys: Sequence[str | None]) -> Grades:
    """pass@1, pass@k and majority@k over the problems of graded outputs."""
    groups: dict[str, list[tuple[str | None, bool | None]]] = {}
    for output, key in zip(outputs, keys, strict=True):
        groups.setdefault(output.problem, []).append((key, output.check.is_correct))
    sizes = [len(group) for group in groups.values()]
    right = [sum(is_correct is True for _, is_correct in group) for group in groups.values()]
    k = min(sizes)
    majority = [majority_is_correct([key for key, _ in group], [ok for _, ok in group]) for group in groups.values()]
    return Grades(
        n_problems=len(groups),
        k=k,
        pass_1=cluster_interval([c / n for c, n in zip(right, sizes, strict=True)], len(outputs)),
        pass_k=sum(pass_at_k(n, c, k) for c, n in zip(right, sizes, strict=True)) / len(groups),
        majority=sum(majority) / len(groups),
        n_outputs=len(outputs),
        n_undecided=sum(output.check.is_correct is None for output in outputs),
    )


def _model(file: Path) -> str:
    """The file's content stands for a model: another file is another one."""
    return f"{file.name.partition('.')[0]}@{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"


def _rows(
    outputs: Sequence[Output], keys: Sequence[str | None], model: str, label: str, recipe_id: str
) -> list[dict[str, Any]]:
    """Rows of raw.evaluations."""
    counts: dict[str, int] = {}
    rows = []
    for output, key in zip(outputs, keys, strict=True):
        problem = problem_id(Domain.MATH, output.statement, output.gold, None)
        index = counts[problem] = counts.get(problem, -1) + 1
        shown = [block.code for block in blocks(output.text) if block.kind is Kind.OUTPUT]
        rows.append(
            {
                "evaluation_id": "e_" + recipe_id,
                "model": model,
                "label": label,
                "benchmark": model.partition("@")[0],
                "item": output.item,
                "problem_id": problem,
                "domain": str(Domain.MATH),
                "gold_answer": output.gold,
                "arm": str(EvalArm.RECORDED),
                "n_rounds": 0,
                "sample_index": index,
                "trajectory_id": f"recorded:{output.item}",
                "is_correct": output.check.is_correct,
                "verdict": str(output.check.verdict),
                "answer_text": output.answer,
                "answer_key": key,
                "n_tokens": None,
                "n_tool_calls": len(shown),
                "n_tool_errors": sum(_ERROR.search(text) is not None for text in shown),
                "called_python": bool(shown),
                "recipe_id": recipe_id,
            }
        )
    return rows
