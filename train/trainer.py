"""TRL's trainer for one recipe: configuration, adapters, the order of rows."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from factory.engines.local_model import Weights
from schemas.errors import FactoryError, RecipeError, TrainingError
from schemas.training import TrainingRecipe
from train.callbacks import Checkpoints
from train.checkpoints import FOLDER
from train.memory import is_out_of_memory
from train.order import StepOrder
from train.packing import check_packing


class Trainer(SFTTrainer):
    """TRL's trainer, with our order of rows."""

    step_order: StepOrder

    def _get_train_sampler(self, train_dataset: Any = None) -> StepOrder:
        """In place of the library's random order, which a resumed training could not repeat when grouped by length."""
        return self.step_order

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        """Not one step more where the last one is done: the library looks only after a step."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*arguments, **options)


def make_config(recipe: TrainingRecipe, out: Path) -> SFTConfig:
    """TRL's configuration of a recipe.

    Raises:
        RecipeError: the global batch cannot be shared by the processes.
    """
    optimizer, memory, output = recipe.optimizer, recipe.memory, recipe.output
    try:
        accumulation = recipe.accumulation(int(os.environ.get("WORLD_SIZE", "1")))
    except ValueError as error:
        raise RecipeError(f"{error}.") from None
    attention = {} if memory.attention == "auto" else {"attn_implementation": memory.attention}
    return SFTConfig(
        output_dir=str(out / FOLDER),
        seed=recipe.seed,
        model_init_kwargs={"dtype": "float32", **attention},
        max_length=recipe.examples.max_length if recipe.examples.packing else None,  # rows are short enough already
        packing=recipe.examples.packing,
        dataset_kwargs={"skip_prepare_dataset": not recipe.examples.packing},
        learning_rate=optimizer.learning_rate,
        lr_scheduler_type=optimizer.schedule,
        warmup_steps=optimizer.warmup_share,  # below 1 it is a share
        weight_decay=optimizer.weight_decay,
        max_grad_norm=optimizer.max_grad_norm,
        num_train_epochs=optimizer.epochs,
        max_steps=optimizer.max_steps or -1,
        bf16=optimizer.precision == "bfloat16",
        per_device_train_batch_size=memory.micro_batch,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=memory.gradient_checkpointing,
        use_cpu=not torch.accelerator.is_available(),
        save_strategy="steps",
        save_steps=output.save_every_steps,
        save_total_limit=2,  # the older one is what remains where a kill spoils the newer
        logging_steps=output.log_every_steps,
        report_to=list(output.report_to) or "none",
        disable_tqdm=True,
    )


def make_trainer(
    arguments: SFTConfig, weights: Weights, tokenizer: Any, data: pa.Table, recipe: TrainingRecipe
) -> Trainer:
    """The trainer, ready to start.

    Args:
        arguments: Of `make_config`.
        weights: The base model.
        tokenizer: Its tokenizer.
        data: Columns input_ids and labels.
        recipe: All settings.

    Raises:
        TrainingError: the library refuses model or settings, or packed rows would see each other.
    """
    if weights.revision:
        arguments.model_init_kwargs["revision"] = weights.revision
    rows = Dataset(data.select(["input_ids", "labels"]))
    trainer: Trainer = understood(
        lambda: Trainer(
            model=weights.path,
            args=arguments,
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=_adapters(recipe),
            callbacks=[Checkpoints()],
        )
    )
    trainer.remove_callback(PrinterCallback)
    lengths = pc.list_value_length(trainer.train_dataset.data.column("input_ids")).to_pylist()
    trainer.step_order = StepOrder(lengths, recipe.optimizer.global_batch, recipe.seed)
    if recipe.examples.packing:
        check_packing(trainer)
    return trainer


def _adapters(recipe: TrainingRecipe) -> Any:
    method = recipe.method
    if method.kind == "full":
        return None
    from peft import LoraConfig

    targets = "all-linear" if method.lora_targets == ("all-linear",) else list(method.lora_targets)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=method.lora_rank,
        lora_alpha=method.lora_alpha,
        lora_dropout=method.lora_dropout,
        target_modules=targets,
    )


def understood(make: Callable[[], Any]) -> Any:
    """What a library makes of our settings; its refusal as a message."""
    try:
        return make()
    except FactoryError:
        raise
    except (ValueError, ImportError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise TrainingError(
            f"the training library refuses: {str(error).strip()}\n  state:  nothing was trained."
        ) from error
