"""What servers say of a completion beyond OpenAI's fields, which do not tell a stop string from the end of a turn.

vLLM and SGLang name what stopped a text and, asked to, keep it in the text and list the token ids; llama.cpp says all
of it in `__verbose`. A reply without ids gets them by the model's own tokenizer. A reply that leaves open what stopped
it is refused: a missed end of turn, or a missed code block, would spoil every row.
"""

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from factory.engines.endings import find_ending
from schemas.errors import EngineError
from schemas.protocols import Completion

ASK = {
    "stream": False,
    "echo": False,
    "logprobs": 1,
    "top_k": -1,  # the recipe's temperature and top_p are all there is; llama.cpp has further samplers by default
    "min_p": 0.0,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "include_stop_str_in_output": True,  # vLLM
    "return_token_ids": True,  # vLLM, SGLang
    "no_stop_trim": True,  # SGLang
    "return_tokens": True,  # llama.cpp
    "verbose": True,  # llama.cpp
}
"""What every request says besides its own values. Servers leave out what they do not know."""


@dataclass(frozen=True)
class Reply:
    """A completion as a server tells it."""

    text: str
    ids: list[int] | None
    reason: str
    """`stop` or `length`."""
    stopped_on: str | None
    """The stop string that ended it, where the server says so."""
    names_stops: bool
    """Whether the server would have said so."""
    logprob_sum: float


def parse(data: Any) -> Reply:
    """Read a server's JSON.

    Raises:
        EngineError: it is no completion.
    """
    try:
        choice = data["choices"][0]
        text, reason = choice["text"], choice["finish_reason"]
        more = data.get("__verbose", {})
        if not isinstance(text, str) or reason not in {"stop", "length"}:
            raise EngineError(f"the server ended a completion with {reason!r}")
        if "stop_type" in more:
            return Reply(text, more.get("tokens"), reason, more["stopping_word"] or None, True, _llama_sum(choice))
        named = next((choice[key] for key in ("stop_reason", "matched_stop") if key in choice), None)
        names_stops = "stop_reason" in choice or "matched_stop" in choice
        stopped_on = named if isinstance(named, str) else None
        return Reply(text, choice.get("token_ids"), reason, stopped_on, names_stops, _sum(choice))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise EngineError(f"the server's answer is no completion ({type(error).__name__}: {error})") from None


def complete(
    reply: Reply,
    stop: Sequence[str],
    end_ids: Set[int],
    encode: Callable[[str], list[int]],
    decode: Callable[[Sequence[int]], str],
) -> Completion:
    """The completion that a reply means, its ids and its text made to agree.

    Raises:
        EngineError: the reply leaves open what stopped it.
    """
    ids = list(reply.ids) if reply.ids is not None else encode(_with_stop(reply))
    ending = find_ending(ids, stop, end_ids, decode)
    finished = ending.has_end_token
    if ending.stopped_on is None and reply.reason == "stop":
        if stop and not reply.names_stops and not finished:
            raise EngineError(
                "the server does not say whether a stop string or the end of the turn ended a text.\n"
                "  use:    vLLM, SGLang or llama.cpp, which do"
            )
        finished = True
    return Completion(ending.text, tuple(ending.ids), ending.stopped_on, finished, reply.logprob_sum)


def _with_stop(reply: Reply) -> str:
    """The text with the stop string that the server cut off."""
    if reply.stopped_on and not reply.text.endswith(reply.stopped_on):
        return reply.text + reply.stopped_on
    return reply.text


def _sum(choice: dict[str, Any]) -> float:
    """Sum of the chosen tokens' log-probabilities; NaN where the server gives none."""
    values = (choice.get("logprobs") or {}).get("token_logprobs")
    return float(sum(value for value in values if value is not None)) if values else math.nan


def _llama_sum(choice: dict[str, Any]) -> float:
    values = (choice.get("logprobs") or {}).get("content")
    return float(sum(value["logprob"] for value in values)) if values else math.nan
