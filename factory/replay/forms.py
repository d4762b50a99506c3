"""Differences of form: the same output as another version, another machine or another notebook writes it."""

import difflib
import math
import re

from factory.replay.texts import tokens, trimmed, without_traceback

_SCALAR = re.compile(r"\bnp\.(?:float|int|uint|complex|str|bool|longdouble|bytes)\w*\(([^()]*)\)|\bmpf\('([^']*)'\)")
_DTYPE = re.compile(r",\s*dtype=[\w<>'.]+")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
_ERROR = re.compile(
    r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt|Exit|Warning|StopIteration))\b(?:: ?(.*))?$", re.DOTALL
)
MISSING = re.compile(
    r"(?:ModuleNotFoundError|ImportError|FileNotFoundError|PermissionError|EOFError|URLError|ConnectionError|OSError)\b"
    r"|AttributeError: (?:partially initialized )?module '"
    r"|TypeError: .*unexpected keyword argument"
)
"""A last line that names something that is not there: a module, a file, the network, standard input, an argument."""
UNDEFINED = re.compile(r"(?:NameError|UnboundLocalError)\b")
_LIMIT = re.compile(
    r"time ?d? ?out|TimeoutError|time limit|KeyboardInterrupt|MemoryError|RecursionError|Killed|memory limit"
    r"|Exceeds the limit \(\d+",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+")
_CLOSE = 1e-9
_TINY = 1e-3
"""What a sum that should be 0 may be, over the tolerance."""
STOPPED = 1e-3
"""Relative: where an iterative method of another version stops."""
_REWORDED = 0.6
_NOTHING = re.compile(r"[<(\[]?(?:empty|no|none|null)\b[\w ]*[>)\]]?|[<(\[]empty\w*[>)\]]", re.IGNORECASE)
_NOISE = re.compile(r"\b\w*Warning: |unexpected error \(|^WARNING", re.MULTILINE)


def says_limit(text: str) -> bool:
    """Whether the end of an output says that a limit was hit."""
    return _LIMIT.search("\n".join(text.splitlines()[-2:])) is not None


def environment_reason(recorded: str, again: str, *, is_foreign: bool) -> str:
    """How two outputs are the same in another form, or what was missing on one side; empty where neither is so.

    Args:
        recorded: As shown, trimmed.
        again: The same of the second run.
        is_foreign: Nobody knows what ran the code the first time.
    """
    one, other = without_traceback(recorded), without_traceback(again)
    if one == other:
        return "frames or wording of a traceback"
    if _bare(one) == _bare(other):
        return "how a library writes a value"
    if _ADDRESS.sub("0x", one) == _ADDRESS.sub("0x", other):
        return "addresses of objects"
    if is_close(one, other):
        return "last digits of floats"
    for text, where in ((other, "here"), (one, "there")):
        last = text.splitlines()[-1] if text else ""
        if MISSING.match(last):
            return f"missing {where}: {last[:100]}"
    error, error_again = _error(one), _error(other)
    if error and error_again and error[1] == error_again[1]:
        same_numbers = error[0] == error_again[0] and _NUMBER.findall(one) == _NUMBER.findall(other)
        return "wording of an error" if is_foreign or same_numbers else ""
    return ""


def _bare(text: str, *, keep_blanks: bool = False) -> str:
    """Without the dress of numpy and mpmath."""
    last = None
    while text != last:
        last, text = text, _SCALAR.sub(lambda found: found[1] or found[2] or "", text)
    text = _DTYPE.sub("", text).replace("np.True_", "True").replace("np.False_", "False")
    return text if keep_blanks else re.sub(r"\s+", "", text)


def is_close(one: str, other: str, tolerance: float = _CLOSE) -> bool:
    """Whether two texts are the same but for floats, and these agree to a relative tolerance."""
    pairs = [tokens(_bare(text, keep_blanks=True)) for text in (one, other)]
    return len(pairs[0]) == len(pairs[1]) and all(
        a == b or _are_close(a, b, tolerance) for a, b in zip(*pairs, strict=True)
    )


def _are_close(one: str, other: str, tolerance: float) -> bool:
    if not any(sign in one + other for sign in ".eE"):
        return False
    try:
        return math.isclose(float(one), float(other), rel_tol=tolerance, abs_tol=tolerance * _TINY)
    except ValueError:
        return False


def is_reworded(recorded: str, again: str) -> bool:
    """Whether two last lines share most of their words; interpreters elsewhere may leave out the error's name."""
    (before, _, last), (before_again, _, last_again) = recorded.rpartition("\n"), again.rpartition("\n")
    one, other = tokens(last), tokens(last_again)
    return before == before_again and difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= _REWORDED


def marks_nothing(text: str) -> bool:
    """Whether a text is what some interpreters show in the place of an empty output, such as `[no output]`."""
    return _NOTHING.fullmatch(text) is not None


def is_noise(text: str) -> bool:
    """Whether lines are what a notebook or a library says of itself: warnings, failures to save a history."""
    return _NOISE.search(text) is not None


def _error(text: str) -> tuple[str, str] | None:
    """Kind of the error in the last line, and what was printed before it."""
    lines = trimmed(text).splitlines()
    match = _ERROR.match(lines[-1]) if lines else None
    return (match[1], "\n".join(lines[:-1])) if match else None
