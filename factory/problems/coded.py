"""What all code problems have in common: how one is made of its parts, and which of its tests a statement shows."""

import json
import re
from typing import Any

from factory.problems.rows import problem_id
from schemas.errors import ProblemsError
from schemas.records import Problem
from schemas.vocabulary import Domain, VerifierName

READS_STDIN = (
    "Write a Python program that reads standard input and prints the answer. Answer with it in one ```python block."
)
_BETWEEN = r"(?: \S+){0,4} "
"""Words between the input and the output of a sample, such as `Output`."""


def code_problem(
    statement: str,
    tests: list[dict[str, Any]],
    meta: dict[str, Any],
    source: str,
    licence: str,
    *,
    reference: str | None = None,
    **more: str | None,
) -> Problem:
    """A problem of its parts.

    Raises:
        ProblemsError: there are no tests.
    """
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


def is_shown(statement: str, given: str, output: str) -> bool:
    """Whether a statement shows this test: its input, and right behind it its output."""
    words, after = given.split(), output.split()
    if not words or not after or len(given) + len(output) > 2 * len(statement):
        return False
    sample = re.escape(" ".join(words)) + _BETWEEN + re.escape(" ".join(after))
    return re.search(rf"(?<!\S){sample}(?!\S)", " ".join(statement.split())) is not None


_ADDED = re.compile(
    r"(?:Complete this (?:Python function|code)\. )?Answer with (?:the whole (?:function|program)|all of it|it)"
    r" in one ```python block\.|Write a Python program that reads standard input and prints the answer\."
    r"|It must pass (?:this test|these tests):|```(?:python)?"
    r"|Answer with the letter of the right option, such as: The answer is \(A\)\."
)


def bare_statement(problem: Problem) -> str:
    """The statement without the sentences that its format adds, which all problems of a format share."""
    return problem.statement if problem.domain is Domain.MATH else _ADDED.sub("", problem.statement).strip()
