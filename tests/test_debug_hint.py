"""The debug hint's three templates."""

import json
from typing import Any

from factory.problems.formats import asserts, stdin
from factory.rollout.debug import debug_program, public_samples
from factory.rollout.hints import load_library
from schemas.records import Problem
from schemas.vocabulary import Domain
from tests import shared_data

TEMPLATES = load_library("start").templates


def problem(tests: list[dict[str, Any]], starter_code: str | None = None) -> Problem:
    return Problem(
        problem_id="p",
        domain=Domain.CODE,
        source="s",
        split="train",
        statement="Add.",
        tests=json.dumps(tests),
        starter_code=starter_code,
        licence="MIT",
        verifier="math_verify",
    )


def test_standard_input_takes_the_place_of_sys_stdin() -> None:
    text = debug_program(problem([{"input": "1 2\n", "output": "3"}]), TEMPLATES)
    assert 'for text in ["1 2\\n"]:\n    sys.stdin = io.StringIO(text)' in text
    assert '- "1 2\\n" gives "3"' in text


def test_a_function_is_called() -> None:
    text = debug_program(problem([{"call": "add(1, 2)", "output": "3"}]), TEMPLATES)
    assert "print(add(1, 2))" in text
    assert "solution" not in text


def test_a_solution_class_is_called_on_literal_inputs() -> None:
    text = debug_program(problem([{"call": "add(1, 2)", "output": "3"}], "class Solution:\n    def add"), TEMPLATES)
    assert "class Solution:\n    def add" in text
    assert "print(solution.add(1, 2))" in text


def test_hidden_tests_are_never_shown() -> None:
    tests: list[dict[str, Any]] = [{"input": "1", "output": "1"}, {"input": "77", "output": "secret", "hidden": True}]
    assert "secret" not in debug_program(problem(tests), TEMPLATES)
    assert "77" not in debug_program(problem(tests), TEMPLATES)


def test_the_templates_on_real_rows() -> None:
    """MBPP's are functions, TACO's read standard input, LiveCodeBench's have a class to complete."""
    for row in shared_data.rows("code_mbpp")[:50]:
        mapped = {"statement": row["text"], "tests": row["test_list"], "reference": row["code"]}
        made = asserts(mapped, "mbpp", "x", as_benchmark=False)
        text, shown = debug_program(made, TEMPLATES), public_samples(made)
        assert all(test["code"] == row["test_list"][0].strip() and f"print({test['call']})" in text for test in shown)
        for hidden in set(row["test_list"]) - {row["test_list"][0]}:
            assert hidden not in made.statement + text
    for row in shared_data.rows("code_taco_stdin_verified")[:50]:
        made = stdin({**row, "statement": row["problem"]}, "taco", "x")
        text = debug_program(made, TEMPLATES)
        assert f"for text in {json.dumps([test['input'] for test in row['tests']])}:" in text
        assert all(f"gives {json.dumps(test['output'])}" in text for test in row["tests"])
