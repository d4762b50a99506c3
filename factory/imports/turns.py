"""A chat with tool turns as a transcript: OpenAI's and ShareGPT's lists, and the items of OpenAI's Responses.

The words of each turn are kept as they are; what is ours is how a call and its output are written down, as the rollout
loop writes them: code that came as an argument in a Python block, an output in an output block. Texts of assistant
turns may hold fences and outputs themselves.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from factory.imports.transcript import NOT_RUN, OUTPUT, Transcript, read_transcript
from factory.rollout.outputs import output_block
from schemas.vocabulary import Origin
from warehouse.fences import blocks

ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "ipython", "observation", "tool_response", "function_response"), "tool"),
    **dict.fromkeys(("system", "developer"), "system"),
}
CODE_KEYS = ("code", "python", "python_code", "source")


class UnusableChatError(ValueError):
    """A chat that is no trajectory of one problem, in words."""


def read_turns(turns: Sequence[Any], output_fences: Collection[str] = OUTPUT) -> tuple[str, Transcript]:
    """The question of a chat (empty where it holds none) and what followed it.

    Raises:
        UnusableChatError: more than one question, a turn of an unknown kind, a call of something else than Python.
    """
    question, made = "", Transcript()
    waiting: list[str] = []  # code whose output the next turn may hold
    awaits_text = False  # it stood in the text, where it counts as not run so far
    for number, turn in enumerate(turns, 1):
        role, content, codes = _turn(turn, number)
        if role == "user":
            if made.segments or question:
                raise UnusableChatError(f"turn {number} is a second question; a trajectory answers one")
            question = content
        elif role == "assistant":
            _speak(made, content, output_fences)
            waiting = [code] if (code := _unrun(content)) and not codes else []
            awaits_text = bool(waiting)
            for code in codes:
                _write_code(made, code)
                waiting.append(code)
            if len(waiting) > 1:
                raise UnusableChatError(f"turn {number} makes {len(waiting)} calls at once")
        elif role == "tool":
            if not waiting:
                raise UnusableChatError(f"turn {number} is an output, and no Python code stands before it")
            _end_line(made)
            made.add_call(waiting.pop(), content, output_block(content))
            made.oddities.subtract({NOT_RUN: awaits_text})
            made.oddities = +made.oddities
            awaits_text = False
    if not made.segments:
        raise UnusableChatError("no turn of the assistant says anything")
    return question, made


def _turn(turn: Any, number: int) -> tuple[str, str, list[str]]:
    """Role, text and called code of one turn."""
    if not isinstance(turn, Mapping):
        raise UnusableChatError(f"turn {number} is a {type(turn).__name__}, not an object")
    kind = turn.get("type")
    if kind == "function_call":
        return "assistant", "", [_code(turn.get("name"), turn.get("arguments"), number)]
    if kind == "function_call_output":
        return "tool", _text(turn.get("output"), number), []
    if kind == "reasoning":
        return "system", "", []
    name = turn.get("role", turn.get("from"))
    role = ROLES.get(str(name))
    if role is None:
        raise UnusableChatError(f"turn {number} is by {name!r}; known are {', '.join(ROLES)}")
    calls = [call.get("function") or call for call in turn.get("tool_calls") or ()]
    codes = [_code(call.get("name"), call.get("arguments"), number) for call in calls]
    return role, _text(turn.get("content", turn.get("value")), number), codes


def _text(content: Any, number: int) -> str:
    if content is None:
        return ""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" if isinstance(part, Mapping) else str(part) for part in content)
    if not isinstance(content, str):
        raise UnusableChatError(f"turn {number} holds a {type(content).__name__}, not text")
    return content


def _code(name: Any, arguments: Any, number: int) -> str:
    """The code among the arguments of a call."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    found = [arguments[key] for key in CODE_KEYS if key in arguments] if isinstance(arguments, Mapping) else []
    if not found or not isinstance(found[0], str):
        raise UnusableChatError(f"turn {number} calls {name!r}, whose arguments hold no {' or '.join(CODE_KEYS[:2])}")
    return found[0]


def _speak(made: Transcript, content: str, output_fences: Collection[str]) -> None:
    part = read_transcript(content, output_fences)
    calls = iter(part.tool_calls)
    for origin, text in part.segments:
        if origin is Origin.TOOL:
            made.segments.append((origin, text))
            made.tool_calls.append(next(calls))
        else:
            made.add(origin, text)
    made.oddities += part.oddities
    made.is_open = part.is_open


def _unrun(content: str) -> str:
    """The code that an assistant's text ends in, empty where it does not."""
    last = blocks(content)[-1:]
    return last[0].code if last and last[0].is_python and not content[last[0].end :].strip() else ""


def _write_code(made: Transcript, code: str) -> None:
    if made.segments and not made.segments[-1][1].endswith("\n"):
        made.add(Origin.MODEL, "\n")
    fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", code)), default=0) + 1)
    made.add(Origin.MODEL, f"{fence}python\n{code}{'' if code.endswith(chr(10)) else chr(10)}{fence}\n")


def _end_line(made: Transcript) -> None:
    if not made.segments[-1][1].endswith("\n"):
        made.add(Origin.MODEL, "\n")
