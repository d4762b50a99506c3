"""A session's interpreter: block after block in one namespace, the last expression echoed as in a notebook.

Generators are seeded once, before the first block, and then run on, so that `random.seed(7)` in one block holds in the
next as it does in a notebook.
"""

import ast
import io
import os
import signal
import sys
import tokenize
from typing import NoReturn

from factory.sandbox import interpreter
from factory.sandbox.interpreter import SOCKET
from factory.sandbox.wire import BLOCK, NO_NONCE, RECORD, Said

_BLOCK_NAME = "<block {}>"
_FLOOD = 16


def run_session() -> NoReturn:
    """Answer blocks until the supervisor closes its end. Between two blocks the supervisor stops this process."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    namespace = sys.modules["__main__"].__dict__
    del namespace["__file__"]
    names: set[str] = set()
    os.write(SOCKET, RECORD.pack(NO_NONCE, Said.HELLO, 0))
    while message := os.read(SOCKET, BLOCK.size):
        nonce, size, wall_s, number, most = BLOCK.unpack(message)
        name = _BLOCK_NAME.format(number)
        names.add(name)
        code = interpreter.read_code(size)
        interpreter.alarm(wall_s)
        exit_code, no_memory = interpreter.execute(code, name, names, lambda: _run_cell(code, name, namespace, most))  # noqa: B023
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            interpreter.flush()
        except BaseException:
            exit_code = exit_code or 1
        os.write(SOCKET, RECORD.pack(nonce, Said.OUT_OF_MEMORY if no_memory else Said.DONE, exit_code))
    os._exit(0)


def _run_cell(code: bytes, name: str, namespace: dict[str, object], most: int) -> None:
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec", dont_inherit=True), namespace)  # noqa: S102
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), namespace)  # noqa: S307
        if value is not None and not _ends_quietly(code):
            sys.stdout.write(_shortened(repr(value), most) + "\n")


_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)


def _ends_quietly(code: bytes) -> bool:
    """A semicolon after the last expression keeps it from being echoed."""
    if b";" not in code:
        return False
    tokens = [token.string for token in tokenize.tokenize(io.BytesIO(code).readline) if token.type not in _NO_CODE]
    return tokens[-1] == ";"


def _shortened(text: str, most: int) -> str:
    """A long echo loses its middle instead of ending the session. One beyond all measure is a flood like any other."""
    n_bytes = len(text.encode("utf-8", "backslashreplace"))
    if not most < n_bytes <= _FLOOD * most:
        return text
    half = most // 16  # characters, of up to four bytes, or ten where they are escaped
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}"
