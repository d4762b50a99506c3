"""Out of memory: knowing it by its many names, and saying what would help."""

from pathlib import Path

from schemas.errors import TrainingError
from schemas.training import TrainingRecipe
from train.checkpoints import newest, step_of

WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc")
"""Of torch's allocators, which raise plain RuntimeErrors on a processor, and of C++."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was what an error lacked."""
    text = str(error).lower()
    is_named = isinstance(error, MemoryError) or type(error).__name__ in {"OutOfMemoryError", "AcceleratorError"}
    return isinstance(error, MemoryError) or (
        (is_named or isinstance(error, RuntimeError | OSError)) and any(word in text for word in WORDS)
    )


def explain(recipe: TrainingRecipe, n_longest: int, out: Path) -> TrainingError:
    """What to tell the user.

    Args:
        recipe: Under which memory ran out.
        n_longest: Tokens of the longest row, 0 where the model was not even loaded.
        out: The output folder; what is saved there is said.
    """
    memory, length = recipe.memory, recipe.examples.max_length if recipe.examples.packing else n_longest
    doing = f"{memory.micro_batch} rows of up to {length:,} tokens in one pass" if n_longest else "loading the model"
    tries = [f"--set memory.micro_batch={max(1, memory.micro_batch // 2)}"] if memory.micro_batch > 1 else []
    tries += [] if memory.gradient_checkpointing else ["--set memory.gradient_checkpointing=true"]
    tries += [] if recipe.method.kind == "lora" else ["--set method.kind=lora (another training: another --out)"]
    tries += [f"--set examples.max_length={length // 2} (another training: another --out)"] if n_longest else []
    checkpoint = newest(out)
    state = (
        f"{step_of(checkpoint):,} steps are saved; the same command, with other [memory] settings too, goes on there"
        if checkpoint
        else "no step was saved; the same command starts over"
    )
    return TrainingError(f"out of memory: {doing}.\n  try:    " + "\n          ".join(tries) + f"\n  state:  {state}.")
