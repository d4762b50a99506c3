"""A snapshot's rows as token ids with an author for every token, and labels that follow from the authors.

Which tokens carry loss is decided in `train/`, which this room may not import. An exported file needs labels, though,
so the rule stands here as well, as one line over the authors (`_labels`); a test holds the two to each other, position
by position. Who wants another rule makes it from `origin`, without a tokenizer.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from factory.engines.local_model import find_weights
from factory.release.formats import kept
from schemas.errors import EngineError, SnapshotError
from schemas.recipe import EngineSettings
from schemas.records import Manifest
from schemas.vocabulary import Origin, StopReason

PROMPT, MODEL, HINT, TOOL = range(4)
"""Codes of the column `origin`. The end-of-turn token is the model's."""
CODES = {Origin.MODEL: MODEL, Origin.HINT: HINT, Origin.TOOL: TOOL}
NO_LOSS = -100
"""The label that trainers leave out of the loss."""

Encode = Callable[[str], list[int]]


def token_row(
    row: Mapping[str, Any], encode: Encode, encode_prompt: Encode, eos_id: int, *, hint_loss: bool = False
) -> dict[str, Any]:
    """Three lists of one length.

    Args:
        row: Columns prompt, segments, stop_reason of a snapshot.
        encode: Text to ids, control tokens spelled out in it taken as ordinary characters. For segments without ids.
        encode_prompt: Text to ids, control tokens recognised.
        eos_id: Ends the row where the model ended its answer itself.
        hint_loss: Whether hints carry loss.

    Returns:
        `input_ids`; `origin`, one of PROMPT, MODEL, HINT, TOOL per position; `labels`, the id where there is loss,
        NO_LOSS elsewhere.
    """
    pieces = [(PROMPT, encode_prompt(row["prompt"]))]
    for segment in row["segments"]:
        ids = segment["token_ids"]
        pieces.append((CODES[Origin(segment["origin"])], encode(segment["text"]) if ids is None else list(ids)))
    if row["stop_reason"] == StopReason.END:
        pieces.append((MODEL, [eos_id]))
    input_ids = [token for _, ids in pieces for token in ids]
    origin = [author for author, ids in pieces for _ in ids]
    return {"input_ids": input_ids, "labels": _labels(input_ids, origin, hint_loss=hint_loss), "origin": origin}


def _labels(input_ids: list[int], origin: list[int], *, hint_loss: bool) -> list[int]:
    trained = {MODEL, HINT} if hint_loss else {MODEL}
    return [token if author in trained else NO_LOSS for token, author in zip(input_ids, origin, strict=True)]


def token_rows(manifest: Manifest, model: str | None, home: Path, *, hint_loss: bool) -> Callable[[Any], Any]:
    """Load the tokenizer, and return what turns a row of the snapshot into an exported one.

    Args:
        manifest: Of the snapshot.
        model: `embedded`, a hub id or a local folder; None for the model that wrote the snapshot.
        home: Where the embedded model is converted to.
        hint_loss: Whether hints carry loss.

    Raises:
        EngineError: there is no such model, or it cannot be loaded.
        SnapshotError: from the function, where the stored ids are not those of the model's tokenizer.
    """
    from factory.engines.tokenizer import Tokenized, cannot_load, load_tokenizer  # loads transformers

    settings = _settings(manifest, model)
    try:
        weights = find_weights(settings, home)
    except EngineError as error:
        if model is not None:
            raise
        raise EngineError(
            f"{error}\n  why:    {manifest.snapshot} was written by it, on whatever machine that was\n"
            "  next:   say where it is here, with --model"
        ) from error
    try:
        tokenizer = Tokenized(load_tokenizer(weights))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise cannot_load(settings, error) from error

    def make(row: Mapping[str, Any]) -> dict[str, Any]:
        if row["engine"] != weights.name:
            _check_ids(row, tokenizer.decode, weights.name)
        made = token_row(
            row,
            tokenizer.encode,
            lambda text: tokenizer.encode(text, special=True),
            tokenizer.tokenizer.eos_token_id,
            hint_loss=hint_loss,
        )
        return made | kept(row)

    return make


def _settings(manifest: Manifest, model: str | None) -> EngineSettings:
    if model is not None:
        return EngineSettings(model=model)
    own = manifest.recipe.get("engine", {})
    return EngineSettings(model=own.get("model", "embedded"), revision=own.get("revision"))


def _check_ids(row: Mapping[str, Any], decode: Callable[[list[int]], str], name: str) -> None:
    """Ids of another tokenizer would make a file that trains without an error, on noise."""
    for segment in row["segments"]:
        ids = segment["token_ids"]
        if ids is not None and _decoded(decode, list(ids)) != segment["text"]:
            raise SnapshotError(
                f"the tokens of {row['trajectory_id']} are those of {row['engine']}; the tokenizer of {name} reads "
                "them as another text.\n"
                "  next:   --model with a model of the same tokenizer, or --format messages for any other\n"
                "  state:  nothing was written."
            )


def _decoded(decode: Callable[[list[int]], str], ids: list[int]) -> str | None:
    try:
        return decode(ids)
    except (IndexError, OverflowError, TypeError, ValueError):  # an id that the vocabulary does not have
        return None
