r"""The `scripted` engine: replays turns written in a file. For tests and benchmarks, never a default.

A script is JSON lines. Rules {"pattern", "reply", "finished"?}: the first rule whose regular expression is found in the
text so far (anchor it with `\Z` to look at its end) gives the turn, groups filled in. Tales {"tale", "turns": [{"text",
"seconds"?}]} are what a model would write between tool outputs; a prompt that holds the line `tale: NAME` gets their
turns one after the other, each taking its seconds. {"log": PATH} notes every answer there, as the hash of what was
asked. A text that nothing fits is an engine error, as a dead server would be. Tokens are the bytes of UTF-8.
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

_TALE = re.compile(r"^tale: (\S+)$", re.M)
_OUTPUT = re.compile(r"^```output\n.*?^```\n", re.M | re.S)


@dataclass(frozen=True)
class Rule:
    """One turn."""

    pattern: re.Pattern[str]
    reply: str
    finished: bool
    """The model ends its answer with this turn; else it is cut at the first stop string."""


@dataclass(frozen=True)
class Turn:
    """What a tale's model writes until the next tool output."""

    text: str
    seconds: float = 0.0


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
            self.tales = {e["tale"]: [Turn(**turn) for turn in e["turns"]] for e in entries if "tale" in e}
            self.log = next((Path(e["log"]) for e in entries if "log" in e), None)
            rules = [entry for entry in entries if "pattern" in entry]
            self.rules = [Rule(re.compile(e["pattern"], re.S), e["reply"], e.get("finished", False)) for e in rules]
        except (ValueError, KeyError, TypeError, re.error) as error:
            raise EngineError(f"script {settings.model}: {error}") from None
        self._slots = asyncio.Semaphore(settings.max_running)

    def prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """The messages, one after the other, by role."""
        return "".join(f"<{message['role']}>\n{message['content']}\n" for message in messages) + "<assistant>\n"

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Bytes."""
        return list(text.encode("utf-8", "surrogatepass"))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Bytes of each text."""
        return [len(self.encode(text)) for text in texts]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of bytes; half a character is shown as the replacement character."""
        return bytes(token_ids).decode("utf-8", "replace")

    async def complete(
        self, prompt_ids: Sequence[int], *, stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int
    ) -> Completion:
        """See `schemas.protocols.Engine.complete`."""
        text = self.decode(prompt_ids)
        reply, ends_turn, seconds = self._tell(text) or self._apply_rules(text, seed)
        ends = [(reply.index(s) + len(s), s) for s in stop if s in reply]
        end, stopped_on = min(ends) if ends else (len(reply), None)
        async with self._slots:
            await asyncio.sleep(seconds * end / max(len(reply), 1))
        ids = self.encode(reply[:end])
        room = min(max_tokens, self.max_model_len - len(prompt_ids))
        if len(ids) > room:
            ids, stopped_on, finished = ids[:room], None, False
        else:
            finished = stopped_on is None and ends_turn
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(hashlib.sha256(f"{seed}:{text}".encode()).hexdigest() + "\n")
        return Completion(self.decode(ids), tuple(ids), stopped_on, finished, 0.0)

    def _apply_rules(self, text: str, seed: int) -> tuple[str, bool, float]:
        """Reply, whether it ends the answer, and its seconds."""
        draw = random.Random(hashlib.sha256(f"{seed}:{text}".encode()).digest()) if self.latency_s else None  # noqa: S311
        seconds = draw.lognormvariate(0, 0.5) * self.latency_s if draw else 0.0
        for rule in self.rules:
            if match := rule.pattern.search(text):
                return match.expand(rule.reply), rule.finished, seconds
        raise EngineError(f"the script has no turn for a text that ends in {text[-80:]!r}")

    def _tell(self, text: str) -> tuple[str, bool, float] | None:
        """As above, of the tale that the prompt names: what is left of the turn under way."""
        named = _TALE.search(text) if self.tales else None
        if named is None:
            return None
        turns = self.tales[named[1]]
        outputs = list(_OUTPUT.finditer(text))
        number = len(outputs)
        written = text[outputs[-1].end() :] if outputs else text.rpartition("<assistant>\n")[2]
        turn = turns[min(number, len(turns) - 1)]
        left = turn.text[len(written) :]
        return left, number >= len(turns) - 1, turn.seconds * len(left) / max(len(turn.text), 1)

    async def aclose(self) -> None:
        """Nothing to free."""
