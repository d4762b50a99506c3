"""`train run`: a snapshot's examples through TRL's SFTTrainer into a model folder.

Thin on purpose: TRL trains. What is ours is which tokens carry loss (`examples`), which rows a step sees (`order`),
going on after a kill (`checkpoints`), and saying what was done (`provenance`). Rows reach TRL as ids and labels, so
none of its own tokenising, masking or truncating takes place.
"""

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from datasets import disable_progress_bars

from factory.engines.local_model import engine_name, find_weights, quiet
from factory.progress import Reporter
from factory.release.pull import locate
from schemas.errors import HomeError, TrainingError
from schemas.recipe import EngineSettings
from schemas.records import Manifest
from schemas.training import TrainingRecipe
from train.callbacks import Progress
from train.checkpoints import Identity, begin, clear, identify, is_finished, newest
from train.memory import explain, is_out_of_memory
from train.pretokenise import Counts, make_examples, open_tokenizer
from train.provenance import Trained, describe, write_provenance
from train.save import save_model
from train.trainer import Trainer, make_config, make_trainer, understood
from warehouse.files import locked
from warehouse.snapshots import read_manifest


@dataclass
class Job:
    """One training, resolved."""

    reference: str
    folder: Path
    manifest: Manifest
    model: str
    base_model: str
    recipe: TrainingRecipe
    out: Path
    home: Path
    n_longest: int = 0
    """Known once the rows are made."""

    @property
    def identity(self) -> Identity:
        """What the output folder must be of."""
        return identify(self.manifest, self.base_model, self.recipe)


def train_model(reference: str, model: str, recipe: TrainingRecipe, out: Path, home: Path) -> None:
    """Train a model on a snapshot, or go on where an interrupted training of the same stopped.

    Runs as it is in every process of `accelerate launch`; only the first one writes and prints.

    Args:
        reference: The snapshot.
        model: `embedded`, a hub id, or a folder.
        recipe: All settings.
        out: The output folder. New, empty, or of the same training.
        home: Where snapshots are, and the embedded model is converted to.

    Raises:
        SnapshotError, EngineError, RecipeError: what is asked for does not exist or does not fit.
        TrainingError: the output folder holds something else, no row can be trained on, or memory ran out.
    """
    folder = locate(home, reference)
    job = Job(
        reference, folder, read_manifest(folder), model, engine_name(EngineSettings(model=model)), recipe, out, home
    )
    is_first = os.environ.get("RANK", "0") == "0"
    ui: Reporter = Reporter() if is_first else Silent()
    if is_finished(out, job.identity):
        ui.say(f"unchanged, {out}: {job.base_model} is already trained on {job.manifest.snapshot}")
        if not recipe.output.keep_checkpoints and is_first:
            clear(out)
        return
    if not job.manifest.n_rows:
        raise TrainingError(f"{job.manifest.snapshot} is empty: there is nothing to train on.")
    try:
        with ExitStack() as stack:
            if is_first:
                _hold(out, stack)
                begin(out, job.identity)
            _train(job, ui)
    except Exception as error:
        if is_out_of_memory(error):
            raise explain(recipe, job.n_longest, out) from error
        raise


class Silent(Reporter):
    """Of every process but the first."""

    def __init__(self) -> None:
        super().__init__()
        self.console.quiet = True


def _train(job: Job, ui: Reporter) -> None:
    quiet()
    disable_progress_bars()
    recipe = job.recipe
    arguments = understood(lambda: make_config(recipe, job.out))
    with arguments.main_process_first():  # the first one converts the embedded model, the others find it
        weights = find_weights(EngineSettings(model=job.model), job.home)
    tokenizer = open_tokenizer(weights, job.model)
    data, counts = make_examples(job.folder, job.manifest, tokenizer, job.base_model, recipe.examples)
    job.n_longest = counts.n_longest
    ui.say(f"{job.manifest.snapshot}: {counts.describe()}")
    if not counts.n_examples:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in counts.left_out.items())
        raise TrainingError(
            f"none of the {counts.n_rows:,} rows of {job.manifest.snapshot} can be trained on: {reasons}.\n"
            f"  try:    --set examples.max_length=N, --set examples.long_rows=cut, or another --model"
        )
    trainer = make_trainer(arguments, weights, tokenizer, data, recipe)
    checkpoint = newest(job.out)
    started, progress = time.monotonic(), Progress(ui)
    trainer.add_callback(progress)
    ui.say(_headline(job, trainer, counts))
    with progress:
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    save_model(trainer, weights, recipe, job.out)
    if trainer.is_world_process_zero():
        n_steps, wall_s = int(result.global_step), time.monotonic() - started
        done = Trained(job.identity, recipe, counts, n_steps, progress.losses, wall_s, arguments.world_size)
        write_provenance(job.out, done)
        if not recipe.output.keep_checkpoints:
            clear(job.out)
        ui.say(describe(done, job.out))


def _headline(job: Job, trainer: Trainer, counts: Counts) -> str:
    recipe, processes = job.recipe, trainer.args.world_size
    how = "full parameters" if recipe.method.kind == "full" else f"LoRA of rank {recipe.method.lora_rank}"
    shared = f", {processes} processes" if processes > 1 else ""
    return (
        f"training {job.base_model} with recipe {recipe.name}: {how}, {recipe.optimizer.global_batch} rows a step in "
        f"passes of {recipe.memory.micro_batch}, longest row {counts.n_longest:,} tokens, {recipe.optimizer.precision}"
        f"{shared}, seed {recipe.seed}"
    )


def _hold(out: Path, stack: ExitStack) -> None:
    """Keep a second training out of the folder."""
    try:
        stack.enter_context(locked(out))
    except HomeError as error:
        raise TrainingError(f"{out} cannot be trained into: {str(error).splitlines()[0]}") from error
