"""The messages between the supervisor, the fork server and a guest's interpreter: fixed structs, nothing else.

supervisor -> zygote        its `Config` as JSON, later `START` with the socket of a new fork server
zygote -> supervisor        `Reply`: `READY` or `FAILED`, later `SPAWNED` with the pidfd of a fork server
supervisor -> fork server   `Request` with descriptors (stdin, stdout, stderr, code and, for a session, a socket)
fork server -> supervisor   `Reply`; the first one of a server is `READY` or `FAILED` with a text
supervisor -> interpreter   `BLOCK`: a block of a session, or one test of a program
interpreter -> supervisor   `RECORD`, 21 bytes. This one is written by a process that runs hostile code: it is compared
                            with the nonce of the block, and a false one ends nothing but its own block early.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum


class Ask(IntEnum):
    """What the supervisor wants of the fork server."""

    RUN = 1
    """Run a program in a fresh interpreter."""
    SESSION = 2
    """Start an interpreter that answers blocks."""
    TESTS = 3
    """Start an interpreter that runs one program on many inputs."""
    CALLS = 4
    """Start an interpreter that calls one function with many arguments."""
    CANCEL = 5
    """Kill one of them."""


class Answer(IntEnum):
    """What the fork server has to say of a job."""

    READY = 1
    SPAWNED = 2
    """A session, or by the zygote a fork server, was forked; its pidfd comes along."""
    EXITED = 3
    """Nothing of it is left. Wait status and usage are the kernel's."""
    FAILED = 4
    """The guest's code never ran: the sandbox could not set up, and the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """One job for the fork server."""

    ask: int
    """An `Ask`. Left a number: making enum members would touch pages that every guest then copies."""
    job: int
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    output_bytes: int = 0

    def pack(self) -> bytes:
        """The message."""
        return _REQUEST.pack(self.ask, self.job, self.wall_s, self.cpu_s, self.memory_bytes, self.output_bytes)


@dataclass(frozen=True, slots=True)
class Reply:
    """How a job stands."""

    answer: int
    """An `Answer`."""
    job: int = 0
    wait_status: int = 0
    wall_s: float = 0.0
    """From the fork to the end, by the fork server's clock."""
    cpu_s: float = 0.0
    max_rss_kb: int = 0
    base_rss_kb: int = 0
    """What the interpreter holds before the guest's first line."""
    text: str = ""

    def pack(self) -> bytes:
        """The message."""
        numbers = (self.answer, self.job, self.wait_status, self.wall_s, self.cpu_s, self.max_rss_kb, self.base_rss_kb)
        return _REPLY.pack(*numbers) + self.text.encode()


_REQUEST = struct.Struct("<BQddQQ")
_REPLY = struct.Struct("<BQiddQQ")

START = struct.Struct("<I")
"""Number of the slot."""
BLOCK = struct.Struct("<16sQdIQ")
"""Nonce, bytes of code in the code file, wall seconds, number of the block (0 for a test), bytes of output."""
RECORD = struct.Struct("<16sBi")
"""Nonce, kind (a `Said`), exit code."""

NO_NONCE = bytes(16)
MESSAGE_BYTES = 64 * 1024

MEMORY_SIGNAL = 64
"""SIGRTMAX. A program that an uncaught MemoryError ends kills itself with it: the kernel then reports a death that
nothing else causes. Code can bring it about by hand, and gains a failure, as with `raise MemoryError`."""
SOFT_LIMIT_S = 0.25
"""How long after the soft alarm, which lets a program flush its output, the kill comes."""


class Said(IntEnum):
    """Kinds of an interpreter's record."""

    HELLO = 0
    DONE = 1
    OUT_OF_MEMORY = 2


def unpack_request(data: bytes) -> Request:
    """Read a message of the supervisor."""
    return Request(*_REQUEST.unpack(data))


def unpack_reply(data: bytes) -> Reply:
    """Read a message of the fork server."""
    fields = [*_REPLY.unpack_from(data), data[_REPLY.size :].decode("utf-8", "replace")]
    return Reply(*fields)
