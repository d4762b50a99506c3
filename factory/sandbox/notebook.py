"""A session's interpreter: block after block in one namespace, the last expression echoed as in a notebook."""

import ast
import os
import signal
import sys
from typing import NoReturn

from factory.sandbox import interpreter
from factory.sandbox.interpreter import SOCKET
from factory.sandbox.wire import BLOCK, NO_NONCE, RECORD, Said

_BLOCK_NAME = "<block {}>"


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
        code = interpreter.read_code(size)
        interpreter.seed(number)
        interpreter.alarm(wall_s)
        exit_code, no_memory = interpreter.execute(code, name, names, lambda: _run_cell(code, name, namespace))  # noqa: B023
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            sys.stdout.flush()
        except BaseException:
            exit_code = exit_code or 1
        os.write(SOCKET, RECORD.pack(nonce, Said.OUT_OF_MEMORY if no_memory else Said.DONE, exit_code))
    os._exit(0)


def _run_cell(code: bytes, name: str, namespace: dict[str, object]) -> None:
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec", dont_inherit=True), namespace)  # noqa: S102
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), namespace)  # noqa: S307
        if value is not None:
            sys.stdout.write(repr(value) + "\n")
