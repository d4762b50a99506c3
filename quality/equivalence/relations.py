"""What an equation or an inequality gives: a value to a label, or the interval that a variable is in."""

from quality.equivalence.nodes import Apply, Group, Node, Number, Relation, Symbol, Words
from quality.equivalence.values import symbols

FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
INFINITY = Symbol("infty")


def label_of(node: Node) -> Node | None:
    """What an equation gives a value to: `x`, `f(x)`, `AB`, `(p, q)`."""
    if isinstance(node, Relation) and node.signs[0] == "=" and _is_label(node.sides[0]):
        return node.sides[0]
    return None


def _is_label(node: Node) -> bool:
    match node:
        case Symbol() | Words():
            return True
        case Apply(name="mul", args=(Symbol(), Number())):
            return True  # f(2)
        case Apply(name="mul" | "abs" | "ratio" | "div", args=args) | Group(opening="(", items=args):
            return all(map(_is_label, args))
    return False


def _is_variable(node: Node) -> bool:
    """A label that takes every real value: not `|z|`."""
    return _is_label(node) and not (isinstance(node, Apply) and node.name == "abs")


def meaning(relation: Relation) -> Node | None:
    """The value that an equation gives, or the set that a variable is in."""
    sides, signs = list(relation.sides), list(relation.signs)
    if signs == ["in"]:
        return sides[1]
    if not set(signs) <= {"=", "~"}:
        return None
    if not _is_label(sides[0]) and any(symbols(side) for side in sides):
        return None
    if "~" in signs:
        cut = signs.index("~")
        return sides[cut] if cut > 0 or not _is_label(sides[0]) else sides[1]
    return sides[-1]


def interval_of(relation: Relation) -> Node | None:
    """`(5, oo)` for `x > 5` and for `-x < -5`; `(0, 1]` for `0 < f(x) <= 1`."""
    sides, signs = relation.sides, relation.signs
    if set(signs) <= {"<", "<="} or set(signs) <= {">", ">="}:
        if len(sides) == 3 and _is_variable(sides[1]) and not symbols(sides[0]) and not symbols(sides[2]):
            low, high = (0, 2) if signs[0] in ("<", "<=") else (2, 0)
            first, last = signs if low == 0 else signs[::-1]
            return Group("(" if first in "<>" else "[", (sides[low], sides[high]), ")" if last in "<>" else "]")
        if len(sides) == 2:
            return _half_line(sides[0], signs[0], sides[1])
    return None


def _half_line(left: Node, sign: str, right: Node) -> Node | None:
    if _is_variable(right) and not _is_variable(left):
        left, sign, right = right, FLIPPED[sign], left
    if not _is_variable(left) or symbols(right):
        return None
    bound = right
    if sign in (">", ">="):
        return Group("(" if sign == ">" else "[", (bound, INFINITY), ")")
    return Group("(", (Apply("neg", (INFINITY,)), bound), ")" if sign == "<" else "]")
