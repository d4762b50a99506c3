"""Texts and chats written elsewhere, cut by author: what is a tool's, what is a call, what is counted as odd."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.imports.transcript import error_in, read_transcript
from factory.imports.turns import UnusableChatError, read_turns
from schemas.vocabulary import ExecStatus, Origin
from tests.shared_data import rows

CODE = "```python\nprint(6 * 7)\n```\n"
OUT = "```output\n42\n```\n"


def authors(text: str, **options: Any) -> list[tuple[str, str]]:
    return [(str(origin), part) for origin, part in read_transcript(text, **options).segments]


def test_an_output_right_after_python_is_the_tools_with_its_fences_and_line_break() -> None:
    made = read_transcript(f"Let me see.\n{CODE}{OUT}So it is 42.")
    assert made.segments == [
        (Origin.MODEL, f"Let me see.\n{CODE}"), (Origin.TOOL, OUT), (Origin.MODEL, "So it is 42.")
    ]  # fmt: skip
    (call,) = made.tool_calls
    assert (call.code, call.stdout, call.status, call.error_type) == ("print(6 * 7)\n", "42\n", ExecStatus.OK, None)
    assert not made.oddities
    assert not made.is_open


def test_blank_lines_between_belong_to_the_model_and_line_breaks_are_kept() -> None:
    text = "```python\r\nx = 1\r\nx\r\n```\r\n\n```output\r\n1\r\n```\r\nend"
    made = read_transcript(text)
    assert made.text == text
    assert made.segments[1] == (Origin.TOOL, "```output\r\n1\r\n```\r\n")
    assert made.tool_calls[0].stdout == "1\r\n"


@pytest.mark.parametrize(
    ("text", "oddity"),
    [
        (CODE, "Python block without an output"),
        (f"{CODE}{CODE}{OUT}", "Python block without an output"),
        (OUT, "output block without a Python block right before it"),
        (f"{CODE}Then it says\n{OUT}", "output block without a Python block right before it"),
        (f"{CODE}{OUT}{OUT}", "output block without a Python block right before it"),
        (f"{CODE}```text\n42\n```\n", "block ```text right after a Python block"),
        (f"{CODE}Output:\n42\n", "output without a fence after a Python block"),
        ("```python\nprint(1", "last block is not closed"),
        ("<tool_call>print(1)</tool_call>", "tag <tool_call>"),
    ],
)
def test_what_is_no_such_pair_stays_the_models_and_is_counted(text: str, oddity: str) -> None:
    made = read_transcript(text)
    assert oddity in made.oddities
    assert len(made.tool_calls) == (OUT in text and text.startswith(CODE) and "Then" not in text)


def test_an_output_that_is_cut_off_is_the_tools_all_the_same() -> None:
    made = read_transcript(f"{CODE}```output\n4")
    assert made.segments[-1] == (Origin.TOOL, "```output\n4")
    assert made.tool_calls[0].output_truncated
    assert made.is_open


def test_other_fences_count_as_outputs_where_the_recipe_says_so() -> None:
    text = f"{CODE}```text\n42\n```\n"
    assert [who for who, _ in authors(text)] == ["model"]
    assert [who for who, _ in authors(text, output_fences=["output", "text"])] == ["model", "tool"]


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("42\n", None), ("", None), ("Error: no solution\n", None), ("x: 3\n", None),
        ("UserWarning: slow\n5\n", None), ("The error is 0.5\nValueErrors: 3\n", None),
        ("NameError: name 'x' is not defined\n", "NameError"),
        ("12\nIndexError: list index out of range", "IndexError"),
        ("Traceback (most recent call last):\n  File \"a\", line 1\nZeroDivisionError: division by zero\n",
         "ZeroDivisionError"),
        ("-" * 75 + "\nNameError      Traceback (most recent call last)\n  1 x\n\nNameError: name 'x'\n", "NameError"),
        ("-" * 75 + " Timeout waiting", ""), ("sympy.matrices.common.ShapeError\n", "ShapeError"),
        ("KeyError: 0\nmore of its message\n", "KeyError"), ("lib.timeout.TimeoutError: 'Timed Out'\n", "TimeoutError"),
    ],
)  # fmt: skip
def test_what_is_an_error(output: str, error: str | None) -> None:
    assert error_in(output) == error


pieces = st.sampled_from(
    [
        "```python\n",
        "```py\n",
        "```output\n",
        "```\n",
        "```",
        "````output\n",
        "x\n",
        "\n",
        " ",
        "Output:",
        "é",
        "\r\n",
        "~~~\n",
    ]
)


@given(st.lists(pieces | st.text(max_size=3), max_size=24).map("".join))
def test_segments_concatenate_to_the_text_and_each_tool_segment_has_its_call(text: str) -> None:
    made = read_transcript(text)
    assert made.text == text
    assert all(part for _, part in made.segments)
    origins = [origin for origin, _ in made.segments]
    assert origins.count(Origin.TOOL) == len(made.tool_calls)
    assert all(a is not b for a, b in pairwise(origins))
    shown = [part for origin, part in made.segments if origin is Origin.TOOL]
    assert all(call.stdout in part for call, part in zip(made.tool_calls, shown, strict=True))


# chats


def test_a_chat_with_tool_turns() -> None:
    turns = [
        {"role": "system", "content": "You can run Python."},
        {"role": "user", "content": "6 * 7?"},
        {"role": "assistant", "content": "I compute.",
         "tool_calls": [{"function": {"name": "python", "arguments": '{"code": "print(6 * 7)"}'}}]},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "It is 42."},
    ]  # fmt: skip
    question, made = read_turns(turns)
    assert question == "6 * 7?"
    assert made.text == f"I compute.\n{CODE}{OUT}It is 42."
    assert [c.code for c in made.tool_calls] == ["print(6 * 7)"]
    assert made.segments == read_transcript(made.text).segments  # one and the same as if it had been a text


def test_sharegpt_and_fences_in_turns() -> None:
    turns = [
        {"from": "human", "value": "6 * 7?"}, {"from": "gpt", "value": CODE.rstrip("\n")},
        {"from": "observation", "value": "42\n"}, {"from": "gpt", "value": "42."},
    ]  # fmt: skip
    question, made = read_turns(turns)
    assert (question, made.text) == ("6 * 7?", f"{CODE}{OUT}42.")
    assert not made.oddities
    _, whole = read_turns([turns[0], {"from": "gpt", "value": f"{CODE}{OUT}42."}])
    assert whole.segments == made.segments


def test_items_of_responses() -> None:
    items = [
        {"type": "message", "role": "user", "content": "6 * 7?"},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "name": "exec", "arguments": '{"code": "print(6 * 7)\\n"}'},
        {"type": "function_call_output", "output": "42\n"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "42."}]},
    ]
    assert read_turns(items)[1].text == f"{CODE}{OUT}42."


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
         "turn 3 is a second question"),
        ([{"role": "narrator", "content": "a"}], "turn 1 is by 'narrator'"),
        ([{"role": "user", "content": "a"}], "no turn of the assistant"),
        ([{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}], "no Python code"),
        ([{"type": "function_call", "name": "sin", "arguments": '{"radians": 4}'}], "calls 'sin', whose arguments"),
        (["a"], "turn 1 is a str"),
        ([{"role": "assistant", "content": 5}], "holds a int"),
    ],
)  # fmt: skip
def test_a_chat_that_is_no_trajectory_says_why(turns: list[Any], said: str) -> None:
    with pytest.raises(UnusableChatError, match=said):
        read_turns(turns)


def test_an_output_outgrows_its_fence() -> None:
    turns = [
        {"role": "user", "content": "?"}, {"role": "assistant", "content": CODE}, {"role": "tool", "content": OUT},
        {"role": "assistant", "content": "ok"},
    ]  # fmt: skip
    _, made = read_turns(turns)
    assert made.segments[1][1] == f"````output\n{OUT}````\n"


@pytest.mark.parametrize("name", ["tir_mathcoder_gsm8k_even", "tir_mathcoder_math_l7b_correct"])
def test_real_texts_are_cut_as_their_own_segments_say(name: str) -> None:
    for row in rows(name)[:500]:
        made = read_transcript(row["text"])
        theirs = [part["content"] for part in row["segments"] if part["type"] == "output"]
        assert [call.stdout.strip() for call in made.tool_calls] == [output.strip() for output in theirs]
