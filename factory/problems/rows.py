"""Rows of any tabular source become problems, or rejections with a line number and a reason.

Files and hub datasets share these checks. A row is either good as a whole or rejected as a whole; nothing is guessed
from column names, because a wrong guess trains a model on the wrong column. What probably fits is suggested instead.

Extra columns are kept in `meta` under `columns` where they are small: numbers, booleans, and strings of at most
`MAX_EXTRA_CHARS` characters, the first `MAX_EXTRA` of them. Long texts, such as worked solutions, are left out.
"""

import difflib
import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from schemas.errors import ProblemsError, RecipeError
from schemas.recipe import Source
from schemas.records import Problem
from schemas.vocabulary import Domain, RejectReason, VerifierName

EXCERPT_CHARS = 200
MAX_EXTRA_CHARS = 100
MAX_EXTRA = 32
SURE_AFTER_ROWS = 1_000
"""A required column that none of so many rows has is a wrong mapping, not many bad rows."""

OPTIONAL = ("starter_code", "difficulty", "released_at", "licence", "license")
"""Read where the source has a column of that name. `split` and `domain` are read only where they are mapped."""
MAPPABLE = (
    "statement",
    "gold_answer",
    "starter_code",
    "difficulty",
    "released_at",
    "licence",
    "split",
    "domain",
)
SYNONYMS = {
    "statement": ("problem", "question", "prompt", "query", "instruction", "input", "text", "q"),
    "gold_answer": (
        "answer",
        "final_answer",
        "gold",
        "target",
        "expected_answer",
        "ground_truth",
        "label",
        "output",
        "a",
    ),
    "text": ("completion", "response", "output", "solution", "generation", "content", "code"),
    "messages": ("conversations", "conversation", "output", "turns", "chat"),
}


@dataclass(frozen=True, slots=True)
class Bad:
    """What is wrong with a row: why, in words, and the first characters of it."""

    reason: RejectReason
    detail: str
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected row and where it stands, counted from 1."""

    line: int
    bad: Bad


Row = dict[str, Any] | Bad
"""A parsed row, or what its reader could not parse."""


class WrongColumns(ProblemsError):
    """No row has a required column: one message about the source, not one per row."""


def normalise(text: str) -> str:
    """Unicode NFC, runs of whitespace as one blank, no blank at the ends: what two equal statements have in common."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def problem_id(domain: str, statement: str, gold_answer: str | None, tests: str | None) -> str:
    """The content hash that names a problem: equal in every source, on every machine, in every version.

    Raises:
        UnicodeEncodeError: a lone surrogate, which no file could hold.
    """
    content = json.dumps([str(domain), normalise(statement), gold_answer, tests], ensure_ascii=False)
    return "p_" + hashlib.sha256(content.encode()).hexdigest()[:16]


def is_between(released_at: str | None, after: date | None, before: date | None) -> bool:
    """Whether a day lies in a window, both ends included. No day, or what is none, lies in no window."""
    try:
        released = date.fromisoformat(str(released_at)[:10])
    except ValueError:
        return False
    return (after or released) <= released <= (before or released)


def excerpt(raw: bytes | str) -> str:
    """The first characters of a row, always valid UTF-8."""
    data = raw[: 4 * EXCERPT_CHARS] if isinstance(raw, bytes) else raw[:EXCERPT_CHARS].encode(errors="backslashreplace")
    return data.decode(errors="backslashreplace")[:EXCERPT_CHARS]


def check_map(source: Source) -> None:
    """Refuse a mapping for a column that we do not have.

    Raises:
        RecipeError: lists the columns that can be mapped.
    """
    for ours in source.map:
        if ours not in MAPPABLE:
            close = difflib.get_close_matches(ours, MAPPABLE, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise RecipeError(
                f"--map {ours}={source.map[ours]}: '{ours}' is no column of ours.{hint}\n"
                f"  ours come first: --map OURS=THEIRS, where OURS is one of {', '.join(MAPPABLE)}"
            )


@dataclass
class _Seen:
    """Statements met so far, by hash: the line and the gold's hash of the first."""

    first: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)

    def check(self, line: int, statement: str, gold: str) -> None:
        key, value = _digest(normalise(statement)), _digest(normalise(gold))
        at, before = self.first.setdefault(key, (line, value))
        if at == line:
            return
        if before == value:
            raise BadRow(RejectReason.DUPLICATE, f"same statement and gold as line {at}")
        raise BadRow(RejectReason.CONFLICTING_GOLD, f"same statement as line {at}, another gold")


class BadRow(Exception):
    """Ends the check of one row: a reason and its detail."""


class Watch:
    """Watches the rows of a source for required columns that none of them has."""

    def __init__(self, required: Iterable[str]) -> None:
        self.unseen = set(required)
        self.columns: dict[str, None] = {}
        """Those that there are, while some are unseen."""
        self.n_rows = 0

    def goes_on(self, row: Mapping[str, Any]) -> bool:
        """Count a row; False where so many lack a column that the others need not be read."""
        self.n_rows += 1
        if self.unseen:
            self.unseen -= row.keys()
            self.columns |= dict.fromkeys(row)
        return not self.unseen or self.n_rows < SURE_AFTER_ROWS

    @property
    def is_wrong(self) -> bool:
        """Whether there were rows, and none had some column."""
        return bool(self.n_rows and self.unseen)


def check_rows(rows: Iterable[tuple[int, Row]], source: Source, *, name: str) -> Iterator[Problem | Rejected]:
    """Check rows one by one, lazily: rows that nobody asks for are never read.

    Args:
        rows: Line or row number from 1, and the row.
        source: Its mapping, domain and licence.
        name: The `source` column of the problems.

    Raises:
        WrongColumns: no row, or none of the first 1,000, has a required column.
    """
    check_map(source)
    required = {"statement": "statement", "gold_answer": "gold_answer"} | source.map
    watch, seen = Watch(required.values()), _Seen()
    for line, row in rows:
        if isinstance(row, Bad):
            yield Rejected(line, row)
            continue
        if not watch.goes_on(row):
            break
        try:
            problem = problem_of(row, source, name, required)
            seen.check(line, problem.statement, problem.gold_answer or "")
        except BadRow as bad:
            reason, detail = bad.args
            yield Rejected(line, Bad(reason, detail, excerpt(json.dumps(row, ensure_ascii=False, default=str))))
        else:
            yield problem
    if watch.is_wrong:
        raise WrongColumns(advice(required, watch.unseen, list(watch.columns)))


def problem_of(row: Mapping[str, Any], source: Source, name: str, required: Mapping[str, str]) -> Problem:
    """A problem from a row; `required` says which of its columns is which of ours.

    Raises:
        BadRow: a column is missing, empty, or holds something else.
    """
    for column in required.values():
        if column not in row:
            raise BadRow(RejectReason.MISSING_COLUMN, f"no column '{column}'")
    column_of = {ours: ours for ours in OPTIONAL if ours in row} | dict(required)
    value = {ours: _text(row[column], column, strict=ours in required) for ours, column in column_of.items()}
    statement, gold = value["statement"], value["gold_answer"]
    if not statement:
        raise BadRow(RejectReason.EMPTY_STATEMENT, f"'{required['statement']}' is empty")
    if not gold:
        raise BadRow(RejectReason.EMPTY_GOLD, f"'{required['gold_answer']}' is empty")
    domain = value.get("domain") or source.domain
    if domain not in (Domain.MATH, Domain.SCIENCE):
        raise BadRow(RejectReason.BAD_VALUE, f"'{required['domain']}' is {domain!r}, not one of math, science")
    try:
        return Problem(
            problem_id=problem_id(domain, statement, gold, None),
            domain=Domain(domain),
            source=name,
            split=value.get("split") or source.split,
            statement=statement,
            gold_answer=gold,
            starter_code=value.get("starter_code"),
            difficulty=value.get("difficulty"),
            released_at=value.get("released_at"),
            licence=value.get("licence") or value.get("license") or source.licence or "unknown",
            verifier=VerifierName.MATH_VERIFY,
            meta=_meta(row, {column for ours, column in column_of.items() if value[ours]}),
        )
    except ValueError:
        raise BadRow(RejectReason.NOT_UTF8, "holds half a character (a lone surrogate)") from None


def _text(value: object, column: str, *, strict: bool) -> str | None:
    """A string or a number as the source spells it; null for null, NaN and blanks."""
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | list | dict | bytes):
        if strict:
            raise BadRow(RejectReason.BAD_VALUE, f"'{column}' holds a {type(value).__name__}, not text or a number")
        return None
    return str(value)


def _meta(row: Mapping[str, Any], used: set[str]) -> str:
    small: dict[str, Any] = {}
    for column, value in row.items():
        is_small = isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= MAX_EXTRA_CHARS)
        is_finite = not isinstance(value, float) or math.isfinite(value)
        if column not in used and is_small and is_finite and len(small) < MAX_EXTRA:
            small[column] = value
    text = json.dumps({"columns": small} if small else {}, ensure_ascii=False)
    text.encode()
    return text


def advice(required: Mapping[str, str], unseen: set[str], columns: list[str]) -> str:
    """What to say where no row has some of the columns: which there are, and which of them probably fits."""
    fits = []
    for ours, column in required.items():
        if column in unseen:
            close = difflib.get_close_matches(column, columns, n=1, cutoff=0.7)
            guess = next((c for c in (*close, *SYNONYMS.get(ours, ())) if c in columns), None)
            fits.append(f"--map {ours}={guess or 'COLUMN'}")
    return (
        f"no row has the column {' nor '.join(repr(c) for c in sorted(unseen, reverse=True))}.\n"
        f"  columns: {', '.join(columns[:40]) or '(none)'}{', ...' if len(columns) > 40 else ''}\n"
        f"  next:    {' '.join(fits)}"
    )


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
