"""What the parser asks of the trees that it has built, and small ones that it builds."""

from fractions import Fraction

from quality.equivalence.nodes import Apply, Group, Listing, Node, Number, Symbol, Unreadable, Words


def ends_in_number(node: Node) -> bool:
    """A product or a quotient whose last factor is a number."""
    return isinstance(node, Apply) and node.name in ("mul", "div") and isinstance(node.args[-1], Number)


def grouped(items: list[Node], starts: list[int]) -> list[Node]:
    """`p = 5, q = 2; p = 7, q = 2` is two tuples."""
    parts = [tuple(items[i:j]) for i, j in zip(starts, [*starts[1:], len(items)], strict=True)]
    return [part[0] if len(part) == 1 else Group("(", part, ")") for part in parts if part]


def is_tuple(node: Node) -> bool:
    """Several items between brackets."""
    return isinstance(node, Group) and len(node.items) > 1


def beside(left: Node, right: Node) -> Node:
    r"""A product, or a mixed number: `2\frac{1}{2}`, `22\frac{1}{2}^\circ`."""
    if isinstance(right, Apply) and right.name in ("deg", "percent") and _is_mixed(left, right.args[0]):
        return Apply(right.name, (Apply("add", (left, right.args[0])),))
    return Apply("add" if _is_mixed(left, right) else "mul", (left, right))


def _is_mixed(left: Node, right: Node) -> bool:
    return (
        isinstance(left, Number)
        and left.value.denominator == 1
        and not left.half_unit
        and isinstance(right, Apply)
        and right.name == "div"
        and all(isinstance(part, Number) and part.value.denominator == 1 for part in right.args)
    )


def recurring(text: str, period: Node) -> Number:
    """A decimal with a period behind it.

    Raises:
        Unreadable: the period is none.
    """
    if not isinstance(period, Number) or period.value.denominator != 1 or period.value < 1:
        raise Unreadable("a period")
    digits = str(period.value.numerator)
    n_places = len(text.partition(".")[2])
    return Number(Fraction(f"{text}0") + Fraction(int(digits), 10**n_places * (10 ** len(digits) - 1)))


def spelled(node: Node) -> str:
    """A formula as a part of a name.

    Raises:
        Unreadable: it cannot be one.
    """
    match node:
        case Number(value=value):
            return str(value)
        case Symbol(name=name) | Words(text=name):
            return name
        case Apply(args=args) | Listing(items=args) | Group(items=args):
            return "".join(map(spelled, args))
    raise Unreadable("a subscript")
