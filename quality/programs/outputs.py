"""What a program printed against what is expected, as contest judges compare: token by token.

As on Codeforces, blanks and line ends only part tokens. Two tokens are equal if their texts are, or if both are numbers
and equal; where the expected one has a fraction, up to `tolerance`, relative or absolute, whichever allows more.
"""

from decimal import Decimal

TOLERANCE = 1e-6
_MAX_NUMBER_CHARS = 400


def same_output(got: str, expected: str, tolerance: float = TOLERANCE) -> bool:
    """Whether the tokens are the same, in the same order."""
    tokens, wanted = got.split(), expected.split()
    return len(tokens) == len(wanted) and all(
        a == b or _same_number(a, b, tolerance) for a, b in zip(tokens, wanted, strict=True)
    )


def _same_number(got: str, expected: str, tolerance: float) -> bool:
    if max(len(got), len(expected)) > _MAX_NUMBER_CHARS or "_" in got:
        return False
    try:
        a, b = Decimal(got), Decimal(expected)
        if a == b:
            return True
        has_fraction = b.as_tuple().exponent not in (0, "n", "N", "F") and ("." in expected or "e" in expected.lower())
        return has_fraction and abs(a - b) <= Decimal(tolerance) * max(Decimal(1), abs(b))
    except ArithmeticError:  # InvalidOperation: no number; Overflow: 1e999999999999
        return False
