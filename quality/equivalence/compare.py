r"""The opinion on two answers, from the cheapest step that can tell. Symmetric, and bounded in time and memory.

| step | decides where |
|---|---|
| `exact` | the texts are equal |
| `normalised` | they are equal without blanks, delimiters, sizing and spelling of commands |
| `numeric` | both are numbers, amounts with known units, or formulas without symbols: as fractions, or to nine digits |
| `choice` | one is the letter of an option, or both are lists of them |
| `time` | both are times, or dates |
| `words` | both are text |
| `structure` | both could be read, and one is a list, tuple, set, interval, matrix, equation or inequality |
| `value` | both could be read as formulas with symbols: their values are equal at every point tried |

No step evaluates text as code, and none shares code with Math-Verify. Where none can tell there is no opinion.

Not covered: values that differ after the ninth digit and are no fractions (`1 - e^{-50}` passes for 1); `5m` passes for
5, as the m may be metres; `[0, 1]` passes for `{0, 1}`, as Python prints lists so.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from quality.equivalence.amounts import same_amount
from quality.equivalence.choices import same_choice
from quality.equivalence.nodes import Apply, Node, Number, Symbol, Unreadable, Words
from quality.equivalence.numbers import normal_text, number, same_number
from quality.equivalence.prose import bare
from quality.equivalence.reading import MAX_CHARS, read
from quality.equivalence.shapes import same
from quality.equivalence.times import same_time
from quality.equivalence.values import symbols
from schemas.vocabulary import JudgeStep

TOLERANCE = Fraction(1, 10**6)
"""Relative, and only where one of the two is a rounded decimal: Math-Verify, too, rounds to six digits."""

_CONSTANTS = frozenset(("infty", "mathbb_R", "emptyset", "ldots"))
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_DECIMAL_POINT = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)\.\d+")


class Opinion(NamedTuple):
    """Whether two answers mean the same, and the step that decided; None and `none` where no step can tell."""

    verdict: bool | None
    step: JudgeStep
    is_certain: bool = True
    """False where two formulas with symbols were compared, at points: a second opinion is worth having."""

    @property
    def detail(self) -> str:
        """In words."""
        by_text = self.step in (JudgeStep.EXACT, JudgeStep.NORMALISED)
        return str(self.step) if by_text else f"{self.step}: {'equal' if self.verdict else 'different'}"


NO_OPINION = Opinion(None, JudgeStep.NONE, is_certain=False)


def compare(gold: str, answer: str, tolerance: Fraction = TOLERANCE, *, by_spelling: bool = True) -> Opinion:
    """The opinion on `answer`.

    Args:
        gold: The reference, bare.
        answer: Model-written, bare, of any content. More than MAX_CHARS are only compared as text.
        tolerance: Relative, where one of the two is a rounded decimal.
        by_spelling: Take equal texts for equal answers, whatever they say. Off where a gold is on trial.
    """
    if by_spelling and gold.strip() == answer.strip():
        return Opinion(True, JudgeStep.EXACT)
    gold, answer = bare(gold), bare(answer)
    if max(len(gold), len(answer)) > MAX_CHARS:
        return NO_OPINION
    plain_gold, plain_answer = normal_text(gold), normal_text(answer)
    if by_spelling and plain_gold == plain_answer:
        return Opinion(bool(plain_gold), JudgeStep.NORMALISED)
    if (numeric := same_number(gold, answer, tolerance)) is not None:
        return Opinion(numeric, JudgeStep.NUMERIC)
    if (decimal := _decimal_comma(gold, answer)) is not None:
        return Opinion(decimal, JudgeStep.NUMERIC)
    if (chosen := same_choice(plain_gold, plain_answer)) is not None:
        return Opinion(chosen, JudgeStep.CHOICE)
    if (timed := same_time(gold, answer)) is not None:
        return Opinion(timed, JudgeStep.TIME)
    if (amounts := same_amount(gold, answer, tolerance)) is not None:
        return Opinion(amounts, JudgeStep.NUMERIC)
    try:
        a, b = read(gold), read(answer)
        if bool(symbols(a)) != bool(symbols(b)):
            # A letter behind a number (5 m) is a variable where the other answer has variables.
            a, b = read(gold, letter_is_unit=False), read(answer, letter_is_unit=False)
        verdict = same(a, b, tolerance)
    except (Unreadable, RecursionError):
        return NO_OPINION
    if verdict is None:
        return NO_OPINION
    free_a, free_b = symbols(a) - _CONSTANTS, symbols(b) - _CONSTANTS
    are_constant = not (free_a or free_b)
    # What varies is no constant: only two formulas with symbols, or ones that seem equal, are worth another look.
    is_certain = are_constant or (not verdict and not (free_a and free_b))
    return Opinion(verdict, _step(a, b, are_constant), is_certain)


def _step(a: Node, b: Node, are_constant: bool) -> JudgeStep:
    if isinstance(a, Words) and isinstance(b, Words):
        return JudgeStep.WORDS
    if not all(isinstance(node, Number | Symbol | Apply) for node in (a, b)):
        return JudgeStep.STRUCTURE
    return JudgeStep.NUMERIC if are_constant else JudgeStep.VALUE


def _decimal_comma(gold: str, answer: str) -> bool | None:
    """`1000,99` for `1000.99`: only where the other is written with a decimal point, and only if they are equal."""
    gold, answer = gold.strip("$ "), answer.strip("$ ")
    for comma, point in ((gold, answer), (answer, gold)):
        are_such = _DECIMAL_COMMA.fullmatch(comma) and _DECIMAL_POINT.fullmatch(point)
        if are_such and number(comma.replace(",", ".")) == number(point):
            return True
    return None
