"""Whether two formulas have the same value: exactly, or at points."""

from fractions import Fraction

from quality.equivalence.nodes import Apply, Node, Symbol, Unreadable
from quality.equivalence.numbers import rounding_allowed, same_rounded
from quality.equivalence.values import (
    N_POINTS,
    RELATIVE,
    Point,
    Undefined,
    Value,
    evaluate,
    point,
    rounding,
    symbols,
)

LEAST_POINTS = 3
"""At fewer points where both have a value there is no opinion."""


def same_value(a: Node, b: Node, tolerance: Fraction) -> bool | None:
    """Whether two formulas are equal; None where that cannot be told.

    Args:
        a: A scalar.
        b: Another.
        tolerance: Relative, and only where one of them is written as a rounded decimal.
    """
    if a == b:
        return True
    unit = max(rounding(a), rounding(b))
    names = symbols(a) | symbols(b)
    if not names:
        return _at(a, b, {}, unit, tolerance)
    verdicts = []
    for trial in range(N_POINTS):
        for negative in (False, True):
            verdict = _at(a, b, point(names, trial, negative=negative), unit, tolerance)
            if verdict is False:
                return False
            verdicts.append(verdict)
    return True if verdicts.count(True) >= LEAST_POINTS else None


def _at(a: Node, b: Node, at: Point, unit: Fraction, tolerance: Fraction) -> bool | None:
    try:
        return close(evaluate(a, at), evaluate(b, at), unit, tolerance)
    except (Undefined, Unreadable):
        return None


def close(x: Value, y: Value, unit: Fraction = Fraction(0), tolerance: Fraction = Fraction(0)) -> bool | None:
    """Equal: exactly for two rationals, else to nine digits; None where floating point leaves it open.

    Args:
        x: A value.
        y: Another.
        unit: By how much one of them may be rounded.
        tolerance: The most, relative, that rounding explains.
    """
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y or (unit > 0 and same_rounded(x, y, unit, tolerance))
    try:
        x, y = (float(value) if isinstance(value, Fraction) else value for value in (x, y))
    except OverflowError:
        return False  # a fraction that is too large for a float, and a float
    difference, size = abs(x - y), max(abs(x), abs(y))
    if difference <= max(RELATIVE * size, float(rounding_allowed(Fraction(size), unit, tolerance))):
        return True
    if size < 1e-9 or (difference <= 1e-6 * size and not unit):
        return None  # cancellation, or two values that happen to be near
    return False


def proportion(a: Node, b: Node) -> Value | None:
    """The constant by which `a` is a multiple of `b` at every point, if there is one that is not 0."""
    names = symbols(a) | symbols(b)
    if not names:
        return None
    ratios: list[Value] = []
    for trial in range(N_POINTS):
        try:
            at = point(names, trial)
            above, below = evaluate(a, at), evaluate(b, at)
            if above == 0 or below == 0:
                return None
            ratios.append(above / below)
        except Undefined:
            continue
        except Unreadable:
            return None
    if len(ratios) < LEAST_POINTS or not all(close(ratio, ratios[0]) for ratio in ratios):
        return None
    return ratios[0]


def signs_of(node: Node) -> tuple[Node, ...]:
    r"""The formulas that `\pm` stands for: with the upper signs, then with the lower ones; itself where it has none."""
    if not _has_pm(node):
        return (node,)
    return _with(node, "add"), _with(node, "sub")


def _has_pm(node: Node) -> bool:
    return isinstance(node, Apply) and (node.name == "pm" or any(map(_has_pm, node.args)))


def _with(node: Node, operation: str) -> Node:
    if not isinstance(node, Apply):
        return node
    return Apply(operation if node.name == "pm" else node.name, tuple(_with(arg, operation) for arg in node.args))


def is_infinite(node: Node) -> bool:
    """`oo` or `-oo`."""
    inner = node.args[0] if isinstance(node, Apply) and node.name == "neg" else node
    return inner == Symbol("infty")
