r"""The final answer of a text, by named rules.

The text is cut at its code fences first: prose, code and tool output (```` ```output ````). Fences without a language
count as prose, and a fence that is never closed runs to the end. **Code is never searched.**

What follows the last tool output is the model's word on it, so the rules look there first, and only then further back:

1. after the last output (in the whole prose where nothing was executed): `boxed`, `phrase`, `tag`;
2. `output`: an output that is one bare number, if the text after it repeats that number ("5 cars in 15 minutes");
3. after the output: `number`, unless the output was silent (no number in it, or an error) and an explicit answer stands
   earlier;
4. `output`: the last number of that output, unless it is an error;
5. before the last output: `boxed`, `phrase`, `tag`, `number`.

| rule | the answer is |
|---|---|
| `boxed` | the last `\boxed{...}` with balanced braces, unless a "final answer" is announced behind it |
| `phrase` | what follows the last "the answer is", "final answer:", "Answer:" or `####`, if it looks like an answer |
| `tag` | the last `<answer>...</answer>` |
| `number` | the last number: sign, thousands separators, decimals, `a/b`, `\frac{a}{b}`, percent, powers of ten |

Not numbers: list markers ("1. First"), "step 3", ordinals ("2nd"), indices and exponents, digits inside a word.
Not covered: an unboxed formula without a phrase (its last number is taken), words as answers without a phrase,
several answers that are not written side by side. Time is linear in the text; 100 KB take under half a second.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from warehouse.fences import Kind, split_fences

MAX_ANSWER_CHARS = 2_000
_CANDIDATES = 50
"""How many boxes or phrases are tried, from the last one back."""


class Rule(StrEnum):
    """Which rule found the answer."""

    BOXED = "boxed"
    PHRASE = "phrase"
    TAG = "tag"
    NUMBER = "number"
    OUTPUT = "output"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Extracted:
    """An answer and the rule that found it; `None` and `Rule.NONE` where there is none."""

    answer: str | None
    rule: Rule


NUMBER = (
    r"(?:(?<![\w)\]}])[-+\u2212])?(?:\\?\$)?"
    r"(?:\\[dtc]?frac\{-?\d{1,40}\}\{-?\d{1,40}\}"
    r"|\d+,\d{2}(?=[ ]?(?:\$(?!\d)|\u20ac))"  # a decimal comma
    r"|\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)(?:\.\d+)?"
    r"|\d+(?:\.\d+)?"
    r"|\.\d+)"
    r"(?:[eE][-+]?\d{1,3}(?!\w))?"
    r"(?:[ ]?(?:\\times|\\cdot|\u00d7)[ ]?10\^(?:\{[-+]?\d{1,3}\}|[-+]?\d{1,3}))?"
    r"(?:[ ]?/[ ]?\d+(?!\w))?"
    r"(?:[ ]?\\?%)?"
)
_LAST_NUMBER = re.compile(
    r"(?P<skip>^[ \t]*(?:[-*>#]{1,3}[ \t]+)?(?:\*\*)?\(?\d{1,2}[.)](?:\*\*)?(?=[ \t]+\S)"
    r"|\b(?:step|case|method|part|example|equation|line|problem|question)[ \t]{1,3}[#(]?\d+"
    r"|(?<!\w)\d+(?:st|nd|rd|th)\b"
    r"|[\^_]\{?[-+]?\d+)"
    rf"|(?P<number>(?<![\w.]){NUMBER})",
    re.IGNORECASE | re.MULTILINE,
)
_PHRASE = re.compile(
    r"(?:\bfinal[ \t]{1,3}answer|\b(?:the|our|my)[ \t]{1,3}(?:correct[ \t]{1,3}|required[ \t]{1,3})?answer"
    r"|^[ \t*#>]{0,6}answer)"
    r"(?:[ \t]{1,3}(?:to|for|of)\b[^\n.:=]{1,80}?)?[ \t*_]{0,4}(?:\b(?:is|are)\b|[:=])[ \t*_:]{0,6}\n{0,2}"
    r"|^[ \t]{0,4}####",
    re.IGNORECASE | re.MULTILINE,
)
_FILLER = re.compile(
    r"(?:(?:approximately|about|exactly|simply|just|therefore|thus|indeed|then|also)\b,?[ \t]*|\u2248[ \t]*)+", re.I
)
_LEADING_NUMBER = re.compile(
    rf"({NUMBER})(?=\$?\W*$|\$?[*_]{{0,2}}[ \t]+(?!and\b|or\b)[A-Za-z]|\$?,[ \t]+[A-Za-z]|\$?[ \t]*\()"
)
_CLAUSE_END = re.compile(r"[.?](?=[\"')*\s]|$)|\n|;")
_NO_ANSWER = re.compile(r"(?:not|wrong|incorrect|correct|right|unknown|unclear|none of|given|found|the same)\b", re.I)
_MATH = ((r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$"), ("$", "$"))
_ERROR_OUTPUT = re.compile(r"^Traceback \(most recent|^[ \t]{0,8}\w{0,60}(?:Error|Exception)\b", re.MULTILINE)


def extract(text: str) -> Extracted:
    """Find the final answer of what a model wrote (after the prompt), and say by which rule."""
    pieces = split_fences(text)
    last = max((i for i, piece in enumerate(pieces) if piece.kind is Kind.OUTPUT), default=-1)
    tail = "\n".join(piece.text for piece in pieces[last + 1 :] if piece.kind is Kind.PROSE)
    before = "\n".join(piece.text for piece in pieces[: max(last, 0)] if piece.kind is Kind.PROSE)
    output = pieces[last].text if last >= 0 else ""

    if found := _explicit(tail):
        return found
    said_before = _explicit(before)
    shown = None if _ERROR_OUTPUT.search(output) else last_number(output)
    if shown is not None and _is_bare(output) and any(_value(n) == _value(shown) for n in _numbers(tail)):
        return Extracted(shown, Rule.OUTPUT)
    if (shown is not None or said_before is None) and (number := last_number(tail)) is not None:
        return Extracted(number, Rule.NUMBER)
    if shown is not None:
        return Extracted(shown, Rule.OUTPUT)
    if said_before:
        return said_before
    number = last_number(before)
    return Extracted(number, Rule.NUMBER) if number is not None else Extracted(None, Rule.NONE)


def extract_answer(text: str) -> str | None:
    """The final answer of what a model wrote, or None. See `extract` for the rule that found it."""
    return extract(text).answer


def clean_gold(raw: str) -> str:
    r"""The answer of a gold as data sets write it: after the last `####` (GSM8K), or in the last `\boxed{}` (MATH).

    A gold that is already bare is only stripped.
    """
    if "####" in raw:
        return raw.rsplit("####", 1)[1].strip()
    return last_boxed(raw) or raw.strip()


def _explicit(text: str) -> Extracted | None:
    if (announced := _announced_behind_box(text)) is not None:
        return Extracted(announced, Rule.PHRASE)
    for rule, find in ((Rule.BOXED, last_boxed), (Rule.PHRASE, _last_phrase), (Rule.TAG, _last_tag)):
        if (answer := find(text)) is not None:
            return Extracted(answer, rule)
    return None


def _announced_behind_box(text: str) -> str | None:
    box, final = max(text.rfind(r"\boxed"), text.rfind(r"\fbox")), text.lower().rfind("final answer")
    return _last_phrase(text[final:]) if 0 <= box < final else None


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` or `\fbox{...}` that is closed and not empty."""
    end = len(text)
    for _ in range(_CANDIDATES):
        start = max(text.rfind(r"\boxed", 0, end), text.rfind(r"\fbox", 0, end))
        if start < 0:
            return None
        window = text[start : start + MAX_ANSWER_CHARS]
        if (opening := re.match(r"\\(?:boxed|fbox)[ ]?\{", window)) and (content := _balanced(window, opening.end())):
            return content
        end = start
    return None


def _balanced(text: str, start: int) -> str | None:
    depth = 1
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        if match[0] in "{}":
            depth += 1 if match[0] == "{" else -1
            if depth == 0:
                return text[start : match.start()].strip()
    return None


def _last_tag(text: str) -> str | None:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    content = text[start + len("<answer>") : end].strip() if start >= 0 else ""
    return content if 0 < len(content) <= MAX_ANSWER_CHARS else None


def _last_phrase(text: str) -> str | None:
    for match in list(_PHRASE.finditer(text))[: -_CANDIDATES - 1 : -1]:
        if (answer := _after_phrase(text[match.end() : match.end() + 300])) is not None:
            return answer
    return None


def _after_phrase(rest: str) -> str | None:
    """A formula, a number at its beginning or after its last `=`, or at most four words."""
    rest = _FILLER.sub("", rest.lstrip(" \t*_\"'"), count=1).lstrip()
    for opening, closing in _MATH:
        if rest.startswith(opening) and (end := rest.find(closing, len(opening))) > 0:
            formula = rest[len(opening) : end].strip()
            money = _LEADING_NUMBER.match(formula) if opening == "$" and " " in formula else None
            return _tidy(money[1]) if money else formula or None
    end_of_clause = _CLAUSE_END.search(rest)
    clause = (rest[: end_of_clause.start()] if end_of_clause else rest).strip(" \t*_\"'`,")
    for part in (clause, clause.rpartition("=")[2].strip()):
        if number := _LEADING_NUMBER.match(part):
            return _tidy(number[1])
    if not clause or len(clause.split()) > 4 or _NO_ANSWER.match(clause):
        return None
    return clause


def last_number(text: str) -> str | None:
    """The last number of prose or output."""
    found = None
    for number in _numbers(text):
        found = number
    return _tidy(found) if found and len(found) <= MAX_ANSWER_CHARS else None


def _numbers(text: str) -> Iterator[str]:
    return (number for match in _LAST_NUMBER.finditer(text) if (number := match["number"]))


def _is_bare(output: str) -> bool:
    return len(output) <= MAX_ANSWER_CHARS and re.fullmatch(NUMBER, output.strip()) is not None


def _value(number: str) -> str:
    """One spelling for `5`, `5.0` and `5.00`, `1,000` and `1000`, `60` and `60%`."""
    number = _tidy(number).replace(",", "").rstrip("\\% ")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _tidy(number: str) -> str:
    number = number.replace("\\$", "").replace("$", "").replace("\u2212", "-").replace("{,}", ",").replace(",\\!", ",")
    return number.lstrip("+").strip()
