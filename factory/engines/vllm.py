"""The `vllm` engine: vLLM's `AsyncLLM` in this process, its scheduler and workers in processes that it starts.

The production engine. Raw completions over token ids, no chat template between rounds and no reasoning parser; prefix
caching is on, so a hint that continues a stored baseline costs only its own tokens. What is not covered: vLLM batches
as it likes, so the last bits of the logits depend on who shares a step, and where two tokens are nearly equal the text
can too; set VLLM_BATCH_INVARIANT=1 on a GPU that supports it to trade speed for the same text every time.
"""

import asyncio
import contextlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from factory.engines import guard
from factory.engines.endings import find_ending
from factory.engines.local_model import Weights
from factory.engines.tokenizer import Tokenized, cannot_load, end_ids, generation_config, load_tokenizer
from schemas.errors import EngineError
from schemas.protocols import Completion, Sampling
from schemas.recipe import EngineSettings

ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # this process has threads, and a fork would copy their locks held
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; read by the CPU build alone
}
"""What vLLM is told through its environment. A variable that the user has set stays as it is."""
SHUTDOWN_S = 30.0
"""vLLM kills its processes after this. They take about 10 s on a CPU; killed, they leave shared memory behind."""


class VllmEngine(Tokenized):
    """See `schemas.protocols.Engine`."""

    def __init__(self, weights: Weights, settings: EngineSettings) -> None:
        """Load the model; takes from tens of seconds to minutes, and blocks meanwhile.

        Raises:
            EngineError: vLLM is not installed, finds no device, or cannot load the model; or the model has no chat
                template.
        """
        self.name = weights.name
        for key, value in ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        _import_vllm()
        self._guard = guard.start()
        try:
            super().__init__(load_tokenizer(weights))
            self._end_ids = end_ids(self.tokenizer, generation_config(weights))
            with _same_environment():
                self._llm: Any = _start(weights, settings)
        except EngineError:
            self._guard.communicate(b".")
            raise
        except Exception as error:  # any of vLLM's, torch's, the driver's: what could be known is in its message
            self._guard.communicate(b".")
            raise cannot_load(settings, error) from error
        self.max_model_len = int(self._llm.model_config.max_model_len)
        self._numbers = itertools.count()
        self._running: set[str] = set()

    async def complete(
        self, prompt_ids: Sequence[int], *, stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int
    ) -> Completion:
        """See `schemas.protocols.Engine.complete`."""
        room = self.room(prompt_ids)
        if self._llm is None:
            raise EngineError("the engine has stopped")
        request_id = str(next(self._numbers))
        self._running.add(request_id)
        try:
            params = self._params(stop, min(max_tokens, room), sampling, seed)
            outputs = [part async for part in self._llm.generate(_token_prompt(prompt_ids), params, request_id)]
        except Exception as error:  # one request's failure is its own; a dead engine fails every request
            cause = error.__cause__ or error  # vLLM wraps what it did not expect in an error without a message
            raise EngineError(f"{type(cause).__name__}: {cause}") from error
        finally:
            self._running.discard(request_id)
        return self._completion(outputs[-1].outputs[0], stop)

    def _params(self, stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=seed,
            max_tokens=max_tokens,
            stop=list(stop),
            include_stop_str_in_output=True,
            stop_token_ids=sorted(self._end_ids),
            logprobs=0,  # of the chosen token alone
            skip_special_tokens=False,  # a stop string is sought in the text that `decode` gives
            spaces_between_special_tokens=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _completion(self, output: Any, stop: Sequence[str]) -> Completion:
        """Text made from the ids, so that the two agree whatever vLLM's own detokeniser did."""
        if output.finish_reason not in {"stop", "length"}:
            stopped = "the engine has stopped" if self._llm is None else None
            raise EngineError(stopped or f"vLLM ended the request with '{output.finish_reason}'")
        ending = find_ending(output.token_ids, stop, self._end_ids, self.decode)
        stopped_on, finished = ending.stopped_on, ending.has_end_token
        if isinstance(output.stop_reason, str) and stopped_on is None:
            # decoded after the prompt it can differ from the ids alone by a space
            stopped_on, finished = output.stop_reason, False
        chosen = zip(output.token_ids[: len(ending.ids) + finished], output.logprobs, strict=False)
        logprob_sum = float(sum(step[token].logprob for token, step in chosen))
        if math.isnan(logprob_sum):
            raise EngineError("the model's logits are not numbers")
        return Completion(ending.text, tuple(ending.ids), stopped_on, finished, logprob_sum)

    async def aclose(self) -> None:
        """End the requests under way with an error, then vLLM's processes, and wait for them."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        with contextlib.suppress(Exception):  # nothing to end in an engine that died
            await llm.abort(list(self._running))
        llm.shutdown(timeout=SHUTDOWN_S)
        self._guard.communicate(b".")
        await asyncio.sleep(0)  # its reader of outputs was cancelled and has to run once more to end


def _import_vllm() -> None:
    """Say early and plainly that it is missing."""
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "vllm"
        what = "is not installed" if missing else f"is installed but cannot be imported: {error}"
        raise EngineError(
            f"engine 'vllm': vLLM {what}\n"
            f"  install it:  pip install 'start-factory[vllm]'\n"
            f"  or use:      --engine transformers\n"
            f"  state:       nothing was generated."
        ) from error


@contextlib.contextmanager
def _same_environment() -> Iterator[None]:
    """Take back what vLLM's CPU platform puts into the environment for its workers, such as LD_PRELOAD."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for key in set(os.environ) - set(before):
            del os.environ[key]
        os.environ.update(before)


def _start(weights: Weights, settings: EngineSettings) -> Any:
    """A running `AsyncLLM`."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    device = current_platform.device_type
    if not device or settings.device not in {"auto", device}:
        raise EngineError(
            f"engine 'vllm': device '{settings.device}' is asked for; this vLLM runs on {device or 'no device here'}.\n"
            f"  choose among several GPUs with CUDA_VISIBLE_DEVICES, or use --engine transformers\n"
            f"  state:  nothing was generated."
        )
    on_cpu = device == "cpu"
    args = AsyncEngineArgs(
        model=weights.path,
        revision=weights.revision,
        tokenizer_revision=weights.revision,
        dtype="float32" if on_cpu and settings.dtype == "auto" else settings.dtype,
        tensor_parallel_size=settings.tensor_parallel,
        data_parallel_size=settings.data_parallel,
        gpu_memory_utilization=settings.memory_share,
        max_num_seqs=settings.max_running,
        enable_prefix_caching=True,
        enforce_eager=on_cpu,
        block_size=32 if on_cpu else None,  # the smallest; with 128, the default, hardly a turn finds the one before
        generation_config="vllm",  # sampling is the recipe's alone
        use_tqdm_on_load=False,
        disable_log_stats=True,
    )
    args.max_model_len = min(settings.max_model_len, args.create_model_config().max_model_len)
    return AsyncLLM.from_engine_args(args)


def _token_prompt(prompt_ids: Sequence[int]) -> Any:
    from vllm.inputs import tokens_input

    return tokens_input(list(prompt_ids))
