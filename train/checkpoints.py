"""What an output folder holds: nothing, a training under way that can go on, or a finished model.

A checkpoint counts once its mark is there, which is written after every process has saved its part. `started.json` says
what the checkpoints belong to, `provenance.json` is written last of all.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import TrainingError
from schemas.records import Manifest
from schemas.training import TrainingRecipe
from warehouse.files import readable_json, write_atomically

PROVENANCE = "provenance.json"
FOLDER = "checkpoints"
STARTED = "started.json"
MARK = "complete"
DECIDES = {"seed", "examples", "method", "optimizer"}
"""Sections of a recipe that decide what is learnt."""


@dataclass(frozen=True)
class Identity:
    """What a training is of. Two trainings of one identity give the same model, up to rounding."""

    snapshot: str
    content_hash: str
    base_model: str
    recipe: dict[str, Any]
    """The sections that decide what is learnt."""

    def differences(self, other: "dict[str, object]") -> list[str]:
        """One line for each thing that `other`, a stored identity, has otherwise."""
        lines = []
        if other.get("content_hash") != self.content_hash:
            lines.append(f"snapshot {other.get('snapshot')}, now {self.snapshot} (other rows)")
        if other.get("base_model") != self.base_model:
            lines.append(f"model {other.get('base_model')}, now {self.base_model}")
        theirs, ours = _flat(other.get("recipe") or {}), _flat(self.recipe)
        keys = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
        return lines + [f"{key} = {theirs.get(key)!r}, now {ours.get(key)!r}" for key in keys]


def identify(manifest: Manifest, base_model: str, recipe: TrainingRecipe) -> Identity:
    """The identity of a training."""
    sections = recipe.model_dump(mode="json", include=DECIDES)
    return Identity(manifest.snapshot, manifest.content_hash, base_model, sections)


def is_finished(out: Path, identity: Identity) -> bool:
    """Whether the folder holds the very model that is asked for.

    Raises:
        TrainingError: it holds another model, another training under way, or something that is not ours.
    """
    for path, what in ((out / PROVENANCE, "holds a model"), (out / FOLDER / STARTED, "holds a training under way")):
        if path.is_file():
            differences = identity.differences(readable_json(path))
            if differences:
                raise TrainingError(
                    f"{out} {what} that was started otherwise:\n  "
                    + "\n  ".join(differences)
                    + "\n  next:   name another folder with --out, or remove this one\n"
                    "  state:  nothing was changed."
                )
            return path.name == PROVENANCE
    # a folder of checkpoints without `started.json` was made a moment ago, by a process beside this one or one killed
    if out.exists() and (not out.is_dir() or any(p.name[0] != "." and p.name != FOLDER for p in out.iterdir())):
        raise TrainingError(
            f"{out} exists and holds no training of ours.\n  next:   name a new or empty folder with --out\n"
            f"  state:  nothing was changed."
        )
    return False


def begin(out: Path, identity: Identity) -> None:
    """Note what is trained into this folder, and remove checkpoints that were never finished."""
    folder = out / FOLDER
    if not (folder / STARTED).is_file():
        text = json.dumps(vars(identity), indent=2)
        write_atomically(folder / STARTED, lambda path: _write(path, text))
    for path in folder.glob("checkpoint-*"):
        if not (path / MARK).is_file():
            shutil.rmtree(path, ignore_errors=True)


def mark_complete(checkpoint: Path) -> None:
    """Say that a checkpoint is whole."""
    write_atomically(checkpoint / MARK, lambda path: _write(path, ""))


def newest(out: Path) -> Path | None:
    """The newest whole checkpoint."""
    found = [path.parent for path in (out / FOLDER).glob(f"checkpoint-*/{MARK}")]
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Steps done in a checkpoint."""
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(match[1]) if match else -1


def clear(out: Path) -> None:
    """Remove the checkpoints."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{prefix}.{key}".lstrip(".")).items()}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
