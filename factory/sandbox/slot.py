"""The supervisor's side of one fork server: start it, give it jobs, notice when it dies or hangs, start it again.

Starting happens on one thread that the pool keeps for it as long as the sandbox lives: the kernel's parent-death signal
means the death of the thread that started a process. The event loop waits for nothing but sockets.

Not covered: a job given to a server that dies is not repeated here; `pool` and `session` do that.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.sandbox import view
from factory.sandbox.wire import MESSAGE_BYTES, Answer, Ask, Reply, Request, unpack_reply
from schemas.protocols import Limits
from schemas.vocabulary import SandboxLevel

START_S = 60.0
"""For loading numpy and sympy on a busy machine."""
GRACE_S = 10.0
"""How long after a job's own limit a silent fork server counts as hung."""
_END_S = 2.0
_BUFFER_BYTES = 1 << 20

_ROOT = str(Path(__file__).parents[2])
_PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from factory.sandbox.zygote import main
del sys.path[0]
main({descriptor})
"""


class Lost(Exception):
    """The fork server died, hung, or could not set a guest up. Says nothing of the guest's code."""


@dataclass(slots=True, eq=False)
class Job:
    """A guest that a fork server was asked for."""

    number: int
    exited: asyncio.Future[Reply]
    """Its end, or `Lost`."""
    spawned: asyncio.Future[int]
    """For a session: its pidfd, which the receiver closes."""


@dataclass(slots=True, eq=False)
class Slot:
    """One fork server, and the jobs it has in hand."""

    index: int
    level: SandboxLevel
    preload: Sequence[str]
    starter: Executor
    n_starts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    _jobs: dict[int, Job] = field(default_factory=dict)
    _last_job: int = 0
    _n_waiting: int = 0
    _closed: bool = False
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def n_jobs(self) -> int:
        """Guests alive, sessions included, and those that wait for the server to start."""
        return len(self._jobs) + self._n_waiting

    async def ready(self) -> None:
        """Make sure that a server runs.

        Raises:
            Lost: it could not be started. The text is the server's own.
        """
        async with self._starting:
            if self._closed:
                raise Lost("the sandbox was closed")
            if self._control is not None:
                return
            loop = asyncio.get_running_loop()
            await self._end_process()
            process, control, complaints = await loop.run_in_executor(self.starter, self._start)
            self._process = process
            greeting = asyncio.ensure_future(asyncio.to_thread(self._greet, control, process))
            try:
                await asyncio.shield(greeting)
            except BaseException as error:
                process.kill()
                await asyncio.wait([greeting])  # its thread holds the socket until the killed server's end closes
                control.close()
                if not greeting.cancelled() and greeting.exception() is error and isinstance(error, Lost | OSError):
                    said = os.pread(complaints, MESSAGE_BYTES, 0).decode("utf-8", "replace").strip()
                    raise Lost("; ".join(filter(None, [str(error), said[-500:]]))) from None
                raise
            finally:
                os.close(complaints)
            self.n_starts += 1
            control.setblocking(False)
            loop.add_reader(control, self._receive)
            self._control = control

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket, int]:
        """Start the server. Returns it, our end of its socket, and the file with what it prints to stderr."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        complaints = os.memfd_create("stderr")
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            try:
                process = subprocess.Popen(
                    [sys.executable, "-s", "-P", "-c", _PROGRAM.format(root=_ROOT, descriptor=theirs.fileno())],
                    env=view.environment(self.level),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=complaints,
                    cwd="/",
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                os.close(complaints)
                raise
        return process, ours, complaints

    def _greet(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """Tell a new server what to be, and wait until it is warm. Blocks."""
        config = {
            "level": self.level.value,
            "slot": self.index,
            "preload": list(self.preload),
            "supervisor_pid": os.getpid(),
        }
        control.settimeout(START_S)
        control.send(json.dumps(config).encode())
        try:
            data = control.recv(MESSAGE_BYTES)
        except TimeoutError:
            raise Lost(f"the fork server was not ready within {START_S:.0f} s") from None
        if not data:
            raise Lost(f"the fork server ended with code {process.wait(_END_S)}")
        reply = unpack_reply(data)
        if reply.answer is not Answer.READY:
            raise Lost(reply.text)

    async def begin(self, ask: Ask, limits: Limits, descriptors: Sequence[int]) -> Job:
        """Ask for a guest. The descriptors are stdin, stdout, stderr, code and, for a session, its socket.

        Raises:
            Lost: there is no server, or it does not read.
        """
        self._n_waiting += 1
        try:
            await self.ready()
        finally:
            self._n_waiting -= 1
        if self._control is None:
            raise Lost("the fork server ended as soon as it was started")
        self._last_job += 1
        request = Request(ask, self._last_job, limits.wall_s, limits.cpu_s, limits.memory_mb << 20, limits.output_bytes)
        loop = asyncio.get_running_loop()
        job = Job(request.job, loop.create_future(), loop.create_future())
        job.exited.add_done_callback(_retrieve)
        job.spawned.add_done_callback(_retrieve)
        self._jobs[job.number] = job
        try:
            socket.send_fds(self._control, [request.pack()], descriptors)
        except OSError as error:
            self.give_up(f"the fork server does not read: {error}")
            raise Lost(str(error)) from None
        return job

    async def wait(self, future: "asyncio.Future[Any]", seconds: float) -> None:
        """Wait for a job's future; if nothing comes in time the server is given up, which sets the future, too."""
        # asyncio.wait looks at the future after its time is up, so an answer that came while the loop was busy counts.
        await asyncio.wait([future], timeout=seconds)
        if not future.done():
            self.give_up(f"no answer from the fork server within {seconds:.1f} s")

    def cancel(self, job: Job) -> None:
        """Kill a guest that nobody waits for any more."""
        if job.number in self._jobs and self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(Request(Ask.CANCEL, job.number).pack())

    def _receive(self) -> None:
        while self._control is not None:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1)
            except BlockingIOError:
                return
            except OSError as error:
                data, descriptors = b"", []
                self.give_up(f"the fork server's socket failed: {error}")
            if not data:
                self.give_up("the fork server died")
                return
            self._take(unpack_reply(data), descriptors)

    def _take(self, reply: Reply, descriptors: list[int]) -> None:
        job = self._jobs.get(reply.job)
        if reply.answer is Answer.SPAWNED:
            if job is None or job.spawned.done():
                for descriptor in descriptors:
                    os.close(descriptor)
            else:
                job.spawned.set_result(descriptors[0])
            return
        self._jobs.pop(reply.job, None)
        if job is None:
            return
        if reply.answer is Answer.EXITED:
            _settle(job.exited, reply)
            _settle(job.spawned, Lost("the session ended before it began"))
        else:
            failure = Lost(f"a guest could not be set up: {reply.text}")
            _settle(job.exited, failure)
            _settle(job.spawned, failure)

    def give_up(self, reason: str) -> None:
        """Kill the server and all its guests; every job of it is lost. The next job starts another one."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            _settle(job.exited, Lost(reason))
            _settle(job.spawned, Lost(reason))

    async def aclose(self) -> None:
        """End the server for good, and wait until it and all its guests are gone."""
        self._closed = True
        async with self._starting:
            if self._control is not None and self._process is not None:
                # Closing our end lets the server kill its guests, reap them and leave.
                control, self._control = self._control, None
                asyncio.get_running_loop().remove_reader(control)
                control.close()
                await asyncio.to_thread(_wait, self._process)
            self.give_up("the sandbox was closed")
            await self._end_process()

    async def _end_process(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await asyncio.to_thread(process.wait)


def _wait(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)


def _settle(future: "asyncio.Future[Any]", value: object) -> None:
    if future.done():
        return
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Look at the error, so that asyncio does not report a job that nobody waits for."""
    if not future.cancelled():
        future.exception()
