"""Rows that ask for more than a statement and a gold: code problems with tests, and multiple choice.

Code problems carry their tests as `quality.programs.judge` reads them. A test that the statement shows is public: it
may be shown again, as a sample of the debug hint; the others are marked hidden and no model ever sees them. Of asserts
(MBPP) an evaluation (`as_benchmark`) shows all, as is customary; a build shows the first alone, so that passing means
something.

| format | columns of ours |
|---|---|
| `asserts` | statement, tests (list of asserts), setup, reference |
| `function` | prompt, tests (source of `check`), entry_point, reference |
| `stdin` | statement, tests (list of {input, output}), reference, special_judge, checker, time_limit |
| `contest`, `code_contests`, `codeforces`, `taco` | see `contests` |
"""

import ast
import builtins
import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from factory.problems.coded import READS_STDIN, code_problem
from factory.problems.contests import COLUMNS, code_contests, codeforces, contest, taco
from factory.problems.rows import problem_id
from schemas.records import Problem
from schemas.vocabulary import Domain, ProblemFormat, VerifierName

Row = Mapping[str, Any]
LETTERS = "ABCD"
_NEVER_TESTED = {*dir(builtins), "assert", "isclose", "not", "in", "and", "or"}
"""Names before a bracket that are no function of the problem."""


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


def function(row: Row, source: str, licence: str, *, as_benchmark: bool = True) -> Problem:
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
    return code_problem(statement, tests, meta, source, licence, starter_code=prompt, reference=reference or None)


def asserts(row: Row, source: str, licence: str, *, as_benchmark: bool = True) -> Problem:
    """MBPP: a sentence and asserts, of which some are shown, for they alone say what the function is called."""
    tests = [str(test).strip() for test in row["tests"]]
    setup = row.get("setup") or ""
    setup = setup if isinstance(setup, str) else "\n".join(str(line) for line in setup)
    reference = str(row.get("reference") or "")
    shown = tests if as_benchmark else tests[:1]
    statement = (
        f"{str(row['statement']).strip()} Answer with the whole program in one ```python block. "
        f"It must pass {'these tests' if len(shown) > 1 else 'this test'}:\n\n```python\n" + "\n".join(shown) + "\n```"
    )
    meta = {"entry_point": _called(tests, reference), "setup": setup}
    made = [_assert(test, hidden=test not in shown) for test in tests]
    return code_problem(statement, made, meta, source, licence, reference=reference or None)


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


def stdin(row: Row, source: str, licence: str, *, as_benchmark: bool = True) -> Problem:
    """A contest problem whose programs read standard input. A test without `hidden` is public."""
    tests = row["tests"] if isinstance(row["tests"], list) else json.loads(row["tests"])
    made = [
        {"input": str(t["input"]), "output": str(t["output"])} | ({"hidden": True} if t.get("hidden") else {})
        for t in tests
    ]
    meta = {name: row[name] for name in ("special_judge", "checker", "tolerance") if row.get(name)}
    if row.get("time_limit"):
        meta["time_limit_s"] = float(row["time_limit"])
    statement = f"{str(row['statement']).strip()}\n\n{READS_STDIN}"
    return code_problem(statement, made, meta, source, licence, reference=str(row.get("reference") or "") or None)


CODE_FORMATS: dict[ProblemFormat, Callable[..., Problem]] = {
    ProblemFormat.FUNCTION: function,
    ProblemFormat.ASSERTS: asserts,
    ProblemFormat.CONTEST: contest,
    ProblemFormat.STDIN: stdin,
    ProblemFormat.CODE_CONTESTS: code_contests,
    ProblemFormat.CODEFORCES: codeforces,
    ProblemFormat.TACO: taco,
}
REQUIRED = {
    ProblemFormat.FUNCTION: ("prompt", "tests", "entry_point"),
    ProblemFormat.ASSERTS: ("statement", "tests"),
    ProblemFormat.CONTEST: ("statement", "public"),
    ProblemFormat.STDIN: ("statement", "tests"),
    ProblemFormat.CODE_CONTESTS: ("statement", "public"),
    ProblemFormat.CODEFORCES: ("statement", "public"),
    ProblemFormat.TACO: ("statement", "tests"),
}
OPTIONAL = (
    "setup", "reference", "starter_code", "difficulty", "released_at", "metadata", "private", "special_judge",
    "checker", "tolerance", "time_limit", "generated", "solutions", "input_file", "input_format", "output_format",
    "note", "interaction_format", "input_mode",
)  # fmt: skip


def columns_of(kind: ProblemFormat, mapping: Mapping[str, str]) -> dict[str, str]:
    """Our columns, and those of the source that they are read from: as mapped, else as the format's collection says."""
    named = COLUMNS.get(kind, {})
    return {ours: mapping.get(ours, named.get(ours, ours)) for ours in (*REQUIRED[kind], *OPTIONAL)}


def _called(tests: list[str], reference: str) -> str | None:
    """The function that the tests call: of their names the first that the reference defines, or that all tests call."""
    called = [name for test in tests for name in re.findall(r"\b(\w+)[ \t]*\(", test)]
    defined = set(re.findall(r"^def[ \t]+(\w+)", reference, re.MULTILINE))
    if not reference:
        everywhere = (set(re.findall(r"(?<![\w.])(\w+)[ \t]*\(", test)) for test in tests)
        defined = set.intersection(*everywhere) - _NEVER_TESTED
    return next((name for name in called if name in defined), None)
