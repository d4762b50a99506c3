"""The step that fills raw.trajectories and raw.imported_rows with what was written elsewhere."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from factory.imports.files import ImportedRow, TrajectoryFiles
from factory.progress import Reporter
from factory.rollout.attempt import answer_of
from factory.rollout.plan import messages_for
from factory.run import Run
from factory.workbench import Workbench
from schemas.errors import ProblemsError
from schemas.tables import IMPORTED_ROWS, TRAJECTORIES
from schemas.vocabulary import Arm, Origin, StopReason
from warehouse.store import chunks

BATCH = 1000


@dataclass(frozen=True, slots=True)
class _New:
    """A row that is not stored yet."""

    trajectory_id: str
    sample_index: int
    row: ImportedRow


def import_trajectories(run: Run, bench: Workbench, ui: Reporter, files: TrajectoryFiles, n_rows: int) -> int:
    """Fill raw.trajectories, and raw.imported_rows with where each row came from, with the rows that are missing.

    A row is named after the run's content, its problem, its model, its text, and how many equal ones came before it.
    What only the one who sampled it could know stays empty: token ids, seed, sampling, sandbox, times. The prompt is
    ours, that under which the text will be trained on. A text that ends inside a block has stop_reason `length`.

    Returns:
        How many were missing.

    Raises:
        ProblemsError: the files changed since they were surveyed.
    """
    known = run.store.ids(TRAJECTORIES, "trajectory_id", recipe_id=run.ids.rollout)
    n_missing = n_rows - len(known)
    if not n_missing:
        return 0
    codec = bench.codec()

    @lru_cache(maxsize=10_000)
    def prompt(problem_id: str) -> str:
        return codec.prompt(messages_for(run, run.problems[problem_id]))

    n_done = 0
    with ui.step("import", n_missing, "trajectories") as advance:
        for batch in chunks(_missing(run, files, known), BATCH):
            texts = [text for new in batch for _, text in new.row.transcript.segments]
            lengths = iter(codec.count(texts))
            made = [_trajectory(run, new, prompt(new.row.problem.problem_id), lengths) for new in batch]
            run.store.append(IMPORTED_ROWS, [_origin_of(new) for new in batch])
            run.store.append(TRAJECTORIES, made)
            n_done += len(batch)
            advance(len(batch))
    if n_done != n_missing:
        raise ProblemsError(
            f"the files changed while they were read: {n_done:,} rows were imported, {n_missing:,} were expected.\n"
            "  next:  give the same command again once nobody writes to them\n"
            "  state: nothing was promoted."
        )
    return n_done


def _missing(run: Run, files: TrajectoryFiles, known: set[str]) -> Iterator[_New]:
    """Rows that are not stored, by name."""
    n_equal, n_before = Counter[bytes](), Counter[str]()
    for row in files.rows(run.problems):
        problem_id = row.problem.problem_id
        parts = [run.ids.rollout, problem_id, row.model, row.text]
        name = hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode())
        equal = name.digest()[:16]
        name.update(str(n_equal[equal]).encode())
        new = _New("t_" + name.hexdigest()[:20], n_before[problem_id], row)
        n_equal[equal] += 1
        n_before[problem_id] += 1
        if new.trajectory_id not in known:
            yield new


def _trajectory(run: Run, new: _New, prompt: str, lengths: Iterator[int]) -> dict[str, Any]:
    row, transcript = new.row, new.row.transcript
    n_tokens = dict.fromkeys(Origin, 0)
    segments = []
    for origin, text in transcript.segments:
        n = next(lengths)
        n_tokens[origin] += n
        segments.append({"origin": str(origin), "text": text, "n_tokens": n, "token_ids": None})
    return {
        "trajectory_id": new.trajectory_id,
        "parent_id": None,
        "run_id": run.run_id,
        "recipe_id": run.ids.rollout,
        "problem_id": row.problem.problem_id,
        "arm": str(Arm.SELF if transcript.tool_calls else Arm.BASELINE),
        "sample_index": new.sample_index,
        "seed": None,
        "engine": row.model,
        "sandbox": None,
        "sampling": "{}",
        "prompt": prompt,
        "segments": segments,
        "hints": [],
        "tool_calls": [call.model_dump(mode="json") for call in transcript.tool_calls],
        "repairs": [],
        "answer_text": answer_of(row.problem, transcript.text),
        "stop_reason": str(StopReason.LENGTH if transcript.is_open else StopReason.END),
        "error": None,
        "n_tokens_model": n_tokens[Origin.MODEL],
        "n_tokens_hint": 0,
        "n_tokens_tool": n_tokens[Origin.TOOL],
        "wall_s": 0.0,
        "engine_s": 0.0,
        "sandbox_s": 0.0,
        "created_at": datetime.now(UTC),
    }


def _origin_of(new: _New) -> dict[str, Any]:
    row = new.row
    return {
        "trajectory_id": new.trajectory_id,
        "source": row.source,
        "line": row.line,
        "claim": row.claim,
        "oddities": sorted(row.transcript.oddities),
    }
