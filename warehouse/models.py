"""SQL models: one file makes one table, and its header says what it reads and which parameters it takes.

Files are run in the order they read each other. A header that does not agree with the parsed SQL is an error, so the
headers can be trusted.
"""

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import duckdb
import sqlglot
from sqlglot import exp

from schemas.errors import SqlError
from schemas.tables import STORED_TABLES

MODELS = Path(__file__).parent / "models"
AUDITS = Path(__file__).parent / "audits"
Params = Mapping[str, str | int | float | bool | Sequence[str] | None]


@dataclass(frozen=True)
class Model:
    """One model file."""

    name: str
    """`schema.table`, from the path."""
    sql: str
    summary: str
    """First header line."""
    reads: frozenset[str]
    params: frozenset[str]

    @property
    def sha256(self) -> str:
        """Hash of the file, for manifests."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def parse_model(name: str, sql: str) -> Model:
    """Read a model's header and hold it against the SQL.

    Raises:
        SqlError: it does not parse, its header lacks a line, or header and SQL disagree.
    """
    header = dict(re.findall(r"^-- (grain|reads|params|why): +(.*(?:\n-- {4,}.*)*)", sql, re.MULTILINE))
    first = re.match(rf"-- {re.escape(name)}: (.+)", sql)
    missing = [key for key in ("grain", "reads", "why") if key not in header]
    if first is None or missing:
        raise SqlError(f"{name}: the header lacks {'its title line' if first is None else ', '.join(missing)}")
    declared_reads = frozenset(re.findall(r"\b\w+\.\w+\b", header["reads"]))
    declared_params = frozenset(re.findall(r"\$(\w+)", header.get("params", "")))
    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise SqlError(f"{name}: {error}") from error
    if not isinstance(tree, exp.Query):
        raise SqlError(f"{name}: a model is one select, this is something else")
    tables = list(tree.find_all(exp.Table))
    local = {cte.alias for cte in tree.find_all(exp.CTE)}
    unplaced = {t.name for t in tables if isinstance(t.this, exp.Identifier) and not t.db} - local
    if unplaced:
        raise SqlError(f"{name}: write {', '.join(sorted(unplaced))} as schema.table, as in the header's reads")
    reads = frozenset(f"{t.db}.{t.name}" for t in tables if t.db)
    params = frozenset(p.name for p in tree.find_all(exp.Placeholder))
    for what, said, found in (("reads", declared_reads, reads), ("params", declared_params, params)):
        if said != found:
            raise SqlError(
                f"{name}: the header's {what} say {', '.join(sorted(said)) or 'nothing'}, "
                f"the SQL has {', '.join(sorted(found)) or 'nothing'}"
            )
    return Model(name, sql, first[1], reads, params)


@functools.cache
def model_files() -> tuple[Model, ...]:
    """All models, each after those it reads.

    Raises:
        SqlError: a model is malformed, reads a table that nobody makes, or reads itself in a circle.
    """
    models = {}
    for path in sorted(MODELS.glob("*/*.sql")):
        model = parse_model(f"{path.parent.name}.{path.stem}", path.read_text(encoding="utf-8"))
        models[model.name] = model
    for model in models.values():
        unknown = model.reads - models.keys() - STORED_TABLES.keys()
        if unknown:
            raise SqlError(f"{model.name} reads {', '.join(sorted(unknown))}, which no file and no step makes")
    try:
        order = TopologicalSorter({name: sorted(model.reads & models.keys()) for name, model in models.items()})
        return tuple(models[name] for name in order.static_order())
    except CycleError as error:
        raise SqlError(f"models read each other in a circle: {' -> '.join(error.args[1])}") from error


def build_model(con: duckdb.DuckDBPyConnection, model: Model, params: Params) -> None:
    """Run one model into a table of its name.

    Raises:
        SqlError: a parameter is missing, or DuckDB refuses it; the message names the model.
    """
    missing = model.params - params.keys()
    if missing:
        raise SqlError(f"{model.name}: no value for ${', $'.join(sorted(missing))}")
    con.execute(f"create schema if not exists {model.name.split('.')[0]}")
    try:
        con.execute(
            f"create or replace table {model.name} as {model.sql}", {name: params[name] for name in model.params}
        )
    except duckdb.Error as error:
        raise SqlError(f"{model.name}: {error}") from error


def build_models(con: duckdb.DuckDBPyConnection, params: Params, needed_by: str | None = None) -> None:
    """Run all models in order, or only those that a query names and what they read, directly or not."""
    by_name = {model.name: model for model in model_files()}
    wanted = set(by_name)
    if needed_by is not None:
        wanted, ahead = set(), re.findall(r"\b\w+\.\w+\b", needed_by)
        while ahead:
            name = ahead.pop()
            if name in by_name and name not in wanted:
                wanted.add(name)
                ahead += by_name[name].reads
    for model in model_files():
        if model.name in wanted:
            build_model(con, model, params)
