"""Great Expectations suites, generated from the column promises of `schemas.tables`.

One promise, written once: a `Column` says `nullable`, `unique`, `values`, `minimum`, and this module turns it into
expectations, runs them over a candidate, and writes the result as a static site (Data Docs) that stays with the
snapshot. Analytics are off before the library is imported, nothing uses the network, nothing is printed.

Lists, structs and texts without a closed vocabulary are judged by whether they are there: of them the frame that the
library gets holds lengths or a mark, so a candidate of any width fits in memory.
"""

import contextlib
import logging
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from quality.docs_site import make_offline
from schemas.records import GateCheck
from schemas.tables import Column, Table

KIND = "expectation"
_SITE = "quality"
_BOOLEANS = {"true": True, "false": False}


def validate_columns(
    candidate: pathlib.Path | pa.Table, table: Table, docs_dir: pathlib.Path | None
) -> list[GateCheck]:
    """Check every column promise of `table` over `candidate`.

    Args:
        candidate: An Arrow table, a Parquet file or a folder of them.
        table: The promises.
        docs_dir: Where the site goes (`index.html`), or None for none.

    Returns:
        One check per promise: `columns`, `types`, then `<column>.not_null|unique|values|minimum`, then `key` for a key
        of several columns. `n_bad` counts rows; for `columns` and `types` it counts columns.
    """
    data = candidate if isinstance(candidate, pa.Table) else pyarrow.dataset.dataset(candidate, format="parquet")
    with _silence():
        results = _run_suite(_frame(data, table), table, docs_dir)
    return [_check_types(data.schema, table), *results]


def _check_types(schema: pa.Schema, table: Table) -> GateCheck:
    """Great Expectations sees pandas types; the promise is about Arrow ones, so this one is our own."""
    wrong = [
        f"{c.name} is {schema.field(c.name).type}, not {c.type}"
        for c in table.columns
        if c.name in schema.names and schema.field(c.name).type != c.type
    ]
    return GateCheck(name="types", kind="schema", passed=not wrong, n_bad=len(wrong), detail="; ".join(wrong[:5]))


def _frame(data: pa.Table | pyarrow.dataset.Dataset, table: Table) -> Any:  # a pandas frame
    """What the promises are about, and no text that none is about: a million rows fit."""
    promised = {column.name: column for column in table.columns}
    read = {name for name, c in promised.items() if c.unique or c.values is not None or name in table.key}
    parts = [
        pa.table(
            {
                name: _judged(batch.column(name), whole=name in read or name not in promised)
                for name in batch.schema.names
            }
        )
        for batch in data.to_batches()
    ]
    names = data.schema.names
    if not parts:
        return data.schema.empty_table().to_pandas()
    return pa.concat_tables(parts).unify_dictionaries().select(names).to_pandas()


def _judged(column: pa.Array, *, whole: bool) -> pa.Array:
    """Lists as their lengths, texts and structs as whether they are there."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return pc.list_value_length(column)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if pa.types.is_struct(column.type) or (is_text and not whole):
        return pc.if_else(pc.is_valid(column), "there", None)
    return column


def expectations(table: Table) -> list[tuple[str, Any]]:
    """(check name, expectation) for every promise of `table`."""
    gxe = _great_expectations().expectations
    made = [("columns", gxe.ExpectTableColumnsToMatchOrderedList(column_list=[c.name for c in table.columns]))]
    for column in table.columns:
        name = column.name
        if not column.nullable:
            made.append((f"{name}.not_null", gxe.ExpectColumnValuesToNotBeNull(column=name)))
        if column.unique:
            made.append((f"{name}.unique", gxe.ExpectColumnValuesToBeUnique(column=name)))
        if column.values is not None:
            made.append((f"{name}.values", gxe.ExpectColumnValuesToBeInSet(column=name, value_set=_value_set(column))))
        if column.minimum is not None:
            minimum = gxe.ExpectColumnValuesToBeBetween(column=name, min_value=column.minimum)
            made.append((f"{name}.minimum", minimum))
    if len(table.key) > 1:
        made.append(("key", gxe.ExpectCompoundColumnsToBeUnique(column_list=list(table.key))))
    return made


def _value_set(column: Column) -> list[str | bool]:
    """The vocabulary; of a boolean column as booleans."""
    values = column.values or ()
    return [_BOOLEANS[value] for value in values] if pa.types.is_boolean(column.type) else list(values)


def _run_suite(frame: Any, table: Table, docs_dir: pathlib.Path | None) -> list[GateCheck]:
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    for site in context.get_site_names():
        context.delete_data_docs_site(site)
    named = expectations(table)
    suite = context.suites.add(gx.ExpectationSuite(table.name))
    for name, expectation in named:
        expectation.meta = {"check": name}
        suite.add_expectation(expectation)
    batch = context.data_sources.add_pandas("candidate").add_dataframe_asset(table.name)
    whole = batch.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="candidate", data=whole, suite=suite))
    actions = []
    if docs_dir is not None:
        docs_dir.mkdir(parents=True, exist_ok=True)
        context.add_data_docs_site(_SITE, _site_config(docs_dir))
        actions.append(gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=[_SITE]))
    checkpoint = gx.Checkpoint(
        name="gate", validation_definitions=[definition], actions=actions, result_format="SUMMARY"
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
    if docs_dir is not None:
        make_offline(docs_dir, title=table.name)
    (validation,) = outcome.run_results.values()
    checks = {check.name: check for check in (_gate_check(result, len(frame)) for result in validation.results)}
    return [checks[name] for name, _ in named]


def _site_config(docs_dir: pathlib.Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs_dir.absolute())},
    }


def _gate_check(result: Any, n_rows: int) -> GateCheck:
    name, found = result.expectation_config.meta["check"], result.result or {}
    if result.success:
        return GateCheck(name=name, kind=KIND, passed=True, n_bad=0)
    if name == "columns":
        promised, seen = result.expectation_config.kwargs["column_list"], found.get("observed_value", [])
        odd = sorted(set(promised) ^ set(seen))
        detail = f"missing or unknown: {', '.join(odd)}" if odd else "the order differs"
        return GateCheck(name=name, kind=KIND, passed=False, n_bad=len(odd) or len(seen), detail=detail)
    if "unexpected_count" not in found:
        return GateCheck(name=name, kind=KIND, passed=False, n_bad=n_rows, detail="could not be evaluated")
    shown = ", ".join(repr(value) for value in found.get("partial_unexpected_list", [])[:3])
    rows = ", ".join(str(index) for index in found.get("partial_unexpected_index_list", [])[:3])
    detail = f"rows {rows}: {shown}"[:300]
    return GateCheck(name=name, kind=KIND, passed=False, n_bad=found["unexpected_count"], detail=detail)


def _great_expectations() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations  # heavy, and it reads the variable when it is imported
    import great_expectations.expectations

    return great_expectations


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
