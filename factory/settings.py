"""Where data lives, and which recipe is meant."""

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import RecipeError
from schemas.recipe import Recipe

RECIPES = Path(__file__).parent / "recipes"
CHECKOUT = Path(__file__).parent.parent
Settings = TypeVar("Settings", bound=BaseModel)


def default_home() -> Path:
    """`FACTORY_HOME`; else `warehouse/data` of the checkout, or of the current folder where this is installed."""
    if home := os.environ.get("FACTORY_HOME"):
        return Path(home).expanduser()
    root = CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()
    return root / "warehouse" / "data"


def load_recipe(name: str, overrides: Mapping[str, Any]) -> Recipe:
    """A recipe by name or path, with single values replaced.

    Args:
        name: A file of `factory/recipes/` without its ending, or a path ending in `.toml`.
        overrides: `section.key` -> value, such as `{"hint.branches": 4}`.

    Raises:
        RecipeError: no such recipe, an unknown key, or a value of the wrong kind; names them all.
    """
    return load_settings(Recipe, RECIPES, name, overrides)


def load_settings(kind: type[Settings], folder: Path, name: str, overrides: Mapping[str, Any]) -> Settings:
    """Settings of any kind from a TOML file, with single values replaced.

    Args:
        kind: The closed model that the file must fit, with a field `name`.
        folder: Where the shipped files are.
        name: A file of `folder` without its ending, or a path ending in `.toml`.
        overrides: `section.key` -> value.

    Raises:
        RecipeError: no such recipe, an unknown key, or a value of the wrong kind; names them all.
    """
    path, data = _read(folder, name)
    data.setdefault("name", path.stem)
    for key, value in overrides.items():
        *sections, last = key.split(".")
        table = data
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise RecipeError(f"--set {key}: '{section}' is a value, not a section.")
        table[last] = value
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise RecipeError(_explained(error, kind, path)) from None


def _read(folder: Path, name: str, above: tuple[Path, ...] = ()) -> tuple[Path, dict[str, Any]]:
    """A recipe file, laid over the one that its `extends` names."""
    path = (above[-1].parent if above else Path()) / name if name.endswith(".toml") else folder / f"{name}.toml"
    if path in above:
        raise RecipeError(f"recipe {path} extends itself: {' -> '.join(p.name for p in (*above, path))}.")
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        known = sorted(p.stem for p in folder.glob("*.toml"))
        wanted = f"'{name}'" + (f", which {above[-1]} extends," if above else "")
        raise RecipeError(f"recipe {wanted} does not exist. Known: {', '.join(known)}; or a path to a .toml.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {error}") from None
    base = data.pop("extends", None)
    return path, data if base is None else _laid_over(_read(folder, str(base), (*above, path))[1], data)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Sections are merged, everything else (lists too) is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged


def parse_overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """`["hint.branches=4", "engine.model=x"]` as a mapping; values are TOML, or text where they are not.

    Raises:
        RecipeError: an assignment has no `=`.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key.strip():
            raise RecipeError(f"--set {assignment}: write it as section.key=value, such as hint.branches=4.")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text.strip()
    return values


def _explained(error: ValidationError, kind: type[BaseModel], path: Path) -> str:
    """Every fault of a recipe, each with the key that was probably meant."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(fault["loc"][-1]), _keys_beside(kind, fault["loc"]), n=1)
            lines.append(f"unknown key '{key}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
        else:
            message = fault["msg"].removeprefix("Value error, ")
            lines.append(
                f"{key}: {message}" + ("" if fault["type"] == "missing" else f" (got {fault['input']!r})"[:200])
            )
    return (
        f"recipe {path.name}: {len(lines)} fault{'s' * (len(lines) > 1)}.\n  "
        + "\n  ".join(lines)
        + "\n  state:  nothing was written."
    )


def _keys_beside(kind: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys that would have been allowed where an unknown one stands."""
    model: Any = kind
    for part in location[:-1]:
        if isinstance(part, str) and part in getattr(model, "model_fields", {}):
            model = model.model_fields[part].annotation
            model = getattr(model, "__args__", (model,))[0]
    return list(getattr(model, "model_fields", {}))


def fingerprint(*parts: Any) -> str:
    """Short hash of settings: pydantic models, numbers, texts, lists."""

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json") if hasattr(value, "model_dump") else value

    text = json.dumps([plain(part) for part in parts], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
