"""Differences of form: the same output as another version, another machine or another notebook writes it."""

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
_TINY = 1e-12
"""What a sum that should be 0 may be."""


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
    if _is_close(_bare(one, keep_blanks=True), _bare(other, keep_blanks=True)):
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


def _is_close(one: str, other: str) -> bool:
    """Whether two texts differ in the last digits of floats alone."""
    pairs = list(zip(tokens(one), tokens(other), strict=False))
    return len(tokens(one)) == len(tokens(other)) and all(a == b or _are_close(a, b) for a, b in pairs)


def _are_close(one: str, other: str) -> bool:
    if not any(sign in one + other for sign in ".eE"):
        return False
    try:
        return math.isclose(float(one), float(other), rel_tol=_CLOSE, abs_tol=_TINY)
    except ValueError:
        return False


def _error(text: str) -> tuple[str, str] | None:
    """Kind of the error in the last line, and what was printed before it."""
    lines = trimmed(text).splitlines()
    match = _ERROR.match(lines[-1]) if lines else None
    return (match[1], "\n".join(lines[:-1])) if match else None
