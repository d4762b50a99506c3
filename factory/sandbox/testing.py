"""Many tests of one program: one process for all of them, and a fresh one after a test that failed.

Not covered: a program that behaves differently in a process that is not its first can pass here and fail there; it
gains nothing by it, since each output is compared with what the test expects.
"""

import json
from collections.abc import Callable
from types import TracebackType

from factory.sandbox.launcher import ATTEMPTS, Lost
from factory.sandbox.results import lost
from factory.sandbox.slot import Slot
from factory.sandbox.wire import Ask
from factory.sandbox.worker import Worker
from schemas.protocols import ExecResult, Limits


class Tester:
    """Runs one program on one input after the other. Use it in a `with` block."""

    def __init__(
        self,
        choose_slot: Callable[[], Slot],
        bury: Callable[[Worker], None],
        code: str,
        entry: str | None,
        limits: Limits,
    ) -> None:
        self._choose_slot = choose_slot
        self._bury = bury
        self._code = code
        self._entry = entry
        self._limits = limits
        self._worker: Worker | None = None

    def __enter__(self) -> "Tester":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    async def test(self, text: str, accept: Callable[[ExecResult], bool]) -> tuple[ExecResult, bool]:
        """The result of one test, and whether it is right."""
        was_first = self._worker is None
        result = await self._run(text)
        passed = accept(result)
        if not passed and not was_first:
            self._drop()
            result = await self._run(text)
            passed = accept(result)
        if not passed:
            self._drop()
        return result, passed

    async def _run(self, text: str) -> ExecResult:
        if self._entry is not None:
            text = f"[{json.dumps(self._entry)},{text}]"
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                if self._worker is None:
                    ask = Ask.TESTS if self._entry is None else Ask.CALLS
                    self._worker = await Worker.start(self._choose_slot(), self._limits, ask, self._code)
                result = await self._worker.run_test(text, self._limits)
            except (Lost, OSError) as error:
                reason = str(error)
                self._drop()
            else:
                if not self._worker.alive:
                    self._drop()
                return result
        return lost(reason)

    def _drop(self) -> None:
        if self._worker is not None:
            worker, self._worker = self._worker, None
            self._bury(worker)
