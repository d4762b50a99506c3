"""From what the kernel says of an execution to an `ExecResult`.

The supervisor owns the files that the guest writes to. It reads them only when the guest is dead or frozen, reads no
more than the limit, and parses nothing.

`memory` is reported for a program that an uncaught MemoryError ended, and for one that a signal ended while it held
nearly all the memory it was allowed. Python's allocator usually fails politely, so the first is the common one; code
that catches MemoryError and exits by itself is `error` or `ok`, as it chose.
"""

import codecs
import os
import re
import signal
from types import TracebackType

from factory.sandbox.wire import MEMORY_SIGNAL, Reply
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus

CUT_MARKER = "\n[... output cut after {limit:,} bytes ...]\n"
"""Stands at the end of an output that was longer than the limit."""
_NEARLY_ALL = 0.9
_CRASHES = (6, 7, 9, 11)
"""SIGABRT, SIGBUS, SIGKILL, SIGSEGV."""
_EXCEPTION_LINE = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?::|$)")


class Streams:
    """The four files of one execution or session, in memory. Closed on leaving the `with` block."""

    def __init__(self, stdin: str = "") -> None:
        self._open: list[int] = []
        try:
            self.code = self._make("code")
            self.stdin = self._make("stdin")
            self.stdout = self._make("stdout")
            self.stderr = self._make("stderr")
            self.put_stdin(stdin)
        except BaseException:
            self.close()
            raise

    def _make(self, name: str) -> int:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
        self._open.append(descriptor)
        return descriptor

    def __enter__(self) -> "Streams":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put_code(self, code: str) -> int:
        """Replace the code. Returns its length in bytes."""
        return _rewrite(self.code, code)

    def put_stdin(self, text: str) -> None:
        """Replace the input. The guest reads it from its beginning: both sides share the position in the file."""
        _rewrite(self.stdin, text)
        os.lseek(self.stdin, 0, os.SEEK_SET)

    def forget_output(self) -> None:
        """Empty both outputs, and start again at their beginning."""
        for descriptor in (self.stdout, self.stderr):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)

    def too_long(self, limits: Limits) -> bool:
        """One of the outputs is longer than the limit."""
        return any(os.fstat(descriptor).st_size > limits.output_bytes for descriptor in (self.stdout, self.stderr))

    def read(self, limits: Limits) -> tuple[str, str]:
        """What was printed, as far as the limit allows."""
        return _read(self.stdout, limits.output_bytes), _read(self.stderr, limits.output_bytes)

    def close(self) -> None:
        """Give the memory back."""
        while self._open:
            os.close(self._open.pop())


def _rewrite(descriptor: int, text: str) -> int:
    data = _encode(text)
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    write_all(descriptor, data)
    return len(data)


def write_all(descriptor: int, data: bytes) -> None:
    """Write to a file, in as many pieces as the kernel takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _encode(text: str) -> bytes:
    """Lone surrogates pass as they are; Python then refuses such a source as an ordinary program's error."""
    return text.encode("utf-8", "surrogatepass")


def _read(descriptor: int, limit: int) -> str:
    cut = os.fstat(descriptor).st_size > limit
    marker = CUT_MARKER.format(limit=limit) if cut else ""
    shown = max(limit - len(marker), limit // 2)  # the marker counts, unless the limit is hardly longer than it
    # A character that the limit cuts in half is left out, instead of being escaped.
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    return decoder.decode(os.pread(descriptor, shown, 0), final=not cut) + marker


def exit_status(reply: Reply, limits: Limits, *, too_long: bool) -> ExecStatus:
    """How a process ended."""
    code = os.waitstatus_to_exitcode(reply.wait_status)
    if code == -signal.SIGXFSZ or too_long:
        return ExecStatus.OUTPUT
    if reply.wall_s >= limits.wall_s:
        return ExecStatus.TIMEOUT
    if code == -signal.SIGXCPU or reply.cpu_s >= limits.cpu_s:
        return ExecStatus.CPU
    if code == -MEMORY_SIGNAL:
        return ExecStatus.MEMORY
    if code < 0:
        grown_kb = reply.max_rss_kb - reply.base_rss_kb
        crowded = -code in _CRASHES and grown_kb >= limits.memory_mb * 1024 * _NEARLY_ALL
        return ExecStatus.MEMORY if crowded else ExecStatus.SIGNAL
    return ExecStatus.OK if code == 0 else ExecStatus.ERROR


def ended(reply: Reply, limits: Limits, streams: Streams) -> ExecResult:
    """The result of a program that came to its end."""
    too_long = streams.too_long(limits)
    status = exit_status(reply, limits, too_long=too_long)
    stdout, stderr = streams.read(limits)
    return ExecResult(
        status=status,
        exit_code=os.waitstatus_to_exitcode(reply.wait_status),
        stdout=stdout,
        stderr=stderr,
        output_truncated=status is ExecStatus.OUTPUT,
        wall_ms=reply.wall_s * 1000,
        cpu_ms=reply.cpu_s * 1000,
        max_rss_kb=reply.max_rss_kb,
    )


def lost(reason: str) -> ExecResult:
    """The sandbox failed; `stderr` says how, and nothing is known of the code."""
    return ExecResult(ExecStatus.LOST, -1, "", f"sandbox: {reason}\n", False, 0.0, 0.0, 0)


def error_type(stderr: str) -> str | None:
    """The class name of the exception that the last traceback in the text ends with, null without one.

    For data only, never for a verdict: the guest can print what it likes.
    """
    _, found, last = stderr.rpartition("Traceback (most recent call last):\n")
    # Frames and source are indented; a message may have lines of its own after the first. A syntax error comes without
    # the header, because no frame was running: there the last line that looks like an exception counts.
    names = [match[1] for match in map(_EXCEPTION_LINE.match, last.splitlines()) if match]
    if found:
        return names[0] if names else None
    return next((name for name in reversed(names) if name[0].isupper()), None)
