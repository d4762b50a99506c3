r"""Answers compared by what they are: tuples, sets, intervals, matrices, equations, words, formulas.

- Tuples are compared in order. Sets, and items that stand beside each other without brackets, in any order and without
  regard to repetition; labels count where both sides have them (`x = 1, y = 2` is not `y = 1, x = 2`).
- `x = 5`, `f(x) = 5` and `AB = 5` mean 5. Other equations are equal where one is a multiple of the other.
- An inequality in one variable is the interval of its solutions, if it is linear.
- A set is equal to a tuple only in the same order: `(1, 3)` is `{1, 3}`, `(3, 1)` is not.
- A base or a unit that only one side has does not count.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from quality.equivalence.matrices import folded
from quality.equivalence.nodes import Apply, Group, Listing, Matrix, Node, Number, Relation, Symbol, Words
from quality.equivalence.scalars import affine, is_infinite, proportion, same_value, signs_of
from quality.equivalence.values import symbols

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_INFINITY = Symbol("infty")
_REALS = Group("(", (Apply("neg", (_INFINITY,)), _INFINITY), ")")
_MAX_ITEMS = 60


def same(a: Node, b: Node, tolerance: Fraction) -> bool | None:
    """Whether two answers mean the same; None where that cannot be told. Symmetric.

    Args:
        a: An answer.
        b: Another.
        tolerance: Relative, where one is a rounded decimal.
    """
    return _Comparison(tolerance).same(a, b)


class _Comparison:
    def __init__(self, tolerance: Fraction) -> None:
        self._tolerance = tolerance

    def same(self, a: Node, b: Node) -> bool | None:
        a, b = _plain(a), _plain(b)
        if a == b:
            return True
        if isinstance(a, Relation) or isinstance(b, Relation):
            return self._relations(a, b)
        if isinstance(a, Words) or isinstance(b, Words):
            return self._words(a, b)
        if isinstance(a, Matrix) or isinstance(b, Matrix):
            return self._matrices(a, b)
        if _is_union(a) or _is_union(b):
            return self._unions(a, b)
        if isinstance(a, Group | Listing) or isinstance(b, Group | Listing):
            return self._collections(a, b)
        return self._scalars(a, b)

    def _scalars(self, a: Node, b: Node) -> bool | None:
        if _has_base(a) and _has_base(b):
            return same_value(a, b, self._tolerance) or False
        for x, y in ((a, b), (b, a)):
            if isinstance(x, Apply) and _has_base(x) and isinstance(y, Number):
                return x.args[0] == y
            if isinstance(x, Apply) and x.name == "percent" and not (isinstance(y, Apply) and y.name == "percent"):
                # 28 % is 0.28, and 28 where the question asks for percent.
                return _any(same_value(form, y, self._tolerance) for form in (x, x.args[0]))
        return same_value(a, b, self._tolerance)

    def _words(self, a: Node, b: Node) -> bool | None:
        if isinstance(a, Words) and isinstance(b, Words):
            return a.text == b.text
        text, other = (a, b) if isinstance(a, Words) else (b, a)
        return None if isinstance(other, Symbol | Apply) and isinstance(text, Words) and len(text.text) < 4 else False

    def _matrices(self, a: Node, b: Node) -> bool | None:
        if isinstance(a, Matrix) and isinstance(b, Matrix):
            if (len(a.rows), len(a.rows[0])) != (len(b.rows), len(b.rows[0])):
                return False
            return self._ordered([c for row in a.rows for c in row], [c for row in b.rows for c in row])
        matrix, other = (a, b) if isinstance(a, Matrix) else (b, a)
        if isinstance(matrix, Matrix) and isinstance(other, Group) and 1 in (len(matrix.rows), len(matrix.rows[0])):
            return self._ordered([c for row in matrix.rows for c in row], other.items)
        return False if not symbols(other) else None

    # Collections

    def _collections(self, a: Node, b: Node) -> bool | None:
        if _is_half_open(a) or _is_half_open(b):
            return self._unions(a, b)
        items_a, items_b = _items(a), _items(b)
        if len(items_a) > _MAX_ITEMS or len(items_b) > _MAX_ITEMS:
            return None
        if _is_ordered(a) or _is_ordered(b):
            if isinstance(a, Group) and isinstance(b, Group) and "{" not in (a.opening, b.opening):
                if (a.opening, a.closing) != (b.opening, b.closing):
                    return False
            elif not (isinstance(a, Group | Listing) and isinstance(b, Group | Listing)):
                return False  # a tuple and a scalar
            return self._ordered(items_a, items_b)
        return self._unordered(items_a, items_b)

    def _ordered(self, a: Sequence[Node], b: Sequence[Node]) -> bool | None:
        if len(a) != len(b):
            return False
        return _all(self.same(x, y) for x, y in zip(a, b, strict=True))

    def _unordered(self, a: Sequence[Node], b: Sequence[Node]) -> bool | None:
        labels_a, labels_b = [_label(x) for x in a], [_label(x) for x in b]
        are_distinct = len(set(labels_a)) == len(a) == len(b) > 1
        if None not in labels_a and are_distinct and set(labels_a) == set(labels_b):
            of = dict(zip(labels_b, b, strict=True))
            return _all(self.same(x, of[label]) for x, label in zip(a, labels_a, strict=True))
        return _all(_any(self.same(x, y) for y in others) for items, others in ((a, b), (b, a)) for x in items)

    def _unions(self, a: Node, b: Node) -> bool | None:
        """Unions of intervals and finite sets, in any order."""
        return _all(
            _any(self._interval(x, y) for y in others)
            for mine, others in ((_parts(a), _parts(b)), (_parts(b), _parts(a)))
            for x in mine
        )

    def _interval(self, a: Node, b: Node) -> bool | None:
        if not (isinstance(a, Group) and isinstance(b, Group) and len(a.items) == len(b.items) == 2):
            return self.same(a, b)
        if (a.opening, a.closing) != (b.opening, b.closing):
            return False
        return self._ordered(a.items, b.items)

    # Relations

    def _relations(self, a: Node, b: Node) -> bool | None:
        if isinstance(a, Relation) and isinstance(b, Relation):
            return self._two_relations(a, b)
        relation, other = (a, b) if isinstance(a, Relation) else (b, a)
        if not isinstance(relation, Relation):
            return None
        value = _meaning(relation)
        if value is not None:
            return self.same(value, other)
        return False if set(relation.signs) == {"="} and not isinstance(other, Words) else None

    def _two_relations(self, a: Relation, b: Relation) -> bool | None:
        x, y = _meaning(a), _meaning(b)
        by_value = self.same(x, y) if x is not None and y is not None else None
        if by_value:
            return True
        if len(a.signs) == len(b.signs) == 1:
            by_form = self._multiples(a, b)
            if by_form is not None:
                return by_form
        if by_value is False and _label(a) != _label(b) and set(a.signs) | set(b.signs) == {"="}:
            return None  # y = 2x and x = y/2
        return by_value

    def _multiples(self, a: Relation, b: Relation) -> bool | None:
        """True where one difference of sides is a multiple of the other; False where only the direction differs."""
        (sign_a,), (sign_b,) = a.signs, b.signs
        if {sign_a, sign_b} - {"=", "!=", *_FLIPPED}:
            return None
        ratio = proportion(Apply("sub", a.sides), Apply("sub", b.sides))
        if ratio is None or isinstance(ratio, complex):
            return None
        if sign_a in _FLIPPED and ratio < 0:
            sign_a = _FLIPPED[sign_a]
        return sign_a == sign_b


def _plain(node: Node) -> Node:
    r"""Without what does not count: one-item lists, `\pm` written out, intervals of linear inequalities."""
    match node:
        case Relation() if (value := _interval_of(node)) is not None:
            return value
        case Symbol(name="mathbb_R"):
            return _REALS
        case Group(opening="{", items=(only,)) | Listing(items=(only,)):
            return _plain(only)
        case Apply():
            node = folded(node)
            if isinstance(node, Matrix):
                return node
            both = signs_of(node)
            return Listing(both) if len(both) > 1 else node
    return node


def _has_base(node: Node) -> bool:
    return isinstance(node, Apply) and node.name == "base"


def _items(node: Node) -> tuple[Node, ...]:
    if not isinstance(node, Group | Listing):
        return (node,)
    return tuple(part for item in node.items for part in signs_of(item))


def _is_ordered(node: Node) -> bool:
    return isinstance(node, Group) and node.opening == "("


def _is_half_open(node: Node) -> bool:
    return isinstance(node, Group) and (node.opening, node.closing) in (("(", "]"), ("[", ")"))


def _is_union(node: Node) -> bool:
    return isinstance(node, Apply) and node.name == "cup"


def _parts(node: Node) -> list[Node]:
    if isinstance(node, Apply) and node.name == "cup":
        return [part for arg in node.args for part in _parts(arg)]
    if isinstance(node, Group) and node.opening == "{":
        return [Group("[", (item, item), "]") for item in node.items]
    if not isinstance(node, Group):
        return [Group("[", (node, node), "]")]
    return [node]


def _label(node: Node) -> Node | None:
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


def _meaning(relation: Relation) -> Node | None:
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


def _interval_of(relation: Relation) -> Node | None:
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
        left, sign, right = right, _FLIPPED[sign], left
    if _is_variable(left) and not symbols(right):
        bound = right
    else:
        names = symbols(left) | symbols(right)
        solved = affine(Apply("sub", (left, right)), next(iter(names))) if len(names) == 1 else None
        if solved is None:
            return None
        slope, constant = solved
        bound, sign = Number(-constant / slope), sign if slope > 0 else _FLIPPED[sign]
    if is_infinite(bound):
        return None
    if sign in (">", ">="):
        return Group("(" if sign == ">" else "[", (bound, _INFINITY), ")")
    return Group("(", (Apply("neg", (_INFINITY,)), bound), ")" if sign == "<" else "]")


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False where one is False, True where all are True."""
    unknown = False
    for verdict in verdicts:
        if verdict is False:
            return False
        unknown = unknown or verdict is None
    return None if unknown else True


def _any(verdicts: Iterable[bool | None]) -> bool | None:
    """True where one is True, False where all are False."""
    unknown = False
    for verdict in verdicts:
        if verdict:
            return True
        unknown = unknown or verdict is None
    return None if unknown else False
