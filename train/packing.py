"""Packing is allowed only where packed trajectories cannot see each other."""

from typing import Any

import torch

from schemas.errors import TrainingError

KNOWN = {"sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3"}
"""Attention implementations that keep rows apart by their restarting positions."""
TOLERANCE = 1e-3
"""Of the largest logit, in float32. Rows that see each other differ by far more."""


def check_packing(trainer: Any) -> None:
    """Try two short rows packed and apart: the second must get the same logits.

    Tried on the model itself where this process holds all of it and computes in an implementation that runs
    everywhere; for sharded models and flash attention only the implementation's name is checked.

    Raises:
        TrainingError: the model does not keep packed rows apart.
    """
    name = str(trainer.model.config._attn_implementation)
    if name not in KNOWN:
        raise TrainingError(_refusal(name))
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or name.startswith("flash"):
        return
    first, second = [11, 12, 13, 14, 15], [21, 22, 23, 24, 25, 26]
    ids = first + second
    batch = trainer.data_collator([{"input_ids": ids, "labels": ids, "seq_lengths": [len(first), len(second)]}])
    was_training = trainer.model.training
    trainer.model.eval()
    with torch.no_grad():
        together = _logits(trainer.model, batch)[:, len(first) :]
        apart = _logits(trainer.model, {"input_ids": torch.tensor([second])})
    trainer.model.train(was_training)
    if (together - apart).abs().max() > TOLERANCE * apart.abs().max():
        raise TrainingError(_refusal(name))


def _logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    inputs = {key: value.to(model.device) if hasattr(value, "to") else value for key, value in batch.items()}
    inputs.pop("labels", None)
    logits: torch.Tensor = model(**inputs, use_cache=False).logits.float()
    return logits


def _refusal(name: str) -> str:
    return (
        f"with the attention implementation '{name}' this model's packed trajectories would see each other.\n"
        f"  try:    --set memory.attention=sdpa, or --set examples.packing=false\n"
        f"  state:  nothing was trained."
    )
