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
from warehouse.attach import literal

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
    is_view: bool = False
    """Whether its rows, being wide, are made when they are asked for."""

    @property
    def sha256(self) -> str:
        """Hash of the file, for manifests."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def parse_model(name: str, sql: str) -> Model:
    """Read a model's header and hold it against the SQL.

    Raises:
        SqlError: it does not parse, its header lacks a line, or header and SQL disagree.
    """
    header = dict(re.findall(r"^-- (kind|grain|reads|params|why): +(.*(?:\n-- {4,}.*)*)", sql, re.MULTILINE))
    first = re.match(rf"-- {re.escape(name)}: (.+)", sql)
    missing = [key for key in ("grain", "reads", "why") if key not in header]
    if first is None or missing:
        raise SqlError(f"{name}: the header lacks {'its title line' if first is None else ', '.join(missing)}")
    if header.get("kind", "view") != "view":
        raise SqlError(f"{name}: the header's kind says {header['kind']}; a model is a table, or says 'view'")
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
    return Model(name, sql, first[1], reads, params, is_view="kind" in header)


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
    """Run one model into a table, or a view, of its name. A view holds the parameters' values.

    Raises:
        SqlError: a parameter is missing, or DuckDB refuses it; the message names the model.
    """
    missing = model.params - params.keys()
    if missing:
        raise SqlError(f"{model.name}: no value for ${', $'.join(sorted(missing))}")
    con.execute(f"create schema if not exists {model.name.split('.')[0]}")
    own = {name: params[name] for name in model.params}
    try:
        if model.is_view:
            con.execute(f"create or replace view {model.name} as {inlined(model.sql, own)}")
        else:
            con.execute(f"create or replace table {model.name} as {model.sql}", own)
    except duckdb.Error as error:
        raise SqlError(f"{model.name}: {error}") from error


def inlined(sql: str, params: Params) -> str:
    """A model's SQL with values in place of its parameters: what a view can be made of."""
    return re.sub(r"\$(\w+)", lambda found: _as_sql(params[found[1]]), re.sub(r"^--.*\n", "", sql, flags=re.MULTILINE))


def _as_sql(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return str(value).lower()
        case str():
            return literal(value)
        case Mapping():
            return f"map {{{', '.join(f'{_as_sql(key)}: {_as_sql(item)}' for key, item in value.items())}}}"
        case Sequence():
            return f"[{', '.join(_as_sql(item) for item in value)}]"
    raise TypeError(f"no SQL for {type(value).__name__}")


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
