"""The costly parts of a build: the engine, the sandbox and the checkers. Each is opened when first needed."""

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from factory.engines.local_model import engine_name, find_weights
from factory.sandbox.confine import confine_process
from factory.sandbox.pool import open_sandbox
from quality.checkers import Checkers
from schemas.errors import RecipeError
from schemas.protocols import Engine, Limits, Sandbox
from schemas.recipe import Recipe
from schemas.vocabulary import Executor

if TYPE_CHECKING:
    from factory.engines.scripted import ScriptedEngine
    from factory.engines.tokenizer import Tokenized


class Workbench:
    """Opens things once, closes them all. An unchanged build opens none, so it needs no model."""

    def __init__(self, recipe: Recipe, home: Path, *, trust: bool) -> None:
        self.recipe, self.home, self.trust = recipe, home, trust
        self._stack = AsyncExitStack()
        self._engine: Engine | None = None
        self._codec: Tokenized | ScriptedEngine | None = None
        self._sandbox: Sandbox | None = None
        self._checkers: Checkers | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def prepare(self, say: Callable[[str], None]) -> None:
        """Load the model now, before a step's clock starts, unless workers of a cluster will."""
        if self._engine is None and self.recipe.executor.kind is Executor.LOCAL:
            say(f"loading {name_of_engine(self.recipe)}")
            await self.engine()

    async def engine(self) -> Engine:
        """The model.

        Raises:
            EngineError: it cannot be loaded.
        """
        if self._engine is None:
            self._engine = load_engine(self.recipe, self.home)
            self._stack.push_async_callback(self._engine.aclose)
        return self._engine

    def codec(self) -> "Tokenized | ScriptedEngine":
        """Text to tokens and back as the recipe's engine does it, without its model.

        Raises:
            EngineError: the tokenizer cannot be loaded.
        """
        if self._codec is None:
            try:
                self._codec = load_codec(self.recipe, self.home)
            except (OSError, ValueError, KeyError, ImportError) as error:
                from factory.engines.tokenizer import cannot_load

                raise cannot_load(self.recipe.engine, error) from error
        return self._codec

    async def sandbox(self) -> Sandbox:
        """The sandbox.

        Raises:
            SandboxError: the kernel refuses isolation.
        """
        if self._sandbox is None:
            settings = self.recipe.sandbox
            limits = Limits(settings.wall_s, settings.cpu_s, settings.memory_mb, settings.output_bytes)
            self._sandbox = await open_sandbox(
                n_slots=n_cores(), trust=self.trust, limits=limits, max_sessions=settings.max_sessions
            )
            self._stack.push_async_callback(self._sandbox.aclose)
        return self._sandbox

    async def checkers(self) -> Checkers:
        """The checker workers, confined by the kernel: what they parse is model-written."""
        if self._checkers is None:
            judge = self.recipe.judge
            confine = None if self.trust else confine_process
            checkers = Checkers(judge.n_workers, judge.timeout_s, judge.memory_mb, confine, precision=judge.precision)
            self._checkers = await self._stack.enter_async_context(checkers)
        return self._checkers


def n_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name_of_engine(recipe: Recipe) -> str:
    """`name@revision` of the recipe's engine, without loading it."""
    if recipe.engine.kind == "scripted":
        from factory.engines.scripted import script_name

        return script_name(recipe.engine)
    return engine_name(recipe.engine)


def load_codec(recipe: Recipe, home: Path) -> "Tokenized | ScriptedEngine":
    """Text to tokens and back as the recipe's engine does it, without its model."""
    if recipe.engine.kind == "scripted":
        from factory.engines.scripted import ScriptedEngine

        return ScriptedEngine(recipe.engine)
    from factory.engines.tokenizer import Tokenized, load_tokenizer

    return Tokenized(load_tokenizer(find_weights(recipe.engine, home)))


def load_engine(recipe: Recipe, home: Path) -> Engine:
    """The recipe's engine, loaded.

    Raises:
        EngineError: it cannot be.
        RecipeError: this version has no such engine.
    """
    settings = recipe.engine
    match settings.kind:
        case "scripted":
            from factory.engines.scripted import ScriptedEngine

            return ScriptedEngine(settings)
        case "transformers":
            from factory.engines.transformers import TransformersEngine

            return TransformersEngine(find_weights(settings, home), settings)
        case "vllm":
            from factory.engines.vllm import VllmEngine

            return VllmEngine(find_weights(settings, home), settings)
        case "server":
            from factory.engines.server import ServerEngine

            return ServerEngine(find_weights(settings, home), settings)
    raise RecipeError(f"engine '{settings.kind}' is unknown")
