r"""What runs inside a checker worker: Math-Verify, and the scorers of reasoning-gym.

**Both evaluate text.** Math-Verify hands text to SymPy, whose parser is built on `eval`; some scorers of reasoning-gym
call `eval` or SymPy's parser on the answer. A model's answer is code here. Therefore these functions run only in
worker processes that can be killed (`quality.checkers`), and an answer for an evaluating scorer must first look like
arithmetic or like a list (`_looks_harmless`): then there is no name, attribute or call in it that could do anything.

Math-Verify 0.9.0 returns "not equal" when it runs out of memory or recursion inside; we cannot tell that from "wrong".
"""

import json
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from quality.equivalence.numbers import MAX_CHARS, normal_text, number
from schemas.vocabulary import VerifierName

CORRECT_SCORE = 0.99
"""reasoning-gym gives part marks (right numbers in the wrong form); only full marks are correct."""

LIST_SCORERS = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
"""Scorers that `eval` the answer as a list. That branch never gives full marks."""
FORMULA_SCORERS = frozenset(
    {"countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration"}
)
"""Scorers that give the answer to SymPy's parser."""

_PRECISION = [6]
_LIST = re.compile(r"(?:[A-Za-z0-9 \t\n,.\[\]'\"-]|_(?!_))*")
_FORMULA = re.compile(
    r"(?:[-+*/^()=,\s]|\d+(?:\.\d*)?|\.\d+|\b[A-Za-z]\b"
    r"|\b(?:a?sin|a?cos|a?tan|sinh|cosh|tanh|sec|csc|cot|exp|log|ln|sqrt|pi|Abs)\b)*"
)
_CHOICE = re.compile(r"\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])(?=$|[.):,])")
_POINT_ZERO = re.compile(r"(?<=\d)\.0+(?!\d)")
_FORMATTED = re.compile(r"\\boxed|\\text|[$%,{}=]|\.$|\.0+$|^\s|\s$")


def math_verify_equal(gold: str, answer: str, *, both_ways: bool = True) -> tuple[bool | None, str]:
    r"""Whether Math-Verify takes the answer for the gold, or, `both_ways`, one for the other: it is not symmetric.

    Bare LaTeX, as golds and extracted answers are, is put between dollar signs; anything with its own delimiters keeps
    them. Currency signs, line breaks and `.0` go first: it reads `50.0\%` as 1/2 only, but `50\%` also as 50.
    Math-Verify's own timeouts use `signal.alarm` and are off: the parent kills instead.

    Returns:
        True or False, or None where the gold itself does not parse, and what was done.
    """
    from math_verify import LatexExtractionConfig, parse, verify  # heavy: only in a worker

    # All of an answer, as LaTeX: its other reader takes the last number out of text that it cannot read.
    parse_all = partial(parse, extraction_config=[LatexExtractionConfig()], parsing_timeout=None)
    parsed_gold = parse_all(_delimited(gold))
    if not parsed_gold:
        return None, "Math-Verify finds no expression in the gold"
    parsed_answer = parse_all(_delimited(answer))
    if not parsed_answer:
        return False, "Math-Verify finds no expression in the answer"
    same = partial(verify, float_rounding=_PRECISION[-1], timeout_seconds=None)
    is_equal = same(parsed_gold, parsed_answer) or (both_ways and same(parsed_answer, parsed_gold))
    return bool(is_equal), f"Math-Verify: {'equal' if is_equal else 'different'}"


def _delimited(text: str) -> str:
    text = _POINT_ZERO.sub("", " ".join(text.replace(r"\$", "").split()))
    if text.count("$") == 1:
        text = text.replace("$", "")
    return text if any(mark in text for mark in ("$", r"\boxed", r"\(", r"\[")) else f"${text}$"


def reasoning_gym_score(meta: str, answer: str) -> tuple[bool | None, str]:
    """Whether the scorer of the task gives full marks to `answer`, as written or in plain form.

    The plain form is tried where the first fails for its spelling: without dollar signs, box, units in braces,
    thousands separators, final period or `.0`, and after the last `=`.

    Args:
        meta: JSON with `task`, `entry` (what the generator made, answer and metadata included), optionally `params`.
        answer: Model-written.

    Raises:
        ValueError: `meta` names no task or entry. Other errors are the scorer's own, on its own gold.
    """
    parsed = json.loads(meta)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("entry"), dict) or "task" not in parsed:
        raise ValueError("meta holds no task and entry for a reasoning-gym scorer")
    task, entry = str(parsed["task"]), parsed["entry"]
    if task == "composite":
        raise ValueError("tasks of a composite have their own scorers: name them")
    score = scorer(task, json.dumps(parsed.get("params") or {}, sort_keys=True))
    best = 0.0
    for form in dict.fromkeys((answer, plain_form(answer))):
        if not _looks_harmless(task, form):
            return (
                False,
                f"refused: the scorer of {task} would evaluate this answer, and it is neither list nor formula",
            )
        try:
            best = max(best, float(score(form, entry)))
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            score(str(entry["answer"]), entry)  # raises where the scorer itself is at fault
            return False, f"the scorer of {task} raised {type(error).__name__} on this answer, not on its gold"
        if best >= CORRECT_SCORE:
            return True, f"{task} scorer" + ("" if form == answer else f" on the plain form {form!r}")
    return False, f"{task} scorer: {best:.2f}"


@cache
def scorer(task: str, params: str = "{}") -> Callable[[str, dict[str, Any]], float]:
    """The scoring function of a task, built once."""
    import reasoning_gym  # heavy: only in a worker

    settings = json.loads(params)
    score: Callable[[str, dict[str, Any]], float]
    if settings:
        score = reasoning_gym.create_dataset(task, **settings).score_answer
    else:
        score = reasoning_gym.get_score_answer_fn(task)
    return score


def same_choice(gold: str, answer: str) -> tuple[bool | None, str]:
    """Whether the answer names the gold's letter: `B`, `(b)`, `B.`, `B) 42`. `A prime` is not A."""
    match = _CHOICE.match(normal_text(answer))
    if match is None:
        return False, "no letter of an option"
    return (match[1] or match[2] or match[3]).upper() == gold.strip().upper(), "letter"


def plain_form(answer: str) -> str:
    r"""`408` for `\boxed{408}`, `408.`, `408.0`, `$408$`, `408%`, `x = 408`; `1234` for `1,234`; or normalised text."""
    if not _FORMATTED.search(answer) or len(answer) > MAX_CHARS:
        return answer
    text = normal_text(answer)
    right = text.rpartition("=")[2].strip().rstrip("%")
    value = number(right)
    if value is not None and value.denominator == 1 and "/" not in right:
        return str(value.numerator)
    return right.replace(",", "") if value is not None else right or text


def _looks_harmless(task: str, answer: str) -> bool:
    if task in LIST_SCORERS:
        return _LIST.fullmatch(answer) is not None
    return task not in FORMULA_SCORERS or _FORMULA.fullmatch(answer) is not None


def judge(
    verifier: str, gold: str | None, answer: str, meta: str, *, both_ways: bool = True
) -> tuple[bool | None, str]:
    """One check by name.

    Raises:
        ValueError: unknown verifier, no gold, or no entry in `meta`.
    """
    match verifier:
        case VerifierName.MATH_VERIFY if gold is not None:
            return math_verify_equal(gold, answer, both_ways=both_ways)
        case VerifierName.REASONING_GYM:
            return reasoning_gym_score(meta, answer)
        case VerifierName.CHOICE if gold is not None:
            return same_choice(gold, answer)
    raise ValueError(f"verifier {verifier!r} cannot judge without a gold")


def warm_up(precision: int) -> None:
    """Import everything and use it once. Scorers are built when asked for: some read files of their package.

    Args:
        precision: Digits behind the point that Math-Verify compares, from now on.
    """
    _PRECISION.append(precision)
    math_verify_equal(r"\frac{1}{2}", "0.5")
    math_verify_equal(r"\{1, 2\}", r"\left\{2, 1\right\}")
    math_verify_equal(r"x + 1 \le 3", r"x \le 2")
    math_verify_equal(r"\sum_{k=1}^{n} \frac{k^2}{\sqrt{2}}", r"\prod_{k=1}^n \sin(2k) + e^{\pi x}")
    math_verify_equal(r"(-\infty, 0] \cup [1, 2)", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}")
    import reasoning_gym  # heavy: only in a worker  # noqa: F401
