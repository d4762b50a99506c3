"""Which training recipe is meant."""

from collections.abc import Sequence
from pathlib import Path

from factory.settings import load_settings, parse_overrides
from schemas.training import TrainingRecipe

RECIPES = Path(__file__).parent / "recipes"
ACCELERATE = Path(__file__).parent / "accelerate"
"""Configuration files for `accelerate launch --config_file`."""


def load_training_recipe(name: str, assignments: Sequence[str] = ()) -> TrainingRecipe:
    """A recipe of `train/recipes/` by name, or by path, with single values replaced.

    Args:
        name: Such as `demo`, or a path ending in `.toml`.
        assignments: `section.key=value`.

    Raises:
        RecipeError: no such recipe, an unknown key, or a value of the wrong kind; names them all.
    """
    return load_settings(TrainingRecipe, RECIPES, name, parse_overrides(assignments))
