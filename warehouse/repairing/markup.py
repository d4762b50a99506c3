r"""The rules that mend how code, outputs and answers are marked, and change nothing that was computed."""

import re

import polars as pl

from schemas.vocabulary import StopReason
from warehouse.fences import Kind, blocks
from warehouse.repairing.edits import Edit
from warehouse.repairing.written import MODEL, TOOL, Example, Rule, Written, ran

_OPENING = re.compile(r"( {0,3}+)(`{3,}+)[ \t]*+(\w+)[ \t]*+\r?")
_LABEL = r"(?:\*\*)?(?:(?:program|code|execution)[ \t]+)?(?:outputs?|results?)(?:[ \t]+here)?(?:\*\*)?[ \t]*:?(?:\*\*)?"
_BEFORE_OUTPUT = re.compile(rf"`\n\s*([ \t]*(?:\[{_LABEL}\]|<{_LABEL}>|{_LABEL})[ \t]*\n?)\Z", re.IGNORECASE)
_BEHIND_OUTPUT = re.compile(rf"\s*((?:\[{_LABEL}\]|<{_LABEL}>)[ \t]*(?:\n|\Z))", re.IGNORECASE)
_VALUE = r"[-+]?(?:\d[\d,]*(?:\.\d+)?(?:/\d+)?%?|\\[dt]?frac\{\d+\}\{\d+\})"
_BARE = re.compile(rf"\\boxed[ \t]*({_VALUE})(?=\s*(?:\$|\\\)|\\\]|\n|\.?\s*\Z|\.\s))")
_UNCLOSED = re.compile(rf"\\boxed[ \t]*\{{[ \t]*{_VALUE}(?=[ \t]*((?:\$\$?|\\\)|\\\])?[ \t]*\.?)\s*\Z)")


def normalise_fences(written: Written) -> list[Edit]:
    """A Python block that the model fenced in another way: write the fences plainly, ```python.

    Language in another spelling, blanks before, between and behind, a closing fence that is longer; and, of blocks that
    were run, a fence that ends a line of prose or of code. The code between them is not touched. Not where the opening
    fence says more than a language, nor fences that a hint opened.
    """
    edits: list[Edit] = []
    for block in blocks(written.text):
        first = written.text[block.begin : written.text.find("\n", block.begin)]
        opening = _OPENING.fullmatch(first)
        if not (block.is_python and block.is_closed and opening and written.is_of_model(block.begin, block.end)):
            continue
        code_end = block.begin + len(first) + 1 + len(block.code)
        if first != opening[2] + "python":
            edits.append(Edit(block.begin, block.begin, block.begin + len(first), opening[2] + "python"))
        if written.text[code_end : block.end] != opening[2]:
            edits.append(Edit(code_end, code_end, block.end, opening[2]))
    return edits or _glued(written)


def _glued(written: Written) -> list[Edit]:
    """Line breaks before the fences of blocks that were run, where they stand behind something."""
    edits: list[Edit] = []
    if len(written.outputs) != len(written.tool_calls):
        return edits
    for (since, begin, _), call in zip(written.outputs, written.tool_calls, strict=True):
        before = written.text[since:begin]
        block = None if ran(before, call) else ran(before, call, loose=True)
        if block is None or not written.is_of_model(since + block.begin, begin):
            continue
        code_begin = before.index("\n", block.begin) + 1
        if block.begin and before[block.begin - 1] != "\n":
            edits.append(Edit(since + block.begin, since + block.begin, since + block.begin, "\n"))
        if not block.code.endswith("\n"):
            at = since + code_begin + len(block.code)
            edits.append(Edit(at, at, at, "\n"))
    return edits


def drop_output_placeholders(written: Written) -> list[Edit]:
    r"""The model wrote something in the place of an output that the tool gives: take it away.

    An `output` block with nothing in it; an `output` block directly behind a tool output that repeats it; a line
    between a block and its output that only says `Output:` or `[output]`; the latter directly behind one.
    An output that the model made up is no placeholder, and is left for the judges.
    """
    edits: list[Edit] = []
    shown, before_tool = "", {begin for _, begin, _ in written.outputs}
    for begin, end, segment in written.places:
        if segment.origin is not MODEL:
            shown = segment.text if segment.origin is TOOL else ""
            continue
        for block in blocks(segment.text):
            is_echo = shown and not segment.text[: block.begin].strip() and block.code.strip() == _body(shown)
            if block.kind is Kind.OUTPUT and block.is_closed and (is_echo or not block.code.strip()):
                stop = block.end + (segment.text[block.end : block.end + 1] == "\n")
                edits.append(Edit(begin + block.begin, begin + block.begin, begin + stop))
        line = _BEHIND_OUTPUT.match(segment.text) if shown else None
        if line:
            edits.append(Edit(begin + line.start(1), begin + line.start(1), begin + line.end(1)))
        line = _BEFORE_OUTPUT.search(segment.text, max(len(segment.text) - 100, 0)) if end in before_tool else None
        if line and (line.start(1) != 0 or not edits):
            edits.append(Edit(begin + line.start(1), begin + line.start(1), begin + line.end(1)))
        shown = ""
    return edits


def close_boxed_answer(written: Written) -> list[Edit]:
    r"""The last `\boxed` holds a number or a fraction of numbers and lacks only its braces: set them.

    `\boxed5`, `\boxed 5`, and at the very end `\boxed{5` or `$\boxed{5$`. Not where anything else may belong to the
    answer, such as a unit or a sum, nor where the text broke off, which may have cut the number itself.
    """
    if not written.segments or written.segments[-1].origin is not MODEL:
        return []
    text = written.segments[-1].text
    begin = len(written.text) - len(text)
    at = text.rfind(r"\boxed")
    if at < 0 or any(b.begin <= begin + at < b.end for b in blocks(written.text)):
        return []
    unclosed = _UNCLOSED.match(text, at)
    if unclosed:
        is_whole = bool(unclosed[1].strip()) or written.stop_reason is StopReason.END
        end = begin + unclosed.end()
        return [Edit(end, end, end, "}")] if is_whole else []
    bare = _BARE.match(text, at)
    if bare is None or (not text[bare.end() :].strip() and written.stop_reason is not StopReason.END):
        return []
    return [Edit(begin + at + 6, begin + at + 6, begin + bare.end(), "{" + bare[1] + "}")]


def _body(output: str) -> str:
    """What a tool output says, without its fence."""
    found = blocks(output)
    return found[0].code.strip() if found and found[0].is_closed else output.strip()


_OUT = (TOOL, "```output\n42\n```\n")
_RAN = ((MODEL, "Let me compute.\n```python\nprint(6*7)\n```\n"), _OUT)
_SO = "So it is 42."
_CLEAN = "".join(text for _, text in _RAN) + _SO
_TEXT = pl.col("text")
MARKUP: dict[str, Rule] = {
    "normalise_fences": Rule(
        normalise_fences,
        _TEXT.str.contains(
            r"(?m)^ {1,3}`{3,}|^ {0,3}`{3,}(?:[ \t]|py(?:3|thon3)?\b|Py|python[ \t\r])"
            r"|`{3,}[ \t]+$|`{4,}|[^`\n ] *`{3,}"
        ),
        (
            Example(((MODEL, "Let me compute.\n```py\nprint(6*7)\n```\n"), _OUT, (MODEL, _SO)), _CLEAN),
            Example(((MODEL, "Let me compute.\n ``` Python  \nprint(6*7)\n  ```\n"), _OUT, (MODEL, _SO)), _CLEAN),
            Example(((MODEL, "Let me compute.\n```python\nprint(6*7)```\n"), _OUT, (MODEL, _SO)), _CLEAN),
            Example(((MODEL, "Let me compute.```python\nprint(6*7)\n```\n"), _OUT, (MODEL, _SO)), _CLEAN),
            Example((*_RAN, (MODEL, _SO)), None),
            Example(((MODEL, "```python title=x\nprint(6*7)\n```\n"), _OUT), None),
            Example(((MODEL, "```text\nprint(6*7)\n ```\n"),), None),
            Example(((MODEL, "A fence is ```python\nprint(1)```\nand nothing ran."),), None),
            Example(((TOOL, "```output\n ```py\n```\n"),), None),
        ),
    ),
    "drop_output_placeholders": Rule(
        drop_output_placeholders,
        _TEXT.str.contains(r"(?m)^ {0,3}`{3,}output[ \t]*\n\s*`{3,}|`\s*`{3,}output")
        | _TEXT.str.contains(
            r"(?mi)`\n\s*(?:\[|<)?(?:\*\*)?(?:program[ \t]+|code[ \t]+|execution[ \t]+)?(?:output|result)"
        ),
        (
            Example((*_RAN, (MODEL, "```output\n```\n" + _SO)), _CLEAN),
            Example((*_RAN, (MODEL, "```output\n42\n```\n" + _SO)), _CLEAN),
            Example(((MODEL, _RAN[0][1] + "Output:\n"), _OUT, (MODEL, _SO)), _CLEAN),
            Example(((MODEL, _RAN[0][1] + "[output]\n"), _OUT, (MODEL, _SO)), _CLEAN),
            Example((*_RAN, (MODEL, "[output]\n" + _SO)), _CLEAN),
            Example((*_RAN, (MODEL, "Output: 42 is right.\n" + _SO)), None),
            Example((*_RAN, (MODEL, "```output\n43\n```\n" + _SO)), None),  # made up
            Example(((MODEL, _RAN[0][1]), (TOOL, "```output\n```\n"), (MODEL, _SO)), None),  # the tool's own
        ),
    ),
    "close_boxed_answer": Rule(
        close_boxed_answer,
        _TEXT.str.contains(r"\\boxed[ \t]*(?:[-+\d\\]|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\s*$)"),
        (
            Example(((MODEL, r"So it is $\boxed 5$."),), r"So it is $\boxed{5}$."),
            Example(((MODEL, r"So it is \boxed-3.5"),), r"So it is \boxed{-3.5}"),
            Example(((MODEL, r"So \(\boxed\frac{1}{2}\)."),), r"So \(\boxed{\frac{1}{2}}\)."),
            Example(((MODEL, r"So it is $\boxed{5$."),), r"So it is $\boxed{5}$."),
            Example(((MODEL, r"So it is \boxed{1,000"),), r"So it is \boxed{1,000}"),
            Example(((MODEL, r"So it is \boxed{12"),), None, StopReason.LENGTH),  # more digits may have followed
            Example(((MODEL, r"So it is \boxed 5 apples."),), None),
            Example(((MODEL, r"So it is \boxed 5 + 3$."),), None),
            Example(((MODEL, r"So it is \boxed{x + 1"),), None),
            Example(((MODEL, r"So it is \boxed{5}."),), None),
            Example(((MODEL, "```python\nprint('\\\\boxed5')\n```\n"),), None),
        ),
    ),
}
