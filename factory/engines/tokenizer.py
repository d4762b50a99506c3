"""What the engines that load a model themselves share: text to tokens and back, and which tokens end a turn."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from factory.engines.local_model import Weights
from schemas.errors import EngineError
from schemas.recipe import EngineSettings

COUNTED_AT_ONCE = 1000
"""Texts whose encodings, some hundred bytes a token, are in memory together."""


class Tokenized:
    """`prompt`, `encode` and `decode` of `schemas.protocols.Engine`, by the model's own tokenizer."""

    max_model_len: int

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def room(self, prompt_ids: Sequence[int]) -> int:
        """Tokens that fit into the context window after a prompt.

        Raises:
            EngineError: the prompt is empty or fills it.
        """
        room = self.max_model_len - len(prompt_ids)
        if not 0 < room < self.max_model_len:
            raise EngineError(f"a prompt of {len(prompt_ids)} tokens; the context window is {self.max_model_len}")
        return room

    def prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """Apply the model's chat template."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return str(text)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Tokens of `text`; unless `special`, control tokens spelled out in it are ordinary characters."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"]
        return list(ids)

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, as `encode` makes them, without making their ids."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return [len(self.encode(text)) for text in texts]
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        parts = (list(texts[i : i + COUNTED_AT_ONCE]) for i in range(0, len(texts), COUNTED_AT_ONCE))
        return [len(made) for part in parts for made in backend.encode_batch_fast(part, add_special_tokens=False)]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of tokens, unchanged."""
        text = self.tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)


def load_tokenizer(weights: Weights) -> Any:
    """The model's tokenizer.

    Raises:
        EngineError: it has no chat template.
        OSError, ValueError, KeyError, ImportError: the library's, where it cannot be loaded; see `cannot_load`.
    """
    tokenizer = AutoTokenizer.from_pretrained(weights.path, revision=weights.revision or "main")
    if not tokenizer.chat_template:
        raise EngineError(
            f"{weights.name} has no chat template, so a problem cannot be put to it.\n"
            f"  use an instruction-tuned model, or add chat_template.jinja to the model folder."
        )
    return tokenizer


DECIDE_IDS = ("model", "normalizer", "pre_tokenizer", "added_tokens")
"""Parts of a serialised tokenizer that decide which ids a text gets, where no special tokens are added."""


def tokenizer_fingerprint(tokenizer: Any) -> str | None:
    """Hash of what decides a text's ids: vocabulary, merges, normaliser, pre-tokeniser, added tokens.

    The same for a model and its fine-tuned child. Chat template, padding, truncation and the name do not count.

    Returns:
        64 hexadecimal digits; None for a tokenizer that is not of the `tokenizers` library, which cannot be compared.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        return None
    parts = json.loads(backend.to_str())
    text = json.dumps({name: parts.get(name) for name in DECIDE_IDS}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def generation_config(weights: Weights) -> Any:
    """The model's own, which knows all tokens that end a turn; made from its configuration where there is none."""
    revision = weights.revision or "main"
    try:
        return GenerationConfig.from_pretrained(weights.path, revision=revision)
    except OSError:
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(weights.path, revision=revision))


def end_ids(tokenizer: Any, generation_config: Any) -> set[int]:
    """Tokens that end the model's turn."""
    eos = generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}


def cannot_load(settings: EngineSettings, error: Exception) -> EngineError:
    """What to tell the user when a library refuses a model."""
    reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).strip()
    first = (reason or type(error).__name__).splitlines()[0][:300]
    return EngineError(
        f"model '{settings.model}' cannot be loaded: {first}\n"
        f"  try:    --model embedded, a folder saved with save_pretrained, or a hub id such as org/name\n"
        f"  state:  nothing was generated."
    )
