"""The gate, and what passes it: a candidate becomes the next snapshot, or nothing changes."""

import importlib.metadata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from factory.release.card import write_card
from factory.run import IMPORT, Run, code_hash
from quality.gate import gate_failure_message, run_gate
from schemas.errors import EngineError, GateFailed
from schemas.records import FileEntry, Manifest
from schemas.tables import SNAPSHOTS
from warehouse.inputs import record_inputs
from warehouse.models import AUDITS, model_files
from warehouse.pointer import latest, point_at
from warehouse.snapshots import Draft, drafted, rows_to_publish, version_of, versions
from warehouse.store import fetch


@dataclass(frozen=True)
class Promotion:
    """What became of the candidate."""

    folder: Path
    reference: str
    n_rows: int
    content_hash: str
    is_new: bool


def promote(run: Run) -> Promotion:
    """Hold the candidate against the gate and write it as the next snapshot; the same rows again change nothing.

    Raises:
        GateFailed: the candidate is too small or breaks a promise. Nothing was promoted.
        HomeError: the disk refuses.
    """
    home, name = run.store.home, run.build
    known = versions(home, name)
    now = latest(home, name, known) if known else None
    current = f"{name}@v{now}" if now else None
    with run.store.read() as con:
        n_rows = con.sql("select count(*) from marts.selected").fetchall()[0][0]
        if n_rows < run.recipe.gate.min_rows:
            raise GateFailed(_too_small(run, n_rows, current))
        with drafted(home, name, rows_to_publish(con, SNAPSHOTS[name])) as draft:
            digest = draft.content_hash
            if same := version_of(home, name, digest):  # content-addressed: the same rows are never written twice
                if same != now:
                    point_at(home, name, same, known[-1], "a build made its rows again")
                folder = home / "snapshots" / name / f"v{same}"
                return Promotion(folder, f"{name}@v{same}", n_rows, digest, is_new=False)
            return _finish(run, con, draft, current)


def funnel_rows(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """marts.funnel, in order."""
    return fetch(con, "from marts.funnel order by step_no")


def _finish(run: Run, con: duckdb.DuckDBPyConnection, draft: Draft, current: str | None) -> Promotion:
    """The gate, the card, the manifest."""
    table, data = SNAPSHOTS[run.build], draft.folder / "data"
    funnel = funnel_rows(con)
    checks = run_gate(data, con, AUDITS, table=table, docs_dir=draft.folder / "quality")
    failure = gate_failure_message(checks, name=run.build, n_rows=draft.n_rows, current=current, audits_dir=AUDITS)
    if failure:
        raise GateFailed(failure)
    write_card(draft, run, funnel, checks)
    sandboxes = con.sql(
        "select distinct sandbox from marts.snapshot_rows where sandbox is not null order by 1"
    ).fetchall()

    def manifest(files: tuple[FileEntry, ...]) -> Manifest:
        return Manifest(
            snapshot=draft.reference,
            parent=current,
            content_hash=draft.content_hash,
            created_at=datetime.now(UTC),
            factory_version=importlib.metadata.version("start-factory"),
            run_id=run.run_id,
            recipe=run.recipe.model_dump(mode="json"),
            engine=run.engine_name,
            sandbox=", ".join(name for (name,) in sandboxes),
            tokenizer=_tokenizer(run),
            n_rows=draft.n_rows,
            columns=tuple(column.name for column in table.columns),
            funnel=tuple(funnel),
            gate=tuple(checks),
            sql_hashes={model.name: model.sha256 for model in model_files()},
            files=files,
            recipe_ids=vars(run.ids),
            inputs=record_inputs(run.store),
            code_hash=code_hash(),
            pyarrow_version=pa.__version__,
        )

    folder = draft.place(manifest)
    return Promotion(folder, f"{run.build}@{folder.name}", draft.n_rows, draft.content_hash, is_new=True)


def _tokenizer(run: Run) -> str | None:
    """Fingerprint of the tokenizer whose ids the rows hold. Without one the ids are made anew at training."""
    settings = run.recipe.engine
    if settings.kind == "scripted" or run.build == IMPORT:  # imported rows hold no ids
        return None
    from factory.engines.local_model import find_weights
    from factory.engines.tokenizer import load_tokenizer, tokenizer_fingerprint

    try:
        return tokenizer_fingerprint(load_tokenizer(find_weights(settings, run.store.home)))
    except (EngineError, OSError, ValueError, KeyError, ImportError):  # all rows are made: no reason to lose them
        return None


def _too_small(run: Run, n_rows: int, current: str | None) -> str:
    stays = f"the current snapshot is still {current}" if current else f"there is no snapshot of {run.build} yet"
    if run.build == IMPORT:
        more = "more rows, or other settings of [d_import.selection]"
        where = 'factory sql "from marts.import_claims" says what\n          was judged right,'
    elif run.sampled is None:
        more = "more branches (--set hint.branches=4), other cuts, or a stronger --model"
        where = 'factory sql "from marts.hint_yield" says which\n          hints helped,'
    else:
        more = f"more samples (--set {run.build}.samples={2 * run.sampled.samples}), or a stronger --model"
        where = 'factory sql "from marts.pass_rates" says how often\n          each problem was solved,'
    return (
        f"{run.build}: {n_rows:,} rows were accepted, the recipe wants at least {run.recipe.gate.min_rows:,}"
        " (gate.min_rows).\n"
        f"  why:    the funnel above says where the others went; {where} factory why PROBLEM_ID tells the story of one "
        "problem\n"
        f"  next:   more problems (--limit), {more}\n"
        f"  state:  nothing was promoted; {stays}. All trajectories are kept."
    )
