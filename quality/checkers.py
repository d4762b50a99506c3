"""Answers judged by a ladder of steps, the last ones behind killable workers: a check that hangs is `timeout`.

1. `quality.equivalence` reads both answers and compares them, in this process: bounded, and nothing is evaluated as
   code. Equal texts, numbers, letters of options, times and words are decided here, about 15,000 a second.
2. What it decides between formulas with symbols stands, and Math-Verify is asked for a second opinion.
3. What it cannot tell is decided by Math-Verify (`symbolic`), asked in both directions: `verify` is not symmetric.

Ours stands in 2 because it compares values at points, exactly where they are rational: over the labelled sets of
`tests/test_verdicts.py` it is right where the two differ. Every difference is stored: `marts.disagreements`.

Model-written answers are code to the libraries that judge them (see `quality.verifiers`), so they are only looked at in
worker processes: separate interpreters with a limit on memory, a small environment, no torch, and the caller's
`confine` applied after their imports. They are spoken to in JSON lines on a socket of their own. The parent takes
nothing from a reply but three fields of fixed types; any other reply kills the worker. It also kills at the time limit,
from outside, and starts a new worker, so the next check is not affected.

Not covered: an answer that gets code to run inside a worker can forge the verdicts of that worker until it ends. The
filter in `quality.verifiers` is there to prevent it; `confine` bounds what else such code could do.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

from quality.equivalence.compare import NO_OPINION, compare
from quality.process import Died, WorkerProcess
from schemas.errors import SandboxError
from schemas.vocabulary import Judgement, JudgeStep, VerifierName

VERSION = 3
"""Part of the judge's hash: raised when the same answer would be judged otherwise."""
MAX_ANSWER_CHARS = 20_000
"""A longer answer is not judged: `undecided`."""
_STEP_OF = {
    VerifierName.MATH_VERIFY: JudgeStep.SYMBOLIC,
    VerifierName.REASONING_GYM: JudgeStep.SCORER,
    VerifierName.CHOICE: JudgeStep.CHOICE,
}


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one check."""

    verdict: Judgement
    step: JudgeStep
    second_opinion: bool | None
    """Of a judge that shares no code with the step that decided; None: not asked, or none."""
    detail: str
    """What was compared, or why nothing could be."""
    wall_ms: float
    """Of this check without waiting for a free worker; that of the first one where the result was known already."""

    @property
    def is_correct(self) -> bool | None:
        """None where the verdict is neither `correct` nor `wrong`."""
        return self.verdict.is_correct

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
        precision: Significant digits to which a rounded decimal must agree.
        confine: A function at module level, called in each worker after its imports and before its first check.
            It must leave the installed packages readable: scorers of reasoning-gym read word lists.

    Raises:
        SandboxError: on entering, when a worker cannot start or `confine` fails in it; on `check`, when one that died
            could not be replaced.
        ValueError: `confine` is not importable by name.
    """

    def __init__(
        self,
        n_workers: int,
        timeout_s: float,
        memory_mb: int,
        confine: Callable[[], object] | None = None,
        *,
        precision: int = 6,
    ) -> None:
        self._n_workers = n_workers
        self._timeout_s = timeout_s
        self._tolerance = Fraction(1, 10**precision)
        self._setup = {"memory_mb": memory_mb, "confine": _importable(confine), "precision": precision}
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
        """Judge one answer. Results, but for failures, are remembered by (verifier, gold, answer, meta).

        Args:
            verifier: Who judges.
            gold: The reference answer; `reasoning_gym` finds its own in `meta`.
            answer: Model-written, of any length and content. None is a wrong answer: there is none.
            meta: The problem's `meta`, JSON.
            shortcut: Take text equal to the gold, as written or normalised, for correct without reading it.
                Off where it is the gold that is on trial.

        Raises:
            SandboxError: no worker is left and none can be started.
        """
        if answer is None or not answer.strip():
            return Check(Judgement.WRONG, JudgeStep.NONE, None, "no answer", 0.0)
        key = _key(verifier, gold, answer, meta, shortcut)
        if key not in self._known:
            check = await self._decide(verifier, gold, answer, meta, shortcut)
            if check.verdict is Judgement.UNDECIDED:
                return check
            self._known[key] = check
        return self._known[key]

    async def check_all(self, wanted: Sequence[tuple[VerifierName, str | None, str | None, str]]) -> list[Check]:
        """Judge many answers, each different one once, in the order given.

        Args:
            wanted: The arguments of `check`.

        Raises:
            SandboxError: no worker is left and none can be started.
        """
        different = list(dict.fromkeys(wanted))
        found = await asyncio.gather(*(self.check(*one) for one in different))
        check_of = dict(zip(different, found, strict=True))
        return [check_of[one] for one in wanted]

    async def _decide(self, verifier: VerifierName, gold: str | None, answer: str, meta: str, shortcut: bool) -> Check:
        started = time.perf_counter()
        if len(answer) > MAX_ANSWER_CHARS:
            detail = f"an answer of {len(answer):,} characters is not judged"
            return Check(Judgement.UNDECIDED, JudgeStep.NONE, None, detail, 0.0)
        own = compare(gold, answer, self._tolerance, by_spelling=shortcut) if gold is not None else NO_OPINION
        if verifier is VerifierName.MATH_VERIFY and own.is_certain:
            return Check(Judgement.of(own.verdict), own.step, None, own.detail, _ms_since(started))
        worker = await self._idle.get()
        if isinstance(worker, SandboxError):
            self._idle.put_nowait(worker)
            raise worker
        started = time.perf_counter()
        is_second = verifier is VerifierName.MATH_VERIFY and own.verdict is not None
        request = {"verifier": verifier, "gold": gold, "answer": answer, "meta": meta, "both_ways": not is_second}
        verdict, detail = await self._ask(worker, request)
        if is_second:
            detail = f"{own.detail}; {detail}"
            return Check(Judgement.of(own.verdict), own.step, verdict.is_correct, detail, _ms_since(started))
        return Check(verdict, _STEP_OF[verifier], own.verdict, detail, _ms_since(started))

    async def _ask(self, worker: WorkerProcess, request: dict[str, Any]) -> tuple[Judgement, str]:
        """What the worker says; where it says nothing in time it is killed and replaced."""
        survives = False
        try:
            is_correct, detail = await asyncio.wait_for(worker.ask(request), self._timeout_s)
            survives = True
            return Judgement.of(is_correct), detail
        except TimeoutError:
            return Judgement.TIMEOUT, f"killed after {self._timeout_s:g} s"
        except Died as death:
            return Judgement.UNDECIDED, str(death)
        finally:
            if survives:
                self._idle.put_nowait(worker)
            else:
                self._end(worker)
                if not self._is_closed:
                    self._replace()

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
