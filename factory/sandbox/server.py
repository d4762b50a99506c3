"""A fork server: forks a guest per job, watches its clocks, and reaps it. Trusted code only; one per slot.

It never looks at a job's code, input or output: those pass by as descriptors, so nothing of an earlier job is in the
memory that the next one inherits. It begins as a fork of the zygote and ends when the supervisor's end of its socket
does.
"""

import itertools
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from math import inf

from factory.sandbox import guest, kernel
from factory.sandbox.processes import check_again_s, cpu_time_s
from factory.sandbox.wire import MESSAGE_BYTES, SOFT_LIMIT_S, Answer, Ask, Reply, Request, unpack_request

_ABORT_S = 5.0


def serve(control: socket.socket, setup: guest.Setup) -> None:
    """Answer requests until the supervisor closes its end."""
    control.send(Reply(Answer.READY).pack())
    _Server(control, setup).serve()


@dataclass(slots=True)
class _Job:
    number: int
    place: int
    pid: int
    pidfd: int
    report: int
    started: float
    deadline: float
    """When to kill it. The supervisor watches blocks and tests."""
    cpu_limit_s: float
    look_at: float
    """When to look at its CPU clock, or to kill it."""


class _Server:
    """One thread, one poll over the control socket and the pidfds of all children."""

    def __init__(self, control: socket.socket, setup: guest.Setup) -> None:
        self._control = control
        self._setup = setup
        self._jobs: dict[int, _Job] = {}  # by pidfd
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> None:
        """Work until the supervisor closes its end."""
        while True:
            for descriptor, _ in self._poll.poll(self._next_look_ms()):
                if descriptor in self._jobs:
                    self._reap(self._jobs.pop(descriptor))
                elif not self._answer():
                    self._abort()
                    return
            now = time.monotonic()
            for job in self._jobs.values():
                if job.look_at <= now:
                    self._look_at(job, now)

    def _next_look_ms(self) -> int | None:
        soonest = min((job.look_at for job in self._jobs.values()), default=inf)
        return None if soonest == inf else max(int((soonest - time.monotonic()) * 1000) + 1, 0)

    def _look_at(self, job: _Job, now: float) -> None:
        left_s = job.cpu_limit_s - cpu_time_s(job.pid)
        if now >= job.deadline or left_s <= 0:
            signal.pidfd_send_signal(job.pidfd, signal.SIGKILL)
            job.look_at = inf
        else:
            job.look_at = min(job.deadline, now + check_again_s(left_s))

    def _answer(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 8)
        if not data:
            return False
        request = unpack_request(data)
        if request.ask == Ask.CANCEL:
            for job in self._jobs.values():
                if job.number == request.job:
                    signal.pidfd_send_signal(job.pidfd, signal.SIGKILL)
            return True
        try:
            self._spawn(request, descriptors)
        except OSError as error:  # no more processes or descriptors
            self._control.send(Reply(Answer.FAILED, request.job, text=str(error)).pack())
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _spawn(self, request: Request, descriptors: list[int]) -> None:
        taken = {job.place for job in self._jobs.values()}
        place = next(place for place in itertools.count() if place not in taken)
        report, report_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        started = time.monotonic()
        try:
            pid = kernel.fork()
        except OSError:
            os.close(report)
            os.close(report_end)
            raise
        if pid == 0:
            guest.start(self._setup, request, place, descriptors, report_end)
        os.close(report_end)
        deadline = look_at = inf
        if request.ask == Ask.RUN:
            deadline = started + request.wall_s + SOFT_LIMIT_S
            look_at = min(deadline, started + check_again_s(request.cpu_s))
        job = _Job(request.job, place, pid, os.pidfd_open(pid), report, started, deadline, request.cpu_s, look_at)
        self._jobs[job.pidfd] = job
        self._poll.register(job.pidfd, select.POLLIN)
        if request.ask != Ask.RUN:
            socket.send_fds(self._control, [Reply(Answer.SPAWNED, job.number).pack()], [job.pidfd])

    def _reap(self, job: _Job) -> None:
        _, status, usage = os.wait4(job.pid, 0)
        wall_s = time.monotonic() - job.started
        self._poll.unregister(job.pidfd)
        try:
            report = os.read(job.report, MESSAGE_BYTES)
        except BlockingIOError:
            report = b""
        os.close(job.pidfd)
        os.close(job.report)
        if report == guest.CONFINED:
            cpu_s = usage.ru_utime + usage.ru_stime
            reply = Reply(Answer.EXITED, job.number, status, wall_s, cpu_s, usage.ru_maxrss, self._setup.resident_kb)
        else:
            reply = Reply(Answer.FAILED, job.number, text=report.decode("utf-8", "replace") or f"wait status {status}")
        self._control.send(reply.pack())

    def _abort(self) -> None:
        """The supervisor is gone: leave nothing behind, but do not hang on it."""
        signal.alarm(int(_ABORT_S))
        for job in self._jobs.values():
            signal.pidfd_send_signal(job.pidfd, signal.SIGKILL)
        for job in self._jobs.values():
            os.waitpid(job.pid, 0)
