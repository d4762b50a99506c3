"""The `server` engine against servers on loopback: one that misbehaves as told, and the real llama.cpp."""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from factory.engines import server as servers
from factory.engines.local_model import Weights, find_weights
from factory.engines.server import ServerEngine
from factory.settings import default_home
from schemas.errors import EngineError
from schemas.protocols import Sampling
from schemas.recipe import EngineSettings
from tests.demo_rows import check_rows, check_token_ids
from tests.scripted_build import factory
from tests.tiny_model import tiny_model

Answer = Callable[[dict[str, Any], int], tuple[int, Any]]
"""From a request and its number to a status and a body; bytes are sent as they are."""


class Listening(ThreadingHTTPServer):
    """Refuses no connection where many come at once on a busy machine."""

    request_queue_size = 128


class Fake:
    """A server that answers as it is told, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake.keys.append(self.headers.get("Authorization"))
                self.reply(200, {"data": [{"id": "served", "max_model_len": 256}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.requests.append(body)
                fake.keys.append(self.headers.get("Authorization"))
                self.reply(*answer(body, len(fake.requests)))

            def reply(self, status: int, body: Any) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                with contextlib.suppress(OSError):  # the client may be gone
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = Listening(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def fakes() -> Iterator[Callable[[Answer], Fake]]:
    made: list[Fake] = []

    def make(answer: Answer) -> Fake:
        made.append(Fake(answer))
        return made[-1]

    yield make
    for fake in made:
        fake.close()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(str(tiny_model(tmp_path_factory.mktemp("tiny"))), "tiny@1")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "FIRST_PAUSE_S", 0.01)


def vllm_reply(text: str, ids: list[int], stop_reason: str | None = None, reason: str = "stop") -> dict[str, Any]:
    choice = {"text": text, "token_ids": ids, "finish_reason": reason, "stop_reason": stop_reason}
    return {"choices": [{**choice, "logprobs": {"token_logprobs": [-0.5] * len(ids)}}]}


async def ask(engine: ServerEngine, *stop: str, prompt: str = "2 + 2", max_tokens: int = 50) -> Any:
    return await engine.complete(
        engine.encode(prompt), stop=stop, max_tokens=max_tokens, sampling=Sampling(0.6, 0.95), seed=3
    )


def settings(*urls: str, **values: Any) -> EngineSettings:
    return EngineSettings(kind="server", urls=urls, max_model_len=512, **values)


async def test_prompts_travel_as_ids_and_the_answer_keeps_its_ids(fakes: Any, weights: Weights) -> None:
    engine: ServerEngine

    def answer(body: dict[str, Any], _: int) -> tuple[int, Any]:
        text = "x = 4\n```"
        return 200, vllm_reply(text, engine.encode(text + "python"), "```")

    fake = fakes(answer)
    engine = ServerEngine(weights, settings(fake.url + "/v1/"))
    made = await ask(engine, "```")
    assert fake.requests[0]["prompt"] == engine.encode("2 + 2")
    assert (fake.requests[0]["temperature"], fake.requests[0]["top_p"], fake.requests[0]["seed"]) == (0.6, 0.95, 3)
    assert made.stopped_on == "```"
    assert not made.finished
    assert engine.decode(made.token_ids) == made.text
    assert made.text.startswith("x = 4\n```")
    assert engine.max_model_len == 256
    await engine.aclose()


async def test_the_end_of_a_turn_and_of_the_budget_are_told_apart(fakes: Any, weights: Weights) -> None:
    engine: ServerEngine

    def answer(body: dict[str, Any], number: int) -> tuple[int, Any]:
        ids = engine.encode("four")
        if number == 1:
            return 200, vllm_reply("four", [*ids, engine.tokenizer.eos_token_id])
        return 200, vllm_reply("four", ids, reason="length")

    engine = ServerEngine(weights, settings(fakes(answer).url))
    first, second = await ask(engine, "```"), await ask(engine, "```")
    assert (first.text, first.finished, first.stopped_on) == ("four", True, None)
    assert (second.text, second.finished, second.stopped_on) == ("four", False, None)
    await engine.aclose()


async def test_what_llama_cpp_says_of_a_stop_is_understood(fakes: Any, weights: Weights) -> None:
    engine: ServerEngine

    def answer(body: dict[str, Any], number: int) -> tuple[int, Any]:
        more = {"tokens": engine.encode("x\n```python"), "stop_type": "word", "stopping_word": "```python"}
        return 200, {"choices": [{"text": "x\n", "finish_reason": "stop"}], "__verbose": more}

    engine = ServerEngine(weights, settings(fakes(answer).url))
    made = await ask(engine, "```python")
    assert (made.text, made.stopped_on) == ("x\n```python", "```python")
    await engine.aclose()


async def test_a_server_that_hides_what_stopped_it_is_refused(fakes: Any, weights: Weights) -> None:
    fake = fakes(lambda body, number: (200, {"choices": [{"text": "x", "finish_reason": "stop"}]}))
    engine = ServerEngine(weights, settings(fake.url))
    with pytest.raises(EngineError, match="does not say whether a stop string"):
        await ask(engine, "```")
    assert (await ask(engine)).finished  # without stop strings nothing is open
    await engine.aclose()


@pytest.mark.parametrize("failure", [(500, {}), (429, {}), (503, b"busy"), (200, b"<html>"), (200, b"")])
async def test_what_may_pass_is_tried_again(fakes: Any, weights: Weights, failure: tuple[int, Any]) -> None:
    fake = fakes(lambda body, number: failure if number < 4 else (200, vllm_reply("ok", [1], reason="length")))
    engine = ServerEngine(weights, settings(fake.url))
    with contextlib.suppress(EngineError):  # the made-up ids need not fit the text
        await ask(engine)
    assert len(fake.requests) == 4
    await engine.aclose()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {"error": {"message": "prompt too long"}}), "answered 400.*prompt too long"),
        ((404, b"no such model"), "answered 404"),
        ((200, {"choices": []}), "no completion"),
        ((200, {"choices": [{"text": None, "finish_reason": "stop"}]}), "ended a completion"),
        ((200, {"choices": [{"text": "x", "finish_reason": "content_filter"}]}), "content_filter"),
        ((200, [1, 2]), "no completion"),
    ],
)
async def test_what_will_not_pass_fails_at_once(fakes: Any, weights: Weights, answer: Any, said: str) -> None:
    fake = fakes(lambda body, number: answer)
    engine = ServerEngine(weights, settings(fake.url))
    with pytest.raises(EngineError, match=said):
        await ask(engine)
    assert len(fake.requests) == 1
    await engine.aclose()


async def test_a_server_that_dies_leaves_its_work_to_the_others(fakes: Any, weights: Weights) -> None:
    engine: ServerEngine

    def answer(body: dict[str, Any], _: int) -> tuple[int, Any]:
        return 200, vllm_reply("four", engine.encode("four"), reason="length")

    first, second = fakes(answer), fakes(answer)
    engine = ServerEngine(weights, settings(first.url, second.url))
    first.close()
    made = await asyncio.gather(*(ask(engine, prompt=f"{i} + {i}") for i in range(30)))
    assert [m.text for m in made] == ["four"] * 30
    assert len(second.requests) == 30
    await engine.aclose()


async def test_requests_spread_over_servers_and_a_prompt_comes_back_to_its_server(fakes: Any, weights: Weights) -> None:
    engine: ServerEngine
    gate = threading.Event()

    def answer(body: dict[str, Any], _: int) -> tuple[int, Any]:
        gate.wait(60)
        return 200, vllm_reply("four", engine.encode("four"), reason="length")

    both = [fakes(answer), fakes(answer)]
    engine = ServerEngine(weights, settings(*(fake.url for fake in both)))
    asked = [asyncio.create_task(ask(engine, prompt=f"{i} + {i}")) for i in range(40)]
    async with asyncio.timeout(30):
        while sum(len(fake.requests) for fake in both) < 40:
            await asyncio.sleep(0.01)
    gate.set()
    assert all(15 <= len(fake.requests) <= 25 for fake in both)
    await asyncio.gather(*asked)
    before = [len(fake.requests) for fake in both]
    for _ in range(5):
        await ask(engine, prompt="the same beginning")
    assert sorted(len(fake.requests) - n for fake, n in zip(both, before, strict=True)) == [0, 5]
    await engine.aclose()


async def test_the_key_comes_from_the_environment(
    fakes: Any, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    fake = fakes(lambda body, number: (401, {}))
    engine = ServerEngine(weights, settings(fake.url, api_key_env="MY_KEY"))
    with pytest.raises(EngineError, match="401") as error:
        await ask(engine)
    assert set(fake.keys) == {"Bearer secret"}
    assert "secret" not in str(error.value)
    await engine.aclose()


def test_no_server_at_all_is_said_at_once(weights: Weights) -> None:
    with pytest.raises(EngineError, match="no server answers") as error:
        ServerEngine(weights, settings("http://127.0.0.1:9", "not a url"))
    assert "http://127.0.0.1:9: ConnectError" in str(error.value)
    with pytest.raises(EngineError, match="needs the address"):
        ServerEngine(weights, settings())


def test_another_model_than_the_one_wanted_is_refused(fakes: Any, weights: Weights) -> None:
    fake = fakes(lambda body, number: (200, {}))
    with pytest.raises(EngineError, match="serves served, and not 'mine'"):
        ServerEngine(weights, settings(fake.url, served_model="mine"))


@pytest.fixture(scope="module")
def llama_url() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.llama_server", "4", "1024"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate("")


@pytest.mark.slow
async def test_llama_cpp_stops_at_strings_and_ends_turns_with_ids_that_fit(llama_url: str) -> None:
    wanted = EngineSettings(kind="server", urls=(llama_url,), max_model_len=1024)
    engine = ServerEngine(find_weights(wanted, default_home()), wanted)

    async def one(question: str, *stop: str, max_tokens: int = 120) -> Any:
        prompt = engine.prompt([{"role": "user", "content": question}])
        ids = engine.encode(prompt, special=True)
        return await engine.complete(ids, stop=stop, max_tokens=max_tokens, sampling=Sampling(), seed=1)

    code, hello, short, again = await asyncio.gather(
        one("Write a Python program that prints 7.", "```python"),
        one("Say hello.", "```python"),
        one("Write a Python program that prints 7.", max_tokens=9),
        one("Write a Python program that prints 7.", "```python"),
    )
    assert code.stopped_on == "```python"
    assert hello.finished
    assert len(short.token_ids) == 9
    assert again.text == code.text
    for made in (code, hello, short):
        assert engine.decode(made.token_ids) == made.text
    assert hello.logprob_sum < 0
    await engine.aclose()


@pytest.mark.slow
def test_the_demo_on_llama_cpp(llama_url: str, tmp_path: Path) -> None:
    done = factory(
        "build", "d_seed", "--limit", "8", "--url", llama_url, "--set", "engine.max_model_len=1024", home=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check_rows(tmp_path / "snapshots" / "d_seed" / "v1", at_least=2)
    check_token_ids(tmp_path / "snapshots" / "d_seed" / "v1", tmp_path / "models" / "SmolLM2-135M-Instruct")
