"""One live interpreter, of a session or of a program with many tests, watched by the kernel's own clocks.

The `ok` or `error` of a block or test is the word of the interpreter it ran in (its process goes on, so the kernel has
nothing to say); everything that ends the process is told by the kernel. One that runs into a limit ends the interpreter
even where it could go on, so that what follows always starts from the same state.

Not covered: starting again after the end. `session` and `testing` do that.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from dataclasses import replace

from factory.sandbox import slot as slots
from factory.sandbox.launcher import Lost
from factory.sandbox.processes import check_again_s, cpu_time_s, peak_rss_kb_and_threads, pid_of
from factory.sandbox.results import Streams, ended
from factory.sandbox.slot import Job, Slot
from factory.sandbox.wire import BLOCK, NO_NONCE, RECORD, SOFT_LIMIT_S, Ask, Said
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus

_KINDS = frozenset(Said)
_MOST_THREADS = 64
"""Of a frozen session. Where guests share a user they share its limit of threads, so nobody may sit on many."""


class Worker:
    """One live interpreter and the channel to it."""

    def __init__(self, slot: Slot, job: Job, channel: socket.socket, streams: Streams) -> None:
        self._slot = slot
        self._job = job
        self._channel = channel
        self._streams = streams
        self._pidfd = -1
        self._pid = 0
        self._closed = False
        self._busy = asyncio.Lock()

    @classmethod
    async def start(cls, slot: Slot, limits: Limits, ask: Ask = Ask.SESSION, program: str = "") -> "Worker":
        """Fork an interpreter.

        Args:
            slot: Where.
            limits: Memory and output count from now on, time per block or test.
            ask: `SESSION`, or `TESTS` or `CALLS` of one program.
            program: Its code.

        Raises:
            Lost: it did not come up.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        streams = Streams()
        try:
            streams.put_code(program)
            with theirs:
                files = [streams.stdin, streams.stdout, streams.stderr, streams.code, theirs.fileno()]
                job = await slot.begin(ask, limits, files)
        except BaseException:
            ours.close()
            streams.close()
            raise
        worker = cls(slot, job, ours, streams)
        try:
            await slot.wait(job.spawned, slots.GRACE_S)
            worker._pidfd = job.spawned.result()
            worker._pid = pid_of(worker._pidfd)
            if await worker._listen(NO_NONCE, slots.GRACE_S) is None:
                await slot.wait(job.exited, slots.GRACE_S)
                job.exited.result()  # says why, if the sandbox knows
                raise Lost("an interpreter did not come up")
        except BaseException:
            await worker.aclose()
            raise
        return worker

    @property
    def alive(self) -> bool:
        """It can take another block."""
        return not self._closed and not self._job.exited.done()

    async def run_block(self, number: int, code: str, limits: Limits) -> tuple[ExecResult, bool]:
        """Run a block; tracebacks show its number. Afterwards the interpreter is frozen, or dead.

        Returns:
            The result, and whether the interpreter survived the block. It may have died since, of something else.

        Raises:
            Lost: the fork server failed meanwhile.
        """
        async with self._busy:
            size = self._streams.put_code(code)
            return await self._run(number, size, limits)

    async def run_test(self, stdin: str, limits: Limits) -> ExecResult:
        """Run the program on this input. Afterwards the interpreter is frozen, or dead.

        Raises:
            Lost: the fork server failed meanwhile.
        """
        async with self._busy:
            self._streams.put_stdin(stdin)
            result, _ = await self._run(0, 0, limits)
            return result

    async def _run(self, number: int, size: int, limits: Limits) -> tuple[ExecResult, bool]:
        self._streams.forget_output()  # what a thread printed after its block had ended belongs to no block
        nonce = secrets.token_bytes(16)
        cpu_before = cpu_time_s(self._pid)
        started = time.monotonic()
        self._signal(signal.SIGCONT)
        with contextlib.suppress(OSError):  # a dead one does not read, and its end is found below
            self._channel.send(BLOCK.pack(nonce, size, limits.wall_s, number, limits.output_bytes))
        said = await self._listen(nonce, limits.wall_s + SOFT_LIMIT_S, cpu_before + limits.cpu_s)
        wall_s = time.monotonic() - started
        self._signal(signal.SIGSTOP)
        cpu_s = cpu_time_s(self._pid) - cpu_before
        too_long = self._streams.too_long(limits)
        if said is not None and wall_s < limits.wall_s and cpu_s < limits.cpu_s and not too_long:
            kind, exit_code = said
            stdout, stderr = self._streams.read(limits)
            status = ExecStatus.OK if exit_code == 0 else ExecStatus.ERROR
            if kind == Said.OUT_OF_MEMORY:
                status = ExecStatus.MEMORY
            peak_kb, n_threads = peak_rss_kb_and_threads(self._pid)
            if n_threads > _MOST_THREADS:
                self.kill()
                stderr += f"sandbox: the block left {n_threads} threads behind, and the interpreter was ended\n"
            times = (wall_s * 1000, cpu_s * 1000)
            return ExecResult(status, exit_code, stdout, stderr, False, *times, peak_kb), n_threads <= _MOST_THREADS
        self.kill()
        await self._slot.wait(self._job.exited, slots.GRACE_S)
        end = self._job.exited.result()
        return ended(replace(end, wall_s=wall_s, cpu_s=end.cpu_s - cpu_before), limits, self._streams), False

    async def _listen(self, nonce: bytes, seconds: float, cpu_s: float | None = None) -> tuple[int, int] | None:
        """Wait for the record with this nonce.

        Returns:
            Its kind and exit code; null when there will be none: the interpreter died, is over its time or over the
            CPU clock reading `cpu_s`, closed the channel, or wrote anything else.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[int, int] | None] = loop.create_future()

        def settle(value: tuple[int, int] | None) -> None:
            if not answer.done():
                answer.set_result(value)

        def read() -> None:
            try:
                data = self._channel.recv(RECORD.size + 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            genuine = len(data) == RECORD.size and secrets.compare_digest(data[: len(nonce)], nonce)
            _, kind, exit_code = RECORD.unpack(data) if genuine else (None, None, 0)
            settle((kind, exit_code & 0xFF) if kind in _KINDS else None)

        def died(_: object) -> None:
            settle(None)

        deadline = loop.call_later(seconds, settle, None)
        timer = deadline

        def check_cpu(limit_s: float) -> None:
            nonlocal timer
            left_s = limit_s - cpu_time_s(self._pid)
            if left_s <= 0:
                settle(None)
            else:
                timer = loop.call_later(check_again_s(left_s), check_cpu, limit_s)

        if cpu_s is not None:
            check_cpu(cpu_s)
        loop.add_reader(self._channel.fileno(), read)  # a number: asyncio prints a socket each time it does not know it
        self._job.exited.add_done_callback(died)
        try:
            return await answer
        finally:
            loop.remove_reader(self._channel.fileno())
            self._job.exited.remove_done_callback(died)
            deadline.cancel()
            timer.cancel()

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """From here on it runs not one instruction more. `aclose` waits until nothing of it is left."""
        self._signal(signal.SIGKILL)

    async def aclose(self) -> None:
        """Kill it, wait for its end, and give everything back. Never raises, and may be called again."""
        if self._closed:
            return
        self._closed = True
        self._slot.cancel(self._job)
        # A start that was broken off may have left the pidfd in the future, or still on its way.
        if not self._job.spawned.cancel() and self._pidfd < 0 and self._job.spawned.exception() is None:
            self._pidfd = self._job.spawned.result()
        self.kill()
        await self._slot.wait(self._job.exited, slots.GRACE_S)
        async with self._busy:  # a block that was running sees the end, too
            self._channel.close()
            self._streams.close()
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1
