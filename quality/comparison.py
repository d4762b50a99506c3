r"""Two answers compared by plain means: exact text, normalised text, exact numbers. Shares no code with Math-Verify.

It answers only where it can tell: numbers are compared as fractions, lists of numbers side by side, words without
regard to case. Everything else (formulas, sets, intervals, units) is `None`: no opinion. Everything is bounded: no text
is evaluated, exponents above 400 and numbers of more than 400 digits are not read.
"""

import re
from fractions import Fraction

MAX_CHARS = 2_000
DECIMAL_TOLERANCE = Fraction(1, 10**6)
"""Relative, and only where one of the two is a rounded decimal (a fraction that terminates is exact)."""

_SPACES = re.compile(r"\\[,;:! ]|(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}")
_DECIMAL = re.compile(r"([-+]?)(\d{0,400})(?:\.(\d{0,400}))?(?:[eE]([-+]?\d{1,3}))?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3}){1,100}(?:\.\d{1,400})?")
_FRAC = re.compile(r"([-+]?)(\d{0,40})\\frac(?:\{([-+]?[\d.]{1,40})\}|(\d))(?:\{([-+]?[\d.]{1,40})\}|(\d))")
_TIMES_TEN = re.compile(r"(.{1,60}?)(?:\\times|\\cdot|\u00d7|\*)10(?:\^|\*\*)\{?([-+]?\d{1,3})\}?")
_WORDS = re.compile(r"[^\W\d_]{2,}(?: [^\W\d_]{2,}){0,10}")


def normal_text(text: str) -> str:
    r"""One spelling: no outer `$`, `\boxed`, `\left`, spacing commands or final period; `\dfrac` is `\frac`.

    Spaces go, except between letters and digits (`1 2` is not `12`). A text above MAX_CHARS is only stripped.
    """
    text = text.strip()
    if len(text) > MAX_CHARS:
        return text
    text = text.replace("\u2212", "-").replace(r"\%", "%").replace(r"\$", "")
    text = text.replace("{,}", ",").replace(",\\!", ",")
    for opening, closing in _WRAPPERS:
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening + closing):
            text = text[len(opening) : -len(closing)].strip()
    if boxed := re.fullmatch(r"\\boxed\{([^{}]*)\}", text):
        text = boxed[1]
    text = re.sub(r"\\(?:left|right)(?![a-zA-Z])", "", text).replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    text = _SPACES.sub("", _TEXT.sub(r"\1", text)).strip()
    return text[:-1].rstrip() if text.endswith(".") else text


def number(text: str) -> Fraction | None:
    r"""The value of `72`, `1,000`, `-.5`, `3e6`, `3\times10^4`, `1/3`, `\frac{1}{3}`, `2\frac{1}{2}`, `28%`, if any."""
    text = normal_text(text).removeprefix("$").replace(r"^{\circ}", "").replace(r"^\circ", "")
    is_percent = text.endswith("%")
    value = _plain_number(text.rstrip("% "))
    return value / 100 if is_percent and value is not None else value


def _plain_number(text: str) -> Fraction | None:
    if len(text) > 1_000:
        return None
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if (match := _DECIMAL.fullmatch(text)) and (match[2] or match[3]):
        return _scaled(Fraction(f"{match[1]}{match[2] or '0'}.{match[3] or '0'}"), match[4] or "0")
    if match := _FRAC.fullmatch(text):
        top, bottom = _plain_number(match[3] or match[4]), _plain_number(match[5] or match[6])
        if top is None or not bottom:
            return None
        value = int(match[2] or 0) + top / bottom
        return -value if match[1] == "-" else value
    if match := _TIMES_TEN.fullmatch(text):
        mantissa = _plain_number(match[1])
        return None if mantissa is None else _scaled(mantissa, match[2])
    top_text, slash, bottom_text = text.partition("/")
    if slash and "/" not in bottom_text:
        top, bottom = _plain_number(top_text.strip("{} ")), _plain_number(bottom_text.strip("{} "))
        return top / bottom if top is not None and bottom else None
    return None


def _scaled(value: Fraction, exponent: str) -> Fraction | None:
    return value * Fraction(10) ** int(exponent) if abs(int(exponent)) <= 400 else None


def same_number(gold: str, answer: str) -> bool | None:
    """Whether two numbers are equal; None unless both are numbers.

    A percentage equals both its value and its figure (28 % is 0.28 and 28), as in the questions that ask for percent.
    """
    a, b = number(gold), number(answer)
    if a is None or b is None:
        return None
    pairs = [(a, b)]
    if ("%" in gold) != ("%" in answer):
        pairs.append((a * 100, b) if "%" in gold else (a, b * 100))
    is_rounded = any("." in text or "e" in text.lower() for text in (gold.replace(r"\frac", ""), answer))
    return any(x == y or (is_rounded and abs(x - y) <= DECIMAL_TOLERANCE * max(abs(x), abs(y))) for x, y in pairs)


def opinion(gold: str, answer: str) -> bool | None:
    """Whether `answer` means `gold`, as far as plain text and numbers tell; None where they do not."""
    numeric = same_number(gold, answer)
    if numeric is not None:
        return numeric
    gold, answer = normal_text(gold), normal_text(answer)
    if gold == answer:
        return True
    if _WORDS.fullmatch(gold) and _WORDS.fullmatch(answer):
        return gold.casefold() == answer.casefold()
    return _same_list(gold, answer)


def _same_list(gold: str, answer: str) -> bool | None:
    """Lists in the same brackets whose members are numbers."""
    if not gold or not answer or gold[0] not in "([" or (gold[0], gold[-1]) != (answer[0], answer[-1]):
        return None
    golds, answers = gold[1:-1].split(","), answer[1:-1].split(",")
    if len(golds) != len(answers) or len(golds) < 2:
        return None
    members = [same_number(a, b) for a, b in zip(golds, answers, strict=True)]
    return None if None in members else all(members)
