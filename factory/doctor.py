"""`factory doctor`: what this machine offers, each by trying it."""

import importlib.metadata
import platform
import shutil
from collections.abc import Iterator

from factory.engines.local_model import engine_name
from factory.progress import Reporter
from factory.sandbox.pool import probe
from factory.settings import default_home
from schemas.errors import EngineError
from schemas.recipe import EngineSettings

PACKAGES = ("torch", "transformers", "duckdb", "polars", "math-verify", "reasoning-gym", "vllm")


def findings() -> Iterator[tuple[str, str, str]]:
    """What was looked at, whether it works, and the detail."""
    yield "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in PACKAGES:
        try:
            yield name, "ok", importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield (
                name,
                "absent" if name == "vllm" else "missing",
                "optional" if name == "vllm" else f"pip install {name}",
            )
    for level, problem in probe().items():
        yield f"sandbox: {level}", "ok" if problem is None else "no", problem or "works"
    try:
        yield "embedded model", "ok", engine_name(EngineSettings())
    except EngineError as error:
        yield "embedded model", "missing", str(error).splitlines()[1].strip()
    home = default_home()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    yield "home", "ok", f"{home}, {shutil.disk_usage(existing).free / 1e9:.0f} GB free"


def show_doctor() -> None:
    """Print the findings."""
    Reporter().table(("what", "state", "detail"), list(findings()))
