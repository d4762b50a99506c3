"""Rows of code problems, by the formats of `factory.problems.formats`, become problems or rejections.

They are checked as other rows are: a row is good as a whole or rejected as a whole, with its line and the reason. What
is judged by tests needs no gold; a reference solution, where the source has one, is the gold that the tests are tried
on before a model is.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from factory.problems.formats import CODE_FORMATS, OPTIONAL, REQUIRED, columns_of
from factory.problems.rows import Bad, Rejected, Row, Watch, WrongColumns, excerpt, normalise
from schemas.errors import ProblemsError, RecipeError
from schemas.recipe import Source
from schemas.records import Problem
from schemas.vocabulary import ProblemFormat, RejectReason

_LICENCES = ("licence", "license")


def check_code_map(source: Source) -> None:
    """Refuse a mapping for a column that the format does not have.

    Raises:
        RecipeError: lists those that it has.
    """
    known = (*REQUIRED[_format(source)], *OPTIONAL)
    for ours in source.map:
        if ours not in known:
            raise RecipeError(
                f"--map {ours}={source.map[ours]}: format '{source.format}' has no column '{ours}'.\n"
                f"  ours come first: --map OURS=THEIRS, where OURS is one of {', '.join(known)}"
            )


def check_code_rows(rows: Iterable[tuple[int, Row]], source: Source, *, name: str) -> Iterator[Problem | Rejected]:
    """Check rows one by one, lazily.

    Args:
        rows: Line or row number from 1, and the row.
        source: Its format, mapping and licence.
        name: The `source` column of the problems.

    Raises:
        WrongColumns: no row, or none of the first 1,000, has a required column.
    """
    chosen = columns_of(_format(source), source.map)
    watch = Watch(chosen[ours] for ours in REQUIRED[_format(source)])
    seen: dict[str, int] = {}
    for line, row in rows:
        if isinstance(row, Bad):
            yield Rejected(line, row)
            continue
        if not watch.goes_on(row):
            break
        made = _problem(row, source, name, chosen)
        if isinstance(made, Problem):
            first = seen.setdefault(normalise(made.statement), line)
            if first != line:
                made = _bad(row, RejectReason.DUPLICATE, f"same statement as line {first}")
        yield Rejected(line, made) if isinstance(made, Bad) else made
    if watch.is_wrong:
        raise WrongColumns(
            f"no row has the column {' nor '.join(repr(c) for c in sorted(watch.unseen))}, "
            f"which format '{source.format}' needs.\n  columns: {', '.join(list(watch.columns)[:40])}\n"
            f"  next:    {' '.join(f'--map {ours}=COLUMN' for ours, c in chosen.items() if c in watch.unseen)}"
        )


def _problem(row: dict[str, Any], source: Source, name: str, chosen: dict[str, str]) -> Problem | Bad:
    mapped = {ours: row.get(theirs) for ours, theirs in chosen.items()}
    for ours in REQUIRED[_format(source)]:
        if mapped[ours] is None or mapped[ours] == "" or mapped[ours] == []:
            reason = RejectReason.EMPTY_GOLD if ours in ("tests", "public") else RejectReason.EMPTY_STATEMENT
            return _bad(row, reason, f"'{chosen[ours]}' is empty or missing")
    licence = next((str(row[column]) for column in _LICENCES if row.get(column)), source.licence or "unknown")
    try:
        made = CODE_FORMATS[_format(source)](mapped, name, licence, as_benchmark=False)
    except (ProblemsError, ValueError, TypeError, KeyError, LookupError, SyntaxError) as error:
        return _bad(row, RejectReason.BAD_VALUE, f"{type(error).__name__}: {error}"[:200])
    return made.model_copy(update={"split": source.split})


def _bad(row: dict[str, Any], reason: RejectReason, detail: str) -> Bad:
    return Bad(reason, detail, excerpt(json.dumps(row, ensure_ascii=False, default=str)))


def _format(source: Source) -> ProblemFormat:
    assert source.format is not None
    return source.format
