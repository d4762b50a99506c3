r"""The way in: find out what the kernel allows, start the fork servers, hand out executions and sessions.

    sandbox = await open_sandbox()
    result = await sandbox.run("print(input()[::-1])", stdin="abc")
    session = await sandbox.session()
    await session.run("x = 6")
    assert (await session.run("x * 7")).stdout == "42\n"
    await sandbox.aclose()

A sandbox belongs to the event loop that opened it. At most `n_slots` programs run at any moment, and at most three
times as many blocks of sessions; further callers wait their turn, and their time does not start before.

Not covered: flaws of the kernel, side channels (timing, caches), and other processes of the same user that attack the
sandbox from outside. At level `landlock` also what `view` lists. docs/security.md has the whole list.
"""

import asyncio
import platform
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from factory.sandbox import slot as slots
from factory.sandbox.launcher import ATTEMPTS, Launcher, Lost
from factory.sandbox.results import Streams, ended, lost
from factory.sandbox.session import GuestSession
from factory.sandbox.slot import Slot
from factory.sandbox.syscalls import MACHINES
from factory.sandbox.testing import Tester
from factory.sandbox.wire import Ask
from factory.sandbox.worker import Worker
from schemas.errors import SandboxError
from schemas.protocols import Block, ExecResult, Limits, Sandbox, TestRun
from schemas.vocabulary import ExecStatus, SandboxLevel

PRELOAD = ("numpy", "numpy.random", "numpy.linalg", "sympy")
"""Loaded once per slot if installed. numpy loads `random` late, and seeding it per execution would cost 25 ms."""
LEAN = (
    *("bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools", "heapq", "io"),
    *("itertools", "json", "math", "operator", "random", "re", "statistics", "string", "sys", "typing"),
)
"""What contest programs import. One that names none of the libraries starts from an interpreter with only these."""
SESSIONS_PER_SLOT = 64
TURNS_PER_SLOT = 3
"""Blocks and starts of sessions under way at the same time. The supervisor hears of the end of one a moment late, and
the others keep the processor busy meanwhile; short ones get past a long one; one that sleeps stops nobody."""

_NAMES_A_LIBRARY = re.compile(r"\b(?:numpy|sympy|mpmath|scipy|pandas|sklearn|statsmodels|matplotlib|networkx)\b")
_ISOLATING = (SandboxLevel.NAMESPACES, SandboxLevel.LANDLOCK)
_HOW_TO_FIX = """\
  namespaces need:  sysctl -w user.max_user_namespaces=15000
                    sysctl -w kernel.unprivileged_userns_clone=1               (Debian)
                    sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   (Ubuntu 23.10 and later)
                    docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined ...
  landlock needs:   Linux 6.7 or later with "landlock" in the lsm= list of the kernel's command line
  to run it without any isolation, on your own word: --i-trust-this-code"""


class Pool:
    """`schemas.protocols.Sandbox` over a number of fork servers."""

    def __init__(
        self,
        level: SandboxLevel,
        n_slots: int,
        limits: Limits,
        preload: Sequence[str],
        max_sessions: int | None = None,
        hash_seed: int = 0,
    ) -> None:
        self.level = level
        self.limits = limits
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-starter")
        self._launchers = [Launcher(level, (*LEAN, *preload), self._starter, hash_seed)]
        self._slots = self._lean_slots = [Slot(index, self._launchers[0]) for index in range(n_slots)]
        if preload:
            self._launchers.append(Launcher(level, LEAN, self._starter, hash_seed))
            self._lean_slots = [Slot(n_slots + index, self._launchers[1]) for index in range(n_slots)]
        self._running = asyncio.Semaphore(n_slots)
        self._turns = asyncio.Semaphore(n_slots * TURNS_PER_SLOT)
        self._room = asyncio.Semaphore(max_sessions or n_slots * SESSIONS_PER_SLOT)
        self._sessions: set[GuestSession] = set()
        self._burials: set[asyncio.Future[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start and warm all fork servers.

        Raises:
            Lost: one of them did not start.
        """
        await asyncio.gather(*(slot.ready() for slot in self._all_slots()))

    async def run(self, code: str, stdin: str = "", limits: Limits | None = None) -> ExecResult:
        """See `schemas.protocols.Sandbox.run`."""
        limits = limits or self.limits
        async with self._running:
            reason = "the sandbox was closed"
            for _ in range(ATTEMPTS):
                if self._closed:
                    break
                try:
                    with Streams(stdin) as streams:
                        return await _run_once(self._slot_for(code), code, limits, streams)
                except (Lost, OSError) as error:  # out of descriptors or memory is a failure of ours, too
                    reason = str(error)
            return lost(reason)

    async def run_tests(
        self,
        code: str,
        inputs: Sequence[str],
        *,
        accept: Callable[[int, ExecResult], bool],
        entry: str | None = None,
        stop_early: bool = False,
        limits: Limits | None = None,
    ) -> list[TestRun]:
        """See `schemas.protocols.Sandbox.run_tests`."""
        runs: list[TestRun] = []
        tester = Tester(lambda: self._slot_for(code), self._bury, code, entry, limits or self.limits)
        async with self._running:
            with tester:
                for index, text in enumerate(inputs):
                    result, passed = await tester.test(text, partial(accept, index))
                    runs.append(TestRun(result, passed))
                    if stop_early and not passed:
                        break
        return runs

    async def session(self, limits: Limits | None = None, earlier: Sequence[Block] = ()) -> GuestSession:
        """See `schemas.protocols.Sandbox.session`. Waits while as many are open as the slots can hold."""
        await self._room.acquire()
        session = GuestSession(self._least_busy, self._turns, limits or self.limits, self._bury, self._forget, earlier)
        self._sessions.add(session)
        try:
            if self._closed:
                raise Lost("the sandbox was closed")
            await session.open()
        except BaseException as error:
            await session.aclose()
            if isinstance(error, Lost | OSError):
                raise SandboxError(f"No interpreter could be started, {ATTEMPTS} times in a row: {error}.") from None
            raise
        return session

    def _bury(self, worker: Worker) -> None:
        """Kill an interpreter. What the kernel has to clear away holds nobody up; `aclose` waits for it."""
        worker.kill()
        burial = asyncio.ensure_future(worker.aclose())
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)

    def _forget(self, session: GuestSession) -> None:
        self._sessions.discard(session)
        self._room.release()

    def _all_slots(self) -> set[Slot]:
        return {*self._slots, *self._lean_slots}

    def _least_busy(self) -> Slot:
        return min(self._slots, key=lambda slot: slot.n_jobs)

    def _slot_for(self, code: str) -> Slot:
        """A lean server forks in half the time; a program that imports a library all the same only starts slower."""
        slots = self._slots if _NAMES_A_LIBRARY.search(code) else self._lean_slots
        return min(slots, key=lambda slot: slot.n_jobs)

    async def aclose(self) -> None:
        """Kill everything that runs, and wait for it. Callers that still wait get `lost`."""
        self._closed = True
        for session in list(self._sessions):
            await session.aclose()
        await asyncio.gather(*self._burials)
        await asyncio.gather(*(slot.aclose() for slot in self._all_slots()))
        await asyncio.gather(*(launcher.aclose() for launcher in self._launchers))
        await asyncio.to_thread(self._starter.shutdown)


async def _run_once(slot: Slot, code: str, limits: Limits, streams: Streams) -> ExecResult:
    streams.put_code(code)
    files = [streams.stdin, streams.stdout, streams.stderr, streams.code]
    job = await slot.begin(Ask.RUN, limits, files)
    try:
        await slot.wait(job.exited, limits.wall_s + slots.GRACE_S)
    except BaseException:
        slot.cancel(job)
        raise
    return ended(job.exited.result(), limits, streams)


async def open_sandbox(
    *,
    n_slots: int = 2,
    level: SandboxLevel | None = None,
    trust: bool = False,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    preload: Sequence[str] = PRELOAD,
    max_sessions: int | None = None,
    hash_seed: int = 0,
) -> Sandbox:
    """Open a sandbox at the strongest level that the kernel grants.

    Args:
        n_slots: Executions at the same time, at least 1; one per processor core is right.
        level: Exactly this level, or an error; null takes `namespaces`, else `landlock`, else, with `trust`, `none`.
        trust: The user's explicit word that code may run without isolation.
        limits: Where a call gives none.
        preload: Modules that every interpreter starts with; those that are not installed are left out.
        max_sessions: Open at the same time, about 2 MB each; null allows 64 per slot.
        hash_seed: Of texts; another one than 0 shows whether code depends on the order of sets.

    Raises:
        SandboxError: no level is possible. Says what was tried and how to change it.
    """
    wanted = (level,) if level else (*_ISOLATING, SandboxLevel.NONE)
    failures: dict[SandboxLevel, str] = {}
    for candidate in wanted:
        failure = _TRUST_NEEDED if candidate is SandboxLevel.NONE and not trust else await _try(candidate)
        if failure is not None:
            failures[candidate] = failure
            continue
        pool = Pool(candidate, n_slots, limits, preload, max_sessions, hash_seed)
        try:
            await pool.start()
        except (Lost, OSError) as error:
            failures[candidate] = str(error)
            await pool.aclose()
        except BaseException:
            await pool.aclose()
            raise
        else:
            return pool
    raise SandboxError(_refusal(failures))


_TRUST_NEEDED = "not without --i-trust-this-code"


def _refusal(failures: dict[SandboxLevel, str]) -> str:
    tried = "\n".join(f"  {level}: {failure}" for level, failure in failures.items())
    return (
        f"Model-written code is not run: the kernel does not isolate it here.\n{tried}\n{_HOW_TO_FIX}\n"
        f"  state:            nothing was executed."
    )


def probe() -> dict[SandboxLevel, str | None]:
    """Try every isolating level by doing it. Null: it works; else why not. Not for use inside an event loop."""

    async def both() -> dict[SandboxLevel, str | None]:
        return {level: await _try(level) for level in _ISOLATING}

    return asyncio.run(both())


async def _try(level: SandboxLevel) -> str | None:
    """Start a bare fork server at this level and run a line in it. Null: it works; else why not."""
    if sys.platform != "linux":
        return f"{platform.system()} has neither namespaces nor Landlock; use Linux, or a Linux virtual machine"
    if platform.machine() not in MACHINES and level is not SandboxLevel.NONE:
        return f"no system call table for {platform.machine()} yet (there is one for {', '.join(MACHINES)})"
    if sys.maxsize < 1 << 32:
        return "this Python is a 32 bit program; the filters of system calls are for 64 bit ones"
    pool = Pool(level, 1, Limits(), ())
    try:
        await pool.start()
        result = await pool.run("print(6 * 7)")
    except (Lost, OSError) as error:
        return str(error)
    finally:
        await pool.aclose()
    if result.status is not ExecStatus.OK or result.stdout != "42\n":
        return f"a first program ended as '{result.status}': {result.stderr.strip() or result.stdout}"
    return None
