"""The debug hint of code problems: a template of the library, filled in with the problem's public tests.

Public tests are the JSON list of `Problem.tests`: {"input", "output"} for programs that read standard input, {"call",
"output"} for functions and Solution classes, the call as Python source. A test marked {"hidden": true} is never shown.
Code problems enter a build when this factory can judge them; until then this is used by tests alone.
"""

import json
from collections.abc import Mapping

from schemas.records import Problem

MAX_SAMPLES = 5


def debug_program(problem: Problem, templates: Mapping[str, str]) -> str:
    """The filled-in template for a problem: `starter` with starter code, `function` with calls, else `stdin`."""
    tests = [test for test in json.loads(problem.tests or "[]") if not test.get("hidden")][:MAX_SAMPLES]
    kind = "starter" if problem.starter_code else "function" if tests and "call" in tests[0] else "stdin"
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
