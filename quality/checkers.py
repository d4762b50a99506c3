"""Verifiers behind killable workers: a check that hangs is `timeout`, never a wrong answer.

Model-written answers are code to the libraries that judge them (see `quality.verifiers`), so they are only looked at in
worker processes: separate interpreters with a limit on memory, a small environment, no torch, and the caller's
`confine` applied after their imports. They are spoken to in JSON lines on a socket of their own. The parent takes
nothing from a reply but four fields of fixed types; any other reply kills the worker. It also kills at the time limit,
from outside, and starts a new worker, so the next check is not affected.

Not covered: an answer that gets code to run inside a worker can forge the verdicts of that worker until it ends. The
filter in `quality.verifiers` is there to prevent it; `confine` bounds what else such code could do.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from quality.comparison import normal_text, opinion
from quality.process import Died, WorkerProcess
from schemas.errors import SandboxError
from schemas.vocabulary import CheckOutcome, VerifierName

MAX_ANSWER_CHARS = 20_000
"""A longer answer is not judged: outcome `error`."""


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one check."""

    is_correct: bool | None
    """None: could not tell. Then `outcome` and `detail` say why."""
    outcome: CheckOutcome
    second_opinion: bool | None
    """`quality.comparison.opinion`: plain text and numbers, sharing no code with the verifier; None: no opinion."""
    detail: str
    """The step that decided (`exact`, `normalised`, the verifier), or why none could."""
    wall_ms: float
    """Of this check without waiting for a free worker; that of the first one where the result was known already."""

    @property
    def disagreement(self) -> bool:
        """Both opinions exist and differ."""
        return None not in (self.is_correct, self.second_opinion) and self.is_correct != self.second_opinion


class Checkers:
    """A pool of checker workers, as an async context manager.

    It belongs to the event loop it was entered in, which may run in any thread.

    Args:
        n_workers: Processes; about 150 MB each.
        timeout_s: Of one check, from when a worker has it.
        memory_mb: Address space of a worker beyond what it needs itself.
        confine: A function at module level, called in each worker after its imports and before its first check.
            It must leave the installed packages readable: scorers of reasoning-gym read word lists.

    Raises:
        SandboxError: on entering, when a worker cannot start or `confine` fails in it; on `check`, when one that died
            could not be replaced.
        ValueError: `confine` is not importable by name.
    """

    def __init__(
        self, n_workers: int, timeout_s: float, memory_mb: int, confine: Callable[[], object] | None = None
    ) -> None:
        self._n_workers = n_workers
        self._timeout_s = timeout_s
        self._setup = {"memory_mb": memory_mb, "confine": _importable(confine)}
        self._idle: asyncio.Queue[WorkerProcess | SandboxError] = asyncio.Queue()
        self._workers: set[WorkerProcess] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._known: dict[bytes, Check] = {}
        self._is_closed = False

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(self._start() for _ in range(self._n_workers)))
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Kill the workers and wait for them."""
        self._is_closed = True
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        for worker in list(self._workers):
            self._end(worker)
        await asyncio.sleep(0)  # lets the transports close

    async def check(
        self, verifier: VerifierName, gold: str | None, answer: str | None, meta: str = "{}", *, shortcut: bool = True
    ) -> Check:
        """Judge one answer. Results, but for errors, are remembered by (verifier, gold, answer, meta).

        Args:
            verifier: Who judges.
            gold: The reference answer; `reasoning_gym` finds its own in `meta`.
            answer: Model-written, of any length and content. None is a wrong answer: there is none.
            meta: The problem's `meta`, JSON.
            shortcut: Take text equal to the gold, as written or normalised, for correct without asking Math-Verify.
                Off where the verifier itself is on trial.

        Raises:
            SandboxError: no worker is left and none can be started.
        """
        if answer is None or not answer.strip():
            return Check(False, CheckOutcome.OK, None, "no answer", 0.0)
        key = _key(verifier, gold, answer, meta, shortcut)
        if key not in self._known:
            check = await self._decide(verifier, gold, answer, meta, shortcut)
            if check.outcome is CheckOutcome.ERROR:
                return check
            self._known[key] = check
        return self._known[key]

    async def _decide(self, verifier: VerifierName, gold: str | None, answer: str, meta: str, shortcut: bool) -> Check:
        started = time.perf_counter()
        if len(answer) > MAX_ANSWER_CHARS:
            return Check(None, CheckOutcome.ERROR, None, f"an answer of {len(answer):,} characters is not judged", 0.0)
        second = opinion(gold, answer) if gold is not None else None
        if shortcut and gold and verifier is VerifierName.MATH_VERIFY:
            for name, form in (("exact", str.strip), ("normalised", normal_text)):
                if form(gold) == form(answer):
                    return Check(True, CheckOutcome.OK, second, name, _ms_since(started))
        request = {"verifier": verifier, "gold": gold, "answer": answer, "meta": meta}
        worker = await self._idle.get()
        if isinstance(worker, SandboxError):
            self._idle.put_nowait(worker)
            raise worker
        started = time.perf_counter()
        survives = False
        try:
            is_correct, outcome, detail = await asyncio.wait_for(worker.ask(request), self._timeout_s)
            survives = True
        except TimeoutError:
            is_correct, outcome, detail = None, CheckOutcome.TIMEOUT, f"killed after {self._timeout_s:g} s"
        except Died as death:
            is_correct, outcome, detail = None, CheckOutcome.ERROR, str(death)
        finally:
            if survives:
                self._idle.put_nowait(worker)
            else:
                self._end(worker)
                if not self._is_closed:
                    self._replace()
        return Check(is_correct, outcome, second, detail, _ms_since(started))

    async def _start(self) -> None:
        worker = WorkerProcess()
        self._workers.add(worker)
        try:
            await worker.start(self._setup)
        except BaseException:
            self._end(worker)
            raise
        self._idle.put_nowait(worker)

    def _replace(self) -> None:
        async def start() -> None:
            for attempt in range(3):
                try:
                    return await self._start()
                except SandboxError as error:
                    if attempt == 2:
                        self._idle.put_nowait(error)
            return None

        task = asyncio.create_task(start())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    def _end(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        worker.kill()


def _importable(confine: Callable[[], object] | None) -> tuple[str, str] | None:
    if confine is None:
        return None
    module, name = getattr(confine, "__module__", None), getattr(confine, "__qualname__", "")
    if not module or module == "__main__" or not name.isidentifier():
        raise ValueError(f"confine must be a function at the top of an importable module, not {module}.{name}")
    return module, name


def _key(*parts: object) -> bytes:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
