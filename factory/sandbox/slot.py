"""The supervisor's side of one fork server: give it jobs, notice when it dies or hangs, get another one.

Not covered: a job given to a server that dies is not repeated here; `pool` and `session` do that.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from factory.sandbox.launcher import Launcher, Lost, settle_once
from factory.sandbox.wire import MESSAGE_BYTES, Answer, Ask, Reply, Request, unpack_reply
from schemas.protocols import Limits

GRACE_S = 10.0
"""How long after a job's own limit a silent fork server counts as hung."""
_END_S = 2.0


@dataclass(slots=True, eq=False)
class Job:
    """A guest that a fork server was asked for."""

    number: int
    exited: asyncio.Future[Reply]
    """Its end, or `Lost`."""
    spawned: asyncio.Future[int]
    """Unless it is a single run: its pidfd, which the receiver closes."""


@dataclass(slots=True, eq=False)
class Slot:
    """One fork server, and the jobs it has in hand."""

    index: int
    launcher: Launcher
    n_starts: int = 0
    _pidfd: int = -1
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
            await self._end_process()
            starting = asyncio.ensure_future(self.launcher.fork_server(self.index))
            try:
                control, self._pidfd = await asyncio.shield(starting)
            except asyncio.CancelledError:  # who waited is gone; the zygote must not be left in mid-conversation
                starting.add_done_callback(_throw_away)
                raise
            self.n_starts += 1
            asyncio.get_running_loop().add_reader(control, self._receive)
            self._control = control

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
        if reply.answer == Answer.SPAWNED:
            if job is None or job.spawned.done():
                for descriptor in descriptors:
                    os.close(descriptor)
            else:
                job.spawned.set_result(descriptors[0])
            return
        self._jobs.pop(reply.job, None)
        if job is None:
            return
        if reply.answer == Answer.EXITED:
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
        self._kill()
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            _settle(job.exited, Lost(reason))
            _settle(job.spawned, Lost(reason))

    def _kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def aclose(self) -> None:
        """End the server for good, and wait until it and all its guests are gone."""
        self._closed = True
        async with self._starting:
            if self._control is not None:
                # Closing our end lets the server kill its guests, reap them and leave.
                control, self._control = self._control, None
                asyncio.get_running_loop().remove_reader(control)
                control.close()
                await _ended(self._pidfd, _END_S)
            self.give_up("the sandbox was closed")
            await self._end_process()

    async def _end_process(self) -> None:
        if self._pidfd >= 0:
            self._kill()
            await _ended(self._pidfd, _END_S)
            os.close(self._pidfd)
            self._pidfd = -1


def _throw_away(starting: "asyncio.Future[tuple[socket.socket, int]]") -> None:
    if not starting.cancelled() and starting.exception() is None:
        control, pidfd = starting.result()
        control.close()  # the server then leaves by itself
        os.close(pidfd)


async def _ended(pidfd: int, seconds: float) -> None:
    """Wait until a process is gone, but no longer than this."""
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, settle_once, gone)
    try:
        await asyncio.wait([gone], timeout=seconds)
    finally:
        loop.remove_reader(pidfd)


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
