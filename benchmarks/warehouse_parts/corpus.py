"""Any number of trajectories of 2 to 8 KB, made from real ones, in a home as a build leaves them after its verdicts.

A made problem is a handful of real problems in a row; each of its eight trajectories takes one real trajectory of each,
so texts of one problem repeat each other as often as those of the real models did, and texts of different problems
share pieces, but are no repeats. It is right where all its pieces are, and its answer is that of the last.
"""

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.imports.transcript import read_transcript
from factory.problems.rows import problem_id
from factory.run import Run, open_run
from factory.settings import load_recipe
from schemas.records import Problem
from schemas.tables import GOLD_CHECKS, PROBLEMS, TRAJECTORIES, VERDICTS
from schemas.vocabulary import Domain
from warehouse.store import Store, chunks, fetch

FILES = ("tir_mathcoder_gsm8k_even", "tir_tora_gsm8k")
PER_PROBLEM = 8
LEAST_CHARS, MOST_CHARS = 2_000, 8_000
SHARD_ROWS = 5_000
CHARS_PER_TOKEN = 4
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Piece:
    """A real trajectory."""

    segments: tuple[tuple[str, str], ...]
    tool_calls: tuple[dict[str, Any], ...]
    gold: str
    answer: str
    is_right: bool
    n_chars: int


Pieces = dict[str, list[Piece]]
"""By statement."""


def read_pieces(data: Path) -> Pieces:
    """The real trajectories."""
    found: defaultdict[str, list[Piece]] = defaultdict(list)
    for name in FILES:
        with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                made = read_transcript(row["text"])
                segments = tuple((str(origin), text) for origin, text in made.segments)
                calls = tuple(call.model_dump(mode="json") for call in made.tool_calls)
                piece = Piece(
                    segments, calls, row["gold"], str(row["pred"]), row["label"] is True, n_chars=len(row["text"])
                )
                found[row["problem"]].append(piece)
    return dict(found)


def make_home(home: Path, pieces: Pieces, n: int, recipe: Path) -> None:
    """Fill a home with `n` trajectories, their problems, gold checks and verdicts."""
    draw = random.Random(7)
    statements = sorted(pieces)
    chosen = [_choose(statements, pieces, draw) for _ in range(n // PER_PROBLEM)]
    problems = [_problem(parts, pieces[parts[-1]][0].gold) for parts in chosen]
    run = _run(home, recipe, problems)
    store = run.store
    for batch in chunks(problems, SHARD_ROWS):
        store.append(PROBLEMS, [problem.model_dump(mode="json") for problem in batch])
        told = {"recipe_id": run.ids.judge, "is_accepted": True, "verdict": "correct", "detail": ""}
        store.append(GOLD_CHECKS, [{"problem_id": problem.problem_id, **told} for problem in batch])
    for rows in chunks(_trajectories(run, problems, chosen, pieces, draw), SHARD_ROWS):
        trajectories, verdicts = zip(*rows, strict=True)
        store.append_table(TRAJECTORIES, pa.Table.from_pylist(list(trajectories), schema=TRAJECTORIES.arrow_schema))
        store.append_table(VERDICTS, pa.Table.from_pylist(list(verdicts), schema=VERDICTS.arrow_schema))


def reopened(home: Path, recipe: Path) -> Run:
    """The run of a home, as a build of D_START has it when its rollouts are judged."""
    with Store(home).connect() as con:
        rows = fetch(
            con, "select p.* from raw.run_problems join raw.problems as p using (problem_id) order by position"
        )
    return _run(home, recipe, [Problem.model_validate(row) for row in rows])


def _run(home: Path, recipe: Path, problems: Sequence[Problem]) -> Run:
    return open_run("d_start", load_recipe(str(recipe), {}), Store(home), "real@mixed", problems, "none")


def _choose(statements: Sequence[str], pieces: Pieces, draw: random.Random) -> tuple[str, ...]:
    wanted, parts = draw.randint(LEAST_CHARS, MOST_CHARS), list[str]()
    while sum(pieces[part][0].n_chars for part in parts) < wanted:
        parts.append(draw.choice(statements))
    return tuple(parts)


def _problem(parts: Sequence[str], gold: str) -> Problem:
    statement = "\n".join(f"({i}) {part}" for i, part in enumerate(parts, 1))
    return Problem(
        problem_id=problem_id(Domain.MATH, statement, gold, None),
        domain=Domain.MATH,
        source="made from real ones",
        split="train",
        statement=statement,
        gold_answer=gold,
        licence="MIT and Apache-2.0",
        verifier="math_verify",
    )


def _trajectories(
    run: Run, problems: Sequence[Problem], chosen: Sequence[Sequence[str]], pieces: Pieces, draw: random.Random
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    number = 0
    for problem, parts in zip(problems, chosen, strict=True):
        for sample in range(PER_PROBLEM):
            taken = [draw.choice(pieces[part]) for part in parts]
            trajectory_id = f"t_{draw.getrandbits(80):020x}"
            yield _trajectory(run, problem, taken, trajectory_id, sample, number), _verdict(run, taken, trajectory_id)
            number += 1


def _trajectory(
    run: Run, problem: Problem, taken: Sequence[Piece], trajectory_id: str, sample: int, number: int
) -> dict[str, Any]:
    segments: list[tuple[str, str]] = []
    for piece in taken:
        for origin, text in piece.segments:
            if segments and segments[-1][0] == origin == "model":
                segments[-1] = (origin, f"{segments[-1][1]}\n\n{text}")
            else:
                segments.append((origin, text))
    n_tokens = {origin: sum(_n_tokens(t) for o, t in segments if o == origin) for origin in ("model", "tool")}
    calls = [call for piece in taken for call in piece.tool_calls]
    return {
        "trajectory_id": trajectory_id, "parent_id": None, "run_id": run.run_id, "recipe_id": run.ids.rollout,
        "problem_id": problem.problem_id, "arm": "self", "sample_index": sample, "seed": number, "engine": "real@mixed",
        "sandbox": "namespaces", "sampling": "{}", "prompt": problem.statement, "hints": [], "repairs": [],
        "segments": [{"origin": o, "text": t, "n_tokens": _n_tokens(t), "token_ids": None} for o, t in segments],
        "tool_calls": calls, "answer_text": taken[-1].answer, "stop_reason": "end", "error": None,
        "n_tokens_model": n_tokens["model"], "n_tokens_hint": 0, "n_tokens_tool": n_tokens["tool"], "wall_s": 1.0,
        "engine_s": 1.0, "sandbox_s": 0.0, "created_at": START + timedelta(seconds=number),
    }  # fmt: skip


def _n_tokens(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)


def _verdict(run: Run, taken: Sequence[Piece], trajectory_id: str) -> dict[str, Any]:
    is_right = all(piece.is_right for piece in taken)
    return {
        "trajectory_id": trajectory_id, "recipe_id": run.ids.judge, "verdict": "correct" if is_right else "wrong",
        "is_correct": is_right, "verifier": "math_verify", "step": "exact", "second_opinion": None,
        "disagreement": False, "n_tests_passed": None, "n_tests": None, "failed_test": None, "detail": "",
        "wall_ms": 0.1,
    }  # fmt: skip
