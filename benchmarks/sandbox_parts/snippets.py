"""The programs that every contestant runs, each with the output that it must print."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

WARM_UP = """
import numpy, numpy.random, sympy
x, y = sympy.symbols("x y")
sympy.solve(x**3 - 4*x**2 - 7*x + 10, x)
sympy.solve([x + y - 3, x - y - 1], [x, y])
sympy.simplify(sympy.sin(x)**2 + sympy.cos(x)**2)
sympy.factor(sympy.expand((x + 1)**3))
sympy.integrate(x * sympy.exp(x), (x, 0, 1)).evalf()
sympy.Matrix([[1, 2], [3, 4]]).inv()
"""
"""What a process does before it counts as warm: the peers get no less than our fork servers. Its cubic is not B's."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of Python and its whole stdout."""

    code: str
    expected: str


Source = Callable[[], Snippet]
Trajectory = tuple[Snippet, ...]

A = Snippet("print(sum(i*i for i in range(1000)))", f"{sum(i * i for i in range(1000))}\n")
# Models name what they import: of 435 sympy trajectories of MathCoder and ToRA 3 begin with `from sympy import *`.
B = Snippet("from sympy import symbols, solve; x=symbols('x'); print(solve(x**3-6*x**2+11*x-6, x))", "[1, 2, 3]\n")


def new_cubic(numbers: Iterator[int]) -> Snippet:
    """As B, but with three roots that no earlier run had, so that no cache of sympy's holds the answer."""
    a = next(numbers) + 2
    b, c = a + 1, 2 * a + 3
    polynomial = f"x**3-{a + b + c}*x**2+{a * b + a * c + b * c}*x-{a * b * c}"
    return Snippet(
        f"from sympy import symbols, solve; x=symbols('x'); print(solve({polynomial}, x))", f"[{a}, {b}, {c}]\n"
    )


def trajectories() -> Iterator[Trajectory]:
    """Endless 4-block trajectories of four kinds, no two with the same numbers. Every block uses earlier ones."""
    for n in itertools.count(2):
        yield _cubic(n)
        yield _circle(n)
        yield _extrema(n)
        yield _matrix(n)


def _blocks(*pairs: tuple[str, object]) -> Trajectory:
    return tuple(Snippet(code.strip(), f"{expected}\n") for code, expected in pairs)


def _cubic(n: int) -> Trajectory:
    a, b, c = n, n + 1, 2 * n + 3
    define = "from sympy import expand, solve, symbols\nx, k = symbols('x k')\n"
    define += f"p = expand((x - {a})*(x - {b})*(x - k))\nprint(p.coeff(x, 2))"
    check = "found = {k: k_value}\nprint(all(p.subs(found).subs(x, r) == 0 for r in roots_), sum(roots_))"
    return _blocks(
        (define, f"-k - {a + b}"),
        (f"k_value = solve(p.subs(x, {c}), k)[0]\nprint(k_value)", c),
        ("roots_ = solve(p.subs(k, k_value), x)\nprint(sorted(roots_))", [a, b, c]),
        (check, f"True {a + b + c}"),
    )


def _circle(n: int) -> Trajectory:
    define = "from sympy import Eq, simplify, solve, sqrt, symbols\nx, y = symbols('x y', real=True)\n"
    define += f"circle, line = Eq(x**2 + y**2, {25 * n * n}), Eq(x + y, {7 * n})\nprint(circle)"
    chord = "(x1, y1), (x2, y2) = points\nchord = sqrt((x1 - x2)**2 + (y1 - y2)**2)\nprint(chord)"
    check = "distance = line.rhs / sqrt(2)\nprint(simplify(chord**2 / 4 + distance**2 - circle.rhs) == 0)"
    return _blocks(
        (define, f"Eq(x**2 + y**2, {25 * n * n})"),
        ("points = solve([circle, line], [x, y])\nprint(sorted(points))", [(3 * n, 4 * n), (4 * n, 3 * n)]),
        (chord, f"{n}*sqrt(2)"),
        (check, True),
    )


def _extrema(n: int) -> Trajectory:
    define = "from sympy import diff, integrate, solve, symbols\nx = symbols('x')\n"
    define += f"f = x**3 - {3 * n * n}*x\ndf = diff(f, x)\nprint(df)"
    return _blocks(
        (define, f"3*x**2 - {3 * n * n}"),
        ("critical = solve(df, x)\nprint(critical)", [-n, n]),
        ("values = [f.subs(x, c) for c in critical]\nprint(values)", [2 * n**3, -2 * n**3]),
        (
            "area = integrate(f, (x, 0, critical[1]))\nprint(area, [diff(df, x).subs(x, c) for c in critical])",
            f"{Fraction(-5 * n**4, 4)} {[-6 * n, 6 * n]}",
        ),
    )


def _matrix(n: int) -> Trajectory:
    define = f"from sympy import Matrix, prod\nm = Matrix([[{n}, 1], [1, {n}]])\nprint(m.det())"
    solve = f"right = Matrix([{n + 1}, {n + 1}]) * {n}\nsolution = m.LUsolve(right)\nprint(list(solution))"
    check = "print(m * solution == right, (m**5)[0, 1], prod(values) == m.det())"
    return _blocks(
        (define, n * n - 1),
        ("values = sorted(m.eigenvals())\nprint(values)", [n - 1, n + 1]),
        (solve, [n, n]),
        (check, f"True {((n + 1) ** 5 - (n - 1) ** 5) // 2} True"),
    )
