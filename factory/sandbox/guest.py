"""The child side of the fork server: give up everything, then become the interpreter of hostile code.

`start` runs in the forked child. It reports once, through a pipe that is closed before the guest's first line, that the
child is confined; a child that never reported is a failure of the sandbox and not of the code. From then on this
process speaks to nobody but through its exit, its output files and, in a session, the 21-byte record.

Not covered: what `view` and `pool` list.
"""

import fcntl
import gc
import os
import resource
import signal
from dataclasses import dataclass
from math import ceil
from typing import NoReturn

from factory.sandbox import kernel, notebook, program, seccomp, view
from factory.sandbox.wire import Ask, Request

CONFINED = b"+"
"""The child's report: all walls are up, the guest's code comes next."""

# Descriptors of a child above stdin, stdout, stderr, `interpreter.CODE` and `interpreter.SOCKET`. Both are closed
# before the guest runs.
_RULESET, _REPORT = 5, 6
_ABOVE = 16

_FIRST_UID, _N_UIDS, _UIDS_PER_SLOT = 61_184, 4_096, 128
"""Users that own nothing (the range of systemd's dynamic users). Under root every guest gets one for itself."""
_THREADS, _THREADS_OF_EVERYBODY = 320, 4_096
"""Processes and threads of the guest's user. The second one where that is the user who runs all this."""

_STACK_BYTES = 64 << 20
_FILE_BYTES = 16 << 20
_OPEN_FILES = 64


@dataclass(frozen=True, slots=True)
class Setup:
    """What was prepared for all children of a fork server."""

    level: str
    address_bytes: int
    """Address space and data of the warm interpreter: limits are counted on top."""
    data_bytes: int
    resident_kb: int
    change_user: bool
    keep_capabilities: int
    ruleset: int | None
    program: bytes | None
    """The seccomp program of a child, with a mark in the place of its pid. Null at level `none`."""
    proc: int = -1
    """/proc as it was before it went out of sight, for the zygote's children to begin with."""
    slot: int = 0
    server_pid: int = 0


def start(setup: Setup, request: Request, place: int, descriptors: list[int], report: int) -> NoReturn:
    """Become the guest. Never returns; the caller is the fork server, and the child must not go on as one.

    Args:
        setup: What the fork server prepared.
        request: The job.
        place: A number that no other living guest of this server has.
        descriptors: Those of the request.
        report: Where to say that all walls are up.
    """
    try:
        os.setsid()
        report = _place(descriptors, setup.ruleset, report)
        _limit(setup, request)
        _confine(setup, place)
        gc.enable()
        os.write(report, CONFINED)
        os.close(report)
    except BaseException as error:
        os.write(report, f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(1)
    leave, kill, pid = os._exit, os.kill, os.getpid()  # held here: the code may replace what stands in the modules
    try:
        if request.ask == Ask.RUN:
            program.run_program(request.wall_s)
        if request.ask == Ask.SESSION:
            notebook.run_session()
        program.run_tests(calls=request.ask == Ask.CALLS)
    finally:
        # Whatever the code did to the lines above, this process must not go on as the fork server it was forked from.
        # Should it all the same (frames can be rewritten), it is behind the same walls, without a control socket.
        leave(1)
        kill(pid, signal.SIGKILL)


def _place(descriptors: list[int], ruleset: int | None, report: int) -> int:
    """Put the descriptors where the child expects them and close all others. Returns the report's new place."""
    wanted = dict(enumerate(descriptors)) | {_REPORT: report}
    if ruleset is not None:
        wanted[_RULESET] = ruleset
    high = {place: fcntl.fcntl(descriptor, fcntl.F_DUPFD, _ABOVE) for place, descriptor in wanted.items()}
    os.closerange(3, _ABOVE)  # a source may sit where a target goes, so all are above before any comes down
    for place, descriptor in high.items():
        os.dup2(descriptor, place, inheritable=False)
    os.closerange(_REPORT + 1, os.sysconf("SC_OPEN_MAX"))
    return _REPORT


def _limit(setup: Setup, request: Request) -> None:
    """Set what the kernel counts. Limits are per process, and a guest cannot make a second one."""

    def cap(kind: int, soft: int, hard: int | None = None) -> None:
        ceiling = resource.getrlimit(kind)[1]
        values = [value if ceiling == resource.RLIM_INFINITY else min(value, ceiling) for value in (soft, hard or soft)]
        resource.setrlimit(kind, (values[0], values[1]))

    # One byte more than the limit, so that a file of exactly the limit is not taken for a longer one. Where a guest
    # has a folder to write in, its files may be longer than its output: the supervisor then looks at the length.
    file_bytes = request.output_bytes + 1
    cap(resource.RLIMIT_FSIZE, max(file_bytes, _FILE_BYTES) if setup.level == "namespaces" else file_bytes)
    cap(resource.RLIMIT_AS, setup.address_bytes + request.memory_bytes)
    cap(resource.RLIMIT_DATA, setup.data_bytes + request.memory_bytes)
    cap(resource.RLIMIT_NOFILE, _OPEN_FILES)
    own_count = setup.change_user or setup.level == "namespaces"
    cap(resource.RLIMIT_NPROC, _THREADS if own_count else _THREADS_OF_EVERYBODY)
    cap(resource.RLIMIT_CORE, 0)
    cap(resource.RLIMIT_MEMLOCK, 0)
    cap(resource.RLIMIT_MSGQUEUE, 0)
    cap(resource.RLIMIT_SIGPENDING, 0)  # queued ones are counted for the user; a signal that kills needs no queue
    if request.ask == Ask.RUN:  # the supervisor watches blocks and tests
        cap(resource.RLIMIT_CPU, ceil(request.cpu_s), ceil(request.cpu_s) + 1)
    # No hard limit on the stack: contest programs call setrlimit(RLIMIT_STACK, (n, -1)). The address space is capped.
    hard_stack = resource.getrlimit(resource.RLIMIT_STACK)[1]
    soft_stack = _STACK_BYTES if hard_stack == resource.RLIM_INFINITY else min(_STACK_BYTES, hard_stack)
    resource.setrlimit(resource.RLIMIT_STACK, (soft_stack, hard_stack))


def _confine(setup: Setup, place: int) -> None:
    """Put up the walls. The order matters: every step needs a right that a later one gives up."""
    uid, gid = os.getuid(), os.getgid()
    if setup.change_user:
        uid = gid = _FIRST_UID + (setup.slot * _UIDS_PER_SLOT + place) % _N_UIDS
    if setup.level == "namespaces":
        view.mount_work_folder(uid, gid)
    if setup.change_user:
        if setup.keep_capabilities:
            kernel.keep_capabilities_over_setuid()
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if setup.level != "none":
        kernel.set_capabilities(setup.keep_capabilities)
        kernel.hide_from_ptrace()
    kernel.die_with_parent()  # after the change of user, which clears it
    if os.getppid() != setup.server_pid:
        os._exit(1)
    if setup.ruleset is not None:
        kernel.landlock_restrict(_RULESET)
        os.close(_RULESET)
    if setup.program is not None:
        kernel.install_filter(seccomp.own(setup.program, os.getpid()))
