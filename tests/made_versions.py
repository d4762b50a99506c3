"""A home with runs and snapshots, without a model: rows of a few fields, real shards and models, true manifests."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.run import RecipeIds, run_params
from factory.settings import load_recipe
from schemas.records import FileEntry, Manifest
from schemas.tables import (
    CONTAMINATION,
    DUPLICATE_PAIRS,
    GOLD_CHECKS,
    PROBLEMS,
    RUN_PROBLEMS,
    RUNS,
    SIGNALS,
    SNAPSHOT,
    TRAJECTORIES,
    VERDICTS,
    Table,
)
from tests.builders import later, row, segment
from tests.made_snapshots import write_snapshot
from warehouse.inputs import record_inputs
from warehouse.models import build_models, model_files
from warehouse.snapshots import content_hash, rows_to_publish, versions
from warehouse.store import Store


@dataclass
class World:
    """A home under construction."""

    home: Path
    clock: int = 0
    known: dict[str, set[str]] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """Its store."""
        return Store(self.home)

    def add(self, table: Table, rows: Iterable[dict[str, Any]]) -> None:
        """Append those of the rows whose keys are not there yet, one shard each two rows."""
        known = self.known.setdefault(table.name, set())
        new = []
        for values in rows:
            made = row(table, **values)
            key = str([made[k] for k in table.key])
            if key not in known:
                known.add(key)
                new.append(made)
        for at in range(0, len(new), 2):
            self.store.append(table, new[at : at + 2])

    def tick(self) -> datetime:
        """A later time."""
        self.clock += 1
        return later(self.clock)

    def trajectory(self, id_: str, problem: str, recipe_id: str, **values: Any) -> dict[str, Any]:
        """A trajectory with text of its own."""
        text = values.pop("text", f"text of {id_}")
        return {
            "trajectory_id": id_, "problem_id": problem, "recipe_id": recipe_id, "arm": "hint", "engine": "m@1",
            "segments": [segment("model", text)], "n_tokens_model": len(id_), "created_at": self.tick(), **values,
        }  # fmt: skip

    def run(
        self, run_id: str, problems: Sequence[str], *, rollout: str = "hint", judge: str = "judge", samples: int = 2
    ) -> RecipeIds:
        """A run whose problems all have a wrong baseline and some right branches."""
        ids = RecipeIds("base", rollout, f"repair-{rollout}", judge, "contamination")
        self.add(PROBLEMS, [{"problem_id": p, "statement": f"What is {p}?", "gold_answer": p} for p in problems])
        self.add(RUN_PROBLEMS, [{"run_id": run_id, "problem_id": p, "position": i} for i, p in enumerate(problems)])
        self.add(GOLD_CHECKS, [{"problem_id": p, "recipe_id": judge} for p in problems])
        if not self.store.has(CONTAMINATION, ids.contamination):
            self.store.replace(CONTAMINATION, ids.contamination, [])
        self.add(TRAJECTORIES, [self.trajectory(f"b-{p}", p, "base", arm="baseline") for p in problems])
        branches = [(f"{rollout}-{p}-{i}", p, i) for p in problems for i in range(samples)]
        self.add(TRAJECTORIES, [self.trajectory(t, p, rollout, sample_index=i) for t, p, i in branches])
        self.judge([f"b-{p}" for p in problems], judge, is_correct=False)
        self.judge([t for t, _, _ in branches], judge)
        self.add(SIGNALS, [{"trajectory_id": t} for t, _, _ in branches])
        self.store.replace(DUPLICATE_PAIRS, run_id, [])
        return ids

    def judge(self, trajectory_ids: Iterable[str], judge: str = "judge", *, is_correct: bool = True) -> None:
        """Verdicts."""
        verdict = "correct" if is_correct else "wrong"
        rows = [
            {"trajectory_id": t, "recipe_id": judge, "is_correct": is_correct, "verdict": verdict}
            for t in trajectory_ids
        ]
        self.add(VERDICTS, rows)

    def snapshot(self, run_id: str, ids: RecipeIds, **selection: Any) -> str:
        """Promote a run, as `factory.release.promote` does without the gate; the reference."""
        recipe = load_recipe("demo", {f"selection.{key}": value for key, value in selection.items()})
        self.store.replace(
            RUNS,
            run_id,
            [
                row(
                    RUNS, run_id=run_id, build="d_seed", recipe=recipe.model_dump_json(), engine="m@1",
                    recipe_ids=json.dumps(vars(ids)), started_at=self.tick(),
                )
            ],
        )  # fmt: skip
        with self.store.connect() as con:
            build_models(con, run_params("d_seed", recipe, ids, run_id))
            rows = rows_to_publish(con, SNAPSHOT).read_all()
            funnel = con.sql("from marts.funnel order by step_no").to_arrow_table().to_pylist()
        known = versions(self.home, "d_seed")

        def manifest(reference: str, files: tuple[FileEntry, ...]) -> Manifest:
            return Manifest(
                snapshot=reference, parent=f"d_seed@v{known[-1]}" if known else None, content_hash=content_hash(rows),
                created_at=datetime.now(UTC), factory_version="0", run_id=run_id, engine="m@1", sandbox="none",
                recipe=recipe.model_dump(mode="json"), n_rows=rows.num_rows, columns=tuple(rows.schema.names),
                funnel=tuple(funnel), gate=(), sql_hashes={model.name: model.sha256 for model in model_files()},
                files=files, recipe_ids=vars(ids), inputs=record_inputs(self.store), pyarrow_version=pa.__version__,
            )  # fmt: skip

        folder = write_snapshot(self.home, "d_seed", rows, lambda _folder, _name: None, manifest)
        return f"d_seed@{folder.name}"


def random_world(home: Path, seed: int) -> World:
    """Some runs that share settings or problems, with snapshots of some, and rows that came later."""
    draw, world = random.Random(seed), World(home)
    problems = [f"p{i}" for i in range(6)]
    for number in range(draw.randint(2, 5)):
        chosen = draw.sample(problems, draw.randint(1, 6))
        rollout, judge = draw.choice(["hint", "other"]), draw.choice(["judge", "strict"])
        run_id = f"r{number}"
        ids = world.run(run_id, chosen, rollout=rollout, judge=judge, samples=draw.randint(1, 3))
        if draw.random() < 0.7:
            world.snapshot(run_id, ids, per_problem=draw.randint(1, 2))
        late = f"{rollout}-{chosen[0]}-late{number}"  # what a later run of the same settings adds
        repaired = world.trajectory(late, chosen[0], ids.repair, parent_id=f"{rollout}-{chosen[0]}-0", repairs=["cut"])
        world.add(TRAJECTORIES, [repaired])
        world.judge([late], judge)
        world.add(SIGNALS, [{"trajectory_id": late}])
    return world
