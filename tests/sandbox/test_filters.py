"""The seccomp programs of every machine, run by a small interpreter: what gets through, and that nothing else does.

No call is made here, so the programs of a machine that nobody has at hand are checked, too.
"""

import errno
import fcntl
import functools
import os
import platform
import re
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.sandbox import kernel, seccomp, syscalls
from factory.sandbox.syscalls import CHECKER, GUEST, MACHINES, ZYGOTE_ONLY

PRETEND = 0x00050000
"""The call is not made, and the caller told that it was."""
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
MAX_INSTRUCTIONS = 4_096
PID = 4_321
HIGH = 1 << 32  # set in an argument whose lower half would pass
THREAD, NEWNS, NEW_ANY = 0x00010F00, 0x00020000, 0x7E020080
PTHREAD = 0x003D0F00
"""The flags that pthread_create gives to clone."""
FORK = 0x01200011

Check = Callable[[tuple[int, ...]], bool]
COMMANDS = "DUPFD GETFD SETFD GETFL SETFL GETLK DUPFD_CLOEXEC GETPIPE_SZ"
FCNTL = {getattr(fcntl, f"F_{name}") for name in COMMANDS.split()}
IOCTL = {getattr(termios, name) for name in ("TCGETS", "TIOCGWINSZ", "FIONREAD", "FIONBIO", "FIOCLEX", "FIONCLEX")}
SHARED: dict[str, Check] = {
    "ioctl": lambda a: a[1] in IOCTL,
    "fcntl": lambda a: a[1] in FCNTL,
    "sendto": lambda a: a[4] == 0 and a[3] < HIGH and not a[3] & socket.MSG_OOB,
    "recvfrom": lambda a: a[3] < HIGH and not a[3] & socket.MSG_OOB,
    "socketpair": lambda a: a[0] == socket.AF_UNIX,
    "getsockopt": lambda a: a[2] in {socket.SO_TYPE, socket.SO_ERROR, socket.SO_PROTOCOL, socket.SO_DOMAIN},
    "getsid": lambda a: a[0] == 0,
    "getpgid": lambda a: a[0] == 0,
    "mmap": lambda a: a[3] < HIGH and not a[3] & 0x40000,  # MAP_HUGETLB
    "close_range": lambda a: a[2] in {0, 4},
    "madvise": lambda a: a[2] < HIGH and a[2] not in {12, 100, 101},
}
PRETENDED = {"fsync", "fdatasync", "fadvise64"}
OWN: dict[str, Check] = {
    "clone": lambda a: a[0] < HIGH and a[0] & THREAD == THREAD and not a[0] & NEW_ANY,
    "kill": lambda a: a[0] == PID and a[1] < HIGH and a[1] != signal.SIGCONT,
    "tgkill": lambda a: a[0] == PID and a[2] < HIGH and a[2] != signal.SIGCONT,
    "prctl": lambda a: a[0] in {15, 16, 0x53564D41},  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA
    "prlimit64": lambda a: a[0] in {0, PID},
    **dict.fromkeys(("clock_gettime", "clock_getres", "clock_nanosleep"), lambda a: a[0] < 1 << 31),
}
WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000  # the same on both machines, O_DIRECTORY is not
RULES: dict[str, tuple[frozenset[str], dict[str, Check]]] = {
    "zygote": (
        GUEST | ZYGOTE_ONLY | {"kill", "tgkill", "prctl", "prlimit64"},
        SHARED | {"clone": lambda a: a[0] < HIGH and not a[0] & NEW_ANY, "unshare": lambda a: a[0] == NEWNS},
    ),
    "guest": (GUEST, SHARED | OWN),
    "checker": (
        CHECKER,
        SHARED
        | OWN
        | {
            "open": lambda a: a[1] < HIGH and not a[1] & WRITING,
            "openat": lambda a: a[2] < HIGH and not a[2] & WRITING,
        },
    ),
}
"""The policy, said again in other words than the assembler's: names that pass, and names that pass with a condition."""

every_machine = pytest.mark.parametrize("machine", MACHINES)
every_program = pytest.mark.parametrize("kind", RULES)


@functools.cache
def assembled(machine: str, kind: str) -> tuple[bytes, ...]:
    """The programs installed in such a process, for such a machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "machine", lambda: machine)
        if kind == "checker":
            return (seccomp.own(seccomp.checker_program(), PID),)
        guest = (seccomp.own(seccomp.guest_program(), PID),) if kind == "guest" else ()
        return (seccomp.zygote_program(), *guest)


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("HBBI", program))


def execute(program: bytes, data: bytes) -> int:
    """Classic BPF over a struct seccomp_data: the operations that our assembler knows, and no other."""
    code, position, value = instructions(program), 0, 0
    while True:
        operation, if_true, if_false, operand = code[position]
        position += 1
        match operation:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, operand)
            case 0x15:
                position += if_true if value == operand else if_false
            case 0x35:
                position += if_true if value >= operand else if_false
            case 0x25:
                position += if_true if value > operand else if_false
            case 0x45:
                position += if_true if value & operand else if_false
            case 0x54:
                value &= operand
            case 0x06:
                return operand
            case _:
                raise AssertionError(f"unknown operation {operation:#x}")


def decide(machine: str, kind: str, number: int, *args: int, arch: int | None = None) -> int:
    """What the kernel does: the strictest answer of all programs, which is the smallest as a signed number."""
    arch = MACHINES[machine].audit_arch if arch is None else arch
    arguments = [argument & (1 << 64) - 1 for argument in (*args, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("=IIQ6Q", number, arch, 0, *arguments)
    answers = [execute(program, data) for program in assembled(machine, kind)]
    return min(answers, key=lambda answer: struct.unpack("i", struct.pack("I", answer & 0xFFFF0000))[0])


def expected(machine: str, kind: str, number: int, args: tuple[int, ...]) -> int:
    """The answer by the policy as it stands above."""
    names = {number: name for name, number in MACHINES[machine].numbers.items()}
    name = names.get(number, "")
    plain, conditions = RULES[kind]
    if name == "clone3":
        return ENOSYS
    if name in PRETENDED or (name == "fcntl" and args[1] in {fcntl.F_SETLK, fcntl.F_SETLKW}):
        return PRETEND
    if name in conditions:
        return ALLOW if conditions[name](args) else EPERM
    return ALLOW if name in plain else EPERM


@every_machine
@every_program
def test_the_kernel_takes_the_programs(machine: str, kind: str) -> None:
    for program in assembled(machine, kind):
        code = instructions(program)
        assert 0 < len(code) < MAX_INSTRUCTIONS
        assert code[-1][0] == 0x06
        for position, (operation, if_true, if_false, operand) in enumerate(code):
            assert operation in {0x20, 0x15, 0x35, 0x25, 0x45, 0x54, 0x06}
            if operation == 0x20:
                assert operand % 4 == 0
                assert operand < 64  # the size of struct seccomp_data
            if operation in {0x15, 0x35, 0x25, 0x45}:
                assert position + 1 + max(if_true, if_false) < len(code)
        assert seccomp.PID_MARK not in {operand for *_, operand in code}


@every_machine
@every_program
def test_this_kernel_installs_the_programs(machine: str, kind: str) -> None:
    """Of another machine, too: then the first call afterwards ends the process, because it is not that machine's."""
    programs = assembled(machine, kind)
    child = os.fork()
    if child == 0:
        try:
            kernel.no_new_privileges()
            kernel.install_filter(programs[-1])
        finally:
            os._exit(3 if sys.exc_info()[0] else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (0 if machine == platform.machine() else -signal.SIGSYS)


@every_machine
@every_program
def test_every_name_of_the_policy_gets_through_and_no_other_number(machine: str, kind: str) -> None:
    numbers = MACHINES[machine].numbers
    good = {"ioctl": (0, 0x5401), "socketpair": (1,), "prctl": (15,), "unshare": (NEWNS,), "clone": (PTHREAD,)}
    good |= {"kill": (PID,), "tgkill": (PID,), "getsockopt": (0, 0, socket.SO_TYPE)}
    arguments = {numbers[name]: args for name, args in good.items()}
    passed = {number for number in range(512) if decide(machine, kind, number, *arguments.get(number, ())) == ALLOW}
    plain, conditions = RULES[kind]
    answered = PRETENDED | {"clone3"}
    assert passed == {numbers[name] for name in (plain | conditions.keys()) - answered if name in numbers}
    for number in range(512):
        for args in ((0,) * 6, (PID,) * 6, (-1 % (1 << 64),) * 6):
            assert decide(machine, kind, number, *args) == expected(machine, kind, number, args), (number, args)


@every_machine
@every_program
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_call_is_decided_by_the_policy(machine: str, kind: str, data: st.DataObject) -> None:
    telling = [0, 1, 2, 15, 16, PID, THREAD, PTHREAD, FORK, NEWNS, 0x53564D41, *FCNTL, *IOCTL, WRITING, 0o20200000]
    word = st.sampled_from(telling) | st.integers(0, (1 << 64) - 1)
    word |= st.sampled_from(telling).map(lambda value: value | HIGH)
    number = data.draw(st.sampled_from(sorted(MACHINES[machine].numbers.values())) | st.integers(0, (1 << 32) - 1))
    args = data.draw(st.tuples(word, word, word, word, word, word))
    assert decide(machine, kind, number, *args) == expected(machine, kind, number, args)


@every_machine
@every_program
def test_calls_of_another_abi_are_not_looked_at(machine: str, kind: str) -> None:
    for arch in {0, 0x40000003, 0x40000028, *(one.audit_arch for one in MACHINES.values())}:
        if arch != MACHINES[machine].audit_arch:  # 32 bit x86 and ARM, and each other
            assert {decide(machine, kind, number, arch=arch) for number in range(512)} == {KILL}
    for number in range(512):
        assert decide(machine, kind, 0x40000000 | number) == EPERM  # x32; on other machines no number at all
    assert decide(machine, kind, 0xFFFFFFFF) == EPERM


@every_machine
@pytest.mark.parametrize(
    ("name", "args", "passes"),
    [
        ("clone", (PTHREAD,), True),
        ("clone", (FORK,), False),
        *(("clone", (PTHREAD | 1 << bit,), False) for bit in range(32) if NEW_ANY >> bit & 1),
        ("clone", (PTHREAD | HIGH,), False),
        ("kill", (PID, 9), True),
        *(("kill", (pid, 9), False) for pid in (0, 1, -1, -PID, PID - 1, PID | HIGH)),
        ("tgkill", (PID, PID + 1, 9), True),
        ("tgkill", (1, 1, 9), False),
        ("kill", (PID, signal.SIGCONT), False),
        ("tgkill", (PID, PID, signal.SIGCONT), False),
        ("close_range", (3, 5, 2), False),  # CLOSE_RANGE_UNSHARE
        *(("clone", (PTHREAD & ~flag,), False) for flag in (0x100, 0x200, 0x400, 0x800, 0x10000)),
        ("ioctl", (0, termios.TCGETS), True),
        ("ioctl", (0, termios.TIOCSTI), False),
        ("ioctl", (0, termios.TIOCSCTTY), False),
        ("ioctl", (0, termios.TCGETS | HIGH), False),
        *(("fcntl", (0, command), False) for command in (8, 10, 15)),  # F_SETOWN, F_SETSIG, F_SETOWN_EX
        *(("fcntl", (0, command), False) for command in (1024, 1026, 1031, 1033)),  # lease, notify, pipe size, seals
        *(("prctl", (option,), False) for option in (1, 4, 8, 22, 23, 24, 38, 47, 59, 0x59616D61)),
        ("prlimit64", (0, 7), True),
        ("prlimit64", (PID, 7), True),
        ("prlimit64", (1, 7), False),
        ("sendto", (4, 0, 1, 0, 0, 0), True),
        ("sendto", (4, 0, 1, 0, 0x7FFF0000, 16), False),
        ("sendto", (4, 0, 1, 0, HIGH, 16), False),
        ("sendto", (4, 0, 1, socket.MSG_OOB, 0, 0), False),
        ("recvfrom", (4, 0, 1, socket.MSG_OOB, 0, 0), False),
        ("getsockopt", (4, 1, 77), False),  # SO_PEERPIDFD
        ("getsid", (1,), False),
        ("clock_gettime", (~1 << 3 & 0xFFFFFFFF,), False),  # the CPU clock of another process
        ("mmap", (0, 4096, 3, 0x22 | 0x40000), False),
        ("madvise", (0, 4096, 12), False),
        ("socketpair", (1, 1), True),
        ("socketpair", (2, 1), False),
        ("socketpair", (40, 1), False),
        ("unshare", (NEWNS,), False),
        ("seccomp", (1,), False),
        ("mount", (), False),
    ],
)
def test_arguments_of_a_guest(machine: str, name: str, args: tuple[int, ...], passes: bool) -> None:
    answer = decide(machine, "guest", MACHINES[machine].numbers[name], *args)
    assert answer == (ALLOW if passes else EPERM)


@every_machine
def test_a_checker_opens_for_reading_only(machine: str) -> None:
    numbers = MACHINES[machine].numbers
    assert decide(machine, "checker", numbers["openat"], 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    for name in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"):
        flag = getattr(os, name) & ~os.O_DIRECTORY
        assert decide(machine, "checker", numbers["openat"], 0, 0, os.O_CLOEXEC | flag) == EPERM, name
        assert "open" not in numbers or decide(machine, "checker", numbers["open"], 0, flag) == EPERM, name
    assert decide(machine, "checker", numbers["openat"], 0, 0, HIGH) == EPERM


def pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


NEVER_ANYWHERE = " io_uring_setup 425 open_tree 428 move_mount 429 fsopen 430 pidfd_getfd 438 mount_setattr 442"
NEVER = {
    "x86_64": """socket 41 connect 42 accept 43 bind 49 listen 50 fork 57 vfork 58 execve 59 ptrace 101 symlink 88
    link 86 chmod 90 chroot 161 setns 308 process_vm_readv 310 memfd_create 319 bpf 321 execveat 322 userfaultfd 323
    shmget 29 keyctl 250 perf_event_open 298 open_by_handle_at 304 sendmmsg 307 mknodat 259 init_module 175
    personality 135""",
    "aarch64": """socket 198 connect 203 accept 202 bind 200 listen 201 execve 221 ptrace 117 symlinkat 36 linkat 37
    fchmodat 53 chroot 51 setns 268 process_vm_readv 270 memfd_create 279 bpf 280 execveat 281 userfaultfd 282
    shmget 194 keyctl 219 perf_event_open 241 open_by_handle_at 265 sendmmsg 269 mknodat 33 init_module 105
    personality 92""",
}


@every_machine
@every_program
def test_calls_that_reach_out_are_refused(machine: str, kind: str) -> None:
    for name, number in pairs(NEVER[machine] + NEVER_ANYWHERE).items():
        for value in (0, 1, PID):
            assert decide(machine, kind, int(number), *[value] * 6) == EPERM, name


REPLACED = pairs(
    """open openat stat newfstatat lstat newfstatat access faccessat readlink readlinkat poll ppoll select pselect6
    pause ppoll epoll_wait epoll_pwait alarm setitimer pipe pipe2 dup2 dup3 eventfd eventfd2 getpgrp getpgid
    time gettimeofday rename renameat mkdir mkdirat rmdir unlinkat unlink unlinkat"""
)
"""What the C library calls on a machine that has no number for the older name. `arch_prctl` is of x86 alone."""


def test_aarch64_may_do_whatever_x86_may() -> None:
    assert MACHINES["x86_64"].numbers.keys() - MACHINES["aarch64"].numbers.keys() == REPLACED.keys() | {"arch_prctl"}
    for names in (GUEST, CHECKER | {"open", "openat"}):
        for older in names & REPLACED.keys():
            assert REPLACED[older] in names & MACHINES["aarch64"].numbers.keys()
    for numbers in (one.numbers for one in MACHINES.values()):
        assert len(set(numbers.values())) == len(numbers)
        assert {"seccomp", "pivot_root"} <= numbers.keys()  # made by number in `kernel`
    named = GUEST | CHECKER | ZYGOTE_ONLY | OWN.keys() | SHARED.keys()
    assert named <= MACHINES["x86_64"].numbers.keys()  # no typing error


HEADERS = {
    "x86_64": ("x86_64-linux-gnu/asm/unistd_64.h", "asm/unistd_64.h"),
    "aarch64": ("aarch64-linux-gnu/asm/unistd_64.h", "asm-generic/unistd.h"),
}


@every_machine
def test_the_table_is_that_of_the_kernels_header(machine: str) -> None:
    found = [header for header in (Path("/usr/include", name) for name in HEADERS[machine]) if header.exists()]
    if not found:
        pytest.skip(f"no header with the numbers of {machine}: {', '.join(HEADERS[machine])}")
    text = found[0].read_text().replace("__NR3264_fstatat", "__NR_newfstatat").replace("__NR3264_", "__NR_")
    header = {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+)\s+(\d+)$", text, re.MULTILINE)}
    table = MACHINES[machine].numbers
    assert len(header) > 250
    assert {name: number for name, number in table.items() if header.get(name, number) != number} == {}
    assert len(table.keys() - header.keys()) <= 5  # newer than an old header


def test_a_machine_without_a_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match=r"no system call table for riscv64 \(there is one for x86_64, aarch64\)"):
        syscalls.machine()
