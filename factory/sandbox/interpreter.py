"""The interpreter that a guest's code runs in: seeds, notebook echo, tracebacks, the loop of a session.

Everything here shares its process with hostile code, which can rewrite it. That harms nobody else, because nothing that
this process says is believed: not an exit code beyond its being one, and not a record beyond the end of its own block.

A program that an uncaught MemoryError ends dies by `wire.MEMORY_SIGNAL`, so that the kernel tells it from an error.

Not covered: unseeded generators (`numpy.random.default_rng()`, `secrets`) differ from run to run.
"""

import ast
import atexit
import builtins
import contextlib
import linecache
import os
import random
import signal
import sys
import threading
import traceback
import types
from typing import NoReturn

from factory.sandbox.wire import BLOCK, MEMORY_SIGNAL, NO_NONCE, RECORD, Said

CODE, SOCKET = 3, 4
"""Descriptors: the file with the code, and in a session the channel to the supervisor."""
_PROGRAM_NAME = "<main>"
_BLOCK_NAME = "<block {}>"
_TRACEBACK_CHARS = 8_192


_hidden: list[types.ModuleType] = []


def prepare() -> None:
    """In the fork server: a clean `__main__`, default signals and fixed seeds, as in a program that was just started.

    Done before the fork, because whatever a child touches costs it a copied page.
    """
    atexit._clear()
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; the kernel is to end an endless print
    ours = [name for name in sys.modules if name.partition(".")[0] in ("factory", "schemas")]
    _hidden.extend(sys.modules.pop(name) for name in ours)
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    sys.argv = ["main.py"]
    _seed(0)


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
    return os.pread(CODE, size, 0)


def run_program(wall_s: float) -> NoReturn:
    """Run to the end as `python main.py` would: threads joined, exit functions called, output flushed."""
    code = _read_code(os.fstat(CODE).st_size)
    os.close(CODE)
    _alarm(wall_s)
    namespace = sys.modules["__main__"].__dict__
    exit_code, out_of_memory = _execute(code, _PROGRAM_NAME, namespace, {_PROGRAM_NAME}, echo=False)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        exit_code = exit_code or 1
    if out_of_memory:
        os.kill(os.getpid(), MEMORY_SIGNAL)
    os._exit(exit_code & 0xFF)


def run_session() -> NoReturn:
    """Answer blocks until the supervisor closes its end. Between two blocks the supervisor stops this process."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    namespace = sys.modules["__main__"].__dict__
    names: set[str] = set()
    os.write(SOCKET, RECORD.pack(NO_NONCE, Said.HELLO, 0))
    while message := os.read(SOCKET, BLOCK.size):
        nonce, size, wall_s, number = BLOCK.unpack(message)
        name = _BLOCK_NAME.format(number)
        names.add(name)
        _seed(number)
        _alarm(wall_s)
        exit_code, out_of_memory = _execute(_read_code(size), name, namespace, names, echo=True)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            sys.stdout.flush()
        except BaseException:
            exit_code = exit_code or 1
        os.write(SOCKET, RECORD.pack(nonce, Said.OUT_OF_MEMORY if out_of_memory else Said.DONE, exit_code))
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
