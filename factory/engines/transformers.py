"""The `transformers` engine: any causal language model of the library, many requests per forward pass.

The embedded default on a laptop, and the engine where vLLM cannot run. One thread owns the model; `complete` hands it a
request and waits. `batcher` says how requests share forward passes and why the text does not depend on who shares them.
"""

import asyncio
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from factory.engines.batcher import Batcher
from factory.engines.local_model import Weights, quiet
from factory.engines.request import Request
from factory.engines.slots import ATTENTION_NAME
from factory.engines.tokenizer import Tokenized, cannot_load, end_ids, load_tokenizer
from schemas.errors import EngineError
from schemas.protocols import Completion, Sampling
from schemas.recipe import EngineSettings

Job = tuple[Request, "Future[Completion]"]


class TransformersEngine(Tokenized):
    """See `schemas.protocols.Engine`."""

    def __init__(self, weights: Weights, settings: EngineSettings) -> None:
        """Load the model.

        Raises:
            EngineError: it cannot be loaded, has no chat template, or attends in a way this engine cannot batch.
        """
        self.name = weights.name
        tokenizer, model = _load(weights, settings)
        super().__init__(tokenizer)
        limit = int(getattr(model.config.get_text_config(), "max_position_embeddings", settings.max_model_len))
        self.max_model_len = min(settings.max_model_len, limit)
        eos_ids = end_ids(tokenizer, model.generation_config)
        self._batcher = Batcher(model, self.decode, eos_ids, settings.max_running, self.max_model_len)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    async def complete(
        self, prompt_ids: Sequence[int], *, stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int
    ) -> Completion:
        """See `schemas.protocols.Engine.complete`."""
        self.room(prompt_ids)
        if not self._thread.is_alive():
            raise EngineError("the engine has stopped")
        future: Future[Completion] = Future()
        self._jobs.put((Request(list(prompt_ids), tuple(stop), max_tokens, sampling, seed), future))
        return await asyncio.wrap_future(future)

    async def aclose(self) -> None:
        """Stop after the step under way; whatever still waits is cancelled."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        """Drive the batcher until told to stop."""
        futures: dict[Request, Future[Completion]] = {}
        while True:
            while self._batcher.has_room():
                try:
                    job = self._jobs.get(block=not futures)
                except queue.Empty:
                    break
                if job is None:
                    for future in futures.values():
                        future.cancel()
                    return
                request, future = job
                if not future.cancelled():
                    futures[request] = future
                    self._batcher.add(request)
            self._step(futures)

    def _step(self, futures: "dict[Request, Future[Completion]]") -> None:
        try:
            ended = self._batcher.step()
        except Exception as error:  # of the whole pass
            ended = [(request, error) for request in self._batcher.running.values()]
        for request, outcome in ended:
            self._batcher.release(request)
            future = futures.pop(request)
            if not future.set_running_or_notify_cancel():
                continue  # its caller went away meanwhile
            if isinstance(outcome, Exception):
                future.set_exception(EngineError(f"{type(outcome).__name__}: {outcome}"))
            else:
                future.set_result(outcome)
        for request, future in list(futures.items()):
            if future.cancelled():
                del futures[request]
                self._batcher.release(request)


def _load(weights: Weights, settings: EngineSettings) -> tuple[Any, Any]:
    """Tokenizer and model, on the device."""
    quiet()
    options: dict[str, Any] = {"revision": weights.revision} if weights.revision else {}
    try:
        config = AutoConfig.from_pretrained(weights.path, **options).get_text_config()
        _refuse(config, weights)
        tokenizer = load_tokenizer(weights)
        model = AutoModelForCausalLM.from_pretrained(
            weights.path, dtype=settings.dtype, attn_implementation=ATTENTION_NAME, **options
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise cannot_load(settings, error) from error
    device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return tokenizer, model.to(device).eval()


def _refuse(config: Any, weights: Weights) -> None:
    """Say at once what would only show as wrong text later."""
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"} or getattr(config, "sliding_window", None):
        raise EngineError(
            f"{weights.name} mixes attention kinds ({', '.join(sorted(layers))}), which the transformers engine does "
            f"not batch.\n  use:  --engine vllm"
        )
