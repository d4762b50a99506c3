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
_LOAD, _EQUAL, _GREATER_EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x06
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_REFUSE = _ERRNO | errno.EPERM

# Offsets in struct seccomp_data.
_NUMBER, _ARCH, _ARGS = 0, 4, 16

CLONE_THREAD = 0x00010000
_CLONE_NEW_ANY = 0x7E020080
"""All CLONE_NEW* flags, the time namespace included."""
CLONE_NEWNS = 0x00020000

_AF_UNIX = 1
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)
"""Duplicate, flags, locks, pipe size. No owner, lease, notify or seal."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""isatty, window size, bytes waiting, non-blocking, close-on-exec."""
_PRCTL = (15, 16, 0x53564D41)
"""Thread names, and the names that the allocator gives its mappings."""
_WRITING_OPEN = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, __O_TMPFILE."""

PID_MARK = 0x7ABCDEF1
"""Stands in a program for the process's own id, which is known only after the fork."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Allow when the argument is one of the values."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bits:
    """Allow when the argument has none of `never` and, if any is given, at least one of `need`."""

    argument: int
    never: int
    need: int = 0


@dataclass(frozen=True, slots=True)
class Refuse:
    """Always fail with this errno."""

    code: int


Check = OneOf | Bits | Refuse


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
        if isinstance(check, Refuse):
            self._emit(_RETURN, _ERRNO | check.code)
        else:
            low = _ARGS + 8 * check.argument
            self._emit(_LOAD, low + 4)
            self._emit(_EQUAL, 0, 1, 0)
            self._emit(_RETURN, _REFUSE)
            self._emit(_LOAD, low)
            if isinstance(check, OneOf):
                for value in check.values:
                    self._emit(_EQUAL, value, 0, 1)
                    self._emit(_RETURN, _ALLOW)
                self._emit(_RETURN, _REFUSE)
            else:
                self._emit(_ANY_BIT, check.never, 0, 1)
                self._emit(_RETURN, _REFUSE)
                if check.need:
                    self._emit(_ANY_BIT, check.need, 1, 0)
                    self._emit(_RETURN, _REFUSE)
                self._emit(_RETURN, _ALLOW)
        operation, if_true, _, value = self._code[jump]
        self._code[jump] = (operation, if_true, len(self._code) - jump - 1, value)

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
    "clone3": Refuse(errno.ENOSYS),  # its flags are behind a pointer; the C library then falls back to clone
    "ioctl": OneOf(1, _IOCTL),
    "fcntl": OneOf(1, _FCNTL),
    "sendto": OneOf(4, (0,)),  # no address: only over a pair of sockets that the process made itself
    "socketpair": OneOf(0, (_AF_UNIX,)),
}
_OWN_PROCESS: dict[str, Check] = {
    "clone": Bits(0, never=_CLONE_NEW_ANY, need=CLONE_THREAD),
    "kill": OneOf(0, (PID_MARK,)),
    "tgkill": OneOf(0, (PID_MARK,)),
    "prctl": OneOf(0, _PRCTL),
    "prlimit64": OneOf(0, (0, PID_MARK)),
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
