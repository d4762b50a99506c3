"""The trained model as an ordinary model folder: any engine loads it, adapters are merged."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from factory.engines.local_model import Weights
from schemas.training import TrainingRecipe
from warehouse.files import flush

ADAPTER = "adapter"


def save_model(trainer: Any, weights: Weights, recipe: TrainingRecipe, out: Path) -> None:
    """Write weights, configuration, tokenizer and chat template. Every process must call it, the first one writes.

    Weights get the base model's number format again, unless they are split over processes (FSDP, DeepSpeed), where
    the format of those is kept.

    Args:
        trainer: After training.
        weights: The base model.
        recipe: LoRA keeps the adapter alone in `out/adapter`, and `out` holds it merged into the base model.
        out: The output folder.
    """
    if recipe.method.kind == "lora":
        trainer.save_model(str(out / ADAPTER))
        if trainer.is_world_process_zero():
            _merge(weights, out)
            trainer.processing_class.save_pretrained(out)
    else:
        base = AutoConfig.from_pretrained(weights.path, **_revision(weights)).dtype or torch.float32
        if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
            trainer.accelerator.unwrap_model(trainer.model).to(base)
        trainer.save_model(str(out))
    if trainer.is_world_process_zero():
        for folder in (out, out / ADAPTER):  # settings as a pickle, with paths and times of this machine
            (folder / "training_args.bin").unlink(missing_ok=True)
        for path in (*out.glob("*.safetensors"), *out.glob("*.json")):
            path.chmod(0o644)
            flush(path)


def _merge(weights: Weights, out: Path) -> None:
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(weights.path, dtype="auto", **_revision(weights))
    PeftModel.from_pretrained(base, out / ADAPTER).merge_and_unload().save_pretrained(out)


def _revision(weights: Weights) -> dict[str, str]:
    return {"revision": weights.revision} if weights.revision else {}
