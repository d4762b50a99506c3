"""A trajectory as turns, for models that know a tool role: code in an assistant turn, what it printed in a tool turn.

A chat has fewer words for authorship than segments have, so this loses, exactly:

- the output fences (and the line break before one): the tool turn holds only what stood between them, without its last
  line break;
- the difference between model and hint: both are the assistant;
- token ids, and with them the very tokens that were sampled;
- the text as it was sampled: a chat template ends the turn after the code and opens another one after the output. The
  model that wrote the trajectory saw neither. A model trained on these rows is to be run with tool turns, too.

Nothing else: the assistant turns, one after the other, are the completion without its tool segments, character by
character (a template may still strip blanks at the ends of a turn).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.vocabulary import Origin
from warehouse.fences import Kind, blocks


def tool_turns(segments: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The messages that follow the user's, from the segments of a trajectory.

    Args:
        segments: With `origin` and `text`.

    Returns:
        `assistant` and `tool` messages by turns; an assistant turn before a tool turn ends with its code block. The
        last one is a tool turn where the model wrote nothing after an output.
    """
    turns: list[dict[str, str]] = []
    said = ""
    for segment in segments:
        if Origin(segment["origin"]) is not Origin.TOOL:
            said += segment["text"]
            continue
        if said:
            turns.append({"role": "assistant", "content": said})
            said = ""
        turns.append({"role": "tool", "content": bare_output(segment["text"])})
    return [*turns, {"role": "assistant", "content": said}] if said else turns


def bare_output(text: str) -> str:
    """What stands between the fences of a tool segment; all of it, where it is no output block."""
    found = blocks(text)
    if len(found) == 1 and found[0].is_closed and found[0].kind is Kind.OUTPUT:
        return found[0].code.removesuffix("\n")
    return text
