"""What tests of verdicts on programs share: problems, and texts with a program."""

import json
from typing import Any

from schemas.records import Problem
from schemas.vocabulary import Domain, VerifierName


def fenced(code: str) -> str:
    return f"Here it is:\n\n```python\n{code}\n```\nDone."


def problem(tests: list[dict[str, Any]], **meta: Any) -> Problem:
    return Problem(
        problem_id="p", domain=Domain.CODE, source="s", split="test", statement="?", tests=json.dumps(tests),
        licence="x", verifier=VerifierName.CODE_TESTS, meta=json.dumps(meta),
    )  # fmt: skip
