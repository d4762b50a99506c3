"""Files of trajectories that were written elsewhere, read twice and never held.

The first reading checks every row, collects the problems and hashes what was read; the second makes trajectories. So
bad rows are reported all at once, before anything is stored, and an import is named after its content: the same rows
in another file, order of columns or compression are the same import.

Files follow one another, as the recipe lists them. A limit is one of problems: all rows of the first so many are read.
Not covered: programs (domain `code`), whose problems need tests that such files do not hold.
"""

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from factory.imports.transcript import VERSION, Transcript, read_transcript
from factory.imports.turns import UnusableChatError, read_turns
from factory.problems import LoadedProblems, report, source_name
from factory.problems import files as problem_files
from factory.problems.rows import Bad, BadRow, Rejected, Watch, advice, excerpt, problem_of
from factory.settings import fingerprint
from schemas.errors import ProblemsError, RecipeError
from schemas.recipe import Imported, Problems, Source
from schemas.records import Problem
from schemas.vocabulary import Domain, RejectReason, SourceKind

MAPPABLE = (
    *("text", "messages", "statement", "gold_answer", "model", "label"),
    *("difficulty", "released_at", "licence", "split"),
)
OF_PROBLEM = ("difficulty", "released_at", "licence", "license", "split")
CLAIMS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A good row."""

    source: str
    line: int
    problem: Problem
    text: str
    """What names it: the text, or the JSON of the chat."""
    transcript: Transcript
    model: str
    """`name@revision`; the revision is `unknown` where the file says none."""
    claim: bool | None
    """What the file says of its answer."""


@dataclass
class Survey:
    """What the first reading found."""

    problems: dict[str, Problem] = field(default_factory=dict)
    n_rows: int = 0
    """Good ones, of the problems within the limit."""
    digest: str = ""
    n_statements: int = 0
    """Distinct ones: fewer than problems where a statement comes with more than one gold."""
    oddities: Counter[str] = field(default_factory=Counter)
    """What was not recognised, and in how many rows."""
    rejected: list[dict[str, Any]] = field(default_factory=list)

    @property
    def loaded(self) -> LoadedProblems:
        """As other builds load their problems."""
        return LoadedProblems(list(self.problems.values()), self.rejected, 0)


class TrajectoryFiles:
    """The files that a recipe names.

    Args:
        settings: `[problems]`: its sources are files whose map says which columns are text, statement and so on.
        rule: `[d_import]`.
        base: Folder that relative paths start from.

    Raises:
        RecipeError: a source or a mapping that an import cannot use.
    """

    def __init__(self, settings: Problems, rule: Imported, base: Path) -> None:
        for source in settings.sources:
            _check(source)
        self.settings, self.rule, self.base = settings, rule, base

    def survey(self) -> Survey:
        """Read everything once.

        Raises:
            ProblemsError: bad rows without `skip_bad_rows`, an unreadable file, or no good row at all: one report.
        """
        found, digest, statements = Survey(), hashlib.sha256(), set[str]()
        limit = self.settings.limit
        streams = [_File(source, self.rule, self.base) for source in self.settings.sources]
        for stream in streams:
            for row in stream.rows():
                key = row.problem.problem_id
                if key not in found.problems:
                    if limit is not None and len(found.problems) >= limit:
                        continue
                    found.problems[key] = row.problem
                    statements.add(hashlib.blake2b(row.problem.statement.encode(), digest_size=16).hexdigest())
                found.n_rows += 1
                found.oddities.update(set(row.transcript.oddities))
                digest.update(json.dumps([key, row.model, row.claim, row.text], ensure_ascii=False).encode())
        is_bad = any(stream.rejected for stream in streams) and not self.settings.skip_bad_rows
        if is_bad or not found.n_rows or any(stream.error for stream in streams):
            raise ProblemsError(report(self.settings, streams, found.n_rows, noun="trajectory", nouns="trajectories"))
        found.rejected = [row for stream in streams for row in stream.rejected_rows()]
        found.n_statements = len(statements)
        found.digest = fingerprint(VERSION, sorted(self.rule.output_fences), digest.hexdigest())
        return found

    def rows(self, problems: Mapping[str, Problem]) -> Iterator[ImportedRow]:
        """The good rows of these problems, in order."""
        for source in self.settings.sources:
            for row in _File(source, self.rule, self.base).rows():
                if row.problem.problem_id in problems:
                    yield row


class _File:
    """One file being read: yields good rows, collects bad ones and the error that ended it."""

    n_outside = 0

    def __init__(self, source: Source, rule: Imported, base: Path) -> None:
        self.name, self._source, self._base = source_name(source), source, base
        self.rejected: list[Rejected] = []
        self.error: ProblemsError | None = None
        self._unknown = rule.model
        self._fences = frozenset(name.lower() for name in rule.output_fences)
        self._is_chat = "messages" in source.map
        self._columns = {"text": "text", "gold_answer": "gold_answer"} | source.map
        if self._is_chat:
            del self._columns["text"]
        else:
            self._columns.setdefault("statement", "statement")
        self._known: dict[tuple[Any, ...], Problem] = {}

    def rejected_rows(self) -> list[dict[str, Any]]:
        """Rows of raw.rejected_problems."""
        return [
            {"source": self.name, "line": r.line, "reason": str(r.bad.reason), "detail": r.bad.detail,
             "excerpt": r.bad.excerpt}
            for r in self.rejected
        ]  # fmt: skip

    def rows(self) -> Iterator[ImportedRow]:
        path = self._base / Path(str(self._source.path)).expanduser()
        watch = Watch(self._columns.values())
        try:
            for line, row in islice(problem_files.read_rows(path), self._source.limit):
                if isinstance(row, Bad):
                    self.rejected.append(Rejected(line, row))
                    continue
                if not watch.goes_on(row):
                    break
                try:
                    yield self._row(line, row)
                except BadRow as bad:
                    reason, detail = bad.args
                    shown = excerpt(json.dumps(row, ensure_ascii=False, default=str)[:1000])
                    self.rejected.append(Rejected(line, Bad(reason, detail, shown)))
            if watch.is_wrong:
                self.rejected = [r for r in self.rejected if r.bad.reason is not RejectReason.MISSING_COLUMN]
                raise ProblemsError(advice(self._columns, watch.unseen, list(watch.columns)))
        except ProblemsError as error:
            self.error = error

    def _row(self, line: int, row: Mapping[str, Any]) -> ImportedRow:
        for column in self._columns.values():
            if column not in row:
                raise BadRow(RejectReason.MISSING_COLUMN, f"no column '{column}'")
        question, text, transcript = self._content(row)
        model = row.get(self._columns.get("model", "model")) or self._unknown
        if not isinstance(model, str):
            raise BadRow(RejectReason.BAD_VALUE, f"the model is a {type(model).__name__}, not a name")
        claim = CLAIMS.get(str(row.get(self._columns["label"])).lower()) if "label" in self._columns else None
        name = model if "@" in model else f"{model}@unknown"
        return ImportedRow(self.name, line, self._problem(row, question), text, transcript, name, claim)

    def _content(self, row: Mapping[str, Any]) -> tuple[str, str, Transcript]:
        """Question (of a chat), what names the row, transcript."""
        column = self._columns["messages" if self._is_chat else "text"]
        value = row[column]
        if value is None or (isinstance(value, str) and not value.strip()):
            raise BadRow(RejectReason.EMPTY_TEXT, f"'{column}' is empty")
        try:
            if self._is_chat:
                turns = json.loads(value) if isinstance(value, str) else value
                if not isinstance(turns, list):
                    raise BadRow(
                        RejectReason.BAD_VALUE, f"'{column}' holds a {type(turns).__name__}, not a list of turns"
                    )
                question, transcript = read_turns(turns, self._fences)
                text = json.dumps(turns, ensure_ascii=False, sort_keys=True, default=str)
            elif isinstance(value, str):
                question, text, transcript = "", value, read_transcript(value, self._fences)
            else:
                raise BadRow(RejectReason.BAD_VALUE, f"'{column}' holds a {type(value).__name__}, not text")
            text.encode()
            transcript.text.encode()
        except UnicodeEncodeError:
            raise BadRow(RejectReason.NOT_UTF8, "holds half a character (a lone surrogate)") from None
        except UnusableChatError as error:
            raise BadRow(RejectReason.BAD_VALUE, f"'{column}': {error}") from None
        except ValueError as error:
            raise BadRow(RejectReason.BAD_VALUE, f"'{column}' holds text that is no JSON: {error}") from None
        return question, text, transcript

    def _problem(self, row: Mapping[str, Any], question: str) -> Problem:
        required = {
            ours: column for ours, column in self._columns.items() if ours in ("statement", "gold_answer", *OF_PROBLEM)
        }
        taken = {column: row[column] for column in {*required.values(), *OF_PROBLEM} if column in row}
        if "statement" not in required:
            required["statement"] = "the question of the chat"
            taken["the question of the chat"] = question
        key = tuple(str(taken[column]) for column in required.values())
        problem = self._known.get(key)
        if problem is None:
            problem = self._known[key] = problem_of(taken, self._source, self.name, required)
        return problem


def _check(source: Source) -> None:
    """Refuse what an import cannot use."""
    name = source_name(source)
    if source.kind is not SourceKind.FILE:
        raise RecipeError(
            f"{name}: trajectories are imported from files. Save a dataset as Parquet or JSON lines first."
        )
    if source.domain is Domain.CODE or source.format is not None:
        raise RecipeError(
            f"{name}: programs cannot be imported: their problems need tests, which no row can bring along."
        )
    if source.released_after or source.released_before:
        raise RecipeError(f"{name}: released_after and released_before are not for imports. Filter the file instead.")
    for ours, theirs in source.map.items():
        if ours not in MAPPABLE:
            close = difflib.get_close_matches(ours, MAPPABLE, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise RecipeError(
                f"--map {ours}={theirs}: '{ours}' is no column of ours.{hint}\n"
                f"  ours come first: --map OURS=THEIRS, where OURS is one of {', '.join(MAPPABLE)}"
            )
    if "text" in source.map and "messages" in source.map:
        raise RecipeError(f"{name}: map either text or messages, not both.")
