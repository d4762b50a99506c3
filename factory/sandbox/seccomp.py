"""Seccomp filters, assembled by hand so that nothing but the kernel is needed.

Three programs: `zygote_program` for the fork server (an allow-list), `guest_program` which each child adds on top (it
takes back what only the fork server may do; a short one, because it is installed once per execution), and
`checker_program` for `confine_process`. The kernel takes the strictest answer of all installed filters.

Not covered: paths. A filter sees numbers only; what may be opened is decided by the view or by Landlock.
"""

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from factory.sandbox.syscalls import CHECKER, GUEST, ZYGOTE_ONLY, Machine, machine

# Classic BPF operations.
_LOAD, _EQUAL, _GREATER_EQUAL, _GREATER, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x54, 0x06
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_REFUSE = _ERRNO | errno.EPERM

# Offsets in struct seccomp_data.
_NUMBER, _ARCH, _ARGS = 0, 4, 16

_CLONE_THREAD_ALL = 0x00010F00
"""CLONE_VM, FS, FILES, SIGHAND, THREAD: a thread as the C library makes it. One with descriptors of its own would
multiply what a guest may open."""
_CLONE_NEW_ANY = 0x7E020080
"""All CLONE_NEW* flags, the time namespace included."""
CLONE_NEWNS = 0x00020000

_AF_UNIX = 1
_FCNTL = (0, 1, 2, 3, 4, 5, 1030, 1032)
"""Duplicate, flags, look at a lock, pipe size. No owner, lease, notify or seal."""
_FCNTL_LOCKS = (6, 7)
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""isatty, window size, bytes waiting, non-blocking, close-on-exec."""
_PRCTL = (15, 16, 0x53564D41)
"""Thread names, and the names that the allocator gives its mappings."""
_WRITING_OPEN = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, __O_TMPFILE."""

_MSG_OOB = 1
_SOCKET_OPTIONS = (3, 4, 38, 39)
"""Type, error, protocol, domain. Others tell of the process at the other end."""
_MAP_HUGETLB = 0x40000
"""Would take from a pool that the host keeps for others."""
_MADVISE_REFUSED = (12, 100, 101)
"""Merging with equal pages of others, which timing can tell; poisoning."""

_SIGCONT = 18
_CLOSE_RANGE_CLOEXEC = 4

PID_MARK = 0x7ABCDEF1
"""Stands in a program for the process's own id, which is known only after the fork."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Go on when the argument is one of the values; answer 0 for those of `pretend`, without doing anything."""

    argument: int
    values: tuple[int, ...]
    pretend: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Go on when the argument is none of the values."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bits:
    """Go on when the argument has none of `never` and all of `need`."""

    argument: int
    never: int
    need: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Always answer with this errno; 0 says that it was done, and does nothing."""

    code: int


Condition = OneOf | NoneOf | Bits
Check = Answer | Condition | tuple[Condition, ...]
"""What a call's arguments must be. All conditions of a tuple must hold."""


class _Assembler:
    """Instructions in order; jumps are relative and short, as the kernel wants them."""

    def __init__(self, target: Machine) -> None:
        self._machine = target
        self._code: list[tuple[int, int, int, int]] = []
        self._emit(_LOAD, _ARCH)
        self._emit(_EQUAL, target.audit_arch, 1, 0)
        self._emit(_RETURN, _KILL_PROCESS)
        self._emit(_LOAD, _NUMBER)
        if target.x32_bit is not None:
            self._emit(_GREATER_EQUAL, target.x32_bit, 0, 1)
            self._emit(_RETURN, _REFUSE)

    def _emit(self, operation: int, value: int, if_true: int = 0, if_false: int = 0) -> None:
        self._code.append((operation, if_true, if_false, value))

    def check(self, name: str, check: Check) -> None:
        """Decide one call by its arguments. The body ends in a return, so the number need not be loaded again."""
        if name not in self._machine.numbers:
            return
        jump = len(self._code)
        self._emit(_EQUAL, self._machine.numbers[name])
        if isinstance(check, Answer):
            self._emit(_RETURN, _ERRNO | check.code)
        else:
            for condition in check if isinstance(check, tuple) else (check,):
                self._condition(condition)
            self._emit(_RETURN, _ALLOW)
        self._aim(jump, if_false=len(self._code))

    def _condition(self, condition: Condition) -> None:
        """Refuse, or go on behind it."""
        low = _ARGS + 8 * condition.argument
        self._emit(_LOAD, low + 4)
        self._emit(_EQUAL, 0, 1, 0)
        self._emit(_RETURN, _REFUSE)
        self._emit(_LOAD, low)
        match condition:
            case OneOf(_, values, pretend):
                for value in pretend:
                    self._emit(_EQUAL, value, 0, 1)
                    self._emit(_RETURN, _ERRNO)
                jumps = range(len(self._code), len(self._code) + len(values))
                for value in values:
                    self._emit(_EQUAL, value)
                self._emit(_RETURN, _REFUSE)
                for jump in jumps:
                    self._aim(jump, if_true=len(self._code))
            case NoneOf(_, values):
                for value in values:
                    self._emit(_EQUAL, value, 0, 1)
                    self._emit(_RETURN, _REFUSE)
            case Bits(_, never, need):
                self._emit(_ANY_BIT, never, 0, 1)
                self._emit(_RETURN, _REFUSE)
                if need:
                    self._emit(_AND, need)
                    self._emit(_EQUAL, need, 1, 0)
                    self._emit(_RETURN, _REFUSE)

    def _aim(self, jump: int, *, if_true: int | None = None, if_false: int | None = None) -> None:
        """Set where a jump goes to."""
        operation, true, false, value = self._code[jump]
        true = true if if_true is None else if_true - jump - 1
        false = false if if_false is None else if_false - jump - 1
        self._code[jump] = (operation, true, false, value)

    def numbers(self, numbers: Iterable[int], answer: int) -> None:
        """Give one answer for these calls, neighbours joined into ranges."""
        ranges: list[list[int]] = []
        for number in sorted(numbers):
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        for first, last in ranges:
            self._emit(_GREATER_EQUAL, first, 0, 2)
            self._emit(_GREATER, last, 1, 0)
            self._emit(_RETURN, answer)

    def finish(self, otherwise: int) -> bytes:
        """The program, with the answer for every call not mentioned."""
        self._emit(_RETURN, otherwise)
        return b"".join(struct.pack("HBBI", *instruction) for instruction in self._code)


def _allow_list(names: frozenset[str], checks: dict[str, Check]) -> bytes:
    target = machine()
    program = _Assembler(target)
    for name, check in checks.items():
        program.check(name, check)
    program.numbers(target.of(names - checks.keys()), _ALLOW)
    return program.finish(_REFUSE)


_SHARED: dict[str, Check] = {
    "clone3": Answer(errno.ENOSYS),  # its flags are behind a pointer; the C library then falls back to clone
    "ioctl": OneOf(1, _IOCTL),
    # A lock would be seen by other guests, and could keep the host from writing a file that it shares with us.
    "fcntl": OneOf(1, _FCNTL, pretend=_FCNTL_LOCKS),
    # No address: only over a pair of sockets that the process made itself. Out-of-band data is a little-used path.
    "sendto": (OneOf(4, (0,)), Bits(3, never=_MSG_OOB)),
    "recvfrom": Bits(3, never=_MSG_OOB),
    "socketpair": OneOf(0, (_AF_UNIX,)),
    "getsockopt": OneOf(2, _SOCKET_OPTIONS),
    "getsid": OneOf(0, (0,)),
    "getpgid": OneOf(0, (0,)),
    "mmap": Bits(3, never=_MAP_HUGETLB),
    "madvise": NoneOf(2, _MADVISE_REFUSED),
    "close_range": OneOf(2, (0, _CLOSE_RANGE_CLOEXEC)),  # not UNSHARE: as with clone
    # Advice and promises about files: a guest has nothing that must reach a disk, and the host's disk is not its own.
    "fsync": Answer(0),
    "fdatasync": Answer(0),
    "fadvise64": Answer(0),
}
_OWN_PROCESS: dict[str, Check] = {
    "clone": Bits(0, never=_CLONE_NEW_ANY, need=_CLONE_THREAD_ALL),
    # A SIGCONT to oneself would undo the SIGSTOP that freezes a session between its blocks.
    "kill": (OneOf(0, (PID_MARK,)), NoneOf(1, (_SIGCONT,))),
    "tgkill": (OneOf(0, (PID_MARK,)), NoneOf(2, (_SIGCONT,))),
    "prctl": OneOf(0, _PRCTL),
    "prlimit64": OneOf(0, (0, PID_MARK)),
    # The clocks of other processes are the negative ones.
    "clock_gettime": Bits(0, never=1 << 31),
    "clock_getres": Bits(0, never=1 << 31),
    "clock_nanosleep": Bits(0, never=1 << 31),
}


def zygote_program() -> bytes:
    """The allow-list of the fork server: what a guest may do, plus making guests."""
    anything = frozenset({"kill", "tgkill", "prctl", "prlimit64"})
    checks = _SHARED | {"clone": Bits(0, never=_CLONE_NEW_ANY), "unshare": OneOf(0, (CLONE_NEWNS,))}
    return _allow_list(GUEST | ZYGOTE_ONLY | anything, checks)


def guest_program() -> bytes:
    """What a child gives up on top. `own(program, pid)` makes it the program of one process."""
    target = machine()
    program = _Assembler(target)
    for name, check in _OWN_PROCESS.items():
        program.check(name, check)
    program.numbers(target.of(ZYGOTE_ONLY), _REFUSE)
    return program.finish(_ALLOW)


def checker_program() -> bytes:
    """Threads and open pipes, nothing else: no new file for writing, socket, process or program."""
    reading = Bits(2, never=_WRITING_OPEN)
    checks = _SHARED | _OWN_PROCESS | {"openat": reading, "open": Bits(1, never=_WRITING_OPEN)}
    return _allow_list(CHECKER, checks)


def own(program: bytes, pid: int) -> bytes:
    """Put the process's own id where the program stands for it."""
    return program.replace(struct.pack("I", PID_MARK), struct.pack("I", pid))
