"""The supervisor's side of a zygote: start it, ask it for fork servers, start it again when it died or hangs.

Starting happens on one thread that the pool keeps as long as the sandbox lives: the kernel's parent-death signal means
the death of the thread that started a process. The event loop waits for nothing but sockets.
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

from factory.sandbox import view
from factory.sandbox.processes import is_stopped_or_gone
from factory.sandbox.wire import MESSAGE_BYTES, START, Answer, Reply, unpack_reply
from schemas.vocabulary import SandboxLevel

ATTEMPTS = 3
"""How often a job is tried when the sandbox itself fails, before it is `lost`."""
START_S = 60.0
"""For loading numpy and sympy on a busy machine."""
FORK_S = 10.0
"""For forking a server, which takes milliseconds."""
_END_S = 2.0
_LOOK_S = 0.5
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
    """A process of the sandbox died, hung, or could not be set up. Says nothing of the guest's code."""


@dataclass(slots=True, eq=False)
class Launcher:
    """One zygote, and the way to fork servers."""

    level: SandboxLevel
    preload: Sequence[str]
    starter: Executor
    hash_seed: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    _closed: bool = False
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def fork_server(self, slot: int) -> tuple[socket.socket, int]:
        """A new fork server: our end of its socket, and its pidfd.

        Raises:
            Lost: the zygote could not be started, or did not fork.
        """
        async with self._one_at_a_time:
            if self._closed:
                raise Lost("the sandbox was closed")
            if self._process is None or self._process.poll() is not None:
                await self._end()
                await self._start()
            try:
                return await self._fork(slot)
            except BaseException:
                await self._end()  # one that does not answer in time is of no use; all its servers go with it
                raise

    async def _fork(self, slot: int) -> tuple[socket.socket, int]:
        assert self._control is not None
        assert self._process is not None
        ours, theirs = socket_pair()
        pidfd = -1
        watch = asyncio.ensure_future(_stopped(self._process.pid))
        try:
            with theirs:
                socket.send_fds(self._control, [START.pack(slot)], [theirs.fileno()])
            reply, received = await receive(self._control, FORK_S, "the zygote", unless=watch)
            pidfd = received[0]
            expect(reply, Answer.SPAWNED)
            reply, _ = await receive(ours, FORK_S, "the fork server")
            expect(reply, Answer.READY)
        except BaseException as error:
            ours.close()
            if pidfd >= 0:
                os.close(pidfd)
            if isinstance(error, OSError):
                raise Lost(f"the zygote failed: {error}") from None
            raise
        finally:
            watch.cancel()
        return ours, pidfd

    async def _start(self) -> None:
        process, control, complaints = await asyncio.get_running_loop().run_in_executor(self.starter, self._spawn)
        watch = asyncio.ensure_future(_stopped(process.pid))
        try:
            reply, _ = await receive(control, START_S, "the zygote", unless=watch)
            expect(reply, Answer.READY)
        except BaseException as error:
            process.kill()
            control.close()
            await asyncio.to_thread(process.wait)
            if isinstance(error, Lost):
                said = os.pread(complaints, MESSAGE_BYTES, 0).decode("utf-8", "replace").strip()
                raise Lost("; ".join(filter(None, [str(error), said[-500:]]))) from None
            raise
        finally:
            watch.cancel()
            os.close(complaints)
        self._process, self._control = process, control

    def _spawn(self) -> tuple[subprocess.Popen[bytes], socket.socket, int]:
        """Start the program. Returns it, our end of its socket, and the file with what it prints to stderr."""
        ours, theirs = socket_pair()
        complaints = os.memfd_create("stderr")
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-s", "-P", "-c", _PROGRAM.format(root=_ROOT, descriptor=theirs.fileno())],
                    env=view.environment(self.level, self.hash_seed),
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
        config = {"level": self.level.value, "preload": list(self.preload), "supervisor_pid": os.getpid()}
        with contextlib.suppress(OSError):  # it died already, and that is found on reading
            ours.send(json.dumps(config).encode())
        return process, ours, complaints

    async def aclose(self) -> None:
        """End the zygote for good, and wait until it is gone. Its servers are closed before."""
        self._closed = True
        async with self._one_at_a_time:
            await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        control, self._control = self._control, None
        if control is not None:
            control.close()
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Our end, which does not block, and theirs."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    ours.setblocking(False)
    return ours, theirs


async def receive(
    control: socket.socket, seconds: float, whose: str, unless: "asyncio.Future[None] | None" = None
) -> tuple[Reply, list[int]]:
    """Wait for one message and what descriptor comes along.

    Raises:
        Lost: none came in time, the other side ended, or `unless` came first.
    """
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(control, settle_once, readable)
    try:
        watched = [readable] if unless is None else [readable, unless]
        await asyncio.wait(watched, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(control)
    if not readable.done():
        if unless is not None and unless.done():
            raise Lost(f"{whose} was stopped or killed from outside")
        raise Lost(f"{whose} did not answer within {seconds:.0f} s")
    data, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
    if not data:
        raise Lost(f"{whose} ended before it was ready")
    return unpack_reply(data), descriptors


def settle_once(future: "asyncio.Future[None]") -> None:
    """For a reader of the event loop: what it waits for is there."""
    if not future.done():
        future.set_result(None)


def expect(reply: Reply, answer: Answer) -> None:
    """Raise `Lost` with the other side's own words unless it is this answer."""
    if reply.answer != answer:
        raise Lost(reply.text)


async def _stopped(pid: int) -> None:
    """Return when the process was seen stopped (SIGSTOP) or is gone."""
    while not is_stopped_or_gone(pid):
        await asyncio.sleep(_LOOK_S)
