"""`factory exec`: run Python files in the sandbox from the command line.

What the program printed goes where it belongs, unchanged, and its exit code is ours. Every other end adds one line to
stderr and has an exit code of its own, those that shells and timeout(1) use: `EXIT_CODES`.

In a session every block runs, as in a trajectory, whatever became of those before; the exit code is that of the first
block that did not end well.
"""

import json
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from factory.sandbox.pool import PRELOAD, open_sandbox
from schemas.errors import UsageError
from schemas.protocols import ExecResult, Limits
from schemas.vocabulary import ExecStatus, SandboxLevel

EXIT_CODES = {
    ExecStatus.TIMEOUT: 124,
    ExecStatus.CPU: 124,
    ExecStatus.OUTPUT: 125,
    ExecStatus.MEMORY: 137,
    ExecStatus.LOST: 70,
}
"""Of `ok` and `error` it is the program's own, of `signal` 128 and the signal's number."""

_IMPORT = re.compile(r"\bfrom\s+(\w+)[\w.]*\s+import\b|\bimport\s+([\w., \t]+)")


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for. The files are not yet read."""

    files: Sequence[str]
    stdin: Path | None
    limits: Limits
    level: SandboxLevel | None
    session: bool
    as_json: bool
    trust: bool

    def __post_init__(self) -> None:
        if len(self.files) > 1 and not self.session:
            raise _usage(f"{len(self.files)} files, and no --session", "factory exec --session FILE FILE ...")
        if self.files.count("-") > 1:
            raise _usage("code can be read from stdin once only, and '-' is there twice", "factory exec -")
        if self.session and self.stdin:
            raise _usage("the blocks of a session have no stdin", "factory exec --session FILE ...  (without --stdin)")


def limits(wall_s: float, cpu_s: float, memory_mb: int, output_bytes: int) -> Limits:
    """The limits as given.

    Raises:
        UsageError: one of them makes no sense.
    """
    try:
        return Limits(wall_s, cpu_s, memory_mb, output_bytes)
    except ValueError as error:
        name = str(error).split()[0]
        option = f"--{name.replace('_', '-')}"
        text = str(error).replace(name, option)
        raise _usage(text, f"factory exec {option} {getattr(Limits(), name):g} FILE") from None


def _usage(what: str, following: str) -> UsageError:
    return UsageError(f"{what}.\n  next:  {following}\n  state: nothing was executed.")


async def execute(order: Order) -> int:
    """Run the files, print what they print, and return the exit code.

    Raises:
        UsageError: a file cannot be read or is no text.
        SandboxError: no level of isolation is possible.
    """
    codes = [_read(name, "code") for name in order.files]
    stdin = _stdin(order)
    preload = PRELOAD if any(map(_imports_more, codes)) else ()
    sandbox = await open_sandbox(n_slots=1, level=order.level, trust=order.trust, limits=order.limits, preload=preload)
    try:
        if sandbox.level is SandboxLevel.NONE:
            print("factory exec: warning: nothing isolates this code (level none)", file=sys.stderr, flush=True)
        run = (await sandbox.session()).run if order.session else partial(sandbox.run, stdin=stdin)
        exit_code = 0
        for name, code in zip(order.files, codes, strict=True):
            result = await run(code)
            _show(result, sandbox.level, f"{name}: " if order.session else "", order)
            exit_code = exit_code or _exit_code(result)
        return exit_code
    finally:
        await sandbox.aclose()


def _read(name: str, what: str) -> str:
    """The text of a file as it is, line ends included; `-` is stdin."""
    if name == "-" and sys.stdin is None:
        raise _usage("stdin is closed", "factory exec FILE")
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise _usage(f"{name} cannot be read: {error.strerror}", f"ls -l {Path(name).parent}") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        where = f"byte {data[error.start]:#04x} at offset {error.start:,}"
        shown = "stdin" if name == "-" else name
        raise _usage(f"the {what} in {shown} is not UTF-8: {where}", f"iconv -f LATIN1 -t UTF-8 {name}") from None


def _stdin(order: Order) -> str:
    """What the program will read: a file, else our own stdin unless it is a terminal or held the code."""
    if order.stdin:
        return _read(str(order.stdin), "input")
    # No stdin at all is possible: a service may start us with it closed.
    free = sys.stdin is not None and not order.session and "-" not in order.files
    return _read("-", "input") if free and not sys.stdin.isatty() else ""


def _imports_more(code: str) -> bool:
    """It may import more than the standard library.

    Only spares the time that loading numpy and sympy takes: where this is wrong, the program loads them itself.
    """
    names = [source or listed for source, listed in _IMPORT.findall(code)]
    roots = [re.split(r"[.\s]", name.strip())[0] for group in names for name in group.split(",")]
    return any(root and root not in sys.stdlib_module_names for root in roots)


def _show(result: ExecResult, level: SandboxLevel, prefix: str, order: Order) -> None:
    if order.as_json:
        print(json.dumps(asdict(result) | {"level": level}))
    else:
        sys.stdout.buffer.write(result.stdout.encode())
    sys.stdout.flush()
    if not order.as_json and result.status is not ExecStatus.LOST:
        sys.stderr.buffer.write(result.stderr.encode())
    end = _describe(result, order.limits)
    if end:
        print(f"factory exec: {prefix}{end}", file=sys.stderr)
    sys.stderr.flush()


def _describe(result: ExecResult, limits: Limits) -> str | None:
    """One line for an end that the program's own output does not tell."""
    match result.status:
        case ExecStatus.TIMEOUT:
            return f"timeout after {result.wall_ms / 1000:.1f} s (limit: --wall-s {limits.wall_s:g})"
        case ExecStatus.CPU:
            return f"cpu: {result.cpu_ms / 1000:.1f} s of processor time (limit: --cpu-s {limits.cpu_s:g})"
        case ExecStatus.MEMORY:
            return f"memory: no more was to be had (limit: --memory-mb {limits.memory_mb} beside the interpreter)"
        case ExecStatus.OUTPUT:
            return f"output: more than allowed, and cut (limit: --output-bytes {limits.output_bytes} for each stream)"
        case ExecStatus.SIGNAL:
            return f"signal {_signal_name(-result.exit_code)} after {result.wall_ms / 1000:.1f} s"
        case ExecStatus.LOST:
            return f"lost, and nothing is known of the program: {result.stderr.strip()}"
        case _:
            return None


def _signal_name(number: int) -> str:
    known = {one.value: one.name for one in signal.Signals}
    return f"{number} ({known[number]})" if number in known else str(number)


def _exit_code(result: ExecResult) -> int:
    if result.status is ExecStatus.OK:
        return 0
    if result.status is ExecStatus.ERROR:
        return result.exit_code or 1  # 0: a block of a session that ended its own interpreter
    if result.status is ExecStatus.SIGNAL:
        return 128 - result.exit_code
    return EXIT_CODES[result.status]
