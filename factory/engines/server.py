"""The `server` engine: `/v1/completions` of one or many OpenAI-compatible servers (vLLM, SGLang, llama.cpp).

The tokenizer is the model's own, loaded here; prompts and continuations travel as token ids. A request goes to the
least loaded server; among nearly equal ones to the one that has seen its beginning before, for the sake of its prefix
cache. What failed for reasons that may pass is tried again, after growing, jittered pauses, on whichever server is best
then. Many servers are the simplest way to many machines: each is started as its own documentation says.

Not covered: whether a server holds the weights that its name says.
"""

import asyncio
import hashlib
import os
import random
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from factory.engines.local_model import Weights
from factory.engines.replies import ASK, complete, parse
from factory.engines.tokenizer import Tokenized, cannot_load, end_ids, generation_config, load_tokenizer
from schemas.errors import EngineError
from schemas.protocols import Completion, Sampling
from schemas.recipe import EngineSettings

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Statuses of what may pass."""
PREFIX = 64
"""Tokens by which a server is chosen among equally loaded ones."""
SLACK = 4
"""Requests by which loads may differ and still count as equal."""
HEALTH_S = 10.0


@dataclass
class Server:
    """One base URL."""

    url: str
    n_running: int = 0
    n_failures: int = 0
    """In a row."""
    down_until: float = 0.0


class ServerEngine(Tokenized):
    """See `schemas.protocols.Engine`."""

    def __init__(self, weights: Weights, settings: EngineSettings) -> None:
        """Ask every server how it is.

        Raises:
            EngineError: no URL is given, the tokenizer cannot be loaded, no server answers, or one serves no such
                model.
        """
        if not settings.urls:
            raise EngineError(
                "engine 'server' needs the address of a server.\n  use:  --set 'engine.urls=[\"http://127.0.0.1:8000\"]'"
            )
        try:
            super().__init__(load_tokenizer(weights))
            self._end_ids = end_ids(self.tokenizer, generation_config(weights))
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise cannot_load(settings, error) from error
        self.name, self._settings = weights.name, settings
        self._servers = [Server(url.rstrip("/").removesuffix("/v1")) for url in settings.urls]
        headers = _headers(settings)
        self._model, self.max_model_len = _ask_all(self._servers, settings, headers)
        self._pauses = random.Random()  # noqa: S311 - jitter
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(settings.timeout_s, connect=HEALTH_S),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=settings.max_running),
        )

    async def complete(
        self, prompt_ids: Sequence[int], *, stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int
    ) -> Completion:
        """See `schemas.protocols.Engine.complete`."""
        room = self.room(prompt_ids)
        body = {
            **ASK,
            "model": self._model,
            "prompt": list(prompt_ids),
            "max_tokens": min(max_tokens, room),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
            "stop": list(stop),
            "stop_token_ids": sorted(self._end_ids),
        }
        prefix = array("q", prompt_ids[:PREFIX]).tobytes()
        reply = parse(await self._post(body, prefix))
        return complete(reply, stop, self._end_ids, self.encode, self.decode)

    async def _post(self, body: dict[str, Any], prefix: bytes) -> Any:
        """The JSON of the first server that answers."""
        failure = ""
        for attempt in range(self._settings.retries + 1):
            if attempt:
                await asyncio.sleep(self._pause_s(attempt))
            server = self._choose(prefix)
            server.n_running += 1
            try:
                response = await self._client.post(f"{server.url}/v1/completions", json=body)
                if response.status_code == httpx2.codes.OK:
                    data = response.json()
                    server.n_failures = 0
                    return data
                failure = f"{server.url} answered {response.status_code}: {_message(response)}"
                if response.status_code not in PASSING:
                    raise EngineError(failure)
            except (httpx2.TransportError, ValueError) as error:  # ValueError: what it sent is no JSON
                failure = f"{server.url}: {type(error).__name__} {error}".rstrip()
            finally:
                server.n_running -= 1
            server.n_failures += 1
            server.down_until = time.monotonic() + _doubled(server.n_failures)
        raise EngineError(f"{self._settings.retries + 1} attempts failed, the last: {failure}")

    def _pause_s(self, attempt: int) -> float:
        """Longer each time; jittered, so that a thousand requests do not come back at once."""
        return self._pauses.uniform(0.5, 1.0) * _doubled(attempt)

    def _choose(self, prefix: bytes) -> Server:
        """The least loaded server that is up, or, where none is, the one that will be tried first."""
        now = time.monotonic()
        up = [server for server in self._servers if server.down_until <= now]
        if not up:
            return min(self._servers, key=lambda server: server.down_until)
        least = min(server.n_running for server in up)
        equal = [server for server in up if server.n_running <= least + SLACK]
        return max(equal, key=lambda server: hashlib.blake2b(prefix + server.url.encode(), digest_size=8).digest())

    async def aclose(self) -> None:
        """Close the connections; the servers stay."""
        await self._client.aclose()


def _doubled(n: int) -> float:
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(n - 1, 20)))


def _headers(settings: EngineSettings) -> dict[str, str]:
    key = os.environ.get(settings.api_key_env, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _ask_all(servers: list[Server], settings: EngineSettings, headers: dict[str, str]) -> tuple[str, int]:
    """The name of the model that all servers serve, and the shortest of their windows and the recipe's."""
    failures, names, window = [], {}, settings.max_model_len
    with httpx2.Client(headers=headers, timeout=HEALTH_S) as client:
        for server in servers:
            try:
                response = client.get(f"{server.url}/v1/models")
                if response.status_code in {401, 403}:
                    raise EngineError(
                        f"{server.url} refuses the API key.\n"
                        f"  next:   put it into the environment variable {settings.api_key_env}\n"
                        f"  state:  nothing was generated."
                    )
                response.raise_for_status()
                models = response.json()["data"]
                found = next((m for m in models if settings.served_model in {None, m["id"]}), None)
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, LookupError, TypeError) as error:
                failures.append(f"{server.url}: {type(error).__name__} {error}".rstrip().splitlines()[0])
                server.down_until = time.monotonic() + FIRST_PAUSE_S
                continue
            if found is None:
                known = ", ".join(str(m["id"]) for m in models)
                raise EngineError(f"{server.url} serves {known}, and not '{settings.served_model}'.")
            names[server.url] = str(found["id"])
            window = min(window, int(found.get("max_model_len") or (found.get("meta") or {}).get("n_ctx") or window))
    if not names:
        listed = "\n  ".join(failures)
        raise EngineError(f"no server answers:\n  {listed}\n  next:   start one, or mend engine.urls\n"
                          f"  state:  nothing was generated.")  # fmt: skip
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{url} {name}" for url, name in names.items())
        raise EngineError(f"the servers serve different models: {listed}.\n  next:   set engine.served_model")
    return next(iter(names.values())), window


def _message(response: "httpx2.Response") -> str:
    return " ".join(response.text.split())[:300]
