"""Loops at the end of a text: one passage again and again, up to the very end, where it may break off.

Source: Holtzman et al. 2020, "The curious case of neural text degeneration", 4.3 (a phrase repeated at least three
times up to the end of a generation). Here it takes four, over at least 200 characters: the paper measured short texts.
"""

import re
from typing import NamedTuple

LOOP_CHARS, LOOP_REPEATS, LOOP_PROBE = 200, 4, 50
LONGEST_PERIOD = 4_000
"""Characters. Bounds the work per text; a longer passage four times over shows as repeated n-grams."""


class Loop(NamedTuple):
    """A text from `begin` on, in characters, repeats what stands `period` characters before."""

    begin: int
    period: int


def find_loop(text: str) -> Loop | None:
    """The loop that a text ends in, with its shortest period; None where there is none.

    A passage is a loop when it stands at least 4 times in a row, exactly, over at least 200 characters and up to the
    end, and holds a letter: the digits of a fraction are none.
    """
    if len(text) < LOOP_CHARS:
        return None
    probe, at, first = text[-LOOP_PROBE:], len(text) - LOOP_PROBE, max(len(text) - LOOP_PROBE - LONGEST_PERIOD, 0)
    while (at := text.rfind(probe, first, at + len(probe) - 1)) >= 0:
        period = len(text) - len(probe) - at
        if period * LOOP_REPEATS > len(text):
            return None
        length = max(LOOP_CHARS, period * LOOP_REPEATS)
        if text[-length + period :] == text[-length:-period] and re.search(r"[^\W\d_]", text[-period:]):
            begin = len(text) - length
            while begin and text[begin - 1] == text[begin - 1 + period]:
                begin -= 1
            return Loop(begin, period)
    return None
