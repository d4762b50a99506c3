"""The rules that take executed blocks away, with their outputs. What is left is run again before the row is made.

Both leave alone what a hint stands in, and a text that goes on to speak of what would be gone.
"""

import re
from collections import Counter

import polars as pl

from schemas.vocabulary import ExecStatus
from warehouse.repairing.edits import Edit
from warehouse.repairing.written import HINT, MODEL, TOOL, Example, Executed, Rule, Written

GAP_CHARS, FOLDED_GAP_CHARS = 600, 200
"""Prose that may be taken away before a block with it: about an error, or an announcement."""
LEAST_COMMON = 0.6
"""Share of a failing block's words and signs that the block which supersedes it holds as well."""
_TOKEN = re.compile(r"\w+|[^\w\s]")
_COMMENT = re.compile(r"#.*")
_LOOKS_BACK = re.compile(
    r"\b(?:errors?|exceptions?|mistakes?|fail(?:s|ed|ure)?|fix(?:ed|es|ing)?|correct(?:ed|ing|ion)|again|previous(?:ly)?|earlier"
    r"|instead|retry|this time|first attempt|second attempt|now (?:it|the code) (?:works|runs))\b",
    re.IGNORECASE,
)
_DOES_AGAIN = re.compile(r"\b(?:re-?(?:calculat|comput|defin|evaluat|initiali[sz]|writ)\w*|correct)\b", re.IGNORECASE)
_LOOKED_AT = 400


def fold_repeated_block(written: Written) -> list[Edit]:
    """A block runs the same code as the one before it and gives the same: keep the first with its output.

    Between the two stands nothing, or one paragraph of at most 200 characters without a number, which announces the
    second and goes with it. Whatever follows is as it was: it has seen the same output just before.
    """
    edits = []
    for first, second in zip(written.executed, written.executed[1:], strict=False):
        gap = written.text[first.out_end : second.begin].strip()
        is_announcement = len(gap) <= FOLDED_GAP_CHARS and "\n\n" not in gap and not re.search(r"\d", gap)
        if _gives(first) == _gives(second) and is_announcement and _may_go(written, first.out_end, second.out_end):
            edits.append(Edit(first.out_end, first.out_end, second.out_end))
    return edits


def drop_failed_attempts(written: Written) -> list[Edit]:
    """A block fails and the next one does it right: keep the one that is right.

    A later block supersedes a failing one when every block between them fails as well, it ends without an error and
    prints something, it holds at least 0.6 of the failing block's words and signs (comments aside, counted with
    repetition), and the prose between two blocks has at most 600 characters. Failing blocks and the prose behind them
    go. Not where the later block's comments, or the 400 characters behind its output, look back at an error or at an
    earlier attempt.
    """
    edits: list[Edit] = []
    runs, first = written.executed, None
    for index, run in enumerate(runs):
        if run.call.status is not ExecStatus.OK:
            first = index if first is None else first
            continue
        if first is not None and run.call.stdout.strip() and not _looks_back(written, run):
            begin = index
            while begin > first and _supersedes(written, runs[begin - 1], runs[begin], run):
                begin -= 1
            if begin < index and _may_go(written, runs[begin].begin, run.begin):
                edits.append(Edit(runs[begin].begin, runs[begin].begin, run.begin))
        first = None
    return edits


def _supersedes(written: Written, failed: Executed, following: Executed, right: Executed) -> bool:
    old, new = _tokens(failed.call.code), _tokens(right.call.code)
    is_near = following.begin - failed.out_end <= GAP_CHARS
    return is_near and old.total() > 0 and (old & new).total() >= LEAST_COMMON * old.total()


def _tokens(code: str) -> Counter[str]:
    return Counter(_TOKEN.findall(_COMMENT.sub("", code)))


def _looks_back(written: Written, run: Executed) -> bool:
    comments = " ".join(_COMMENT.findall(run.call.code))
    looks = _LOOKS_BACK.search(comments) or _DOES_AGAIN.search(comments)
    return bool(looks or _LOOKS_BACK.search(written.text, run.out_end, run.out_end + _LOOKED_AT))


def _may_go(written: Written, begin: int, end: int) -> bool:
    """Whether only the model's text and whole outputs stand there."""
    return written.is_of_model(begin, end, outputs=True)


def _gives(run: Executed) -> tuple[str, ...]:
    call = run.call
    return call.code.strip(), call.stdout, call.status, call.traceback or "", str(call.exit_code)


_ONE = ((MODEL, "Let me compute.\n```python\nprint(6*7)\n```\n"), (TOOL, "```output\n42\n```\n"))
_SAME = ((MODEL, "Let me run it:\n```python\nprint(6*7)\n```\n"), (TOOL, "```output\n42\n```\n"))
_SO = (MODEL, "So it is 42.")
_FAILS = ((MODEL, "We divide.\n```python\nx = 84 / y\nprint(x)\n```\n"), (TOOL, "```output\nNameError: no y\n```\n"))
_RIGHT = (
    (MODEL, "The name is not defined.\n```python\ny = 2\nx = 84 / y\nprint(x)\n```\n"),
    (TOOL, "```output\n42\n```\n"),
)
_OTHER = ((MODEL, "I count.\n```python\nprint(len('abc'))\n```\n"), (TOOL, "```output\n3\n```\n"))
_MENDED = "We divide.\n```python\ny = 2\nx = 84 / y\nprint(x)\n```\n```output\n42\n```\nSo it is 42."


def _text(*parts: tuple[object, str]) -> str:
    return "".join(text for _, text in parts)


_N_CODES = pl.col("tool_calls").list.eval(pl.element().struct.field("code").str.strip_chars().n_unique()).list.first()
_STATUSES = pl.col("tool_calls").list.eval(pl.element().struct.field("status") != str(ExecStatus.OK))
CALLS: dict[str, Rule] = {
    "fold_repeated_block": Rule(
        fold_repeated_block,
        pl.col("tool_calls").list.len() > _N_CODES,
        (
            Example((*_ONE, *_SAME, _SO), _text(*_ONE, _SO)),
            Example((*_ONE, *_SAME, *_SAME, _SO), _text(*_ONE, _SO)),
            Example((*_ONE, _SAME[0], (TOOL, "```output\n43\n```\n"), _SO), None),
            Example((*_ONE, *_OTHER, *_ONE, _SO), None),  # not one behind the other
            Example((*_ONE, (MODEL, "So 42. Is 42 right?\n"), *_SAME, _SO), None),  # more than an announcement
            Example((*_ONE, (HINT, "Wait, check it.\n"), *_SAME, _SO), None),
        ),
        drops_calls=True,
    ),
    "drop_failed_attempts": Rule(
        drop_failed_attempts,
        _STATUSES.list.any(),
        (
            Example((*_FAILS, *_RIGHT, _SO), _MENDED),
            Example((*_FAILS, *_FAILS, *_RIGHT, _SO), _MENDED),
            Example((*_FAILS, *_OTHER, _SO), None),  # other code
            Example((*_FAILS, *_OTHER, *_RIGHT, _SO), None),  # another block between them
            Example((*_FAILS, _SO), None),
            Example((*_FAILS, *_FAILS), None),
            Example((*_FAILS, *_RIGHT, (MODEL, "The error is gone, so it is 42.")), None),
            Example((*_FAILS, (MODEL, _RIGHT[0][1].replace("y = 2", "y = 2  # redefined")), _RIGHT[1], _SO), None),
            Example((*_FAILS, (HINT, "Wait, define it.\n"), *_RIGHT, _SO), None),
        ),
        drops_calls=True,
    ),
}
