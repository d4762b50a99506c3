"""The actors of the `ray` executor: the engine of a replica, and the counter that adds up what the tasks do."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from factory.rollout.live import Tally
from factory.workbench import load_engine
from schemas.errors import EngineError
from schemas.protocols import Completion, Sampling
from schemas.recipe import Recipe


class Replica:
    """The actor: an engine, and nothing else."""

    def __init__(self, recipe: Recipe, home: str) -> None:
        self.failure: str | None = None
        try:
            self.engine = load_engine(recipe, Path(home))
        except EngineError as error:
            self.failure = str(error)  # told by `facts`: an actor that raises here only dies

    async def facts(self) -> tuple[str, int] | str:
        """Name and context window; why there is no engine."""
        return self.failure or (self.engine.name, self.engine.max_model_len)

    async def complete(self, prompt_ids: list[int], request: dict[str, Any]) -> Completion | str:
        """As the engine's; the message of its error where it fails."""
        try:
            return await self.engine.complete(prompt_ids, **request)
        except EngineError as error:
            return str(error)


class RemoteEngine:
    """The engine of a replica, as a task sees it: text to tokens here, completions there."""

    def __init__(self, ray: Any, actor: Any, codec: Any, name: str, max_model_len: int) -> None:
        self._ray, self._actor = ray, actor
        self.prompt, self.encode, self.decode = codec.prompt, codec.encode, codec.decode
        self.name, self.max_model_len = name, max_model_len

    async def complete(
        self, prompt_ids: Sequence[int], *, stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int
    ) -> Completion:
        """See `schemas.protocols.Engine.complete`."""
        request = {"stop": list(stop), "max_tokens": max_tokens, "sampling": sampling, "seed": seed}
        try:
            made: Completion | str = await self._actor.complete.remote(list(prompt_ids), request)
        except self._ray.exceptions.RayError as error:
            raise EngineError(f"{type(error).__name__}: {error}") from None
        if isinstance(made, str):
            raise EngineError(made)
        return made

    async def aclose(self) -> None:
        """The driver ends the replica."""


class Counts:
    """The actor that adds up what the tasks do."""

    def __init__(self) -> None:
        self.parts: dict[str, Tally] = {}

    def put(self, task: str, tally: Tally) -> None:
        """The count of one task so far, in place of what it said before."""
        self.parts[task] = tally

    def total(self) -> dict[str, float]:
        """Over all tasks."""
        names = asdict(Tally())
        return {name: sum(getattr(tally, name) for tally in self.parts.values()) for name in names}
