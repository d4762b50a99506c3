"""Token-exact training examples: which positions carry loss is decided here, from the origin of each segment.

Model tokens always do, tool output and the prompt never, hints by a switch (one reading of the paper masks them). The
ids are those that were sampled, where the tokenizer is the one that sampled them; else text is tokenised anew, each
segment by itself, so that no token spans two authors. Either way the ids must decode to the text, or the row is left
out: a mask over other tokens than the text's would train on the wrong ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from schemas.protocols import Codec
from schemas.training import ExampleSettings
from schemas.vocabulary import Origin, StopReason

NO_LOSS = -100
"""The label that trainers leave out of the loss."""


class ChatCodec(Codec, Protocol):
    """With a model's chat template; `factory.engines.tokenizer.Tokenized` is one."""

    def prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """Apply the chat template, up to where the answer begins."""
        ...


class LeftOut(StrEnum):
    """Why a row of the snapshot is not trained on."""

    TOO_LONG = "too_long"
    """Longer than max_length, and the recipe drops such rows."""
    NOTHING_TO_LEARN = "nothing_to_learn"
    """No position carries loss, as where the cut fell before the model's first token."""
    IDS_DIFFER = "ids_differ"
    """A segment's ids do not decode to its text, so its boundaries are not those of the tokens."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row for a trainer. `labels` are `input_ids` where there is loss, NO_LOSS elsewhere; both of one length."""

    trajectory_id: str
    input_ids: list[int]
    labels: list[int]
    is_cut: bool = False
    has_new_prompt: bool = False
    """The chat template at hand renders the messages otherwise than the one that the row was sampled under."""

    @property
    def n_trained(self) -> int:
        """Positions with loss."""
        return sum(label != NO_LOSS for label in self.labels)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes examples for one model. `eos_id` ends a row, with loss, where the model ended its answer itself.

    Rows that `model_name` itself made keep their prompt. Others get it from their messages by the model's own chat
    template. `reuse_ids` says that the stored ids belong to the codec's tokenizer.
    """

    codec: ChatCodec
    eos_id: int
    settings: ExampleSettings
    model_name: str = ""
    reuse_ids: bool = True

    def make(self, row: Mapping[str, Any]) -> Example | LeftOut:
        """One snapshot row as ids and labels, or why not.

        Args:
            row: Columns trajectory_id, engine, messages, prompt, segments, stop_reason of a snapshot.
        """
        prompt = self._prompt(row)
        ids = self.codec.encode(prompt, special=True)
        if self.codec.decode(ids) != prompt:
            return LeftOut.IDS_DIFFER
        labels = [NO_LOSS] * len(ids)
        for segment in row["segments"]:
            stored = segment["token_ids"] if self.reuse_ids else None
            own = list(stored) if stored is not None else self.codec.encode(segment["text"])
            if self.codec.decode(own) != segment["text"]:
                return LeftOut.IDS_DIFFER
            ids += own
            labels += own if self._has_loss(segment["origin"]) else [NO_LOSS] * len(own)
        if row["stop_reason"] == StopReason.END:
            ids.append(self.eos_id)
            labels.append(self.eos_id)
        limit = self.settings.max_length
        is_cut = len(ids) > limit
        if is_cut and self.settings.long_rows == "drop":
            return LeftOut.TOO_LONG
        example = Example(row["trajectory_id"], ids[:limit], labels[:limit], is_cut, prompt != row["prompt"])
        return example if example.n_trained else LeftOut.NOTHING_TO_LEARN

    def _prompt(self, row: Mapping[str, Any]) -> str:
        asked = [message for message in row["messages"] or () if message["role"] != "assistant"]
        if row["engine"] == self.model_name or not asked:
            return str(row["prompt"])
        return self.codec.prompt(asked)

    def _has_loss(self, origin: str) -> bool:
        return origin == Origin.MODEL or (origin == Origin.HINT and self.settings.hint_loss)
