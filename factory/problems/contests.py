"""Contest problems as large collections publish them, by the columns that these have.

| format | collection | columns of ours |
|---|---|---|
| `contest` | LiveCodeBench | statement, public, private, starter_code, metadata, released_at, difficulty |
| `code_contests` | DeepMind's CodeContests | statement, public, private, generated, solutions, time_limit, difficulty |
| `codeforces` | Open-R1's Codeforces | statement, input_format, output_format, note, public, private, time_limit, ... |
| `taco` | TACO, APPS | statement, tests, solutions, starter_code, difficulty, time_limit |

A collection's own names of columns stand in `COLUMNS`; a source's `map` replaces them. The reference is the first
solution that parses as Python 3. Time limits become `time_limit_s`.

Collections with generated tests have hundreds of them per problem, some of megabytes. In a build a problem keeps the
first `MAX_HIDDEN` hidden tests, and none that takes all its tests beyond `MAX_CHARS`; a benchmark (`contest`) has all.

Not covered: interactive problems, those that read files, and those that need a checker of their own, are bad rows.
"""

import ast
import base64
import io
import json
import pickle
import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from factory.problems.coded import READS_STDIN, code_problem, is_shown
from schemas.errors import ProblemsError
from schemas.records import Problem
from schemas.vocabulary import ProblemFormat

Row = Mapping[str, Any]
MAX_HIDDEN = 50
MAX_CHARS = 1_000_000
PYTHON_3 = (3, "PYTHON3")
"""As CodeContests numbers and names its languages."""

COLUMNS: dict[ProblemFormat, dict[str, str]] = {
    ProblemFormat.CODE_CONTESTS: {
        "statement": "description",
        "public": "public_tests",
        "private": "private_tests",
        "generated": "generated_tests",
        "difficulty": "cf_rating",
    },
    ProblemFormat.CODEFORCES: {
        "statement": "description",
        "public": "examples",
        "private": "official_tests",
        "difficulty": "rating",
        "released_at": "contest_start",
        "checker": "generated_checker",
    },
    ProblemFormat.TACO: {"statement": "question", "tests": "input_output"},
}


class _NoObjects(pickle.Unpickler):
    """Reads plain values only: a pickle that names a class or function is refused, so none is ever called."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"names {module}.{name}")


def contest(row: Row, source: str, licence: str, *, as_benchmark: bool = True) -> Problem:
    """LiveCodeBench: a program that reads stdin, or a method of `Solution` where the task brings starter code."""
    starter = str(row.get("starter_code") or "")
    told = json.loads(row.get("metadata") or "{}")
    name = told.get("func_name")
    shown = [_contest_test(test, name, hidden=False) for test in json.loads(row["public"])]
    hidden = [_contest_test(test, name, hidden=True) for test in _private(row.get("private"))]
    return code_problem(
        _statement(str(row["statement"]), starter),
        shown + hidden if as_benchmark else _kept(shown, hidden),
        _entry(name, starter),
        source,
        licence,
        starter_code=starter or None,
        released_at=str(row["released_at"])[:10] if row.get("released_at") else None,
        difficulty=str(row["difficulty"]) if row.get("difficulty") else None,
    )


def code_contests(row: Row, source: str, licence: str, *, as_benchmark: bool = True) -> Problem:
    """CodeContests: tests and solutions as columns of lists, and a time limit of seconds and nanoseconds."""
    if row.get("input_file"):
        raise ProblemsError("reads a file, not standard input")
    hidden = [test for name in ("private", "generated") for test in _columns(row.get(name), hidden=True)]
    solved = row.get("solutions") or {}
    pairs = zip(solved.get("language") or (), solved.get("solution") or (), strict=True)
    limit = row.get("time_limit") or {}
    seconds = (limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9
    return code_problem(
        _statement(str(row["statement"])),
        _kept(_columns(row["public"], hidden=False), hidden),
        {"time_limit_s": seconds} if seconds else {},
        source,
        licence,
        reference=_first_python(text for language, text in pairs if language in PYTHON_3),
        difficulty=str(row["difficulty"]) if row.get("difficulty") else None,
    )


def codeforces(row: Row, source: str, licence: str, *, as_benchmark: bool = True) -> Problem:
    """Codeforces by Open-R1: the statement in parts, lists of {input, output}, and no solutions."""
    for column, why in (("interaction_format", "is interactive"), ("checker", "needs a checker of its own")):
        if row.get(column):
            raise ProblemsError(why)
    if row.get("input_mode") not in (None, "stdio"):
        raise ProblemsError("reads a file, not standard input")
    parts = [("", row["statement"])]
    parts += [(f"{name.capitalize()}\n\n", row.get(column)) for name, column in _PARTS if row.get(column)]
    public = _tests(((test["input"], test["output"]) for test in row["public"]), hidden=False)
    parts += [("Example\n\n", f"Input\n{test['input']}\n\nOutput\n{test['output']}") for test in public]
    hidden = _tests(((test["input"], test["output"]) for test in row.get("private") or ()), hidden=True)
    started, limit = row.get("released_at"), row.get("time_limit")
    return code_problem(
        _statement("\n\n".join(f"{head}{str(text).strip()}" for head, text in parts)),
        _kept(public, hidden),
        {"time_limit_s": float(limit)} if limit else {},
        source,
        licence,
        released_at=datetime.fromtimestamp(int(started), UTC).date().isoformat() if started else None,
        difficulty=str(row["difficulty"]) if row.get("difficulty") else None,
    )


_PARTS = (("input", "input_format"), ("output", "output_format"), ("note", "note"))


def taco(row: Row, source: str, licence: str, *, as_benchmark: bool = True) -> Problem:
    """TACO and APPS: JSON of inputs, outputs and perhaps a function's name. Tests that the text shows are public."""
    told = row["tests"] if isinstance(row["tests"], dict) else json.loads(row["tests"])
    name, starter, text = told.get("fn_name"), str(row.get("starter_code") or ""), str(row["statement"])
    inputs, outputs = told["inputs"], told["outputs"]
    made: list[dict[str, Any]]
    if len(inputs) != len(outputs):
        raise ProblemsError(f"{len(inputs)} inputs, {len(outputs)} outputs")
    if name:
        if all(isinstance(output, list) and len(output) == 1 for output in outputs):  # as APPS wraps a result
            outputs = [output[0] for output in outputs]
        made = [
            {"args": json.dumps(args), "output": json.dumps(output), "hidden": True}
            for args, output in zip(inputs, outputs, strict=True)
        ]
    else:
        made = _tests(zip(inputs, outputs, strict=True), hidden=True)
        for test in made:
            if is_shown(text, test["input"], test["output"]):
                del test["hidden"]
    tests = _kept([test for test in made if "hidden" not in test], [test for test in made if "hidden" in test])
    solutions = row.get("solutions") or "[]"
    limit = re.match(r"\s*(\d+(?:\.\d+)?)", str(row.get("time_limit") or ""))
    return code_problem(
        _statement(text, starter),
        tests,
        _entry(name, starter) | ({"time_limit_s": float(limit[1])} if limit else {}),
        source,
        licence,
        reference=_first_python(solutions if isinstance(solutions, list) else json.loads(solutions)),
        starter_code=starter or None,
        difficulty=str(row["difficulty"]) if row.get("difficulty") else None,
    )


def _statement(text: str, starter: str = "") -> str:
    how = READS_STDIN
    if starter.strip():
        how = f"Complete this code. Answer with all of it in one ```python block.\n\n```python\n{starter.rstrip()}\n```"
    return f"{text.strip()}\n\n{how}"


def _entry(name: str | None, starter: str) -> dict[str, Any]:
    if not name:
        return {}
    return {"entry_point": f"Solution.{name}" if "class Solution" in starter else name}


def _tests(pairs: Iterable[tuple[object, object]], *, hidden: bool) -> list[dict[str, Any]]:
    more = {"hidden": True} if hidden else {}
    return [{"input": _lines(given), "output": _lines(output)} | more for given, output in pairs]


def _columns(columns: Mapping[str, Any] | None, *, hidden: bool) -> list[dict[str, Any]]:
    return _tests(zip(columns["input"], columns["output"], strict=True), hidden=hidden) if columns else []


def _kept(public: list[dict[str, Any]], hidden: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Public tests, and the first hidden ones that repeat none, up to the limits."""
    tests, seen, n_hidden = list(public), {_given(test) for test in public}, 0
    n_chars = sum(len(_given(test)) + len(test["output"]) for test in tests)
    for test in hidden:
        n = len(_given(test)) + len(test["output"])
        if _given(test) in seen or n_chars + n > MAX_CHARS:
            continue
        if n_hidden == MAX_HIDDEN:
            break
        seen.add(_given(test))
        n_chars, n_hidden = n_chars + n, n_hidden + 1
        tests.append(test)
    return tests


def _given(test: Mapping[str, Any]) -> str:
    return str(test.get("args", test.get("input")))


def _first_python(solutions: Iterable[str]) -> str | None:
    for text in solutions:
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return text
    return None


def _lines(text: object) -> str:
    """A text, or a list of its lines."""
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _contest_test(test: Mapping[str, Any], name: str | None, *, hidden: bool) -> dict[str, Any]:
    """One test; arguments of a call stand one a line, each a Python or JSON literal."""
    made: dict[str, Any] = {"output": str(test["output"])}
    if test.get("testtype") == "functional":
        args = [_literal(line) for line in str(test["input"]).splitlines() if line.strip()]
        made |= {"args": json.dumps(args), "call": f"{name}({', '.join(map(repr, args))})"}
    else:
        made["input"] = str(test["input"])
    return made | ({"hidden": True} if hidden else {})


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def _private(packed: object) -> list[Any]:
    """Hidden tests: JSON, or JSON that was pickled as a string, compressed and written as base64."""
    if not packed:
        return []
    text = str(packed)
    if not text.lstrip().startswith("["):
        text = _NoObjects(io.BytesIO(zlib.decompress(base64.b64decode(text)))).load()
    found: list[Any] = json.loads(text)
    return found
