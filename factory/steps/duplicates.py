"""The steps that fill derived.signatures and derived.duplicate_pairs: problems before, trajectories after generation.

Texts are read twice at most: those that have no signature yet, to be signed, and those of candidates, to be compared.
"""

from collections.abc import Callable, Iterable, Iterator

import polars as pl
import pyarrow as pa

from factory.problems.coded import bare_statement
from factory.progress import Reporter
from factory.run import Run
from factory.steps.reading import query_table, stream_tables
from schemas.tables import DUPLICATE_PAIRS, SIGNATURES
from schemas.vocabulary import Subject
from warehouse.duplicates import Rule, duplicate_pairs, problem_groups, sign
from warehouse.texts import model_text

ROWS_AT_ONCE = 4_096
TEXTS = {
    Subject.RESPONSE: ("segments", model_text()),
    Subject.CODE: ("tool_calls", pl.col("tool_calls").list.eval(pl.element().struct.field("code")).list.join("\n")),
}
"""Of a trajectory: the column that a subject is made of, and how."""
ReadTexts = Callable[[pl.Series], Iterable[pl.DataFrame]]


def mark_duplicate_statements(run: Run, ui: Reporter) -> None:
    """Fill derived.duplicate_pairs with the problems that repeat an earlier one: the same numbers and gold."""
    threshold = run.recipe.duplicates.statement_similarity
    _store(run, Subject.STATEMENT, None)
    if threshold is None:
        return
    sql = "select problem_id from intermediate.problems_marked where not is_useless order by position"
    rows = query_table(run, sql)
    ids = pl.Series(rows["problem_id"])
    statements = {problem_id: bare_statement(problem) for problem_id, problem in run.problems.items()}

    def texts(wanted: pl.Series) -> Iterator[pl.DataFrame]:
        for part in pl.DataFrame({"row_id": wanted}).iter_slices(ROWS_AT_ONCE):
            yield part.with_columns(text=pl.Series([statements[row] for row in part["row_id"]], dtype=pl.String))

    groups = problem_groups(
        pl.Series([statements[row] for row in ids], dtype=pl.String),
        pl.Series([run.problems[row].gold_answer for row in ids], dtype=pl.String),
    )
    _mark(run, ui, Subject.STATEMENT, threshold, ids, texts, groups)


def mark_duplicates(run: Run, ui: Reporter) -> None:
    """Fill derived.duplicate_pairs with the accepted trajectories that repeat another: responses, then code."""
    settings = run.recipe.duplicates
    for subject, threshold in (
        (Subject.RESPONSE, settings.response_similarity),
        (Subject.CODE, settings.code_similarity),
    ):
        _store(run, subject, None)
        if threshold is None:
            continue
        rows = query_table(
            run,
            "select trajectory_id, problem_id from intermediate.trajectories_live as l where not exists "
            f"(select 1 from derived.duplicate_pairs as d where d.run_id = '{run.run_id}' and d.subject = 'response' "
            "and d.dropped_id = l.trajectory_id) order by n_tokens_model, trajectory_id",
        )
        groups = None if settings.across_problems else pl.Series(rows["problem_id"])
        column, text = TEXTS[subject]

        def texts(wanted: pl.Series, column: str = column, text: pl.Expr = text) -> Iterator[pl.DataFrame]:
            sql = f"select t.trajectory_id as row_id, t.{column} from raw.trajectories as t "
            sql += "semi join wanted on wanted.row_id = t.trajectory_id"
            for part in stream_tables(run, sql, ROWS_AT_ONCE, wanted=pa.table({"row_id": wanted.to_arrow()})):
                yield pl.DataFrame(part).select("row_id", text=text)

        _mark(run, ui, subject, threshold, pl.Series(rows["trajectory_id"]), texts, groups)


def _mark(
    run: Run,
    ui: Reporter,
    subject: Subject,
    threshold: float,
    ids: pl.Series,
    texts: ReadTexts,
    groups: pl.Series | None,
) -> None:
    """Sign what has no signature, compare all; `ids` are in order of preference."""
    settings = run.recipe.duplicates
    rule = Rule(settings.shingle, settings.shingle_size, settings.num_perm, threshold)
    wanted = pa.table({"row_id": ids.to_arrow()})
    own = (
        "from derived.signatures as s semi join wanted on wanted.row_id = s.row_id "
        f"where s.subject = '{subject}' and s.scheme = '{rule.scheme}'"
    )
    known = pl.Series(query_table(run, f"select s.row_id {own}", wanted=wanted)["row_id"])
    missing = ids.filter(~ids.is_in(known.implode()))
    with ui.step(f"{subject} signatures", len(missing), "texts") as advance:
        for part in texts(missing) if len(missing) else ():
            signed = sign(part["row_id"], part["text"], rule)
            run.store.append_table(
                SIGNATURES, signed.with_columns(subject=pl.lit(str(subject)), scheme=pl.lit(rule.scheme)).to_arrow()
            )
            advance(len(part))
    stored = query_table(run, f"select s.row_id, s.text_hash, s.n_shingles, s.signature {own}", wanted=wanted)
    ordered = pl.DataFrame({"row_id": ids}).join(pl.DataFrame(stored), on="row_id", how="left", maintain_order="left")
    _store(run, subject, duplicate_pairs(ordered, rule, texts, run.store.home, groups))


def _store(run: Run, subject: Subject, pairs: pl.DataFrame | None) -> None:
    """Replace the run's pairs; none where nothing was compared."""
    own = {"run_id": run.run_id, "subject": str(subject)}
    rows = [] if pairs is None else [{**own, **pair} for pair in pairs.to_dicts()]
    run.store.replace(DUPLICATE_PAIRS, f"{run.run_id}-{subject}", rows)
