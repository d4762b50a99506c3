"""What the tests of the sandbox share: oracles that stand outside of it, and how an attack is run."""

import asyncio
import contextlib
import os
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path

from factory.sandbox.pool import Pool
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus

CANARY = "canary-4f1d7a"
SHORT = Limits(wall_s=0.3, cpu_s=5)
SLACK_MS = 1_500
"""Kills come 250 ms after the limit; the rest is for test machines that have other work."""
Program = Callable[..., Awaitable[ExecResult]]


def processes() -> dict[int, int]:
    """Every living process and its parent."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z" or len(os.listdir(entry / "task")) > 1:  # its main thread alone may have ended
                found[int(entry.name)] = int(parent)
    return found


def descendants(root: int) -> set[int]:
    """Processes that come from this one, in whatever namespace."""
    parents = processes()
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {root}} - found:
        found |= more
    return found


def n_jobs_asked(sandbox: Pool) -> int:
    """Guests that the fork servers were asked for so far: a retry counts."""
    return sum(one._last_job for one in sandbox._all_slots())


def n_starts(sandbox: Pool) -> int:
    """Fork servers started so far."""
    return sum(one.n_starts for one in sandbox._all_slots())


async def both(
    sandbox: Pool, code: str, limits: Limits | None = None, *, heals: bool = True, stdin: str = ""
) -> list[ExecResult]:
    """Run an attack fresh and in a session, at the same time.

    Afterwards everybody else is well, at the first try: the next job, a new session, and one that was open all the
    time. Nothing that the attack started is alive.

    Args:
        heals: The attacked session works on. False for attacks that spoil their own interpreter, which then fails
            without being taken for a failure of the sandbox.
    """
    starts, alive = n_starts(sandbox), descendants(os.getpid())
    bystander, session = await sandbox.session(), await sandbox.session(limits)
    await bystander.run("n = 41")
    results = list(await asyncio.gather(sandbox.run(code, stdin, limits), session.run(code)))
    after = await session.run("40 + 2")
    assert (after.stdout == "42\n") if heals else (after.status is not ExecStatus.LOST), after
    assert (await bystander.run("n + 1")).stdout == "42\n"
    await session.aclose()
    await bystander.aclose()
    await stays_honest(sandbox)
    assert starts == n_starts(sandbox), "a fork server had to be started again"
    await nothing_left_but(alive)
    for result in results:
        assert result.status is not ExecStatus.LOST
        said = result.stdout + result.stderr
        assert not (escaped := [line for line in said.splitlines() if "ESCAPED" in line or CANARY in line]), escaped
        assert _ALL_TRIED not in code or result.stdout.endswith(f"{_ALL_TRIED}\n"), result.stderr
    return results


async def nothing_left_but(alive: set[int]) -> None:
    """No process is left that was not there before. Honest jobs of a test may still come to their end."""
    for _ in range(40):
        if descendants(os.getpid()) <= alive:
            return
        await asyncio.sleep(0.05)
    assert descendants(os.getpid()) <= alive


async def stays_honest(sandbox: Pool) -> None:
    """An honest job and a new session succeed, each asked for once."""
    asked = n_jobs_asked(sandbox)
    honest = await sandbox.run("import math, sys\nprint(math.sqrt(16), input(), sys.getrecursionlimit())", "in")
    assert (honest.status, honest.stdout) == (ExecStatus.OK, "4.0 in 1000\n")
    session = await sandbox.session()
    assert (await session.run("import math\nmath.sqrt(16)")).stdout == "4.0\n"
    await session.aclose()
    assert n_jobs_asked(sandbox) == asked + 2


_NUMBERS = {
    "x86_64": """
socket 41 sendto 44 sendmsg 46 socketpair 53 getsockopt 55 clone 56 fork 57 vfork 58 exit 60 shmget 29 ptrace 101
rt_sigqueueinfo 129 pivot_root 155 prctl 157 chroot 161 mount 165 umount2 166 tkill 200 keyctl 250 mq_open 240
unshare 272 tgkill 234 perf_event_open 298 fanotify_init 300 name_to_handle_at 303 open_by_handle_at 304 setns 308
process_vm_readv 310 process_vm_writev 311 seccomp 317 memfd_create 319 bpf 321 execveat 322 userfaultfd 323
setpriority 141 sched_setaffinity 203 inotify_init1 294 personality 135 process_madvise 440""",
    "aarch64": """
socket 198 sendto 206 sendmsg 211 socketpair 199 getsockopt 209 clone 220 exit 93 shmget 194 ptrace 117
rt_sigqueueinfo 138 pivot_root 41 prctl 167 chroot 51 mount 40 umount2 39 tkill 130 keyctl 219 mq_open 180
unshare 97 tgkill 131 perf_event_open 241 fanotify_init 262 name_to_handle_at 264 open_by_handle_at 265 setns 268
process_vm_readv 270 process_vm_writev 271 seccomp 277 memfd_create 279 bpf 280 execveat 281 userfaultfd 282
setpriority 140 sched_setaffinity 122 inotify_init1 26 personality 92 process_madvise 440""",
}
_EVERYWHERE = """
pidfd_send_signal 424 io_uring_setup 425 io_uring_enter 426 io_uring_register 427 open_tree 428 move_mount 429
fsopen 430 pidfd_open 434 clone3 435 close_range 436 pidfd_getfd 438 mount_setattr 442
landlock_create_ruleset 444 landlock_restrict_self 446 memfd_secret 447"""

_WORDS = (_NUMBERS.get(platform.machine(), "") + _EVERYWHERE).split()
_ALL_TRIED = "all was tried"
NUMBERS = {name: int(number) for name, number in zip(_WORDS[::2], _WORDS[1::2], strict=True)}
"""System calls that the attacks make by number on this machine."""

_ATTEMPT = (
    f"""
import os, sys, ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = {NUMBERS}
"""
    + """
def attempt(name, function, *args):
    try:
        value = function(*args)
    except BaseException as error:
        print(name, 'refused', type(error).__name__)
    else:
        print('ESCAPED', name, str(value)[:200])
def call(name, *args):
    result = libc.syscall(NUMBERS[name], *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    if result < 0:
        raise OSError(ctypes.get_errno(), '')
    return result
"""
)


def attempts(body: str) -> str:
    """A program of attempts, each of which must be refused; `both` makes sure that it came to its last line."""
    return f"{_ATTEMPT}{body}\nprint({_ALL_TRIED!r})"
