"""A key-value cache with one slot per running request, and the attention that reads it.

Why not the library's own batching: `generate` pads on the left and keeps a batch until its longest member ends, and its
continuous batching packs all requests into one row. In both, what a request's neighbours are changes the shapes of the
matrix products and with them the last bits of the logits, so that a resumed build could differ from an uninterrupted
one. Here every request keeps its own row, its tokens start at column 0, and rows and columns come in fixed multiples:
its logits are the same bits whoever shares the batch (a test holds this). Rows never wait for each other.
"""

from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, Cache
from transformers.cache_utils import CacheLayerMixin

ATTENTION_NAME = "factory_slots"
ROW_MULTIPLE = 8
"""Rows of a decode step, and tokens of a prefill, come in multiples of this."""
COLUMN_MULTIPLE = 64
"""Columns of the cache that a step reads come in multiples of this."""


def round_up(n: int, multiple: int) -> int:
    """Smallest multiple of `multiple` that is at least `n`."""
    return -(-n // multiple) * multiple


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, shape (slots, heads, capacity, head size)."""

    def __init__(self, view: "SlotView", n_slots: int, capacity: int) -> None:
        super().__init__()
        self.view, self.n_slots, self.capacity = view, n_slots, capacity

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
        """Write this step's tokens where the view says, and return the columns it says to read."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        view = self.view
        out = []
        for cache, new in ((self.keys, key_states), (self.values, value_states)):
            if view.start is not None:  # prefill: consecutive columns of one row
                cache[view.first, :, view.start : view.start + new.shape[2]] = new[0]
            else:  # decode: one column per row
                cache[view.rows, :, view.columns] = new[:, :, 0]
            out.append(cache[view.first : view.last, :, : view.n_columns])
        return out[0], out[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what a step reads."""
        return self.view.n_columns, 0

    def get_seq_length(self) -> int:
        """Rows differ; positions are always passed explicitly."""
        return 0

    def get_max_length(self) -> int:
        """Columns of a row."""
        return self.capacity


class SlotView:
    """Which rows and columns the next forward pass writes and reads."""

    def __init__(self) -> None:
        self.first = self.last = self.n_columns = 0
        self.start: int | None = None
        self.rows = self.columns = torch.empty(0, dtype=torch.long)


class SlotCache(Cache):
    """The cache of all layers. `view` says what the next forward pass touches."""

    def __init__(self, n_layers: int, n_slots: int, capacity: int) -> None:
        self.view = SlotView()
        super().__init__(layers=[SlotLayer(self.view, n_slots, capacity) for _ in range(n_layers)])

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
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Grouped-query attention without copying the cache per query head.

    Args:
        module: The layer; part of the interface, unused.
        query: (rows, query heads, tokens, head size).
        key: (rows, key heads, columns, head size).
        value: As key.
        attention_mask: Additive, (rows, 1, tokens, columns).
        scaling: Factor on the scores.
        kwargs: Options of other attentions; those that change the result are refused.

    Raises:
        ValueError: the model wants a variant of attention that this one is not.
    """
    wanted = [name for name in ("softcap", "sliding_window", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if wanted:
        raise ValueError(f"attention with {', '.join(wanted)}")
    rows, n_query, tokens, size = query.shape
    n_key = key.shape[1]
    grouped = query.reshape(rows, n_key, -1, size)
    scores = torch.matmul(grouped, key.transpose(2, 3)).view(rows, n_key, n_query // n_key, tokens, -1)
    scores.mul_(scaling if scaling is not None else size**-0.5).add_(attention_mask[:, :, None])
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype).view(rows, n_key, grouped.shape[2], -1)
    mixed = torch.matmul(weights, value).view(rows, n_query, tokens, size)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION_NAME, slot_attention)
