"""Letters of options: `(B)`, `B) 42`, `Option B`; several of them in any order."""

import re

_OPTION = re.compile(r"\\(?:quad|qquad)|\b(?:option|choice|answer)s?\b\s*", re.IGNORECASE)
_OPTIONS = re.compile(r"[\[({]{0,2}[A-J][\])}]{0,2}(?:(?:[,;&/]|\band\b)+[\[({]{0,2}[A-J][\])}]{0,2})+")
_CHOICE = re.compile(r"[({]{0,2}([A-J])[)}]{0,2}")
_CHOSEN = re.compile(
    r"(?:[\[({]{1,2}([A-Ja-j])[\])}]{1,2}|([A-Ja-j])(?=$|[.):,]|\s+[-\u2013(]))"
    r"(?!\s*(?:[,;&/]|and\b|or\b)\s*(?:and\b|or\b)?\s*[\[({]{0,2}[A-J](?![A-Za-z]))"  # one of several
)


def same_choice(gold: str, answer: str) -> bool | None:
    """Whether two answers choose the same option, or options; None where neither is the letter of one."""
    gold, answer = (_OPTION.sub("", text).strip() for text in (gold, answer))
    if _several(gold) or _several(answer):
        wanted, chosen_too = _several(gold, joined=True), _several(answer, joined=True)
        return wanted == chosen_too if wanted and chosen_too else None
    for letter_of, chosen_in in ((gold, answer), (answer, gold)):
        letter, chosen = _CHOICE.fullmatch(letter_of), _CHOSEN.match(chosen_in)
        if letter and chosen:
            return letter[1] == (chosen[1] or chosen[2]).upper()
    return None


def _several(text: str, *, joined: bool = False) -> frozenset[str]:
    """The options that `A, C` and `(A) and (C)` name, and `AC` where the other names them apart."""
    compact = text.replace(" ", "")
    is_joined = joined and re.fullmatch("[A-J]{1,6}", compact) and list(compact) == sorted(set(compact))
    is_listed = _OPTIONS.fullmatch(compact.replace("and", ",and,") if "and" in text else compact)
    return frozenset(re.findall("[A-J]", compact)) if is_joined or is_listed else frozenset()
