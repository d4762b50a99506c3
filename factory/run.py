"""One run: a recipe over a list of problems, with the hashes that say which stored rows belong to it.

Every step's rows carry the `recipe_id` of that step: the hash of the settings that determine them, and of nothing else.
So a changed limit or quota reuses everything, a changed hint keeps the baselines, and rows made under other settings
are never mixed in.
"""

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from factory.replay.environment import environment_of
from factory.rollout.hints import HintLibrary, load_library
from factory.settings import fingerprint
from quality.checkers import VERSION as JUDGE_VERSION
from quality.decontamination.find import VERSION as CONTAMINATION_VERSION
from quality.programs.judge import VERSION as PROGRAMS_VERSION
from schemas.recipe import Recipe, Sampled, Selection
from schemas.records import Problem
from schemas.tables import RUN_PROBLEMS, RUNS
from schemas.vocabulary import Domain
from warehouse.models import Params
from warehouse.repair import VERSION as REPAIR_VERSION
from warehouse.signals import VERSION as SIGNALS_VERSION
from warehouse.store import Store

FORMAT = 1
"""Raised when the meaning of stored rows changes without a setting doing so."""
EVAL = "eval"
"""The build of evaluations: its problems are benchmarks, so it is never the run that the warehouse shows."""
IMPORT = "d_import"
"""The build that makes nothing: its trajectories come from files, and its engine is named after their content."""

OTHER_SECTIONS = {
    "d_seed": ("d_start", "d_rft", "d_import"),
    "d_start": ("d_rft", "d_import", "baseline", "hint", "selection"),
    "d_rft": ("d_start", "d_import", "baseline", "hint", "selection"),
    IMPORT: ("d_start", "d_rft", "baseline", "hint", "selection"),
    EVAL: ("d_start", "d_rft", "d_import", "selection"),
}
"""Per build, the sections of a recipe that it does not use: changing them is the same run."""

ALL = 2**31 - 1
"""More trajectories than any problem has."""

ONLY_SPEED = {
    "engine": {
        *("max_running", "device", "timeout_s", "tensor_parallel", "data_parallel", "memory_share"),
        *("urls", "api_key_env", "retries"),
    },
    "sandbox": {"max_sessions"},
}
"""Settings that change how fast rows are made, and not which."""
OF_PROGRAMS = {"total_s", "time_factor", "max_test_s"}
"""Settings of `[judge]` that matter where programs are judged alone: then they are in the judge's hash."""


def execution_rules(recipe: Recipe) -> dict[str, Any]:
    """What of the sandbox's settings shapes a text."""
    return recipe.sandbox.model_dump(mode="json", exclude=ONLY_SPEED["sandbox"])


def program_rules(recipe: Recipe) -> tuple[Any, ...]:
    """Whatever decides what a program's tests say of it."""
    return PROGRAMS_VERSION, execution_rules(recipe), recipe.judge.model_dump(mode="json", include=OF_PROGRAMS)


@dataclass(frozen=True)
class RecipeIds:
    """Per step, the hash of the settings that determine its rows."""

    baseline: str
    """Empty in a build that starts from no baselines."""
    rollout: str
    """Of the build's own rollouts: hint branches, or samples."""
    repair: str
    judge: str
    contamination: str


@dataclass(frozen=True)
class Run:
    """What every step needs to know."""

    build: str
    recipe: Recipe
    store: Store
    engine_name: str
    library: HintLibrary
    problems: dict[str, Problem]
    """By id, in the run's order."""
    ids: RecipeIds
    run_id: str

    @cached_property
    def params(self) -> Params:
        """Parameters of the SQL models."""
        return run_params(self.build, self.recipe, self.ids, self.run_id)

    @property
    def sampled(self) -> Sampled | None:
        """Settings of a build that samples without hints; None for D_seed."""
        return sampled(self.build, self.recipe)


def sampled(build: str, recipe: Recipe) -> Sampled | None:
    """The section of a build that samples without hints; None for D_seed."""
    return {"d_start": recipe.d_start, "d_rft": recipe.d_rft}.get(build)


def selection_of(build: str, recipe: Recipe) -> Selection:
    """Which rule chooses a build's rows."""
    own = recipe.d_import if build == IMPORT else sampled(build, recipe)
    return own.selection if own else recipe.selection


def run_params(build: str, recipe: Recipe, ids: RecipeIds, run_id: str) -> Params:
    """Parameters of the SQL models for one run."""
    own, selection = sampled(build, recipe), selection_of(build, recipe)
    return {
        "run_id": run_id,
        **{f"{step}_recipe_id": value for step, value in vars(ids).items()},
        "needs_baseline": own is None and build != IMPORT,
        "per_problem_tried": ALL if build == IMPORT else own.samples if own else recipe.hint.branches,
        "rounds": recipe.hint.rounds,
        "signals_version": SIGNALS_VERSION,
        "system": recipe.prompt.system,
        **recipe.signals.model_dump(),
        **selection.model_dump(mode="json"),
        "quota_source": json.dumps(selection.quota_source),
        "suffix": recipe.prompt.suffix,
        **recipe.gate.model_dump(mode="json", include={"replay", "tolerate"}),
        "replay_environment": environment_of(recipe).rules,
    }


def open_run(
    build: str, recipe: Recipe, store: Store, engine_name: str, problems: Sequence[Problem], benchmarks: Any
) -> Run:
    """Identify a run and record it: raw.runs, raw.run_problems.

    Args:
        build: `d_seed`, `d_start`, `d_rft`, or `eval`: then no recipe_id equals one of a build under the same settings,
            so that what was made or judged on a benchmark can never be taken for a build's row.
        recipe: All settings.
        store: The home's store.
        engine_name: `name@revision`.
        problems: In order.
        benchmarks: Whatever determines the benchmarks' contents.
    """
    library = load_library(recipe.hint.library)
    by_id = {problem.problem_id: problem for problem in problems}
    model = recipe.engine
    engine: tuple[Any, ...] = (engine_name, model.dtype, model.max_model_len)
    if model.kind != "transformers":  # whose rows keep the ids that they had before there were other engines
        engine += (model.kind, model.served_model)
    if build == EVAL:
        engine += (EVAL,)
    own = sampled(build, recipe)
    if build == IMPORT:
        baseline, rollout = "", fingerprint(FORMAT, engine_name, recipe.prompt)
    elif own is None:
        baseline = fingerprint(FORMAT, engine, recipe.prompt, recipe.baseline, recipe.seed)
        branch = recipe.hint.model_dump(
            mode="json", exclude={"branches", "rounds"}
        )  # more of them leave the others as they are
        rollout = fingerprint(baseline, branch, library.sha256, execution_rules(recipe))
    else:
        baseline = ""
        sample = own.model_dump(mode="json", exclude={"samples", "selection"})  # as above
        hints = library.sha256 if own.opening or own.trust_output else ""
        rollout = fingerprint(FORMAT, engine, recipe.prompt, sample, recipe.seed, execution_rules(recipe), hints)
    judge = fingerprint(
        FORMAT,
        JUDGE_VERSION,
        importlib.metadata.version("math-verify"),
        recipe.judge.timeout_s,
        recipe.judge.memory_mb,
        recipe.judge.precision,
    )
    if build == EVAL:
        judge = fingerprint(judge, EVAL)
    elif any(problem.domain is Domain.CODE for problem in problems):
        judge = fingerprint(judge, program_rules(recipe))
    ids = RecipeIds(
        baseline=baseline,
        rollout=rollout,
        repair=fingerprint(rollout, recipe.repair, *((REPAIR_VERSION,) if REPAIR_VERSION > 1 else ())),
        judge=judge,
        contamination=fingerprint(CONTAMINATION_VERSION, recipe.decontamination, benchmarks, sorted(by_id)),
    )
    left_out: dict[str, Any] = {"problems": True, "executor": True, "judge": OF_PROGRAMS, **ONLY_SPEED}
    left_out |= dict.fromkeys(OTHER_SECTIONS[build], True)
    settings = recipe.model_dump(mode="json", exclude=left_out)
    run_id = "r_" + fingerprint(build, settings, vars(ids), list(by_id))
    run = Run(build, recipe, store, engine_name, library, by_id, ids, run_id)
    store.append(RUN_PROBLEMS, [{"run_id": run_id, "problem_id": p, "position": i} for i, p in enumerate(by_id)])
    store.replace(
        RUNS,
        run_id,
        [
            {
                "run_id": run_id,
                "build": build,
                "recipe": recipe.model_dump_json(),
                "recipe_ids": json.dumps(vars(ids)),
                "engine": engine_name,
                "factory_version": importlib.metadata.version("start-factory"),
                "started_at": datetime.now(UTC),
            }
        ],
    )
    return run


@functools.cache
def code_hash() -> str:
    """Hash over the Python files that make rows: of the rooms below `train`."""
    root = Path(__file__).parents[1]
    rooms = ("schemas", "warehouse", "quality", "factory")
    digest = hashlib.sha256()
    for path in sorted(path for room in rooms for path in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def rebuild_database(store: Store) -> bool:
    """Make `factory.duckdb` anew for the build that was started last; False where there is no run at all.

    Where only evaluations were run, the models of builds are empty and `marts.leaderboard` is there.
    """
    with store.connect() as con:
        row = con.execute(
            "select build, recipe, recipe_ids, if(build = $eval, '', run_id) from raw.runs "
            "order by build = $eval, started_at desc limit 1",
            {"eval": EVAL},
        ).fetchone()
    if row is None:
        return False
    build, recipe, ids, run_id = row
    store.publish(run_params(build, Recipe.model_validate_json(recipe), RecipeIds(**json.loads(ids)), run_id))
    return True
