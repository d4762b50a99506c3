r"""Sets of reals, however they are written: unions of intervals and points with known ends.

`(1, 2] \cup [2, 3)` is `(1, 3)`, `x < -1 or x > 1` is `(-\infty, -1) \cup (1, \infty)`, `x > 1, x < 5` is `(1, 5)`,
`\mathbb{R} \setminus \{0\}` is `x \ne 0`, `|x - 2| < 1` is `(1, 3)`. Several inequalities beside each other are all
true where they overlap; where they do not, one of them is.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from quality.equivalence.nodes import Apply, Group, Listing, Node, Number, Relation, Symbol, Unreadable
from quality.equivalence.scalars import close, is_infinite
from quality.equivalence.values import Undefined, evaluate, symbols

Bound = tuple[Fraction | float, int]
"""A number, and on which side of it the bound lies: -1 just below, 1 just above."""
Region = tuple[tuple[Bound, Bound], ...]
"""Pieces that do not touch, in order: from a bound to a bound."""

_ENDS = frozenset((-math.inf, math.inf))
_MAX_PIECES = 60
_BELOW, _ABOVE = -1, 1
_REALS: Region = (((-math.inf, _ABOVE), (math.inf, _BELOW)),)
EMPTY: Region = ()


def region(node: Node) -> Region | None:
    """The set of reals that an answer describes; None where it is none, or an end of it varies.

    Brackets around two numbers are an interval here: ask only where one of two answers `is_region`.
    """
    try:
        return _region(node)
    except (Undefined, Unreadable):
        return None


def is_region(node: Node) -> bool:
    """Whether this can only be a set of reals: not `(1, 2)`, which may be a point."""
    match node:
        case Apply(name="cup" | "cap" | "setminus"):
            return True
        case Symbol(name="mathbb_R" | "emptyset"):
            return True
        case Group(opening=opening, items=(low, high), closing=closing) if opening != "{":
            return (opening, closing) in (("(", "]"), ("[", ")")) or any(map(is_infinite, (low, high)))
        case Listing(items=items):
            return bool(items) and all(isinstance(item, Relation) and "=" not in item.signs for item in items)
        case Relation(signs=signs):
            return not set(signs) & {"=", "~", "in", "to"}
    return False


def same_region(a: Region, b: Region) -> bool | None:
    """Whether two sets of reals are equal; their ends as exactly as other numbers."""
    if len(a) != len(b):
        return False
    verdicts = [
        x[1] == y[1] and (x[0] == y[0] or (not {x[0], y[0]} & _ENDS and close(x[0], y[0])))
        for piece, other in zip(a, b, strict=True)
        for x, y in zip(piece, other, strict=True)
    ]
    return False if False in verdicts else None if None in verdicts else True


def _region(node: Node) -> Region:
    match node:
        case Symbol(name="mathbb_R"):
            return _REALS
        case Symbol(name="emptyset"):
            return EMPTY
        case Apply(name="cup", args=(a, b)):
            return _union([*_region(a), *_region(b)])
        case Apply(name="cap", args=(a, b)):
            return _intersection(_region(a), _region(b))
        case Apply(name="setminus", args=(a, b)):
            return _intersection(_region(a), _complement(_region(b)))
        case Group(opening="{", items=items):
            return _union([_piece(_value(item), _BELOW, _value(item), _ABOVE) for item in items])
        case Group(opening=opening, items=(low, high), closing=closing):
            return _ordered(_value(low), opening, _value(high), closing)
        case Listing(items=items) if all(isinstance(item, Relation) for item in items):
            return _listed([item for item in items if isinstance(item, Relation)])
        case Relation():
            return _solutions(node, _unknown(node.sides))
    raise Unreadable("no set of reals")


def _listed(relations: Sequence[Relation]) -> Region:
    unknown = _unknown([side for relation in relations for side in relation.sides])
    regions = [_solutions(relation, unknown) for relation in relations]
    both = regions[0]
    for other in regions[1:]:
        both = _intersection(both, other)
    return both or _union([piece for one in regions for piece in one])


def _ordered(low: Fraction | float, opening: str, high: Fraction | float, closing: str) -> Region:
    if low > high:
        raise Unreadable("no interval")
    piece = _piece(low, _BELOW if opening == "[" else _ABOVE, high, _ABOVE if closing == "]" else _BELOW)
    return _union([piece])


def _piece(low: Fraction | float, side_low: int, high: Fraction | float, side_high: int) -> tuple[Bound, Bound]:
    return (low, _ABOVE if low in _ENDS else side_low), (high, _BELOW if high in _ENDS else side_high)


def _union(pieces: Sequence[tuple[Bound, Bound]]) -> Region:
    if len(pieces) > _MAX_PIECES:
        raise Unreadable("many pieces")
    found: list[tuple[Bound, Bound]] = []
    for low, high in sorted(piece for piece in pieces if piece[0] < piece[1]):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def _complement(one: Region) -> Region:
    ends = [_REALS[0][0], *(bound for piece in one for bound in piece), _REALS[0][1]]
    return _union(list(pairwise(ends))[::2])


def _intersection(a: Region, b: Region) -> Region:
    return _complement(_union([*_complement(a), *_complement(b)]))


def _value(node: Node) -> Fraction | float:
    if is_infinite(node):
        return -math.inf if isinstance(node, Apply) else math.inf
    value = evaluate(node, {}) if not symbols(node) else None
    if isinstance(value, Fraction | float):
        return value
    raise Unreadable("an end that varies")


# Inequalities


def _solutions(relation: Relation, unknown: Node) -> Region:
    found = _REALS
    for (left, right), sign in zip(pairwise(relation.sides), relation.signs, strict=True):
        found = _intersection(found, _half_line(left, sign, right, unknown))
    return found


def _unknown(sides: Sequence[Node]) -> Node:
    """What all of them are about: the one side that varies (`x`, `f(x)`), or the one variable."""
    if sum(isinstance(side, Apply) and side.name == "mul" and isinstance(side.args[1], Number) for side in sides) > 1:
        raise Unreadable("values of a function")  # f(2) < f(1), which reads as a product
    varying = {side for side in sides if symbols(side) - {"infty"}}
    if len(varying) == 1 and isinstance(only := next(iter(varying)), Symbol):
        return only
    names = frozenset().union(*map(symbols, sides)) - {"infty"}
    if len(names) != 1:
        if len(varying) == 1 and isinstance(only := next(iter(varying)), Apply) and only.name == "mul":
            return only
        raise Unreadable("several variables")
    return Symbol(next(iter(names)))


def _half_line(left: Node, sign: str, right: Node, unknown: Node) -> Region:
    if sign == "!=":
        return _complement(
            _intersection(_half_line(left, "<=", right, unknown), _half_line(left, ">=", right, unknown))
        )
    if sign in (">", ">="):
        left, right = right, left
    return _where_less(left, right, unknown, is_strict=sign in ("<", ">"))


def _where_less(left: Node, right: Node, unknown: Node, *, is_strict: bool) -> Region:
    """Where `left < right`, or `<=`."""
    for side, other, is_left in ((left, right, True), (right, left, False)):
        if isinstance(side, Apply) and side.name == "abs" and symbols(side):
            inner, negated = side.args[0], Apply("neg", (other,))
            first = _where_less(inner, other, unknown, is_strict=is_strict) if is_left else None
            if first is not None:  # |f| < c: f < c and -c < f
                return _intersection(first, _where_less(negated, inner, unknown, is_strict=is_strict))
            return _union(  # c < |f|: c < f or f < -c
                [
                    *_where_less(other, inner, unknown, is_strict=is_strict),
                    *_where_less(inner, negated, unknown, is_strict=is_strict),
                ]
            )
    slope, bound = _bound(left, right, unknown)
    to = _BELOW if is_strict else _ABOVE
    if slope > 0:
        return _union([_piece(-math.inf, _ABOVE, bound, to)])
    return _union([_piece(bound, -to, math.inf, _BELOW)])


def _bound(left: Node, right: Node, unknown: Node) -> tuple[int, Fraction | float]:
    """The sign of the slope of `left - right`, and where that is zero."""
    if left == unknown:
        return 1, _value(right)
    if right == unknown:
        return -1, _value(left)
    if not isinstance(unknown, Symbol):
        raise Unreadable("an inequality")
    at = {x: evaluate(Apply("sub", (left, right)), {unknown.name: Fraction(x)}) for x in (0, 1, -3, 2, 5)}
    exact = {x: value for x, value in at.items() if isinstance(value, Fraction)}
    if len(exact) < len(at):
        raise Unreadable("no rational coefficients")
    constant, slope = exact[0], exact[1] - exact[0]
    if slope == 0 or any(value != constant + x * slope for x, value in exact.items()):
        raise Unreadable("not linear")
    return (1 if slope > 0 else -1), -constant / slope
