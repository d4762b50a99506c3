"""The fork server: confines itself, loads numpy and sympy once, then forks a guest per job. Trusted code only.

It is started by `slot.Slot` as a program of its own, one per slot, and talks over one socket (`wire`). It never looks
at a job's code, input or output: those pass by as descriptors, so nothing of an earlier job is in the memory that the
next one inherits. When the supervisor goes, the socket ends and everything here is killed; when this process goes, the
kernel kills its children (parent-death signal and, in namespaces, the end of pid 1).

Not covered: flaws of the kernel itself, and what can be told from timing.
"""

import contextlib
import gc
import importlib
import itertools
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass

from factory.sandbox import guest, interpreter, kernel, seccomp, view
from factory.sandbox.wire import MESSAGE_BYTES, SOFT_LIMIT_S, Answer, Ask, Reply, Request, unpack_request

_WARM_UP = """
import sympy
x, y = sympy.symbols("x y")
sympy.solve(x**3 - 6*x**2 + 11*x - 6, x)
sympy.solve([x + y - 3, x - y - 1], [x, y])
sympy.simplify(sympy.sin(x)**2 + sympy.cos(x)**2)
sympy.factor(sympy.expand((x + 1)**3))
sympy.diff(sympy.exp(x) * x, x)
sympy.integrate(x * sympy.exp(x), (x, 0, 1)).evalf()
sympy.Rational(1, 3) + sympy.sqrt(8)
str(sympy.latex(sympy.Matrix([[1, 2], [3, 4]]).inv()))
"""
"""Fills sympy's caches: a first solve of a cold sympy takes ten times as long."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ABORT_S = 5.0


@dataclass(frozen=True, slots=True)
class Config:
    """What the supervisor decides. The first message on the socket, as JSON."""

    level: str
    slot: int
    preload: list[str]
    supervisor_pid: int


def main(descriptor: int) -> None:
    """Run on the control socket `descriptor` until it ends."""
    _fix_addresses()
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    config = Config(**json.loads(control.recv(MESSAGE_BYTES)))
    try:
        setup = _confine(config)
    except OSError as error:
        text = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        control.send(Reply(Answer.FAILED, text=text).pack())
        return
    control.send(Reply(Answer.READY).pack())
    _Server(control, setup).serve()


def _fix_addresses() -> None:
    """Start again with address randomisation off: sets of objects then iterate in one order. Some containers refuse."""
    with contextlib.suppress(OSError):
        before = kernel.personality(0xFFFFFFFF)
        if not before & kernel.ADDR_NO_RANDOMIZE:
            kernel.personality(before | kernel.ADDR_NO_RANDOMIZE)
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this very program


def _confine(config: Config) -> guest.Setup:
    """Enter the level, load the libraries inside it, and give up what a fork server does not need."""
    libraries = view.library_paths()
    isolated = config.level != "none"
    if config.level == "namespaces":
        view.enter_namespaces()
        _become_first_process(config.supervisor_pid)
    else:
        _die_with(config.supervisor_pid)
    sizes = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # /proc is out of sight soon
    maps = open("/proc/self/maps")  # noqa: SIM115 - read when the libraries are there
    if config.level == "namespaces":
        view.build_root(libraries)
    kernel.no_new_privileges()
    if config.level == "landlock":
        readable = [*libraries, *view.device_paths()]
        kernel.landlock_restrict(kernel.landlock_ruleset(files=True, readable=readable, writable_files=["/dev/null"]))
        os.chdir("/")
    if isolated:
        kernel.hide_from_ptrace()
    _load(config.preload)
    with maps:
        kernel.collapse(maps.read())
    change_user = isolated and os.geteuid() == 0 and _may(kernel.CAP_SETUID, kernel.CAP_SETGID)
    keep = 0
    if change_user and config.level == "landlock" and view.out_of_reach(libraries):
        # The guest's user could not enter the folder of the interpreter. Landlock still limits it to the libraries.
        change_user = _may(kernel.CAP_DAC_READ_SEARCH)
        keep = 1 << kernel.CAP_DAC_READ_SEARCH if change_user else 0
    ruleset = kernel.landlock_ruleset(files=False) if _needs_ruleset(config.level) else None
    kernel.drop_bounding_set()
    if isolated:
        kernel.install_filter(seccomp.zygote_program())
    address, resident, *_, data, _ = (int(pages) * _PAGE_BYTES for pages in os.pread(sizes, 200, 0).split())
    return guest.Setup(
        level=config.level,
        slot=config.slot,
        server_pid=os.getpid(),
        address_bytes=address,
        data_bytes=data,
        resident_kb=resident >> 10,
        change_user=change_user,
        keep_capabilities=keep,
        ruleset=ruleset,
        program=seccomp.guest_program() if isolated else None,
    )


def _may(*needed: int) -> bool:
    held = kernel.capabilities()
    return all(held >> capability & 1 for capability in needed)


def _needs_ruleset(level: str) -> bool:
    """Landlock on top of namespaces is a second wall: taken where the kernel has it, not asked for."""
    return level == "landlock" or (level == "namespaces" and kernel.landlock_abi() >= kernel.LANDLOCK_ABI_NEEDED)


def _die_with(parent: int) -> None:
    """End when the parent does, even if it ended a moment ago."""
    kernel.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def _become_first_process(supervisor_pid: int) -> None:
    """Fork into the new pid namespace. The outer process only waits, so that either end takes the other along."""
    _die_with(supervisor_pid)
    child = os.fork()
    if child:
        os.closerange(0, 1024)
        _, status = os.waitpid(child, 0)
        os._exit(1 if status else 0)
    kernel.die_with_parent()
    if os.getpid() != 1:
        raise OSError("the first process of the new pid namespace is not number 1")


def _load(modules: list[str]) -> None:
    """Import what is there. A guest can import the rest itself, only slower."""
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    if "sympy" in sys.modules:
        exec(_WARM_UP, {"__name__": "warm_up"})  # noqa: S102 - our own text
    interpreter.prepare()
    gc.collect()
    gc.freeze()
    gc.disable()  # guests turn it on again; a collection here would unshare pages


@dataclass(slots=True)
class _Job:
    number: int
    place: int
    pid: int
    pidfd: int
    report: int
    started: float
    deadline: float | None


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
            for descriptor, _ in self._poll.poll(self._next_deadline_ms()):
                if descriptor in self._jobs:
                    self._reap(self._jobs.pop(descriptor))
                elif not self._answer():
                    self._abort()
                    return
            now = time.monotonic()
            for job in self._jobs.values():
                if job.deadline is not None and job.deadline <= now:
                    job.deadline = None
                    signal.pidfd_send_signal(job.pidfd, signal.SIGKILL)

    def _next_deadline_ms(self) -> int | None:
        deadlines = [job.deadline for job in self._jobs.values() if job.deadline is not None]
        return max(int((min(deadlines) - time.monotonic()) * 1000) + 1, 0) if deadlines else None

    def _answer(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 8)
        if not data:
            return False
        request = unpack_request(data)
        if request.ask is Ask.CANCEL:
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
        deadline = started + request.wall_s + SOFT_LIMIT_S if request.ask is Ask.RUN else None
        job = _Job(request.job, place, pid, os.pidfd_open(pid), report, started, deadline)
        self._jobs[job.pidfd] = job
        self._poll.register(job.pidfd, select.POLLIN)
        if request.ask is Ask.SESSION:
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
