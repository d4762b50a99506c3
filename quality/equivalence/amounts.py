r"""Amounts with units that both answers name: `5 m` is `500 cm` and not `5 km`, `2 hours 30 minutes` is `2.5 h`.

Only units of one size everywhere are known here. A unit that one side leaves out, or that is not known, does not count:
that is `reading`'s business.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from quality.equivalence.numbers import half_unit, number, same_rounded

MAX_CHARS = 120
_SIZES = {
    "length": "mm millimeter millimetre 1/1000, cm centimeter centimetre 1/100, m meter metre 1,"
    " km kilometer kilometre 1000, in inch 127/5000, ft foot feet 381/1250, yd yard 1143/1250, mi mile 201168/125",
    "mass": "mg milligram 1/1000, g gram 1, kg kilogram 1000, lb pound 45359237/100000, oz ounce 45359237/1600000",
    "volume": "ml mL milliliter millilitre 1/1000, l L liter litre 1, gallon 473176473/125000000,"
    " quart 473176473/500000000",
    "time": "s sec second 1, min minute 60, h hr hour 3600, day 86400, week 604800",
    "speed": "m/s 1, km/h 5/18, mph 1397/3125",
    "money": "cent 1/100, dollar $ 1",
}
_UNITS = {
    name: (measure, Fraction(size))
    for measure, entries in _SIZES.items()
    for *names, size in map(str.split, entries.split(","))
    for one in names
    for name in (one, one + "es" if one.endswith("ch") else one + "s")
}
_WORDY = re.compile(r"\\(?:text|mbox|mathrm|textrm|textnormal|operatorname)\s*\{([^{}]*)\}")
_BLANK = re.compile(r"\\[,;:! ]|[~\s$]")
_PART = re.compile(
    r"(?P<number>[-+]?(?:\\d?frac\{\d+\}\{\d+\}|(?:\d[\d,]*)?\.?\d+(?:/\d+)?)) ?"
    r"(?P<kind>square |cubic |sq\.? |cu\.? )?(?P<unit>[A-Za-z]+(?:/[a-z]+| per [a-z]+)?)\.?"
    r"(?: ?(?:\^ ?\{?(?P<power>[2-9])\}?|(?P<raised>[\u00b2\u00b3])))?(?:,? and |, | |$)"
)
_MONEY = re.compile(r"([-+]?)\\?\$ ?(\d[\d,]*(?:\.\d+)?)")
_POWER_OF = {"square ": 2, "sq ": 2, "sq. ": 2, "cubic ": 3, "cu ": 3, "cu. ": 3, "\u00b2": 2, "\u00b3": 3}


class Amount(NamedTuple):
    """A value in basic units of what is measured, and by how much it may be rounded."""

    measure: str
    power: int
    value: Fraction
    unit: Fraction


def same_amount(gold: str, answer: str, tolerance: Fraction) -> bool | None:
    """Whether two amounts are the same; None unless both are amounts in known units."""
    a, b = _amount(gold), _amount(answer)
    if a is None or b is None:
        return None
    if (a.measure, a.power) != (b.measure, b.power):
        return False
    unit = max(a.unit, b.unit)
    return a.value == b.value or (unit > 0 and same_rounded(a.value, b.value, unit, tolerance))


def _amount(text: str) -> Amount | None:
    if len(text) > MAX_CHARS:
        return None
    if (money := _MONEY.fullmatch(text.strip())) and (value := number(money[1] + money[2])) is not None:
        return Amount("money", 1, value, half_unit(money[2]))
    text = " ".join(_BLANK.sub(" ", _WORDY.sub(r" \1 ", text)).split()).rstrip(".")
    parts, position = [], 0
    while match := _PART.match(text, position):
        if (part := _part(match)) is None:
            return None
        parts.append(part)
        position = match.end()
    if not parts or position < len(text) or len({part[:2] for part in parts}) > 1:
        return None
    measure, power, _, unit = parts[-1]
    return Amount(measure, power, sum((part.value for part in parts), Fraction(0)), unit)


def _part(match: re.Match[str]) -> Amount | None:
    name = match["unit"].replace(" per hour", "/h").replace(" per second", "/s")
    name = {"miles/h": "mph", "kilometers/h": "km/h", "meters/s": "m/s"}.get(name, name)
    measure, size = _UNITS.get(name if len(name) < 4 else name.lower(), ("", Fraction(0)))
    value = number(match["number"].replace("\\d", "\\"))
    if not measure or value is None:
        return None
    power = int(match["power"] or 0) or _POWER_OF.get(match["kind"] or match["raised"] or "", 1)
    scale = size**power
    return Amount(measure, power, value * scale, half_unit(match["number"]) * scale)
