"""The parent's side of one checker worker: start it, ask it, kill it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from schemas.errors import SandboxError

START_TIMEOUT_S = 60.0
_MAX_REPLY_BYTES = 16 * 1024
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT")
"""Nothing else of the caller's environment is shown to a worker: it may hold secrets."""

Reply = tuple[bool | None, str]


class Died(Exception):
    """The worker ended or broke the protocol during a check."""


class WorkerProcess:
    """One worker and the socket to it. `ask` one question at a time; after `Died` or a cancelled `ask`, `kill` it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._asked = 0

    @property
    def pid(self) -> int:
        """Of the process; 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    async def start(self, setup: dict[str, Any]) -> None:
        """Start the process and wait until it is warm.

        Raises:
            SandboxError: it did not get ready.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # No shell, and a fixed argument list. The thread of the event loop starts it: the worker dies with it.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "quality.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=_environment(),
            )
        ours.setblocking(False)
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=_MAX_REPLY_BYTES)
        try:
            reply = await asyncio.wait_for(self._exchange(setup), START_TIMEOUT_S)
        except (Died, TimeoutError) as error:
            raise SandboxError(f"a checker worker could not start: {error or 'it did not get ready'}") from error
        if reply.get("ready") is not True:
            raise SandboxError(f"a checker worker could not start: {reply.get('detail')}")

    async def ask(self, request: dict[str, Any]) -> Reply:
        """Put one check to the worker.

        Raises:
            Died: it ended, or replied with anything but the three fields of a reply to this very request.
        """
        self._asked += 1
        reply = await self._exchange({"id": self._asked, **request})
        is_correct, detail = reply.get("is_correct"), reply.get("detail")
        if (
            reply.get("id") != self._asked
            or not (is_correct is None or isinstance(is_correct, bool))
            or not isinstance(detail, str)
        ):
            raise Died("the checker worker broke the protocol")
        return is_correct, detail

    async def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._writer is None:
            raise Died("the checker worker was not started")
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()
            reply = json.loads(await self._reader.readuntil(b"\n"))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Died(f"the checker worker died ({self._status()})") from error
        except (asyncio.LimitOverrunError, ValueError, RecursionError) as error:
            raise Died("the checker worker broke the protocol") from error
        if not isinstance(reply, dict):
            raise Died("the checker worker broke the protocol")
        return reply

    def _status(self) -> str:
        if self._process is None:
            return "never started"
        try:
            status = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return f"signal {-status}" if status < 0 else f"exit code {status}"

    def kill(self) -> None:
        """End it, with everything it started, and wait for it. Never raises."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._process.kill()
            self._process.wait()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return {**kept, "PYTHONPATH": paths, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
