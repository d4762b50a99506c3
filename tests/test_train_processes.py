"""`train run` as a user runs it: killed, interrupted, short of memory, in two processes, on the real model."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from factory.engines.local_model import Weights
from schemas.protocols import Sampling
from schemas.recipe import EngineSettings
from tests.tiny_training import FAST, command, environment, product_rows, tiny_model, tiny_snapshot, train
from train.checkpoints import newest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    tiny_snapshot(home, product_rows(24))
    return home


def arguments(base: Path, out: Path, *more: str) -> tuple[str | Path, ...]:
    return ("run", "d_seed@latest", "--model", base, "--out", out, *FAST, "--set", "output.save_every_steps=2", *more)


def stop_after_a_checkpoint(line: list[str], home: Path, out: Path, sign: signal.Signals) -> tuple[int, str]:
    """Start a training, send a signal once another checkpoint is whole; exit code and what it said."""
    before = newest(out)
    process = subprocess.Popen(line, env=environment(home), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while newest(out) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(sign)
    _, said = process.communicate(timeout=60)
    assert newest(out) not in (before, None), said
    return process.returncode, said


def test_killed_and_interrupted_it_goes_on_with_the_same_command(tmp_path: Path, base: Path, home: Path) -> None:
    more = ("--set", "optimizer.epochs=8")
    whole = train(*arguments(base, tmp_path / "whole", *more), home=home)
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "out"
    line = command(*arguments(base, out, *more))
    code, _ = stop_after_a_checkpoint(line, home, out, signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, said = stop_after_a_checkpoint(line, home, out, signal.SIGINT)
    assert code == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    done = train(*arguments(base, out, *more), home=home)
    assert "going on after step" in done.stderr
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    again = train(*arguments(base, out, *more), home=home)
    assert (again.returncode, "unchanged" in again.stderr) == (0, True)


def test_a_real_memory_limit_ends_in_a_message(tmp_path: Path, base: Path, home: Path) -> None:
    tiny_snapshot(tmp_path, product_rows(8))
    big = tiny_model(tmp_path / "big", hidden_size=512, intermediate_size=4096, num_hidden_layers=12)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4_500_000_000, 4_500_000_000))

    done = train(*arguments(big, tmp_path / "out"), home=home, preexec_fn=limit)
    assert done.returncode == 1, done.stderr
    assert "error: out of memory: " in done.stderr
    assert "--set memory.gradient_checkpointing=true" in done.stderr
    assert "no step was saved" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_processes_train_the_same_and_one_of_them_speaks(tmp_path: Path, base: Path, home: Path) -> None:
    # `accelerate launch --cpu` starts several processes only through MPI; on GPUs it starts them as this does
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    more = ("--set", "optimizer.epochs=1", "--set", "memory.micro_batch=1")
    alone = train(*arguments(base, tmp_path / "alone", *more), home=home)
    both = train(*arguments(base, tmp_path / "both", *more), home=home, launcher=launcher)
    assert both.returncode == 0, both.stderr
    assert both.stderr.count("24 examples") == both.stderr.count("6 of 6 steps") == 1
    stories = [json.loads((tmp_path / name / "provenance.json").read_text()) for name in ("alone", "both")]
    assert [story["n_processes"] for story in stories] == [1, 2]
    assert stories[0]["examples"] == stories[1]["examples"]
    assert stories[0]["last_loss"] == pytest.approx(stories[1]["last_loss"], rel=1e-3)  # the same rows and labels
    import torch
    from safetensors.torch import load_file

    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "both"))
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one)
    assert alone.returncode == 0


async def test_the_real_model_learns_and_loads_in_our_engine(tmp_path: Path) -> None:
    from factory.engines.transformers import TransformersEngine

    tiny_snapshot(tmp_path, product_rows(8))
    out = tmp_path / "out"
    more = ("--set", "optimizer.max_steps=3", "--set", "optimizer.learning_rate=1e-4")
    for method in ("full", "lora"):
        done = train(
            "run", "d_seed@latest", "--out", out / method, *more, "--set", f"method.kind={method}", home=tmp_path
        )
        assert done.returncode == 0, done.stderr
        settings = EngineSettings(model=str(out / method), max_model_len=256)
        engine = TransformersEngine(Weights(str(out / method), "trained@1"), settings)
        prompt = engine.encode(engine.prompt([{"role": "user", "content": "What is 3 times 4?"}]), special=True)
        answer = await engine.complete(prompt, stop=(), max_tokens=8, sampling=Sampling(), seed=0)
        await engine.aclose()
        assert answer.text
    losses = [json.loads((out / method / "provenance.json").read_text())["last_loss"] for method in ("full", "lora")]
    assert losses[0] < losses[1] < 3.0
