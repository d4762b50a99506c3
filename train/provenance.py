"""What a model was made of: `provenance.json` for programs, the model card for people. Both are generated."""

import importlib.metadata
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from schemas.training import TrainingRecipe
from train.checkpoints import PROVENANCE, Identity
from train.pretokenise import Counts
from warehouse.files import write_atomically

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    identity: Identity
    recipe: TrainingRecipe
    counts: Counts
    n_steps: int
    losses: list[float]
    """As logged since the last start."""
    wall_s: float
    """Since the last start."""
    n_processes: int


def write_provenance(out: Path, done: Trained) -> None:
    """Write the model card, and then `provenance.json`, which says that the folder is finished."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    entry = {
        **asdict(done.identity),
        "recipe_name": done.recipe.name,
        "settings": done.recipe.model_dump(mode="json"),
        "examples": asdict(done.counts),
        "n_steps": done.n_steps,
        "last_loss": done.losses[-1] if done.losses else None,
        "wall_s": round(done.wall_s, 1),
        "n_processes": done.n_processes,
        "factory_version": importlib.metadata.version("start-factory"),
        "libraries": versions,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    card, text = _card(done), json.dumps(entry, indent=2) + "\n"
    write_atomically(out / "README.md", lambda path: _write(path, card))
    write_atomically(out / PROVENANCE, lambda path: _write(path, text))


def describe(done: Trained, out: Path) -> str:
    """The last line of a training."""
    loss = f", loss {done.losses[0]:.4f} -> {done.losses[-1]:.4f}" if done.losses else ""
    return f"{out}: {done.identity.base_model} trained on {done.identity.snapshot}, {done.n_steps:,} steps{loss}"


def _card(done: Trained) -> str:
    recipe, counts, identity = done.recipe, done.counts, done.identity
    left_out = ", ".join(f"{reason} {n:,}" for reason, n in counts.left_out.items()) or "none"
    how = "all parameters" if recipe.method.kind == "full" else f"LoRA of rank {recipe.method.lora_rank}, merged"
    hints = "and hints carry" if recipe.examples.hint_loss else "carry"
    rows = [
        ("base model", identity.base_model),
        ("snapshot", f"{identity.snapshot}, content hash `{identity.content_hash}`"),
        ("recipe", f"{recipe.name} ({recipe.description})" if recipe.description else recipe.name),
        ("trained", how),
        ("steps", f"{done.n_steps:,} of {recipe.optimizer.global_batch} rows, seed {recipe.seed}"),
        ("examples", f"{counts.n_examples:,} of {counts.n_rows:,} rows; left out: {left_out}; cut: {counts.n_cut:,}"),
        ("tokens", f"{counts.n_tokens:,}, {counts.n_trained:,} of them with loss"),
        ("last loss", f"{done.losses[-1]:.4f}" if done.losses else "-"),
    ]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [reasoning, tool-use, python, start, sft]",
        "---",
        f"# {identity.base_model.split('@')[0]} trained on {identity.snapshot}",
        "",
        "A reasoning model that calls Python by itself, made by a START dataset factory (after arXiv 2503.04625).",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        f"The model's own tokens {hints} loss; tool output and the prompt never do. Every setting and version is in "
        f"`{PROVENANCE}`.",
        "",
        "Python blocks that it writes must be run by whoever runs the model, and their output put back into the text "
        "as an `output` block: isolate that code, it is not to be trusted.",
        "",
        "The base model's licence and those of the problems apply; the snapshot's card names the latter.",
        "",
    ]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
