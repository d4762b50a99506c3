r"""The answer in a text that may hold more than the answer: a sentence, a solution, a box.

Extraction proper is `quality.answers`; this is for golds and answers that come as their authors wrote them.
"""

import re

from quality.answers import MAX_ANSWER_CHARS, Rule, extract, last_number
from quality.equivalence.nodes import names
from quality.equivalence.reading import unboxed

_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$([^$]+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_IN_FORMULA = re.compile(r"\\[A-Za-z]+\s*(?:\{[A-Za-z ,.]*\})?")
_WRAPPED = re.compile(r"(\*\*|__|`|\"|'|<answer>)((?:(?!\1|</answer>).){1,400})(?:\1|</answer>)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]{2,}")
_COMMON = names(
    "the is are was of we it so that this which there has have can be to in not on from for with as if"
    " then thus hence therefore our find get answer solution final since because"
)


def bare(text: str) -> str:
    r"""The answer alone: what the last boxes hold; of a sentence, what `extract` finds in it, or its last formula."""
    text = _unwrapped(text.rpartition("####")[2])
    if r"\boxed" in text or r"\fbox" in text:
        found = extract(text)
        return found.answer if found.rule is Rule.PHRASE and found.answer else unboxed(text)
    if len(text) < 4 or not _is_prose(text):
        return text
    formulas = list(_FORMULA.finditer(text))
    found = extract(text)
    if found.answer is not None and found.rule in (Rule.PHRASE, Rule.TAG, Rule.OUTPUT):
        return found.answer
    if formulas and last_number(text[formulas[-1].end() :]) is None:
        formula = str(next(filter(None, formulas[-1].groups())))
        if len(formula) <= MAX_ANSWER_CHARS:
            return formula
    return found.answer or text


def _unwrapped(text: str) -> str:
    """Without the marks of Markdown, quotes or tags around the whole."""
    while match := _WRAPPED.fullmatch(text.strip()):
        text = match[2]
    return text


def _is_prose(text: str) -> bool:
    outside = _FORMULA.sub(" ", text)
    said = [word.lower() for word in _WORD.findall(_IN_FORMULA.sub(" ", outside))]
    if outside != text and outside.strip():
        first = next(_FORMULA.finditer(text)).start()
        if any(len(word) >= 4 for word in _WORD.findall(text[:first])):
            return True
    return len(_COMMON.intersection(said)) >= 2 or (
        len(said) >= 1 and ":" in text and re.match(r"\s*[A-Za-z]{4,}\s*:", text) is not None
    )
