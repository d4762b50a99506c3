"""The warehouse as a snapshot saw it: its shards, its recipe, in memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from pydantic import ValidationError

from factory.run import RecipeIds, run_params
from schemas.errors import SnapshotError
from schemas.recipe import Recipe
from schemas.records import Manifest
from schemas.tables import RUNS
from warehouse.inputs import FrozenStore
from warehouse.models import Params, build_models
from warehouse.store import Store, fetch


def name_of(manifest: Manifest) -> str:
    """`d_seed` of `d_seed@v1`."""
    return manifest.snapshot.partition("@")[0]


def params_of(home: Path, manifest: Manifest) -> Params:
    """Parameters of the SQL models for the run of a snapshot.

    Raises:
        SnapshotError: neither manifest nor home says them.
    """
    ids: dict[str, Any] | None = manifest.recipe_ids
    if ids is None:
        store = Store(home)
        if store.shards(RUNS):
            with store.connect() as con:
                row = con.execute("select recipe_ids from raw.runs where run_id = ?", [manifest.run_id]).fetchone()
            ids = json.loads(row[0]) if row else None
    if ids is None:
        raise SnapshotError(
            f"{manifest.snapshot}: its run {manifest.run_id} is not in {home}.\n"
            "  why:    it was made in another home\n  next:   --home with that one\n  state:  nothing was changed."
        )
    try:
        return run_params(name_of(manifest), Recipe.model_validate(manifest.recipe), RecipeIds(**ids), manifest.run_id)
    except (ValidationError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise SnapshotError(
            f"{manifest.snapshot}: its recipe is not one that this version understands: {first}\n"
            f"  next:   use the factory that made it, version {manifest.factory_version}\n"
            "  state:  nothing was changed."
        ) from error


@contextmanager
def frozen(home: Path, manifest: Manifest, needs: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with the models that `needs` names, over the shards of a snapshot.

    Raises:
        SnapshotError: the run or shards of it are not in this home.
    """
    params = params_of(home, manifest)
    store = FrozenStore(home, manifest)
    with store.connect() as con:
        known = con.execute("select 1 from raw.run_problems where run_id = ? limit 1", [manifest.run_id]).fetchone()
        if known is None:
            raise SnapshotError(
                f"{manifest.snapshot}: its run {manifest.run_id} is not in {home}.\n"
                "  why:    it was made in another home\n  next:   --home with that one\n  state:  nothing was changed."
            )
        build_models(con, params, needed_by=needs)
        yield con


def stories(con: duckdb.DuckDBPyConnection, trajectory_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Of trajectories, those that the run has, with what decided about them."""
    return {
        row["trajectory_id"]: row
        for row in fetch(
            con,
            "select s.*, p.selected_trajectory_id from marts.trajectories_scored as s "
            "join marts.problems as p on p.problem_id = s.problem_id "
            "where s.trajectory_id in (select unnest(?))",
            [trajectory_ids],
        )
    }
