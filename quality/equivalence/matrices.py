"""Sums, multiples and products of matrices, written out cell by cell."""

from fractions import Fraction
from functools import reduce

from quality.equivalence.nodes import Apply, Matrix, Node, Number, Unreadable

_MAX_CELLS = 64
_MAX_POWER = 3


def folded(node: Node) -> Node:
    """The matrix that a formula of matrices stands for; other formulas as they are.

    Raises:
        Unreadable: their shapes do not fit.
    """
    if not isinstance(node, Apply) or node.name not in ("add", "sub", "mul", "neg", "div", "pow"):
        return node
    args = tuple(map(folded, node.args))
    if not any(isinstance(arg, Matrix) for arg in args):
        return node
    match node.name, args:
        case (("add" | "sub"), (Matrix() as a, Matrix() as b)) if _shape(a) == _shape(b):
            return Matrix(
                tuple(
                    tuple(Apply(node.name, pair) for pair in zip(x, y, strict=True))
                    for x, y in zip(a.rows, b.rows, strict=True)
                )
            )
        case "neg", (Matrix() as a,):
            return _each(a, "mul", Number(Fraction(-1)))
        case "div", (Matrix() as a, b) if not isinstance(b, Matrix):
            return _each(a, "div", b)
        case "mul", (Matrix() as a, Matrix() as b):
            return _product(a, b)
        case "pow", (Matrix() as a, Number(value=n)) if n in range(1, _MAX_POWER + 1):
            return reduce(_product, [a] * int(n))
        case "mul", (Matrix() as a, b) | (b, Matrix() as a):
            return _each(a, "mul", b)
    raise Unreadable("matrices")


def _shape(matrix: Matrix) -> tuple[int, int]:
    return len(matrix.rows), len(matrix.rows[0])


def _each(matrix: Matrix, operation: str, by: Node) -> Matrix:
    return Matrix(tuple(tuple(Apply(operation, (cell, by)) for cell in row) for row in matrix.rows))


def _product(a: Matrix, b: Matrix) -> Matrix:
    if len(a.rows[0]) != len(b.rows) or len(a.rows) * len(b.rows[0]) > _MAX_CELLS:
        raise Unreadable("matrices")
    columns = list(zip(*b.rows, strict=True))
    return Matrix(tuple(tuple(_dot(row, column) for column in columns) for row in a.rows))


def _dot(row: tuple[Node, ...], column: tuple[Node, ...]) -> Node:
    total: Node = Apply("mul", (row[0], column[0]))
    for x, y in zip(row[1:], column[1:], strict=True):
        total = Apply("add", (total, Apply("mul", (x, y))))
    return total
