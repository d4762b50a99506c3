"""The interpreter that a guest's code runs in: what it starts with, how code is executed, how exceptions are shown.

Everything here, in `program` and in `notebook` shares its process with hostile code, which can rewrite it. That harms
nobody else, because nothing that this process says is believed: not an exit code beyond its being one, and not a record
beyond the end of its own block.

Not covered: unseeded generators (`numpy.random.default_rng()`, `secrets`) differ from run to run.
"""

import atexit
import builtins
import contextlib
import gc
import linecache
import os
import random
import signal
import sys
import traceback
import types
from collections.abc import Callable

from factory.sandbox import shims

CODE, SOCKET = 3, 4
"""Descriptors: the file with the code, and in a session the channel to the supervisor."""
_TRACEBACK_CHARS = 8_192

_FILE = "main.py"
_LIBRARIES = "/python"
"""Stands in tracebacks for the folders that Python is installed in: they belong to this machine, not to the code."""

_hidden: list[types.ModuleType] = []


def prepare() -> None:
    """In the zygote: a clean `__main__`, default signals and fixed seeds, as in a program that was just started.

    Done before the fork, because whatever a child touches costs it a copied page.
    """
    atexit._clear()
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; the kernel is to end an endless print
    ours = [name for name in sys.modules if name.partition(".")[0] in ("factory", "schemas")]
    _hidden.extend(sys.modules.pop(name) for name in ours)
    sys.argv = [_FILE]
    shims.install()
    new_main()
    seed(0)


def new_main() -> dict[str, object]:
    """Put an empty `__main__` in place. Returns its namespace."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=_FILE)
    sys.modules["__main__"] = module
    return module.__dict__


def seed(number: int) -> None:
    """Seed the generators that programs use without seeding them."""
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)
    if "sympy.core.random" in sys.modules:  # has a generator of its own
        sys.modules["sympy.core.random"].seed(number)


def alarm(wall_s: float) -> None:
    """Interrupt the code a moment before it is killed, so that what it printed is not lost."""

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"time limit of {wall_s:g} s")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def read_code(size: int | None = None) -> bytes:
    """The code that the supervisor put into the file, or its first `size` bytes."""
    return os.pread(CODE, os.fstat(CODE).st_size if size is None else size, 0)


def flush() -> None:
    """Write out what the code printed. Raises what its own replacements of the streams raise."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()


def let_go(namespace: dict[str, object]) -> None:
    """Flush, drop what a program holds, and flush again: its files, finalizers and generators may still print."""
    flush()
    for name in namespace:  # as Python does at its end: the names stay, and finalizers find None
        if name != "__builtins__":
            namespace[name] = None
    gc.collect()
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    flush()


def execute(code: bytes, name: str, names: set[str], run: Callable[[], None]) -> tuple[int, bool]:
    """Call `run`, which runs this code under this file name.

    Args:
        code: Its lines appear in tracebacks.
        name: Of a file that does not exist.
        names: Those of all code whose frames tracebacks show.
        run: May raise anything.

    Returns:
        The exit code and whether an uncaught MemoryError ended it.
    """
    lines = code.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[name] = (len(code), None, lines, name)
    try:
        run()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return int(error.code or 0) & 0xFF, False  # as the shell sees it; False and True count as numbers
        _complain(str(error.code) + "\n")
        return 1, False
    except BaseException as error:
        _complain(_format(error, names))
        return 1, isinstance(error, MemoryError)
    return 0, False


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
        for folder in (sys.prefix, sys.base_prefix):
            text = text.replace(folder, _LIBRARIES)
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
