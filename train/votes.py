"""Which answers of one problem count as one when its samples vote.

Two answers are one if their canonical forms are equal: exact value for numbers, normalised text without regard to case
for the rest. Where the forms differ and not both are numbers, two answers that the verifier accepted are one, for both
mean the gold, and two that it refused are one if Math-Verify takes one for the other. So right answers in many
spellings have no advantage over wrong ones.
"""

from collections.abc import Awaitable, Callable, Sequence

from factory.settings import fingerprint
from quality.equivalence.numbers import normal_text, number

MAX_KEY_CHARS = 100
Same = Callable[[str, str], Awaitable[bool]]


def canonical(answer: str) -> str:
    """One spelling; a long one is shortened by a hash."""
    value = number(answer)
    text = str(value) if value is not None else normal_text(answer).casefold()
    return text if len(text) <= MAX_KEY_CHARS else text[:40] + "~" + fingerprint(text)


async def vote_keys(answers: Sequence[str | None], is_correct: Sequence[bool | None], same: Same) -> list[str | None]:
    """The key of each answer, in order; None without an answer.

    Args:
        answers: Of the samples of one problem, in their order.
        is_correct: The verdicts.
        same: Whether two refused answers mean the same; asked only where their forms differ.
    """
    keys: list[str | None] = []
    firsts: dict[str, tuple[str, bool | None]] = {}
    for answer, verdict in zip(answers, is_correct, strict=True):
        if answer is None or not answer.strip():
            keys.append(None)
            continue
        form = canonical(answer)
        if form not in firsts:
            form = await _found(answer, verdict, firsts, same) or form
        firsts.setdefault(form, (answer, verdict))
        keys.append(form)
    return keys


async def _found(
    answer: str, verdict: bool | None, firsts: dict[str, tuple[str, bool | None]], same: Same
) -> str | None:
    if verdict is None:
        return None
    for key, (other, its_verdict) in firsts.items():
        if verdict is not its_verdict or (number(answer) is not None and number(other) is not None and not verdict):
            continue
        if verdict or await same(other, answer):
            return key
    return None
