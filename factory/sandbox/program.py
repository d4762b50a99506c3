"""Whole programs: one run to its end, or one program on many inputs in the same process.

A program that an uncaught MemoryError ends dies by `wire.MEMORY_SIGNAL`, so that the kernel tells it from an error.
"""

import atexit
import builtins
import fcntl
import json
import os
import signal
import sys
import threading
from typing import Any, NoReturn

from factory.sandbox import interpreter
from factory.sandbox.canonical import canonical_json
from factory.sandbox.interpreter import CODE, SOCKET
from factory.sandbox.wire import BLOCK, MEMORY_SIGNAL, NO_NONCE, RECORD, Said

_NAME = "<main>"
_RECURSION_LIMIT = sys.getrecursionlimit()
_SPARES = 16
"""Copies of the first three descriptors lie from here on, because programs close them."""


def run_program(wall_s: float) -> NoReturn:
    """Run to the end as `python main.py` would: threads joined, exit functions called, output flushed."""
    code = interpreter.read_code()
    os.close(CODE)
    interpreter.alarm(wall_s)
    _end(*_execute(code, sys.modules["__main__"].__dict__))


def _execute(code: bytes, namespace: dict[str, object]) -> tuple[int, bool]:
    def run() -> None:
        exec(compile(code, _NAME, "exec", dont_inherit=True), namespace)  # noqa: S102 - what a sandbox is for

    return interpreter.execute(code, _NAME, {_NAME}, run)


def _end(exit_code: int, no_memory: bool) -> NoReturn:
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        interpreter.let_go(sys.modules["__main__"].__dict__)
    except BaseException:
        exit_code = exit_code or 1
    if no_memory:
        os.kill(os.getpid(), MEMORY_SIGNAL)
    os._exit(exit_code & 0xFF)


def run_tests(*, calls: bool) -> NoReturn:
    """Run one program again and again, each time as if just started, until the supervisor closes its end.

    A program that leaves threads or exit functions behind ends as a program does, and this process with it.

    Args:
        calls: The input is the JSON of a function's name and its arguments. What the program prints goes to stderr;
            stdout gets the `canonical_json` of what the function returns.
    """
    spares = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _SPARES) for descriptor in range(3)]
    untouched = dict(vars(builtins))
    code = interpreter.read_code()
    os.write(SOCKET, RECORD.pack(NO_NONCE, Said.HELLO, 0))
    while message := os.read(SOCKET, BLOCK.size):
        nonce, _, wall_s, _, _ = BLOCK.unpack(message)
        _start_over(spares, untouched)
        namespace = interpreter.new_main()
        interpreter.alarm(wall_s)
        exit_code, no_memory = _execute_call(code, namespace, spares) if calls else _execute(code, namespace)
        if threading.active_count() > 1 or atexit._ncallbacks():
            _end(exit_code, no_memory)
        try:
            interpreter.let_go(namespace)
        except BaseException:
            exit_code = exit_code or 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(SOCKET, RECORD.pack(nonce, Said.OUT_OF_MEMORY if no_memory else Said.DONE, exit_code))
    os._exit(0)


def _start_over(spares: list[int], untouched: dict[str, Any]) -> None:
    """Undo what programs commonly do to their interpreter. What else they did, a run in a fresh one shows."""
    for descriptor, spare in enumerate(spares):  # `open(0)` closes 0 when it is collected
        os.dup2(spare, descriptor)
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w", buffering=1)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    vars(builtins).update(untouched)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    threading.stack_size(0)
    interpreter.seed(0)


def _stream(descriptor: int, mode: str, buffering: int = -1) -> Any:
    return open(descriptor, mode, buffering, encoding="utf-8", errors="backslashreplace", closefd=False)


def _execute_call(code: bytes, namespace: dict[str, Any], spares: list[int]) -> tuple[int, bool]:
    """Call `function`, or `Class.method` of a new instance, and write what it returns."""
    entry, arguments = json.loads(os.pread(0, os.fstat(0).st_size, 0))
    os.ftruncate(0, 0)
    os.dup2(spares[2], 1)

    def run() -> None:
        exec(compile(code, _NAME, "exec", dont_inherit=True), namespace)  # noqa: S102
        name, *attributes = entry.split(".")
        target = namespace[name]
        if attributes and isinstance(target, type):
            target = target()
        for attribute in attributes:
            target = getattr(target, attribute)
        data = canonical_json(target(*arguments)).encode()
        while data:
            data = data[os.write(spares[1], data) :]

    return interpreter.execute(code, _NAME, {_NAME}, run)
