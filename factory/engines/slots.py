"""A key-value cache with one slot per running request, and the attention that reads it.

Why not the library's own batching: `generate` pads on the left and keeps a batch until its longest member ends, and its
continuous batching packs all requests into one row. In both, what a request's neighbours are changes the shapes of the
matrix products and with them the last bits of the logits, so that a resumed build could differ from an uninterrupted
one. Here a forward pass is one row of tokens, too, the newest of every text and then pieces of prompts, but every text
attends on its own, its tokens start at column 0 of its slot, and tokens and columns come in fixed multiples: its logits
are the same bits whoever shares the pass (a test holds this). Texts never wait for each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, Cache
from transformers.cache_utils import CacheLayerMixin

ATTENTION_NAME = "factory_slots"
ROW_MULTIPLE = 8
"""Rows of a pass, and tokens of a chunk, come in multiples of this."""
COLUMN_MULTIPLE = 64
"""Columns of the cache that a text reads come in multiples of this."""


def round_up(n: int, multiple: int) -> int:
    """Smallest multiple of `multiple` that is at least `n`."""
    return -(-n // multiple) * multiple


@dataclass(frozen=True)
class Chunk:
    """A piece of a prompt, to be read in one pass."""

    slot: int
    begin: int
    """Its first column."""
    ids: list[int]

    @property
    def length(self) -> int:
        """Tokens in the pass; those after `ids` are padding, and later tokens take their columns."""
        return round_up(len(self.ids), ROW_MULTIPLE)

    @property
    def end(self) -> int:
        """The column after its last one."""
        return self.begin + self.length


class Pass:
    """Where the tokens of one forward pass stand and what each reads: first one per row, then the chunks."""

    def __init__(
        self, columns: Sequence[int], last_seen: Sequence[int], chunks: Sequence[Chunk], dtype: torch.dtype, device: Any
    ) -> None:
        """Of chunks and of as many rows as there are columns, a multiple of ROW_MULTIPLE.

        Args:
            columns: For the slots 0, 1, ... where their token goes.
            last_seen: The last column that it reads.
            chunks: Of other slots.
            dtype: Of the masks.
            device: Of the model.
        """
        self.n_rows, self.chunks = len(columns), chunks
        self.rows = torch.arange(self.n_rows, device=device)
        self.columns = torch.tensor(columns, dtype=torch.long, device=device)

        def mask(last: torch.Tensor, n_columns: int) -> torch.Tensor:
            """(texts, 1, tokens, columns): zero for each token up to the last column that it reads."""
            seen = torch.arange(round_up(n_columns, COLUMN_MULTIPLE), device=device) <= last[:, None, :, None]
            return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)

        self.row_mask = mask(torch.tensor(last_seen, device=device)[:, None], max(last_seen, default=0) + 1)
        self.chunk_masks = [
            mask(torch.arange(chunk.begin, chunk.end, device=device)[None], chunk.end) for chunk in chunks
        ]

    def spans(self) -> Iterator[tuple[Chunk, slice, torch.Tensor]]:
        """The chunks, which tokens of the pass they are, and their masks."""
        end = self.n_rows
        for chunk, mask in zip(self.chunks, self.chunk_masks, strict=True):
            begin, end = end, end + chunk.length
            yield chunk, slice(begin, end), mask


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, shape (slots, heads, capacity, head size)."""

    def __init__(self, n_slots: int, capacity: int) -> None:
        super().__init__()
        self.n_slots, self.capacity = n_slots, capacity
        self.now: Pass | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate once the model has shown its shapes."""

        def empty(states: torch.Tensor) -> torch.Tensor:
            shape = (self.n_slots, states.shape[1], self.capacity, states.shape[3])
            if states.device.type == "cpu" and states.dtype == torch.float32:
                return torch.from_numpy(np.zeros(shape, np.float32))  # pages are taken when they are first written
            return states.new_zeros(shape)

        self.keys, self.values = empty(key_states), empty(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the tokens of a pass, shape (1, heads, tokens, head size), to their slots; returns all slots."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        assert self.now is not None
        for cache, new in ((self.keys, key_states[0]), (self.values, value_states[0])):
            cache[self.now.rows, :, self.now.columns] = new[:, : self.now.n_rows].transpose(0, 1)
            for chunk, tokens, _ in self.now.spans():
                cache[chunk.slot, :, chunk.begin : chunk.end] = new[:, tokens]
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what a pass reads; its masks come with it."""
        return self.capacity, 0

    def get_seq_length(self) -> int:
        """Slots differ; positions are always passed explicitly."""
        return 0

    def get_max_length(self) -> int:
        """Columns of a slot."""
        return self.capacity


class SlotCache(Cache):
    """The cache of all layers."""

    def __init__(self, n_layers: int, n_slots: int, capacity: int) -> None:
        super().__init__(layers=[SlotLayer(n_slots, capacity) for _ in range(n_layers)])

    def expect(self, now: Pass) -> None:
        """Say where the tokens of the next pass go."""
        for layer in self.layers:
            layer.now = now

    def copy_prefix(self, source: int, target: int, n_tokens: int) -> None:
        """Give slot `target` the first `n_tokens` columns of slot `source`."""
        for layer in self.layers:
            for cache in (layer.keys, layer.values):
                cache[target, :, :n_tokens] = cache[source, :, :n_tokens]


def slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    slot_pass: Pass | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of a pass, each text for itself.

    Args:
        module: The layer; part of the interface, unused.
        query: (1, query heads, tokens, head size).
        key: (slots, key heads, capacity, head size), the tokens of this pass included.
        value: As key.
        attention_mask: Part of the interface, unused.
        scaling: Factor on the scores.
        slot_pass: Where the tokens stand.
        kwargs: Options of other attentions; those that change the result are refused.

    Raises:
        ValueError: the model wants a variant of attention that this one is not, or keeps its options from it.
    """
    wanted = [name for name in ("softcap", "sliding_window", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if wanted:
        raise ValueError(f"attention with {', '.join(wanted)}")
    if slot_pass is None:
        raise ValueError("a model that hands no options to its attention")
    scaling = scaling if scaling is not None else query.shape[3] ** -0.5
    parts = []
    if slot_pass.n_rows:
        newest = query[0, :, : slot_pass.n_rows].transpose(0, 1)[:, :, None]
        slots = slice(0, slot_pass.n_rows)
        parts.append(_attend(newest, key[slots], value[slots], slot_pass.row_mask, scaling))
    for chunk, tokens, mask in slot_pass.spans():
        slots = slice(chunk.slot, chunk.slot + 1)
        parts.append(_attend(query[:, :, tokens], key[slots], value[slots], mask, scaling))
    return torch.cat(parts)[None], None


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Grouped-query attention without copying the cache per query head; (texts x tokens, query heads, head size)."""
    texts, n_query, tokens, size = query.shape
    n_key, n_columns = key.shape[1], mask.shape[3]
    grouped = query.reshape(texts, n_key, -1, size)
    scores = torch.matmul(grouped, key[:, :, :n_columns].transpose(2, 3))
    scores = scores.view(texts, n_key, n_query // n_key, tokens, -1).mul_(scaling).add_(mask[:, :, None])
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype).view(texts, n_key, -1, n_columns)
    mixed = torch.matmul(weights, value[:, :, :n_columns]).view(texts, n_query, tokens, size)
    return mixed.transpose(1, 2).reshape(-1, n_query, size)


AttentionInterface.register(ATTENTION_NAME, slot_attention)
