"""Token-exact training examples: which positions carry loss is decided here, from the origin of each segment.

Model tokens always do, tool output and the prompt never, hints by a switch (one reading of the paper masks them). The
ids are those that were sampled; text is tokenised only where a segment has none, each segment by itself, so that no
token spans two authors.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.vocabulary import Origin, StopReason

NO_LOSS = -100
"""The label that trainers leave out of the loss."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row for a trainer. `labels` are `input_ids` where there is loss, NO_LOSS elsewhere; both of one length."""

    trajectory_id: str
    input_ids: list[int]
    labels: list[int]

    @property
    def n_trained(self) -> int:
        """Positions with loss."""
        return sum(label != NO_LOSS for label in self.labels)


def make_example(
    row: Mapping[str, Any],
    encode: Callable[[str], list[int]],
    encode_prompt: Callable[[str], list[int]],
    eos_id: int,
    *,
    hint_loss: bool = False,
) -> Example:
    """One snapshot row as ids and labels.

    Args:
        row: Columns trajectory_id, prompt, segments, stop_reason of a snapshot.
        encode: Text to ids, control tokens spelled out in it taken as ordinary characters.
        encode_prompt: Text to ids, control tokens recognised.
        eos_id: Ends the example, with loss, where the model ended its answer itself.
        hint_loss: Whether hints carry loss.
    """
    ids = encode_prompt(row["prompt"])
    labels = [NO_LOSS] * len(ids)
    trained = {Origin.MODEL, Origin.HINT} if hint_loss else {Origin.MODEL}
    for segment in row["segments"]:
        own = list(segment["token_ids"]) if segment["token_ids"] is not None else encode(segment["text"])
        ids += own
        labels += own if Origin(segment["origin"]) in trained else [NO_LOSS] * len(own)
    if row["stop_reason"] == StopReason.END:
        ids.append(eos_id)
        labels.append(eos_id)
    return Example(row["trajectory_id"], ids, labels)


def make_examples(
    rows: Iterable[Mapping[str, Any]],
    encode: Callable[[str], list[int]],
    encode_prompt: Callable[[str], list[int]],
    eos_id: int,
    *,
    hint_loss: bool = False,
) -> Iterator[Example]:
    """Examples of all rows, in order."""
    for row in rows:
        yield make_example(row, encode, encode_prompt, eos_id, hint_loss=hint_loss)
