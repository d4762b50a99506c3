"""Where outputs are made: what of a machine and a recipe decides them, in words and as a hash."""

import importlib.metadata
import platform
from dataclasses import dataclass

from factory.settings import fingerprint
from schemas.protocols import Limits
from schemas.recipe import Recipe

VERSION = 1
"""Raised where the same row can be found to differ otherwise than before."""
LIBRARIES = ("numpy", "sympy", "mpmath", "scipy", "pandas", "networkx")
"""Those that code imports most, and whose versions show in outputs."""


@dataclass(frozen=True)
class Environment:
    """Where outputs are made: limits, Python, libraries."""

    words: str

    @property
    def rules(self) -> str:
        """Its hash, the level of isolation aside."""
        return fingerprint(VERSION, self.words)[:12]

    def id(self, level: str) -> str:
        """The `environment_id` at a level."""
        return f"{self.rules}/{level}"


def environment_of(recipe: Recipe) -> Environment:
    """The environment that code of this recipe runs in, on this machine."""
    rules = recipe.sandbox
    names = [f"python {platform.python_version()} ({platform.machine()})"]
    for library in LIBRARIES:
        try:
            names.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    limits = f"{rules.wall_s:g} s wall, {rules.cpu_s:g} s cpu, {rules.memory_mb} MiB, {rules.output_bytes:,} bytes"
    return Environment(", ".join((*names, limits)))


def limits_of(recipe: Recipe) -> Limits:
    """Limits of one block."""
    rules = recipe.sandbox
    return Limits(rules.wall_s, rules.cpu_s, rules.memory_mb, rules.output_bytes)
