"""Training recipes, the shipped accelerate configurations, the order of rows, out-of-memory errors."""

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from schemas.errors import RecipeError
from tests.tiny_training import embedded_tokenizer, tiny_model
from train.checkpoints import begin, identify, newest
from train.memory import explain, is_out_of_memory
from train.order import StepOrder
from train.recipe import ACCELERATE, RECIPES, load_training_recipe


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_load(path: Path) -> None:
    assert load_training_recipe(path.stem).name == path.stem


def test_the_papers_numbers() -> None:
    recipe = load_training_recipe("arxiv_v1")
    optimizer = recipe.optimizer
    assert (optimizer.learning_rate, optimizer.schedule, optimizer.warmup_share) == (7e-6, "cosine", 0.03)
    assert (optimizer.global_batch, optimizer.epochs, recipe.examples.max_length) == (128, 3, 16_384)
    assert recipe.method.kind == "full"
    assert recipe.accumulation(n_processes=32) == 4


def test_a_misspelt_key_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(RecipeError, match=r"unknown key 'optimizer.learning_rat' \(did you mean 'learning_rate'\?\)"):
        load_training_recipe("demo", ["optimizer.learning_rat=1"])
    with pytest.raises(RecipeError, match=r"recipe 'dmo' does not exist\. Known: arxiv_v1, demo"):
        load_training_recipe("dmo")


def test_batches_must_divide() -> None:
    with pytest.raises(RecipeError, match=r"must be a multiple of memory\.micro_batch"):
        load_training_recipe("demo", ["optimizer.global_batch=6", "memory.micro_batch=4"])


@pytest.mark.parametrize("name", ["fsdp", "deepspeed_zero3"])
def test_accelerate_reads_the_shipped_configurations(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ACCELERATE / f"{name}.yaml"))
    assert config.num_processes == 8
    assert load_training_recipe("arxiv_v1").accumulation(config.num_processes) == 16


def test_the_fsdp_settings_are_ones_that_the_plugin_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import FullyShardedDataParallelPlugin

    config = load_config_from_file(str(ACCELERATE / "fsdp.yaml"))
    for key, value in config.fsdp_config.items():
        monkeypatch.setenv(key.upper(), str(value))
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    known = set(FullyShardedDataParallelPlugin.__dataclass_fields__)
    odd = {"fsdp_version", "fsdp_offload_params"}  # named otherwise in the plugin
    assert {key.removeprefix("fsdp_") for key in config.fsdp_config if key not in odd} <= known


def test_the_deepspeed_settings_are_ones_that_the_plugin_reads() -> None:
    import inspect

    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import dataclasses, launch

    config = load_config_from_file(str(ACCELERATE / "deepspeed_zero3.yaml"))
    source = inspect.getsource(dataclasses.DeepSpeedPlugin) + inspect.getsource(launch)
    for key in config.deepspeed_config:
        assert key in source, key


# The order of rows

LENGTHS = [17 * i % 101 for i in range(50)]


def steps(order: StepOrder, size: int = 8) -> list[list[int]]:
    rows = list(order)
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def test_every_row_once_an_epoch_and_longest_first_within_a_step() -> None:
    order = StepOrder(LENGTHS, 8, seed=3)
    for epoch in range(3):
        order.set_epoch(epoch)
        assert Counter(order) == Counter(range(50))
        for step in steps(order):
            assert all(LENGTHS[a] >= LENGTHS[b] for a, b in pairwise(step))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    order, other = StepOrder(LENGTHS, 8, seed=3), StepOrder(LENGTHS, 8, seed=3)
    first = list(order)
    torch.manual_seed(99)
    assert list(other) == first
    order.set_epoch(1)
    assert list(order) != first
    assert list(StepOrder(LENGTHS, 8, seed=4)) != first


# Checkpoints


def test_a_checkpoint_without_its_mark_does_not_count_and_is_removed(tmp_path: Path) -> None:
    from tests.builders import snapshot_rows
    from tests.test_snapshots import manifest_of

    identity = identify(manifest_of(snapshot_rows())("d_seed@v1", ()), "m@1", load_training_recipe("demo"))
    for name, is_whole in (("checkpoint-5", True), ("checkpoint-10", True), ("checkpoint-15", False)):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        if is_whole:
            (tmp_path / "checkpoints" / name / "complete").touch()
    assert newest(tmp_path) == tmp_path / "checkpoints" / "checkpoint-10"
    begin(tmp_path, identity)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "checkpoint-10", "checkpoint-5", "started.json",
    ]  # fmt: skip


# Out of memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: ..."), True),
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory of what was said"), False),
    ],
)
def test_out_of_memory_is_known_by_its_names(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_advice_leaves_out_what_is_done_already(tmp_path: Path) -> None:
    said = str(explain(load_training_recipe("arxiv_v1"), 9000, tmp_path))
    assert "1 rows of up to 9,000 tokens" in said
    assert "micro_batch" not in said
    assert "gradient_checkpointing" not in said
    assert "method.kind=lora" in said
    assert "examples.max_length=4500" in said
    assert "no step was saved" in said


# Beside training


def test_a_new_snapshot_names_its_tokenizer(tmp_path: Path) -> None:
    from types import SimpleNamespace
    from typing import Any

    from factory.engines.tokenizer import tokenizer_fingerprint
    from factory.release.promote import _tokenizer
    from schemas.recipe import EngineSettings

    base = tiny_model(tmp_path / "tiny")

    def mark(**settings: Any) -> str | None:
        run: Any = SimpleNamespace(
            build="d_seed",
            recipe=SimpleNamespace(engine=EngineSettings(**settings)),
            store=SimpleNamespace(home=tmp_path),
        )
        return _tokenizer(run)

    assert mark(model=str(base)) == tokenizer_fingerprint(embedded_tokenizer())
    assert mark(kind="scripted", model="script.jsonl") is None
    (base / "tokenizer.json").write_text("{")
    assert mark(model=str(base)) is None  # training makes the ids anew


def test_help_of_train_loads_nothing_heavy() -> None:
    script = (
        "import sys, train.cli, typer.main; typer.main.get_command(train.cli.app);"
        "print(sorted({'torch', 'transformers', 'trl', 'pyarrow', 'pydantic', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
