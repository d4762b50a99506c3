"""Recorded outputs and those of a second run, as texts that can be compared."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.sandbox.reproduce import same_outcome
from schemas.protocols import ExecResult
from schemas.vocabulary import ExecStatus, Origin

FINISHED = (ExecStatus.OK, ExecStatus.ERROR)
_TOKEN = re.compile(r"0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[^\W\d]\w*|\S")
_CUT = re.compile(
    r"\n?(?:\[?\.\.\. ?[\d,]* ?(?:\w+ ){0,3}(?:left out|truncated|omitted|output cut)[^\n]*|\.\.\.|\u2026)\s*"
)
_SPELLED = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|[^\x20-\x7e]")
_TRACEBACK = re.compile(r"^(?:Traceback \(most recent call last\):|-{70,})", re.MULTILINE)
_FRAME = re.compile(r'^\s*(?:File "[^"\n]*"|Cell In ?\[\d+\]|Input In \[\d+\]), line \d+', re.MULTILINE)
"""Where a traceback without its first line begins: of a syntax error, as Python and IPython draw it."""
_LEAST_CUT = 20
"""Characters that must be left of an output on one side of a cut before they prove anything."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a row says of one of its calls."""

    code: str
    result: ExecResult
    is_foreign: bool
    """Written elsewhere: `stdout` is all that was shown, errors included, and nothing else is known."""
    shown: str | None = None
    """The tool's segment of the text, where it can be told which one it is."""

    @property
    def text(self) -> str:
        """What was shown, without the layout."""
        return trimmed(self.result.stdout if self.is_foreign else shown_text(self.result))


def recorded_calls(row: Mapping[str, Any]) -> list[Recorded]:
    """The calls of a row of a snapshot or of raw.trajectories."""
    calls: Sequence[Mapping[str, Any]] = row["tool_calls"] or ()
    shown = [segment["text"] for segment in row["segments"] if segment["origin"] == Origin.TOOL]
    texts: Sequence[str | None] = shown if len(shown) == len(calls) else [None] * len(calls)
    return [
        Recorded(call["code"], _result(call), row["sandbox"] is None, text)
        for call, text in zip(calls, texts, strict=True)
    ]


def _result(call: Mapping[str, Any]) -> ExecResult:
    status = ExecStatus(call["status"])
    return ExecResult(
        status=status,
        exit_code=0 if status is ExecStatus.OK else 1,
        stdout=call["stdout"],
        stderr=call["traceback"] or "",
        output_truncated=call["output_truncated"],
        wall_ms=0.0,
        cpu_ms=0.0,
        max_rss_kb=0,
    )


def shown_text(result: ExecResult) -> str:
    """What a model sees of a result, uncut: the output, then the last line of the traceback."""
    if result.status is ExecStatus.OK:
        return result.stdout
    lines = result.stderr.strip().splitlines()
    return f"{result.stdout.rstrip()}\n{lines[-1] if lines else f'[{result.status}]'}"


def trimmed(text: str) -> str:
    """Without blanks at the ends of the text and of its lines."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def tokens(text: str) -> list[str]:
    """Numbers, words, addresses and single signs."""
    return _TOKEN.findall(text)


def without_traceback(text: str) -> str:
    """What was printed before a traceback, then its last line: all that does not depend on files and frames."""
    match = _TRACEBACK.search(text) or _FRAME.search(text)
    if match is None:
        return text
    return trimmed(f"{text[: match.start()]}\n{text.splitlines()[-1]}")


def is_same(recorded: Recorded, again: ExecResult) -> bool:
    """Whether an output came out again.

    Of rows that were run here: the same status and, of code that came to its own end, the same stdout and stderr,
    character by character; of code that a limit ended the status alone, for how far it got is chance. Where the text
    of the row can be matched with the call, it shows this output. Of rows from elsewhere: the same text but for blanks
    at the ends of lines, the frames of a traceback, and a middle or an end that was left out with a mark.
    """
    if not recorded.is_foreign:
        comes_again = same_outcome(recorded.result, _as_published(again))
        return comes_again and not shows_something_else(recorded)
    one, other = recorded.text, trimmed(shown_text(again))
    if one == other:
        return True
    if again.status not in FINISHED:
        return False
    full = trimmed(f"{again.stdout.rstrip()}\n{again.stderr}")
    if without_traceback(one) in (other, without_traceback(full), full):
        return True
    return is_cut_of(one, other)


def _as_published(result: ExecResult) -> ExecResult:
    """A snapshot does not hold the exit code."""
    return _result(
        {
            "status": result.status,
            "stdout": result.stdout,
            "traceback": result.stderr,
            "output_truncated": result.output_truncated,
        }
    )


def is_cut_of(one: str, whole: str) -> bool:
    """Whether a text is another whose middle or end was left out with a mark."""
    for mark in _CUT.finditer(one):
        head, tail = one[: mark.start()].rstrip(), one[mark.end() :].lstrip()
        fits = len(head) + len(tail) < len(whole) and whole.startswith(head) and whole.endswith(tail)
        if fits and len(head) + len(tail) >= _LEAST_CUT:
            return True
    return False


def shows_something_else(recorded: Recorded) -> bool:
    """Whether the text that a model is trained on shows another output than the call holds.

    Characters that a vocabulary may spell as escapes are left out of the comparison.
    """
    if recorded.shown is None or recorded.is_foreign:
        return False
    shown, text = _plain(recorded.shown), shown_text(recorded.result)
    body = re.search(r"(`{3,})output\n(.*?)\n?\1\n", recorded.shown, re.DOTALL)
    if body is None:
        return _plain(text) not in shown
    if _plain(body[2]) == _plain(text):
        return False
    mark = re.search(r"\n\[\.\.\. ([\d,]+) characters left out \.\.\.\]\n", body[2])
    if mark is None:
        return True
    head, tail = _plain(body[2][: mark.start()]), _plain(body[2][mark.end() :])
    return not (_plain(text).startswith(head) and _plain(text).endswith(tail))


def _plain(text: str) -> str:
    return _SPELLED.sub("", text).replace(" ", "")
