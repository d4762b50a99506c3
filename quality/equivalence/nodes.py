"""What the reader makes of a formula: numbers, symbols, and operations on them; groups, lists and relations."""

from dataclasses import dataclass
from fractions import Fraction


def names(text: str) -> frozenset[str]:
    """A set of words, written as a text."""
    return frozenset(text.split())


class Unreadable(Exception):
    """The text is beyond the grammar: no opinion follows from it."""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value. One written with a decimal point may be rounded: by half a unit of its last digit, or less."""

    value: Fraction
    half_unit: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable or a named constant, with its subscript: `x`, `a_1`, `pi`, `oo`."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation: `add`, `mul`, `div`, `pow`, `neg`, `pm`, `root` (degree, radicand), `sin`, `union`, ..."""

    name: str
    args: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Group:
    """Items between brackets; `opening` and `closing` are one of `( [ {` and `) ] }`."""

    opening: str
    items: "tuple[Node, ...]"
    closing: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: "tuple[tuple[Node, ...], ...]"


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain `a = b < c`: one more side than signs. Signs are `= < > <= >= != ~ in`."""

    sides: "tuple[Node, ...]"
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Items beside each other without brackets: `1, 2 and 3`."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Words:
    """Text, in lower case, without articles."""

    text: str


Node = Number | Symbol | Apply | Group | Matrix | Relation | Listing | Words
