"""The debug hint of code problems: a template of the library, filled in with the problem's public tests.

Public tests are the JSON list of `Problem.tests`: {"input", "output"} for programs that read standard input, {"call",
"output"} for functions and Solution classes, the call as Python source. A test marked {"hidden": true} is never shown.
Hidden tests may carry a call, too: it is left out with them.
"""

import json
from collections.abc import Mapping

from schemas.records import Problem

MAX_SAMPLES = 5


def public_samples(problem: Problem) -> list[dict[str, str]]:
    """The tests that may be shown and can be: with an input or a call, and an output."""
    shown = [test for test in json.loads(problem.tests or "[]") if not test.get("hidden")]
    return [test for test in shown if "output" in test and not {"input", "call"}.isdisjoint(test)][:MAX_SAMPLES]


def debug_program(problem: Problem, templates: Mapping[str, str]) -> str:
    """The filled-in template for a problem: `starter` with a class to complete, `function` with calls, else `stdin`."""
    tests = public_samples(problem)
    has_calls = bool(tests) and "call" in tests[0]
    kind = "starter" if "class Solution" in (problem.starter_code or "") else "function" if has_calls else "stdin"
    receiver = "solution." if kind == "starter" else ""
    filled = {
        "{starter_code}": (problem.starter_code or "").rstrip(),
        "{calls}": "\n".join(f"print({receiver}{test['call']})" for test in tests if "call" in test),
        "{inputs}": json.dumps([test["input"] for test in tests if "input" in test]),
        "{samples}": "\n".join(_sample(test) for test in tests),
    }
    text = templates[kind].lstrip("\n")
    for place, value in filled.items():
        text = text.replace(place, value)
    return text


def _sample(test: Mapping[str, str]) -> str:
    shown = test["call"] if "call" in test else json.dumps(test["input"])
    return f"- {shown} gives {json.dumps(test['output'])}"
