r"""Answers compared by what they are: tuples, sets, intervals, matrices, equations, words, formulas.

- Tuples are compared in order. Sets, and items that stand beside each other without brackets, in any order and without
  regard to repetition; labels count where both sides have them (`x = 1, y = 2` is not `y = 1, x = 2`), and give the
  order where one side has (`2, 1` is not `x = 1, y = 2`). Of a list with dots, what it shows at either end counts.
- `x = 5`, `f(x) = 5` and `AB = 5` mean 5, but `x = 4` and `y = 4` are two lines. Other equations are equal where one is
  a multiple of the other.
- Inequalities in one variable and unions of intervals are sets of reals (`regions`), if their ends are known.
- A set is equal to a tuple only in the same order: `(1, 3)` is `{1, 3}`, `(3, 1)` is not.
- A base or a unit that only one side has does not count.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from quality.equivalence.matrices import folded
from quality.equivalence.nodes import Apply, Group, Listing, Matrix, Node, Number, Relation, Symbol, Unreadable, Words
from quality.equivalence.regions import is_region, region, same_region
from quality.equivalence.relations import FLIPPED, INFINITY, interval_of, label_of, meaning
from quality.equivalence.scalars import proportion, same_value, signs_of
from quality.equivalence.values import symbols

_REALS = Group("(", (Apply("neg", (INFINITY,)), INFINITY), ")")
_DOTS = Symbol("ldots")
_AXES = (Symbol("x"), Symbol("y"), Symbol("z"))
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
        if is_region(a) or is_region(b):
            x, y = region(a), region(b)
            if x is not None and y is not None:
                # Equal sets may be written otherwise; ends that are rounded are compared one by one.
                return same_region(x, y) or bool(self._by_shape(a, b))
        return self._by_shape(a, b)

    def _by_shape(self, a: Node, b: Node) -> bool | None:
        try:
            a, b = _plain(a), _plain(b)
        except Unreadable:
            return None
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
        are_alike = isinstance(a, Apply) and isinstance(b, Apply) and a.name == b.name
        forms = ((a,), (b,)) if are_alike else (_figures(a), _figures(b))
        return _any(same_value(x, y, self._tolerance) for x in forms[0] for y in forms[1])

    def _words(self, a: Node, b: Node) -> bool | None:
        if isinstance(a, Words) and isinstance(b, Words):
            return a.text.replace(" ", "") == b.text.replace(" ", "")
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
        if _DOTS in items_a or _DOTS in items_b:
            return self._sequences(items_a, items_b)
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

    def _sequences(self, a: Sequence[Node], b: Sequence[Node]) -> bool | None:
        """Items with dots between them: what both show at either end."""
        if _DOTS not in a or _DOTS not in b:
            return None
        (head_a, tail_a), (head_b, tail_b) = _around_dots(a), _around_dots(b)
        if bool(tail_a) != bool(tail_b):
            return False
        return _all(
            self.same(x, y)
            for pair in ((head_a, head_b), (tail_a[::-1], tail_b[::-1]))
            for x, y in zip(*pair, strict=False)
        )

    def _unordered(self, a: Sequence[Node], b: Sequence[Node]) -> bool | None:
        labels_a, labels_b = [label_of(x) for x in a], [label_of(x) for x in b]
        are_distinct = len(a) == len(b) > 1 and len(a) in (len(set(labels_a)), len(set(labels_b)))
        for labels, others in ((labels_a, labels_b), (labels_b, labels_a)):
            if are_distinct and None not in labels and set(others) == {None}:
                return self._ordered(a, b)  # x = 1, y = 2 and 1, 2: in the order of the labels
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
        value = meaning(relation)
        if value is not None:
            return self.same(value, other)
        return False if set(relation.signs) == {"="} and not isinstance(other, Words) else None

    def _two_relations(self, a: Relation, b: Relation) -> bool | None:
        x, y = meaning(a), meaning(b)
        by_value = self.same(x, y) if x is not None and y is not None else None
        if by_value:
            return not _are_other_axes(label_of(a), label_of(b))
        if len(a.signs) == len(b.signs) == 1:
            by_form = self._multiples(a, b)
            if by_form is not None:
                return by_form
        if by_value is False and label_of(a) != label_of(b) and set(a.signs) | set(b.signs) == {"="}:
            return None  # y = 2x and x = y/2
        return by_value

    def _multiples(self, a: Relation, b: Relation) -> bool | None:
        """True where one difference of sides is a multiple of the other; False where only the direction differs."""
        (sign_a,), (sign_b,) = a.signs, b.signs
        if {sign_a, sign_b} - {"=", "!=", *FLIPPED}:
            return None
        ratio = proportion(Apply("sub", a.sides), Apply("sub", b.sides))
        if ratio is None or isinstance(ratio, complex):
            return None
        if sign_a in FLIPPED and ratio < 0:
            sign_a = FLIPPED[sign_a]
        return sign_a == sign_b


def _plain(node: Node) -> Node:
    r"""Without what does not count: one-item lists, `\pm` written out, intervals of linear inequalities."""
    match node:
        case Relation() if (value := interval_of(node)) is not None:
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


def _figures(node: Node) -> tuple[Node, ...]:
    """What the figure may stand for: 28 % is 0.28, or 28 where the question asks for percent; 90 degrees are pi/2."""
    if isinstance(node, Apply) and node.name == "percent":
        return node, node.args[0]
    if isinstance(node, Apply) and node.name == "deg":
        return node, Apply("div", (Apply("mul", (node, Symbol("pi"))), Number(Fraction(180))))
    return (node,)


def _around_dots(items: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    first, last = items.index(_DOTS), len(items) - items[::-1].index(_DOTS)
    return list(items[:first]), list(items[last:])


def _are_other_axes(a: Node | None, b: Node | None) -> bool:
    """`x = 4` and `y = 4` are two lines."""
    return a != b and a in _AXES and b in _AXES


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
