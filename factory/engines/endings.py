"""Where a completion ends: at a stop string, at a token that ends the model's turn, or at neither."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Ending:
    """The part of a completion that counts."""

    ids: list[int]
    text: str
    """What the ids decode to, whatever the engine's own detokeniser did."""
    stopped_on: str | None
    """The first of the stop strings that the text holds."""
    has_end_token: bool
    """A token that ends the turn came after the text, and no stop string before it."""


def find_ending(
    ids: Sequence[int], stop: Sequence[str], end_ids: Set[int], decode: Callable[[Sequence[int]], str]
) -> Ending:
    """Cut ids after the token that completes a stop string, and before one that ends the turn."""
    ended = bool(ids) and ids[-1] in end_ids
    kept = _up_to_stop(list(ids[:-1] if ended else ids), stop, decode)
    text = decode(kept)
    stopped_on = next((s for s in stop if s in text), None)
    return Ending(kept, text, stopped_on, ended and stopped_on is None)


def _up_to_stop(ids: list[int], stop: Sequence[str], decode: Callable[[Sequence[int]], str]) -> list[int]:
    """The shortest beginning of `ids` whose text holds a stop string; all of them where none does."""
    n = len(ids)
    while n and any(s in decode(ids[: n - 1]) for s in stop):
        n -= 1
    return ids[:n]
