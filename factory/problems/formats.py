"""Rows that ask for more than a statement and a gold: code problems with tests, and multiple choice.

Code problems carry their tests as `quality.programs.judge` reads them. A test that the statement shows is public: it
may be shown again, as a sample of the debug hint; the others are marked hidden and no model ever sees them. Of asserts
(MBPP) an evaluation shows all, as is customary; a build shows the first alone, so that passing means something.

| format | columns of ours |
|---|---|
| `asserts` | statement, tests (list of asserts), setup, reference |
| `function` | prompt, tests (source of `check`), entry_point, reference |
| `contest` | statement, public, private, starter_code, metadata, ... (LiveCodeBench) |
| `stdin` | statement, tests (list of {input, output}), reference, special_judge, checker |
"""

import ast
import base64
import hashlib
import io
import json
import pickle
import random
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from factory.problems.rows import problem_id
from schemas.errors import ProblemsError
from schemas.records import Problem
from schemas.vocabulary import Domain, ProblemFormat, VerifierName

Row = Mapping[str, Any]
LETTERS = "ABCD"
_READS_STDIN = (
    "Write a Python program that reads standard input and prints the answer. Answer with it in one ```python block."
)


class _NoObjects(pickle.Unpickler):
    """Reads plain values only: a pickle that names a class or function is refused, so none is ever called."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"names {module}.{name}")


def choice(row: Row, source: str, licence: str) -> Problem:
    """GPQA: four options in an order drawn from the question's hash; the gold is a letter."""
    options = [str(row[name]).strip() for name in ("gold_answer", "wrong_1", "wrong_2", "wrong_3")]
    question = str(row["statement"]).strip()
    order = list(range(len(options)))
    random.Random(hashlib.sha256(question.encode()).digest()).shuffle(order)  # noqa: S311 (an order, no secret)
    lines = "\n".join(f"({letter}) {options[i]}" for letter, i in zip(LETTERS, order, strict=True))
    statement = f"{question}\n\n{lines}\n\nAnswer with the letter of the right option, such as: The answer is (A)."
    gold = LETTERS[order.index(0)]
    return Problem(
        problem_id=problem_id(Domain.SCIENCE, statement, gold, None),
        domain=Domain.SCIENCE,
        source=source,
        split="test",
        statement=statement,
        gold_answer=gold,
        licence=licence,
        verifier=VerifierName.CHOICE,
    )


def function(row: Row, source: str, licence: str, *, show_all: bool = True) -> Problem:
    """HumanEval: complete a function; `check` calls it. What the prompt has before the function is the prelude."""
    prompt, entry = str(row["prompt"]), str(row["entry_point"])
    head = re.search(rf"^def {re.escape(entry)}\b", prompt, re.MULTILINE)
    statement = (
        "Complete this Python function. Answer with the whole function in one ```python block.\n\n"
        f"```python\n{prompt.rstrip()}\n```"
    )
    tests = [{"code": f"{row['tests']}\ncheck({entry})\n", "hidden": True}]
    meta = {"entry_point": entry, "prelude": prompt[: head.start()] if head else ""}
    body = str(row.get("reference") or "")
    reference = body if not body or re.search(rf"^def {re.escape(entry)}\b", body, re.MULTILINE) else prompt + body
    return _code(statement, tests, meta, source, licence, starter_code=prompt, reference=reference or None)


def asserts(row: Row, source: str, licence: str, *, show_all: bool = True) -> Problem:
    """MBPP: a sentence and asserts, of which some are shown, for they alone say what the function is called."""
    tests = [str(test).strip() for test in row["tests"]]
    setup = row.get("setup") or ""
    setup = setup if isinstance(setup, str) else "\n".join(str(line) for line in setup)
    reference = str(row.get("reference") or "")
    shown = tests if show_all else tests[:1]
    statement = (
        f"{str(row['statement']).strip()} Answer with the whole program in one ```python block. "
        f"It must pass {'these tests' if len(shown) > 1 else 'this test'}:\n\n```python\n" + "\n".join(shown) + "\n```"
    )
    meta = {"entry_point": _called(tests, reference), "setup": setup}
    made = [_assert(test, hidden=test not in shown) for test in tests]
    return _code(statement, made, meta, source, licence, reference=reference or None)


def _assert(test: str, *, hidden: bool) -> dict[str, Any]:
    """With call and output apart where the assert says `call == literal`, for samples."""
    made: dict[str, Any] = {"code": test}
    try:
        (statement,) = ast.parse(test).body
        match statement:
            case ast.Assert(test=ast.Compare(left=ast.Call() as call, ops=[ast.Eq()], comparators=[expected])):
                ast.literal_eval(expected)
                made |= {"call": ast.unparse(call), "output": ast.unparse(expected)}
    except (SyntaxError, ValueError):
        pass
    return made | ({"hidden": True} if hidden else {})


def stdin(row: Row, source: str, licence: str, *, show_all: bool = True) -> Problem:
    """A contest problem whose programs read standard input. A test without `hidden` is public."""
    tests = row["tests"] if isinstance(row["tests"], list) else json.loads(row["tests"])
    made = [
        {"input": str(t["input"]), "output": str(t["output"])} | ({"hidden": True} if t.get("hidden") else {})
        for t in tests
    ]
    meta = {name: row[name] for name in ("special_judge", "checker", "tolerance") if row.get(name)}
    statement = f"{str(row['statement']).strip()}\n\n{_READS_STDIN}"
    return _code(statement, made, meta, source, licence, reference=str(row.get("reference") or "") or None)


def contest(row: Row, source: str, licence: str, *, show_all: bool = True) -> Problem:
    """LiveCodeBench: a program that reads stdin, or a method of `Solution` where the task brings starter code."""
    starter = str(row.get("starter_code") or "")
    told = json.loads(row.get("metadata") or "{}")
    name = told.get("func_name")
    entry = f"Solution.{name}" if name and "class Solution" in starter else name
    shown = [_contest_test(test, name, hidden=False) for test in json.loads(row["public"])]
    hidden = [_contest_test(test, name, hidden=True) for test in _private(row.get("private"))]
    if starter.strip():
        how = f"Complete this code. Answer with all of it in one ```python block.\n\n```python\n{starter.rstrip()}\n```"
    else:
        how = _READS_STDIN
    statement = f"{str(row['statement']).strip()}\n\n{how}"
    released_at = str(row["released_at"])[:10] if row.get("released_at") else None
    return _code(
        statement,
        shown + hidden,
        {"entry_point": entry} if entry else {},
        source,
        licence,
        starter_code=starter or None,
        released_at=released_at,
        difficulty=str(row["difficulty"]) if row.get("difficulty") else None,
    )


CODE_FORMATS: dict[ProblemFormat, Callable[..., Problem]] = {
    ProblemFormat.FUNCTION: function,
    ProblemFormat.ASSERTS: asserts,
    ProblemFormat.CONTEST: contest,
    ProblemFormat.STDIN: stdin,
}
REQUIRED = {
    ProblemFormat.FUNCTION: ("prompt", "tests", "entry_point"),
    ProblemFormat.ASSERTS: ("statement", "tests"),
    ProblemFormat.CONTEST: ("statement", "public"),
    ProblemFormat.STDIN: ("statement", "tests"),
}
OPTIONAL = (
    "setup", "reference", "starter_code", "difficulty", "released_at", "metadata", "private", "special_judge",
    "checker", "tolerance",
)  # fmt: skip


def _code(
    statement: str,
    tests: list[dict[str, Any]],
    meta: dict[str, Any],
    source: str,
    licence: str,
    *,
    reference: str | None = None,
    **more: str | None,
) -> Problem:
    if not tests:
        raise ProblemsError("a row has no tests")
    text = json.dumps(tests, ensure_ascii=False)
    return Problem(
        problem_id=problem_id(Domain.CODE, statement, None, text),
        domain=Domain.CODE,
        source=source,
        split="test",
        statement=statement,
        gold_answer=reference,
        tests=text,
        licence=licence,
        verifier=VerifierName.CODE_TESTS,
        meta=json.dumps(meta, ensure_ascii=False),
        **more,
    )


def _called(tests: list[str], reference: str) -> str | None:
    """The function that the tests call: a name of theirs that the reference defines."""
    called = [name for test in tests for name in re.findall(r"\b(\w+)[ \t]*\(", test)]
    defined = set(re.findall(r"^def[ \t]+(\w+)", reference, re.MULTILINE))
    return next((name for name in called if name in defined), None)


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


_ADDED = re.compile(
    r"(?:Complete this (?:Python function|code)\. )?Answer with (?:the whole (?:function|program)|all of it|it)"
    r" in one ```python block\.|Write a Python program that reads standard input and prints the answer\."
    r"|It must pass (?:this test|these tests):|```(?:python)?"
    r"|Answer with the letter of the right option, such as: The answer is \(A\)\."
)


def bare_statement(problem: Problem) -> str:
    """The statement without the sentences that its format adds, which all problems of a format share."""
    return problem.statement if problem.domain is Domain.MATH else _ADDED.sub("", problem.statement).strip()
