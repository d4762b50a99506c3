"""A place in the tokens of an answer."""

from quality.equivalence.nodes import Unreadable
from quality.equivalence.tokens import Token


class Cursor:
    """Tokens, read one by one; blanks are skipped unless they are asked for."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0

    def peek(self, *, gaps: bool = False) -> str | None:
        """The kind of the next token; blanks are skipped unless they are asked for."""
        if not gaps:
            while self._at < len(self._tokens) and self._tokens[self._at][0] == "gap":
                self._at += 1
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def _next(self) -> Token:
        if self.peek() is None:
            raise Unreadable("ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, kind: str) -> None:
        if self._next()[0] != kind:
            raise Unreadable(f"no {kind}")

    def _accept(self, *kinds: str) -> str | None:
        if self.peek() in kinds:
            return self._next()[0]
        return None
