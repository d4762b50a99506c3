r"""The `scripted` engine: replays turns written in a file. For tests and benchmarks, never a default.

A script is JSON lines of rules {"pattern", "reply", "finished"?}: the first rule whose regular expression is found in
the text so far (searched from its end backwards is up to the pattern: anchor it with `\Z`) gives the turn, groups
filled in. A text that no rule knows is an engine error, as a dead server would be. Tokens are the bytes of UTF-8.
"""

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import EngineError
from schemas.protocols import Completion, Sampling
from schemas.recipe import EngineSettings


@dataclass(frozen=True)
class Rule:
    """One turn."""

    pattern: re.Pattern[str]
    reply: str
    finished: bool
    """The model ends its answer with this turn; else it is cut at the first stop string."""


def script_name(settings: EngineSettings) -> str:
    """`name@revision`, the revision being the hash of the script."""
    path = Path(settings.model)
    try:
        return f"scripted-{path.stem}@{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    except OSError as error:
        raise EngineError(
            f"script {path} cannot be read: {error.strerror}. --engine scripted needs --model FILE."
        ) from None


class ScriptedEngine:
    """See `schemas.protocols.Engine`.

    Args:
        settings: `model` is the script; `max_running` bounds the turns under way.
        latency_s: Median seconds of a turn, log-normal with sigma 0.5, seeded by the text: 0 answers at once.
    """

    def __init__(self, settings: EngineSettings, latency_s: float = 0.0) -> None:
        self.name = script_name(settings)
        self.max_model_len = settings.max_model_len
        self.latency_s = latency_s
        lines = Path(settings.model).read_text().splitlines()
        try:
            entries = [json.loads(line) for line in lines if line.strip()]
            self.rules = [Rule(re.compile(e["pattern"], re.S), e["reply"], e.get("finished", False)) for e in entries]
        except (ValueError, KeyError, re.error) as error:
            raise EngineError(f"script {settings.model}: {error}") from None
        self._slots = asyncio.Semaphore(settings.max_running)

    def prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """The messages, one after the other, by role."""
        return "".join(f"<{message['role']}>\n{message['content']}\n" for message in messages) + "<assistant>\n"

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Bytes."""
        return list(text.encode("utf-8", "surrogatepass"))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of bytes; half a character is shown as the replacement character."""
        return bytes(token_ids).decode("utf-8", "replace")

    async def complete(
        self, prompt_ids: Sequence[int], *, stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int
    ) -> Completion:
        """See `schemas.protocols.Engine.complete`."""
        text = self.decode(prompt_ids)
        async with self._slots:
            if self.latency_s:
                draw = random.Random(hashlib.sha256(f"{seed}:{text}".encode()).digest())  # noqa: S311 (a delay)
                await asyncio.sleep(draw.lognormvariate(0, 0.5) * self.latency_s)
        for rule in self.rules:
            if match := rule.pattern.search(text):
                reply = match.expand(rule.reply)
                break
        else:
            raise EngineError(f"the script has no turn for a text that ends in {text[-80:]!r}")
        ends = [(reply.index(s) + len(s), s) for s in stop if s in reply]
        end, stopped_on = min(ends) if ends else (len(reply), None)
        ids = self.encode(reply[:end])
        room = min(max_tokens, self.max_model_len - len(prompt_ids))
        if len(ids) > room:
            ids, stopped_on, finished = ids[:room], None, False
        else:
            finished = stopped_on is None and rule.finished
        return Completion(self.decode(ids), tuple(ids), stopped_on, finished, 0.0)

    async def aclose(self) -> None:
        """Nothing to free."""
