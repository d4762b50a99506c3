r"""Other ways to write what the reader knows: as Python and SymPy print it, in words, or with dots.

| written | read as |
|---|---|
| `Rational(1, 3)`, `Fraction(1, 3)` | `(1)/(3)` |
| `np.float64(5.0)`, `math.sqrt(2)`, `factorial(5)` | `5.0`, `sqrt(2)`, `(5)!` |
| `3 + 4*I`, `(3+4j)`, `E**x` | `3+4*i`, `3+4i`, `e**x` |
| `Matrix([[1, 2], [3, 4]])`, `[[1, 2], [3, 4]]` | a matrix |
| `FiniteSet(1, 2)`, `Interval(0, 1)`, `Interval.open(0, 1)`, `]0, 1[` | `\{1, 2\}`, `[0, 1]`, `(0, 1)` |
| `{x: 2}` | `x = 2` |
| `twenty-one`, `two thousand`, `1.2 million` | `21`, `2000`, `1200000` |
| `0.333...`, `0.\dot{3}` | `0.\overline{3}` |
| `no solutions`, `all real numbers` | the empty set, the reals |
"""

import re
from fractions import Fraction

_MODULE = re.compile(r"\b(?:np|numpy|math|cmath|sympy|sp|S)\.(?=[A-Za-z])")
_CALLS = (
    (re.compile(r"\b(?:float|int|str|Integer|Float|float64|int64|mpf)\(\s*'?([-+.\deE]{1,60})'?\s*\)"), r"\1"),
    (re.compile(r"\b(?:Rational|Fraction)\(\s*([-+]?\d+)\s*,\s*([-+]?\d+)\s*\)"), r"((\1)/(\2))"),
    (re.compile(r"\bfactorial\(([^()]{1,60})\)"), r"((\1)!)"),
    (re.compile(r"\bFiniteSet\(([^()]{1,400})\)"), r"\\{\1\\}"),
    (re.compile(r"\bInterval\(([^(),]{1,60}),([^(),]{1,60})\)"), r"[\1,\2]"),
    (re.compile(r"\bInterval\.open\(([^(),]{1,60}),([^(),]{1,60})\)"), r"(\1,\2)"),
    (re.compile(r"\bInterval\.Lopen\(([^(),]{1,60}),([^(),]{1,60})\)"), r"(\1,\2]"),
    (re.compile(r"\bInterval\.Ropen\(([^(),]{1,60}),([^(),]{1,60})\)"), r"[\1,\2)"),
    (re.compile(r"(?<=[*+\-(/])I\b(?![A-Za-z(])|^I(?=\*)"), "i"),
    (re.compile(r"^\(?([-+]?[\d.]{1,40}[-+][\d.]{1,40})j\)?$"), r"\1i"),
    (re.compile(r"\bE(?=\*\*)"), "e"),
    (re.compile(r"^\](.{1,80},.{1,80})\[$"), r"(\1)"),
    (re.compile(r"\\dot\s*\{?(\d)\}?"), r"\\overline{\1}"),
    (re.compile(r"(?<!\d)(\d{0,9}\.\d{0,9}?)(\d)\2{2,9}\s*(?:\\l?dots|\.\.\.|\u2026)"), r"\1\\overline{\2}"),
)
_MATRIX = re.compile(r"(?:Matrix\(\s*)?\[\s*(\[[^\[\]]{1,400}\](?:\s*,\s*\[[^\[\]]{1,400}\])*)\s*\](?:\s*\))?")
_DICT = re.compile(r"\{\s*\w{1,10}\s*:[^{}:]{1,80}(?:,\s*\w{1,10}\s*:[^{}:]{1,80})*\}")
_WRAPPED = re.compile(r"\\text\s*\{([^{}]*)\}")
_PHRASES = {
    r"\emptyset": re.compile(
        r"(?:there (?:is|are) )?no (?:real |integer |such )?(?:solutions?|roots?)|(?:the )?empty set", re.I
    ),
    r"\mathbb{R}": re.compile(r"all (?:of the )?real(?:s| numbers?| [a-z]| values(?: of [a-z])?)?", re.I),
}
_WORDS_TO_19 = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: n for n, word in enumerate(_WORDS_TO_19.split())}
_VALUE_OF = _SMALL | {word: 10 * n for n, word in enumerate(_TENS.split(), 2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALED = re.compile(r"([-+]?\d[\d,]{0,20}(?:\.\d{1,20})?)\s*(thousand|million|billion|trillion)\b", re.I)


def respelt(text: str) -> str:
    """The text in the reader's spelling; as it is where nothing of the table is in it."""
    said = _WRAPPED.sub(r"\1", text).strip(" .")
    for meaning, phrase in _PHRASES.items():
        if phrase.fullmatch(said):
            return meaning
    if (spelled := _spelled_number(said)) is not None:
        return str(spelled)
    text = _SCALED.sub(_scaled, text)
    text = _MODULE.sub("", text)
    for pattern, plain in _CALLS:
        text = pattern.sub(plain, text)
    if (matrix := _MATRIX.fullmatch(text)) and (rows := _rows(matrix[1])):
        return rows
    if _DICT.fullmatch(text):
        return text.replace(":", "=")[1:-1]
    return text


def _rows(text: str) -> str | None:
    rows = [row.split(",") for row in re.findall(r"\[([^\[\]]*)\]", text)]
    if len({len(row) for row in rows}) != 1 or any("(" in cell for row in rows for cell in row):
        return None
    return r"\begin{matrix}" + r"\\".join("&".join(row) for row in rows) + r"\end{matrix}"


def _scaled(match: re.Match[str]) -> str:
    value = Fraction(match[1].replace(",", "")) * _LARGE[match[2].lower()]
    return str(value) if value.denominator == 1 else match[0]


def _spelled_number(text: str) -> int | None:
    """`two hundred and five` is 205."""
    words = text.lower().replace("-", " ").split()
    if not words or len(words) > 12 or not text[0].isalpha():
        return None
    total = group = 0
    for i, word in enumerate(words):
        if word == "and" and 0 < i < len(words) - 1 and words[i - 1] in ("hundred", *_LARGE):
            continue
        if word in _VALUE_OF and (i == 0 or words[i - 1] not in _SMALL):
            group += _VALUE_OF[word]
        elif word == "hundred" and 0 < group < 10:
            group *= 100
        elif word in _LARGE and group:
            total, group = total + group * _LARGE[word], 0
        elif word == "a" and i == 0 and len(words) > 1 and words[1] in ("hundred", *_LARGE):
            group = 1
        else:
            return None
    return total + group
