"""The child side of the fork server: give up everything, then run hostile code. Nothing it says is believed.

`start` runs in the forked child. It reports once, through a pipe that is closed before the guest's first line, that the
child is confined; a child that never reported is a failure of the sandbox and not of the code. From then on this
process speaks to nobody but through its exit, its output files and, in a session, the 21-byte record.

A program that an uncaught MemoryError ends dies by `wire.MEMORY_SIGNAL`, so that the kernel tells it from an error.

Not covered: the guest shares this interpreter and can rewrite every function below. That harms only itself.
"""

import ast
import atexit
import builtins
import contextlib
import fcntl
import gc
import linecache
import os
import random
import resource
import signal
import sys
import threading
import traceback
import types
from dataclasses import dataclass
from math import ceil
from typing import NoReturn

from factory.sandbox import kernel, seccomp, view
from factory.sandbox.wire import BLOCK, MEMORY_SIGNAL, NO_NONCE, RECORD, Ask, Request, Said

CONFINED = b"+"
"""The child's report: all walls are up, the guest's code comes next."""

PROGRAM_NAME = "<main>"
_BLOCK_NAME = "<block {}>"

# Descriptors of a child, in the order of the request; the last two are closed before the guest runs.
_CODE, _SOCKET, _RULESET, _REPORT = 3, 4, 5, 6
_ABOVE = 16

_FIRST_UID, _N_UIDS, _UIDS_PER_SLOT = 61_184, 4_096, 128
"""Users that own nothing (the range of systemd's dynamic users). Under root every guest gets one for itself."""
_THREADS, _THREADS_OF_EVERYBODY = 320, 4_096
"""Processes and threads of the guest's user. The second one where that is the user who runs all this."""

_STACK_BYTES = 64 << 20
_FILE_BYTES = 16 << 20
_OPEN_FILES = 64
_TRACEBACK_CHARS = 8_192


@dataclass(frozen=True, slots=True)
class Setup:
    """What the fork server prepared for all its children."""

    level: str
    slot: int
    server_pid: int
    address_bytes: int
    """Address space and data of the warm interpreter: limits are counted on top."""
    data_bytes: int
    resident_kb: int
    change_user: bool
    keep_capabilities: int
    ruleset: int | None
    program: bytes | None
    """The seccomp program of a child, with a mark in the place of its pid. Null at level `none`."""


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
        _make_interpreter()
        os.write(report, CONFINED)
        os.close(report)
    except BaseException as error:
        os.write(report, f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(1)
    try:
        if request.ask is Ask.RUN:
            _run_program(request.wall_s)
        _run_session()
    finally:
        os._exit(1)  # whatever the guest did to the code above, this process never becomes a fork server


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
    if request.ask is Ask.RUN:  # a session's blocks are watched by the supervisor
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


def _make_interpreter() -> None:
    """A clean `__main__`, default signals and fixed seeds, as in a program that was just started."""
    atexit._clear()
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; the kernel is to end an endless print
    for name in [name for name in sys.modules if name.partition(".")[0] == "factory"]:
        del sys.modules[name]
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    sys.argv = ["main.py"]
    _seed(0)
    gc.enable()


def _seed(seed: int) -> None:
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "sympy.core.random" in sys.modules:  # has a generator of its own
        sys.modules["sympy.core.random"].seed(seed)


def _alarm(wall_s: float) -> None:
    """Interrupt the code a moment before it is killed, so that what it printed is not lost."""

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"time limit of {wall_s:g} s")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def _read_code(size: int) -> bytes:
    return os.pread(_CODE, size, 0)


def _run_program(wall_s: float) -> NoReturn:
    """Run to the end as `python main.py` would: threads joined, exit functions called, output flushed."""
    code = _read_code(os.fstat(_CODE).st_size)
    os.close(_CODE)
    _alarm(wall_s)
    namespace = sys.modules["__main__"].__dict__
    exit_code, out_of_memory = _execute(code, PROGRAM_NAME, namespace, {PROGRAM_NAME}, echo=False)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        exit_code = exit_code or 1
    if out_of_memory:
        os.kill(os.getpid(), MEMORY_SIGNAL)
    os._exit(exit_code & 0xFF)


def _run_session() -> NoReturn:
    """Answer blocks until the supervisor closes its end. Between two blocks the supervisor stops this process."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    namespace = sys.modules["__main__"].__dict__
    names: set[str] = set()
    os.write(_SOCKET, RECORD.pack(NO_NONCE, Said.HELLO, 0))
    while message := os.read(_SOCKET, BLOCK.size):
        nonce, size, wall_s, seed = BLOCK.unpack(message)
        name = _BLOCK_NAME.format(len(names) + 1)
        names.add(name)
        _seed(seed)
        _alarm(wall_s)
        exit_code, out_of_memory = _execute(_read_code(size), name, namespace, names, echo=True)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            sys.stdout.flush()
        except BaseException:
            exit_code = exit_code or 1
        os.write(_SOCKET, RECORD.pack(nonce, Said.OUT_OF_MEMORY if out_of_memory else Said.DONE, exit_code))
    os._exit(0)


def _execute(code: bytes, name: str, namespace: dict[str, object], names: set[str], *, echo: bool) -> tuple[int, bool]:
    """Run code. Returns the exit code and whether an uncaught MemoryError ended it."""
    lines = code.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[name] = (len(code), None, lines, name)  # tracebacks show the source
    try:
        if echo:
            _run_cell(code, name, namespace)
        else:
            exec(compile(code, name, "exec", dont_inherit=True), namespace)  # noqa: S102 - what a sandbox is for
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return _exit_code(error.code or 0), False
        _complain(str(error.code) + "\n")
        return 1, False
    except BaseException as error:
        _complain(_format(error, names))
        return 1, isinstance(error, MemoryError)
    return 0, False


def _exit_code(code: int) -> int:
    """As the shell sees it; False and True count as numbers."""
    return int(code) & 0xFF


def _run_cell(code: bytes, name: str, namespace: dict[str, object]) -> None:
    """Run a block and echo its last expression, as a notebook does."""
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec", dont_inherit=True), namespace)  # noqa: S102
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), namespace)  # noqa: S307
        if value is not None:
            sys.stdout.write(repr(value) + "\n")


def _complain(text: str) -> None:
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:  # the code replaced or closed it
        with contextlib.suppress(BaseException):
            os.write(2, text.encode("utf-8", "backslashreplace"))


def _format(error: BaseException, names: set[str]) -> str:
    """The traceback with the code's own frames: no frame of ours, of a library, and so no path of this machine."""
    try:
        report = traceback.TracebackException.from_exception(error)
        _keep_frames(report, names)
        text = "".join(report.format())
    except BaseException:
        return f"{type(error).__name__}: <the exception cannot be printed>\n"
    half = _TRACEBACK_CHARS // 2
    return text if len(text) <= _TRACEBACK_CHARS else f"{text[:half]}\n[...]\n{text[-half:]}"


def _keep_frames(report: traceback.TracebackException, names: set[str]) -> None:
    todo: list[traceback.TracebackException | None] = [report]
    while todo:
        one = todo.pop()
        if one is not None:
            one.stack = traceback.StackSummary.from_list([frame for frame in one.stack if frame.filename in names])
            todo += [one.__cause__, one.__context__, *(one.exceptions or ())]
