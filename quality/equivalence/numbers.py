r"""One spelling for texts, and plain numbers as fractions: most pairs of answers need nothing else.

Everything is bounded: exponents above 400 and numbers of more than 400 digits are not read.
"""

import re
from fractions import Fraction

MAX_CHARS = 2_000
_SPACES = re.compile(r"\\[,;:! ]|(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")
_PLACES = re.compile(r"\.(\d{0,400})(?:[eE]([-+]?\d{1,3}))?")
_FLOAT_ERROR = Fraction(1, 10**9)
_THIN = re.compile(r",\s?\\!\s*")
_LIST = re.compile(r"\d,\s")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}")
_DECIMAL = re.compile(r"([-+]?)(\d{0,400})(?:\.(\d{0,400}))?(?:[eE]([-+]?\d{1,3}))?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3}){1,100}(?:\.\d{1,400})?")
_FRAC = re.compile(r"([-+]?)(\d{0,40})\\frac(?:\{([-+]?[\d.]{1,40})\}|(\d))(?:\{([-+]?[\d.]{1,40})\}|(\d))")
_TIMES_TEN = re.compile(r"(.{1,60}?)(?:\\times|\\cdot|\u00d7|\*)10(?:\^|\*\*)\{?([-+]?\d{1,3})\}?")


def normal_text(text: str) -> str:
    r"""One spelling: no outer `$`, `\boxed`, `\left`, spacing commands or final period; `\dfrac` is `\frac`.

    Spaces go, except between letters and digits (`1 2` is not `12`). A text above MAX_CHARS is only stripped.
    """
    text = text.strip()
    if len(text) > MAX_CHARS:
        return text
    text = text.replace("\u2212", "-").replace(r"\%", "%").replace(r"\$", "")
    text = _THIN.sub(",", text.replace("{,}", ","))
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
    if _LIST.search(text):
        return None
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


def same_number(gold: str, answer: str, tolerance: Fraction) -> bool | None:
    """Whether two numbers are equal; None unless both are numbers.

    `tolerance` is relative, and holds only where one of the two is a rounded decimal (a fraction that terminates is
    exact). A percentage equals both its value and its figure: 28 % is 0.28, and 28 where the question asks for percent.
    """
    a, b = number(gold), number(answer)
    if a is None or b is None:
        return None
    pairs = [(a, b)]
    if ("%" in gold) != ("%" in answer):
        pairs.append((a * 100, b) if "%" in gold else (a, b * 100))
    unit = max(half_unit(text) for text in (gold.replace(r"\frac", ""), answer))
    return any(x == y or (unit > 0 and same_rounded(x, y, unit, tolerance)) for x, y in pairs)


def same_rounded(x: Fraction, y: Fraction, unit: Fraction, tolerance: Fraction) -> bool:
    """Equal up to the rounding of the last digit, or to nine digits: floats are printed so."""
    difference, size = abs(x - y), max(abs(x), abs(y))
    return difference <= max(size * _FLOAT_ERROR, rounding_allowed(size, unit, tolerance))


def rounding_allowed(size: Fraction, unit: Fraction, tolerance: Fraction) -> Fraction:
    """By how much two numbers of this size may differ because one is rounded by `unit`.

    With a tolerance of 10^-6, decimals of six places or of six significant digits are taken for rounded ones.
    """
    has_places = unit <= tolerance / 2 and size >= 100 * unit
    return unit if has_places else min(unit, tolerance * size)


def half_unit(text: str) -> Fraction:
    """Half a unit of the last digit behind the decimal point; 0 where there is none."""
    if not (match := _PLACES.search(text)):
        return Fraction(0)
    return Fraction(1, 2 * 10 ** len(match[1])) * Fraction(10) ** int(match[2] or 0)
