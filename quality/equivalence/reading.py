r"""The text of an answer, without what does not count, as a tree.

Away go dollar signs and other delimiters of mathematics, boxes, currency, a final period, units (`cm^2`,
`\text{ miles}`, `hours`; one letter only behind a plain value). Several boxes or lines below each other are a list.
`12 percent` is `12%`; other spellings are `dialects`' business. A text of letters alone is text, or a list of texts.

Runs of blanks are one blank before any pattern with a blank in it is tried: with 2,000 of them one took two minutes.
"""

import re
from functools import lru_cache

from quality.equivalence.dialects import respelt
from quality.equivalence.grammar import parse, words
from quality.equivalence.nodes import Listing, Node, Unreadable
from quality.equivalence.tokens import FUNCTIONS

MAX_CHARS = 2_000

_DELIMITERS = re.compile(r"\$\$|(?<!\\)\$|\\[()\[\]](?![0-9.]+(?:pt|em|ex)\])")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BETWEEN_BOXES = re.compile(r"\\(?:text|quad|qquad|mathrm)\b|\w+\s*=|[^A-Za-z]+")
_CURRENCY = re.compile(
    r"\\\$|\\pounds|\\euro|[\u20ac\u00a3\u00a5\u20b9]|\b(?:USD|EUR|GBP|Rs\.?)\s*(?=\d)|(?<=\d)\s*(?:USD|EUR|GBP)\b"
)
_PERCENT = re.compile(
    r"(?<=[\d}.$])\s*(?:\\?\s*(?:text|textrm|mathrm)\s*\{\s*(?:percent|pct|percentage)\s*\}|(?:percentage|percent|pct)\b|\\\s*%)"
)
_THOUSANDS = re.compile(
    r"(?<![\d.,])[1-9]\d{0,2}(?:(?:,|\s?\{,\s?\}|,\s?\\!\s*)\d{3})+(?![\d,])|[()\[\]]|\\[{}]|^\{|\}$"
)
_GLUED_LIST = re.compile(r"(?<=[\d)}])\s*(?:or|and)(?=[A-Z\d(\\])")
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:[ \u00a0\u2009]|\\[, ])\d{3})+(?![\d,])")
_MIXED = re.compile(r"(?<![\d./^_{])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])")
_BLANKS = re.compile(r"(?:[\s~]|(?<!\\)\\ )+")
_DOUBLE_BACKSLASH = re.compile(r"\\\\(?=[A-Za-z])")
_UNIT = re.compile(
    r"(?<=[\d})\]]) ?(?:\\[ ,;!]|~)* ?(?:"
    r"(?:square|cubic|sq\.?|cu\.?)? ?(?:(?:kilo|centi|milli)?met(?:er|re)s?|inch(?:es)?|feet|foot|yards?|miles?|units?"
    r"|km|cm|mm|ft|yd|mi|in)"
    r"|(?:kilo|milli)?grams?|kg|mg|pounds?|lbs?|ounces?|oz|tons?"
    r"|lit(?:er|re)s?|milliliters?|ml|mL|gallons?|quarts?|cups?"
    r"|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?"
    r"|mph|km/h|m/s|degrees?|deg|dollars?|cents?|euros?|people|students|ways|times|apples|points?|inches"
    r")(?: ?(?:\^ ?\{?[23]\}?|[\u00b2\u00b3]))? ?\.?$"
)
_TEXT_UNIT = re.compile(
    r"(?<=\S)\s*(?:\\[ ,;!]|~)*\s*\\(?:text|mbox|textnormal|textrm|mathrm)\s*\{([^{}]*)\}(?:\s*\^\s*\{?[23]\}?)?\s*$"
)
_BRACED_UNIT = re.compile(r"(?<=\d)\s*\{([A-Za-z .]+)\}(?:\s*\^\s*\{?[23]\}?)?\s*$")
_PURE_TEXT = re.compile(r"[A-Za-z][A-Za-z'\u2019.\-]*(?:[ ,]+[A-Za-z'\u2019.\-]+)*")
_ITEM_ENDS = re.compile(r",(?:\s*and\b)?|\band\b")
_LINE_END = re.compile(r"(?<=[\w)}\]])[ ]*(?:\n|(?<!\\)&)\s*(?=[-\w(\\])")
_WRAPPED_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|textrm|mathrm|textnormal)\s*\{([^{}]*)\}")
_LETTER_UNIT = re.compile(r"(?<=[\d})\]])\s*[mgshL](?:\s*(?:\^\s*\{?[23]\}?|[\u00b2\u00b3]))?\s*\.?$")
_PLAIN_VALUE = re.compile(r"(?:[^=]*=)?\s*[-+]?(?:[\d.,/*(){}\[\] ^]|\\[A-Za-z]+)*")


@lru_cache(maxsize=4096)
def read(text: str, *, letter_is_unit: bool = True) -> Node:
    """The tree of an answer.

    Args:
        text: Of any content.
        letter_is_unit: Whether one letter behind a plain number (`5 m`) is a unit and not a variable.

    Raises:
        Unreadable: it is beyond the grammar, or longer than MAX_CHARS.
    """
    if len(text) > MAX_CHARS:
        raise Unreadable("long")
    text = tidy(text, letter_is_unit=letter_is_unit)
    if not text:
        raise Unreadable("empty")
    if (as_words := _as_words(text)) is not None:
        return as_words
    try:
        return parse(text)
    except RecursionError:
        raise Unreadable("too deep") from None


def _as_words(text: str) -> Node | None:
    plain = _WRAPPED_TEXT.sub(r"\1", text).strip().strip("{}").strip()
    if plain.lower() == "no":
        return words(plain)
    if not _PURE_TEXT.fullmatch(plain):
        return None
    parts = re.findall(r"[A-Za-z]+", plain)
    longest = max(map(len, parts), default=0)
    is_name = len(parts) == 1 and (longest <= 2 or plain in FUNCTIONS or plain in ("infty", "infinity", "inf"))
    is_list = len(parts) > 1 and longest <= 1
    if is_name or is_list:
        return None
    items = [item for item in _ITEM_ENDS.split(plain) if item.strip()]
    return words(plain) if len(items) < 2 else Listing(tuple(map(words, items)))


def tidy(text: str, *, letter_is_unit: bool = True) -> str:
    """The text without delimiters, boxes, currency and units, in the spelling of the grammar."""
    text = text.strip()
    if "boxed" in text or "fbox" in text:
        text = unboxed(text)
    if r"\begin" not in text:
        text = _LINE_END.sub(", ", _DOUBLE_BACKSLASH.sub(r"\\", text))
    text = respelt(_CURRENCY.sub("", text).strip().strip("$"))
    text = _BLANKS.sub(" ", _DELIMITERS.sub(" ", text)).strip()
    text = _PERCENT.sub("%", text)
    text = _GLUED_LIST.sub(" , ", _joined_thousands(text))
    text = _SPACED_THOUSANDS.sub(lambda match: re.sub(r"[^\d]", "", match[0]), text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = text.rstrip(" .,;:\\") if not text.endswith("\\,") else text
    if (unit := _TEXT_UNIT.search(text) or _BRACED_UNIT.search(text)) and unit.start() > 0 and _is_unit(unit[1]):
        text = text[: unit.start()].rstrip()
    elif letter := _LETTER_UNIT.search(text):
        value = text[: letter.start()]
        text = value if letter_is_unit and _PLAIN_VALUE.fullmatch(value) else text
    else:
        text = _UNIT.sub("", text)
    return text.strip()


def _joined_thousands(text: str) -> str:
    """`1,234` is a number, but not in brackets: `(1,234)` has two coordinates."""
    depth = 0

    def join(match: re.Match[str]) -> str:
        nonlocal depth
        piece = match[0]
        if piece[-1] in "([{":
            depth += 1
        elif piece[-1] in ")]}":
            depth -= 1
        elif depth <= 0 or "{" in piece or "!" in piece:
            return re.sub(r"\D", "", piece)
        return piece

    return _THOUSANDS.sub(join, text)


def _is_unit(content: str) -> bool:
    content = content.strip(" .").lower()
    return content not in ("and", "or", "") and not re.search(
        r"\d|[=<>]|\b(?:and|or|if|is|not|less|more|base)\b", content
    )


def unboxed(text: str) -> str:
    r"""What the last `\boxed{...}` holds; of several that follow each other (`\boxed{1} and \boxed{2}`), a list."""
    found: list[tuple[int, int, str]] = []
    position = 0
    while match := _BOX.search(text, position):
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1] != "\\" else 0
            end += 1
        content = text[match.end() : end - 1] if depth == 0 else text[match.end() : end]
        found.append((match.start(), end, content.strip()))
        position = end
    group: list[str] = []
    last_start = len(text)
    for start, end, content in reversed(found):
        if group and not _joins(text[end:last_start]):
            break
        if content:
            group.insert(0, content)
            last_start = start
    if not group:
        return text
    return group[0] if len(group) == 1 else ", ".join(dict.fromkeys(group))


def _joins(between: str) -> bool:
    """Two boxes with this between them are one answer: nothing but a few words, `and` or `or` among them."""
    said = _BETWEEN_BOXES.sub(" ", between).lower().split()
    return len(between) <= 60 and (not said or (len(said) <= 5 and not {"and", "or"}.isdisjoint(said)))
