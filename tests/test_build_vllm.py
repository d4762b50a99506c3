"""Whole builds on the real vLLM: in this process, and as the servers that it starts itself.

`make test-vllm` makes an environment in which this runs without a GPU.
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.engines.local_model import find_weights
from schemas.recipe import EngineSettings
from tests.demo_rows import check_rows, check_token_ids
from tests.scripted_build import factory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
]
START_S = 300


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vllm")
    find_weights(EngineSettings(), folder)
    return folder


def build(home: Path, *options: str) -> str:
    done = factory("build", "d_seed", "--recipe", "demo", "--limit", "16", *options, home=home, seconds=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_the_demo_on_the_real_engine(home: Path) -> None:
    printed = build(home, "--engine", "vllm")
    assert "d_seed@v1" in printed
    check_rows(home / "snapshots" / "d_seed" / "v1", at_least=6)
    check_token_ids(home / "snapshots" / "d_seed" / "v1", home / "models" / "SmolLM2-135M-Instruct")
    assert "unchanged, d_seed@v1" in build(home, "--engine", "vllm")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--model", str(home / "models" / "SmolLM2-135M-Instruct"), "--host", "127.0.0.1", "--port", str(port)]
    options += ["--dtype", "float32", "--max-model-len", "1024", "--enforce-eager", "--served-model-name", "small"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *options],
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except OSError:
                assert process.poll() is None, "the server did not start"
                assert time.monotonic() < deadline, "the server did not become healthy"
                time.sleep(1)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def test_the_demo_on_vllms_own_server(home: Path, url: str) -> None:
    printed = build(home, "--url", url, "--set", "engine.max_model_len=1024")
    assert "d_seed@v2" in printed
    check_rows(home / "snapshots" / "d_seed" / "v2", at_least=6)
    check_token_ids(home / "snapshots" / "d_seed" / "v2", home / "models" / "SmolLM2-135M-Instruct")
