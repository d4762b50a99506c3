"""The training recipe: every setting of `train run`, and nothing besides. Files are TOML (`train/recipes/`).

A key that is not listed here is an error. `seed`, `examples`, `method` and `optimizer` decide what is learnt: an
interrupted training goes on only under the same ones. `memory` and `output` may change between two starts.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.recipe import Section

Positive = Annotated[int, Field(ge=1)]


class ExampleSettings(Section):
    """Which tokens of a snapshot are trained on."""

    max_length: int = Field(default=16_384, ge=16)
    """Tokens of a row, prompt included."""
    long_rows: Literal["drop", "cut"] = "drop"
    """What becomes of longer ones. `cut` keeps the beginning, without an end of turn, so that nobody learns to stop."""
    hint_loss: bool = False
    """Whether hints carry loss. Tool output and the prompt never do."""
    packing: bool = False
    """Several trajectories in one row of max_length, none seeing another. A step then holds global_batch such rows."""


class Method(Section):
    """What is trained: all parameters, or low-rank adapters that are merged into the model at the end."""

    kind: Literal["full", "lora"] = "full"
    lora_rank: Positive = 16
    lora_alpha: Positive = 32
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_targets: tuple[str, ...] = ("all-linear",)
    """Names of modules; `all-linear` means every linear layer but the output head."""


class Optimizer(Section):
    """AdamW, and how long it runs."""

    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    """Of all steps."""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    global_batch: Positive = 128
    """Rows of one step, over all processes."""
    epochs: float = Field(default=3, gt=0)
    max_steps: Positive | None = None
    """Ends the training earlier, or later, than `epochs`."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the arithmetic; the weights that the optimizer updates are float32 either way."""


class MemorySettings(Section):
    """What fits into memory. Changes speed, not what is learnt."""

    micro_batch: Positive = 1
    """Rows of one forward pass of one process; global_batch must be a multiple of it times the processes."""
    gradient_checkpointing: bool = True
    """Computes activations twice instead of keeping them: about a third slower, far less memory."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"] = "auto"
    """`auto` is the model's default."""


class OutputSettings(Section):
    """What is written besides the model."""

    save_every_steps: Positive = 50
    """A checkpoint to go on from; the newest two are kept while training."""
    keep_checkpoints: bool = False
    """Also after success."""
    log_every_steps: Positive = 1
    report_to: tuple[str, ...] = ()
    """Names that transformers knows, such as tensorboard, wandb, mlflow."""


class TrainingRecipe(Section):
    """All settings of a training."""

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0)
    examples: ExampleSettings = ExampleSettings()
    method: Method = Method()
    optimizer: Optimizer
    memory: MemorySettings = MemorySettings()
    output: OutputSettings = OutputSettings()

    @model_validator(mode="after")
    def _divides(self) -> "TrainingRecipe":
        if self.optimizer.global_batch % self.memory.micro_batch:
            raise ValueError(
                f"optimizer.global_batch ({self.optimizer.global_batch}) must be a multiple of memory.micro_batch "
                f"({self.memory.micro_batch})"
            )
        return self

    def accumulation(self, n_processes: int) -> int:
        """Forward passes that each of `n_processes` adds up before a step.

        Raises:
            ValueError: the global batch cannot be split evenly; says what it must be a multiple of.
        """
        together = self.memory.micro_batch * n_processes
        if self.optimizer.global_batch % together:
            raise ValueError(
                f"optimizer.global_batch is {self.optimizer.global_batch}, which {n_processes} processes of "
                f"memory.micro_batch {self.memory.micro_batch} cannot share: it must be a multiple of {together}"
            )
        return self.optimizer.global_batch // together
