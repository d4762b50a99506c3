"""What happens beside the steps: progress in our style, and the mark of a whole checkpoint."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from factory.progress import Advance, Reporter
from train.checkpoints import mark_complete


class Checkpoints(TrainerCallback):
    """Marks a checkpoint once every process has written its part."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called on every process after its part of a checkpoint is written."""
        args.distributed_state.wait_for_everyone()
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class Progress(TrainerCallback):
    """Steps, loss, tokens per second and seconds left, on the first process only. A context manager."""

    def __init__(self, ui: Reporter) -> None:
        self.ui = ui
        self.losses: list[float] = []
        self._stack = ExitStack()
        self._advance: Advance | None = None
        self._step = 0
        self._n_tokens = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock; a training that goes on counts what is left of it."""
        self._step = state.global_step
        if state.is_world_process_zero:
            if self._step:
                self.ui.say(f"going on after step {self._step:,} of {state.max_steps:,}")
            left = state.max_steps - self._step
            self._advance = self._stack.enter_context(self.ui.step("training", left, "steps"))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Count the steps since the last log."""
        if self._advance is None or "loss" not in logs:
            return
        self.losses.append(float(logs["loss"]))
        n_tokens = logs.get("num_tokens", 0.0)  # since this process started
        done, new = state.global_step - self._step, n_tokens - self._n_tokens
        self._step, self._n_tokens = state.global_step, n_tokens
        self._advance(done, extra=new, extra_unit="tokens", note=f"loss {logs['loss']:.4f}")
