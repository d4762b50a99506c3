"""The value of a formula at a point: exact while it is rational and small, in floating point otherwise.

Formulas with symbols are compared by their values at points: rationals that depend on nothing but the names of the
symbols, so that a comparison gives the same verdict on every machine, and is symmetric. Polynomials and rational
functions are then compared exactly; the rest to nine digits.

Without symbols, roots and logarithms of negative numbers are complex. At a point they are undefined, and the point says
nothing: so `sqrt(x^2)` is not `x`, but `sqrt(a) sqrt(b)` is `sqrt(ab)`.
"""

import cmath
import math
import operator
import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction

from quality.equivalence.nodes import Apply, Group, Listing, Matrix, Node, Number, Relation, Symbol, Unreadable

Value = Fraction | float | complex
Point = Mapping[str, Fraction]

RELATIVE = 1e-9
MAX_BITS = 40_000
MAX_FACTORIAL = 3_000
_CONSTANTS: dict[str, Value] = {"pi": math.pi, "e": math.e, "i": 1j}
_SHARES = tuple(Fraction(n, d) for n, d in ((7, 5), (3, 4), (11, 7), (13, 6), (5, 9), (17, 8), (19, 11), (23, 13)))
N_POINTS = len(_SHARES)


class Undefined(Exception):
    """No value at this point: division by zero, a root of a negative number, an overflow."""


def symbols(node: Node) -> frozenset[str]:
    """The variables of a formula; constants are none."""
    if isinstance(node, Symbol):
        return frozenset() if node.name in _CONSTANTS else frozenset((node.name,))
    if isinstance(node, Matrix):
        return frozenset().union(*(symbols(cell) for row in node.rows for cell in row))
    if isinstance(node, Apply):
        return frozenset().union(*map(symbols, node.args))
    if isinstance(node, Group | Listing):
        return frozenset().union(*map(symbols, node.items))
    if isinstance(node, Relation):
        return frozenset().union(*map(symbols, node.sides))
    return frozenset()


def rounding(node: Node) -> Fraction:
    """By how much a decimal may be rounded; 0 for everything else."""
    if isinstance(node, Number):
        return node.half_unit
    if isinstance(node, Apply) and node.name in ("neg", "percent", "deg"):
        return rounding(node.args[0]) / (100 if node.name == "percent" else 1)
    return Fraction(0)


def point(names: frozenset[str], trial: int, *, negative: bool = False) -> dict[str, Fraction]:
    """A value for each symbol. The same name gets the same value in every formula."""
    values = {}
    for name in names:
        seed = zlib.crc32(name.encode())
        value = _SHARES[(seed + trial) % N_POINTS] + Fraction(seed % 97, 101)
        values[name] = -value if negative and (seed >> trial) % 2 == 0 else value
    return values


def evaluate(node: Node, at: Point) -> Value:
    """The value of a scalar formula.

    Raises:
        Undefined: it has none at this point, or one that is too large.
        Unreadable: it is no scalar formula.
    """
    return _Evaluation(at).scalar(node)


class _Evaluation:
    def __init__(self, at: Point) -> None:
        self._at = at
        self._is_real = bool(at)
        self._degree: Value = Fraction(1)

    def scalar(self, node: Node) -> Value:
        if isinstance(node, Number):
            return node.value
        if isinstance(node, Symbol):
            value = self._at.get(node.name, _CONSTANTS.get(node.name))
            if value is None:
                raise Unreadable(f"symbol {node.name}")
            return value
        if not isinstance(node, Apply):
            raise Unreadable(type(node).__name__)
        try:
            return self._apply(node)
        except (OverflowError, ZeroDivisionError, ValueError) as error:
            raise Undefined(node.name) from error

    def _apply(self, node: Apply) -> Value:
        name = node.name
        if name == "det":
            return self._det(node.args[0])
        if name == "deg":  # of an angle; elsewhere the sign only says what the figure measures
            return _checked(self.scalar(node.args[0]) * self._degree)
        if name in _OF_ANGLES and self._degree == 1:
            return self._of_angle(node)
        values = [self.scalar(arg) for arg in node.args]
        if name in _ARITHMETIC:
            return _checked(_ARITHMETIC[name](*values))
        if name in _ELEMENTARY and len(values) == 1:
            return self._elementary(name, values[0])
        match name, values:
            case "pow", [a, b]:
                return self._power(a, b)
            case "root", [degree, a]:
                return self._root(a, degree)
            case "sqrt", [a]:
                return self._root(a, Fraction(2))
            case (("log" | "ln"), [a]):  # `log` without a base is natural, as in SymPy and in Python
                return self._log(a)
            case "log", [a, base]:
                return self._log(a) / self._log(base)
            case "lg", [a]:
                return self._log(a) / math.log(10)
        raise Unreadable(name)

    def _of_angle(self, node: Apply) -> Value:
        self._degree = math.pi / 180
        try:
            return self._apply(node)
        finally:
            self._degree = Fraction(1)

    def _power(self, base: Value, exponent: Value) -> Value:
        if isinstance(exponent, Fraction) and exponent.denominator == 1 and abs(exponent) <= 10_000:
            n = exponent.numerator
            if isinstance(base, Fraction):
                bits = max(base.numerator.bit_length(), base.denominator.bit_length())
                if bits * abs(n) <= MAX_BITS:
                    return Fraction(base**n)
            return _checked(_inexact(base) ** n)
        if isinstance(exponent, Fraction) and isinstance(base, Fraction):
            if 2 <= exponent.denominator <= 100 and abs(exponent.numerator) <= 10_000:
                return self._power(self._root(base, Fraction(exponent.denominator)), Fraction(exponent.numerator))
            if exponent.denominator == 1:
                raise Undefined("a huge exponent")
        if self._is_real and _is_negative(base):
            raise Undefined("power of a negative number")
        if base == 0:
            return Fraction(0) if not isinstance(exponent, complex) and exponent > 0 else 1 / Fraction(0)
        return _checked(_inexact(base) ** _inexact(exponent))

    def _root(self, value: Value, degree: Value) -> Value:
        n = int(_integer(degree))
        if n == 0:
            raise Undefined("root of degree 0")
        if _is_negative(value):
            if n % 2:
                return -self._root(-value, degree)
            if self._is_real:
                raise Undefined("root of a negative number")
        if isinstance(value, Fraction) and value >= 0 and 2 <= n <= 16:
            top, bottom = _integer_root(value.numerator, n), _integer_root(value.denominator, n)
            if top is not None and bottom is not None:
                return Fraction(top, bottom)
        if isinstance(value, Fraction) and value > 0:
            # In logarithms: the root of a large number is a float even where the number itself is none.
            exact = (math.log(value.numerator) - math.log(value.denominator)) / n
            return _checked(math.exp(exact)) if abs(exact) > 300 else _checked(float(value) ** (1 / n))
        return cmath.sqrt(value) if n == 2 else _checked(_inexact(value) ** (1 / n))

    def _log(self, value: Value) -> Value:
        if isinstance(value, Fraction) and value > 0:
            return math.log(value.numerator) - math.log(value.denominator)
        if self._is_real and not (isinstance(value, float) and value > 0):
            raise Undefined("logarithm")
        return math.log(value) if isinstance(value, float) and value > 0 else cmath.log(value)

    def _elementary(self, name: str, value: Value) -> Value:
        real, imaginary = _ELEMENTARY[name]
        if isinstance(value, complex):
            return _checked(imaginary(value))
        return _checked(real(float(value)))

    def _det(self, node: Node) -> Value:
        if not isinstance(node, Matrix) or len(node.rows) != len(node.rows[0]) or len(node.rows) > 4:
            raise Unreadable("a determinant")
        return _determinant([[self.scalar(cell) for cell in row] for row in node.rows])


def _determinant(rows: list[list[Value]]) -> Value:
    if len(rows) == 1:
        return rows[0][0]
    total: Value = Fraction(0)
    for j, head in enumerate(rows[0]):
        minor = [row[:j] + row[j + 1 :] for row in rows[1:]]
        total = total + (-1) ** j * head * _determinant(minor)
    return total


def _inverse(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: 1 / function(x)


def _inverse_complex(function: Callable[[complex], complex]) -> Callable[[complex], complex]:
    return lambda x: 1 / function(x)


_ELEMENTARY: dict[str, tuple[Callable[[float], float], Callable[[complex], complex]]] = {
    "sin": (math.sin, cmath.sin), "cos": (math.cos, cmath.cos), "tan": (math.tan, cmath.tan),
    "sec": (_inverse(math.cos), _inverse_complex(cmath.cos)), "csc": (_inverse(math.sin), _inverse_complex(cmath.sin)),
    "cot": (_inverse(math.tan), _inverse_complex(cmath.tan)), "arcsin": (math.asin, cmath.asin),
    "arccos": (math.acos, cmath.acos), "arctan": (math.atan, cmath.atan), "sinh": (math.sinh, cmath.sinh),
    "cosh": (math.cosh, cmath.cosh), "tanh": (math.tanh, cmath.tanh), "exp": (math.exp, cmath.exp),
}  # fmt: skip


def _checked(value: Value) -> Value:
    """Within bounds: fractions of limited size, finite floats, complex only where there is an imaginary part."""
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * MAX_BITS:
            raise Undefined("too large")
        return value
    if isinstance(value, complex):
        if abs(value.imag) <= 1e-13 * abs(value.real):
            value = value.real
        elif not (math.isfinite(value.real) and math.isfinite(value.imag)):
            raise Undefined("not finite")
        else:
            return value
    if not math.isfinite(value):
        raise Undefined("not finite")
    return value


def _inexact(value: Value) -> float | complex:
    return float(value) if isinstance(value, Fraction) else value


def _is_negative(value: Value) -> bool:
    return not isinstance(value, complex) and value < 0


def _real(value: Value) -> float | Fraction:
    if isinstance(value, complex):
        raise Undefined("complex")
    return value


def _integer(value: Value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise Undefined("not an integer")
    return value.numerator


def _factorial(value: Value) -> Fraction:
    n = _integer(value)
    if not 0 <= n <= MAX_FACTORIAL:
        raise Undefined("factorial")
    return Fraction(math.factorial(n))


def _binomial(n: Value, k: Value) -> Fraction:
    top, bottom = _integer(n), _integer(k)
    if not (0 <= top <= MAX_FACTORIAL and bottom >= 0):
        raise Undefined("binomial")
    return Fraction(math.comb(top, bottom))


def _based(digits: Value, base: Value) -> Fraction:
    return Fraction(int(str(_integer(digits)), _integer(base)))


def _floor(value: Value) -> Fraction:
    return Fraction(math.floor(_real(value) + (0 if isinstance(value, Fraction) else 1e-12)))


_OF_ANGLES = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_ARITHMETIC: dict[str, Callable[..., Value]] = {
    "add": operator.add, "sub": operator.sub, "neg": operator.neg, "mul": operator.mul, "div": operator.truediv,
    "ratio": operator.truediv, "percent": lambda a: a / 100, "abs": abs,
    "conj": lambda a: a.conjugate(), "factorial": _factorial, "binom": _binomial,
    "base": _based, "floor": _floor, "ceil": lambda a: -_floor(-a),
}  # fmt: skip


def _integer_root(value: int, n: int) -> int | None:
    """The exact root, if there is one."""
    if n == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    if value.bit_length() > 900:
        return None
    guess = round(value ** (1 / n))
    return next((root for root in (guess - 1, guess, guess + 1) if root >= 0 and root**n == value), None)
