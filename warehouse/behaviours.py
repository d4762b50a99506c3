"""How a trajectory uses Python: the filters of CoRT (arXiv 2506.09820) as signals, with examples that are their tests.

- `delayed_computation`: a result is worked out by hand first, and code then computes the same number.
- `distrusts_output`: after an output the model doubts it and works it out by hand, instead of going on.
- `n_hand_calculations`: equations between numbers (`12 * 34 = 408`) in prose before the first code.

What counts as working out by hand is an equation between numbers with an operator on its left side. Doubt is one of
`DOUBT`'s phrases. Not covered: calculations in words, and formulas with letters, which code need not repeat.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from warehouse.fences import Kind, split_fences

LEAST_EQUATIONS = 2
"""Fewer before the code are a remark, not a calculation."""

_NUMBER = r"-?\$?\d[\d,]*(?:\.\d+)?"
_OPERATOR = r"(?:[-+*/\u00d7\u00f7\u2212^]|\\times|\\cdot|\\div)"
EQUATION = rf"{_NUMBER}\s*{_OPERATOR}[^=\n<>]{{1,80}}?=\s*{_NUMBER}"
"""For Python and for Polars alike."""
_EQUATION = re.compile(EQUATION)
_VALUE = re.compile(_NUMBER)
DOUBT = (
    r"\b(?:verify|check|double-check|recheck|confirm|recalculate|recompute|redo|make sure)\b[^.\n]{0,60}"
    r"\b(?:by hand|manually|myself|on paper|step by step|without (?:the )?(?:code|Python))\b"
    r"|\b(?:by hand|manually|on paper)\b[^.\n]{0,40}\b(?:verify|check|confirm|be sure)\b"
    r"|\b(?:can(?:no|')t|do(?:es)? not|doesn't|don't) (?:seem right|look right|trust|believe)\b"
    r"|\b(?:the code|Python|the output|this result) (?:may|might|could|must) be (?:wrong|mistaken|incorrect)\b"
)
_DOUBT = re.compile(DOUBT, re.IGNORECASE)
DOUBT_WORDS = [
    *("by hand", "manually", "myself", "on paper", "step by step", "without", "seem right", "look right", "trust"),
    *("believe", "may be", "might be", "could be", "must be"),
]
"""Every phrase of doubt holds one of these, in whatever case."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A rule, and the texts that it must and must not find."""

    name: str
    find: Callable[[str], int]
    """How often, or 1 for a behaviour that is there or not."""
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


def delayed_computation(text: str) -> int:
    """1 where an output repeats a number that hand calculations before its code had already given."""
    equations: list[str] = []
    for piece in split_fences(text):
        if piece.kind is Kind.PROSE:
            equations += [found[0] for found in _EQUATION.finditer(piece.text)]
        elif piece.kind is Kind.OUTPUT:
            if len(equations) >= LEAST_EQUATIONS and repeats_result(equations, piece.text):
                return 1
            equations = []
    return 0


def repeats_result(equations: Iterable[str], output: str) -> bool:
    """Whether an output shows the result of one of these equations."""
    shown = {_plain(number) for number in _VALUE.findall(output)}
    return not shown.isdisjoint(_plain(equation.rpartition("=")[2].strip()) for equation in equations)


def distrusts_output(text: str) -> int:
    """1 where prose behind an output doubts it and holds hand calculations before the next code."""
    after_output = False
    for piece in split_fences(text):
        if piece.kind is Kind.OUTPUT:
            after_output = True
            continue
        doubt = _DOUBT.search(piece.text) if piece.kind is Kind.PROSE and after_output else None
        if doubt and _EQUATION.search(piece.text, doubt.end()):
            return 1
    return 0


def hand_calculations(text: str) -> int:
    """Equations between numbers in prose before the first code, or in all of it where there is none."""
    n = 0
    for piece in split_fences(text):
        if piece.kind is not Kind.PROSE:
            break
        n += len(_EQUATION.findall(piece.text))
    return n


def _plain(number: str) -> str:
    number = number.replace(",", "").replace("$", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


_CODE = "```python\nprint(12 * 34)\n```\n```output\n408\n```\n"
BEHAVIOURS = (
    Behaviour(
        "delayed_computation",
        delayed_computation,
        positives=(
            f"12 * 30 = 360 and 12 * 4 = 48, and 360 + 48 = 408. Let me check with Python.\n{_CODE}So 408.",
            f"We have $12 \\times 30 = 360$, $12 \\times 4 = 48$, $360 + 48 = 408$.\n{_CODE}",
        ),
        negatives=(
            f"I will compute 12 * 34 with Python.\n{_CODE}So the answer is 408.",
            f"10 + 2 = 12 apples, and 30 + 4 = 34 baskets.\n{_CODE}",  # other numbers than the code's
            f"It should be near 10 * 34 = 340.\n{_CODE}",  # an estimate
            f"{_CODE}So 12 * 34 = 408, and 408 + 1 = 409.",  # after the code
            "12 * 30 = 360, 12 * 4 = 48, 360 + 48 = 408.",  # no code at all
        ),
    ),
    Behaviour(
        "distrusts_output",
        distrusts_output,
        positives=(
            f"{_CODE}Let me verify this by hand: 12 * 30 = 360 and 12 * 4 = 48.",
            f"{_CODE}Wait, this doesn't seem right. 12 * 30 = 360, 360 + 48 = 408.",
            f"{_CODE}I should double-check that manually, step by step. 10 * 34 = 340.",
        ),
        negatives=(
            f"{_CODE}So the answer is 408.",
            f"{_CODE}Let me verify this with another program.\n{_CODE}",
            f"{_CODE}Let me verify this by hand. It is fine.",  # nothing is calculated
            f"Let me verify this by hand: 12 * 30 = 360.\n{_CODE}So 408.",  # before the output
            f"{_CODE}Checking the units: 408 apples.",
        ),
    ),
    Behaviour(
        "n_hand_calculations",
        hand_calculations,
        positives=(
            f"12 * 30 = 360, then I use Python.\n{_CODE}",
            "She pays 3 + 4 = 7 dollars.",
            r"$\,5 \cdot 6 = 30$",
        ),
        negatives=(
            f"Let x = 5 and y = 7.\n{_CODE}",
            f"{_CODE}So 12 * 34 = 408.",
            "The answer is 42.",
            "f(x) = 3x + 5 and a + b = c",
        ),
    ),
)
"""In the order of the columns."""
