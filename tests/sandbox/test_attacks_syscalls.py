"""Attacks by raw system calls: whatever is not on the list is refused, and what is dangerous is not on the list."""

import platform

import pytest

from factory.sandbox.pool import Pool
from factory.sandbox.syscalls import GUEST, machine
from schemas.vocabulary import ExecStatus
from tests.sandbox.tools import NUMBERS, SHORT, attempts, both

pytestmark = pytest.mark.asyncio(loop_scope="package")
PRELOAD = ()

BY_ARGUMENT = frozenset(
    {"clone", "clone3", "ioctl", "fcntl", "sendto", "socketpair", "kill", "tgkill", "prctl", "prlimit64"}
)
"""Let through for some arguments only."""
_ENDLESS = """
exit exit_group pause rt_sigreturn restart_syscall select pselect6 poll ppoll nanosleep clock_nanosleep futex brk
munmap mremap kill alarm set_tid_address dup2 dup3 rt_sigtimedwait
"""
"""Not called below with nonsense for arguments: they would end, stop or break the caller."""
PROBES = {335, 336} if platform.machine() == "x86_64" else set()
"""uretprobe and uprobe: the kernel lets no filter see them, and kills a caller that is not its own trampoline."""


async def test_every_number_that_is_not_on_the_list_is_refused(sandbox: Pool) -> None:
    allowed = set(machine().of(GUEST | BY_ARGUMENT))
    left_out = set(machine().of(frozenset(_ENDLESS.split()))) | PROBES
    code = f"""
libc.syscall.argtypes = [ctypes.c_long] * 7
for number in range(600):
    if number not in {left_out}:
        if libc.syscall(number, -1, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() != errno.EPERM:
            print(number)
"""
    for result in await both(sandbox, attempts(code)):
        assert {int(line) for line in result.stdout.split()[:-3]} <= allowed


async def test_what_is_dangerous_is_refused_with_sensible_arguments(sandbox: Pool) -> None:
    """NUMBERS are those that attacks use; the ones on the list are there for some arguments, tried elsewhere."""
    dangerous = set(NUMBERS) - GUEST - BY_ARGUMENT - {"exit"}
    assert len(dangerous) > 35
    code = f"""
space = ctypes.addressof(ctypes.create_string_buffer(4096))
for name in {sorted(dangerous)}:
    for argument in (0, 1, os.getpid(), space):
        attempt(name, call, name, argument, space, 0, 0, 0)
"""
    await both(sandbox, attempts(code))


async def test_arguments_are_looked_at(sandbox: Pool) -> None:
    """All commands of fcntl, ioctl and prctl but the few allowed ones; and no 64-bit number passes for a small one."""
    code = """
import fcntl, resource
null = os.open('/dev/null', 0)
allowed = {'fcntl': {*range(8), 1030, 1032}, 'ioctl': {0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451}}
for command in [*range(64), *range(1020, 1050)]:
    if command not in allowed['fcntl']:
        attempt(f'fcntl {command}', fcntl.fcntl, 1, command, 1)
for command in [*range(0x5400, 0x5480), 0x40045431, 0x80045430, 0x4B32, 0x8910, 0x89a1, 0xAE01, 0x2400, 0xB701]:
    if command not in allowed['ioctl']:
        for fd in (0, 1, null):
            attempt(f'ioctl {command:x}', fcntl.ioctl, fd, command, bytes(64))
for option in [*range(1, 80), 0x59616d61, 0x53564d42, 0x41555856]:
    if option not in (15, 16):
        attempt(f'prctl {option}', call, 'prctl', option, 1, 0, 0, 0)
high = 1 << 32
for flags in (high | 0x10000, 0x10000 | 0x20000, 0x80010000 & ~0x10000):
    attempt(f'clone {flags:x}', call, 'clone', flags, 0, 0, 0, 0)
attempt('prctl', call, 'prctl', high | 15, 0, 0, 0, 0)
attempt('socketpair', call, 'socketpair', high | 1, 1, 0, (ctypes.c_int * 2)())
a, b = __import__('socket').socketpair()
attempt('sendto', call, 'sendto', a.fileno(), b'x', 1, 0, high, 16)
for kind in range(16):
    attempt(f'limits {kind}', resource.prlimit, os.getppid(), kind)
"""
    await both(sandbox, attempts(code))


async def test_calls_from_other_threads_and_after_a_signal_are_filtered(sandbox: Pool) -> None:
    code = """
import signal, socket, threading
for one in [threading.Thread(target=attempt, args=('in a thread', socket.socket)) for _ in range(3)]:
    one.start(), one.join()
signal.signal(signal.SIGUSR1, lambda *a: attempt('in a handler', socket.socket))
signal.raise_signal(signal.SIGUSR1)
signal.signal(signal.SIGSYS, signal.SIG_IGN)
attempt('another filter', call, 'seccomp', 1, 0, 0)
attempt('listener', call, 'seccomp', 1, 8, 0)
attempt('another ruleset', call, 'landlock_create_ruleset', 0, 0, 1)
"""
    await both(sandbox, attempts(code))


async def test_a_flood_of_calls_slows_nobody(sandbox: Pool) -> None:
    code = """
import ctypes, os, threading, time
libc = ctypes.CDLL(None)
def storm(function, *arguments):
    while True: function(*arguments)
for work in ((libc.sched_yield,), (libc.getppid,), (os.stat, '/usr/lib'), (os.urandom, 1 << 20)):
    threading.Thread(target=storm, args=work).start()
"""
    for result in await both(sandbox, code, SHORT):
        assert result.status in (ExecStatus.TIMEOUT, ExecStatus.OK)
