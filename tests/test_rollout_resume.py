"""A trajectory that was broken off goes on in its middle, with its interpreter as it was."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from factory.engines.scripted import ScriptedEngine
from factory.rollout.journal import Journal
from factory.rollout.loop import Draft, roll_out
from factory.sandbox.pool import open_sandbox
from schemas.errors import EngineError
from schemas.protocols import Completion, Sampling, Sandbox
from schemas.vocabulary import ExecStatus, StopReason
from tests.test_rollout import BUDGET, engine, means, text

RULES = (
    (r"```output\n[^`]*```\s*Then\n```python\n[^`]*```\s*```output\n.*\Z", "Done.", True),
    (r"```output\n[^`]*```\n\Z", "Then\n```python\nSECOND\n```\n", False),
    (r"Then\n```python\Z", "\nSECOND\n```\n", False),
    (r"```python\Z", "\nFIRST\n```\n", False),
    (r"Q\Z", "I try.\n```python\nFIRST\n```\n", False),
)


class Mortal:
    """An engine that fails after some answers, and counts them."""

    def __init__(self, inner: ScriptedEngine, n_answers: int = 1000) -> None:
        self.inner, self.n_answers, self.n_asked = inner, n_answers, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def complete(self, *arguments: Any, **options: Any) -> Completion:
        self.n_asked += 1
        if self.n_asked > self.n_answers:
            raise EngineError("died")
        return await self.inner.complete(*arguments, **options)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = await open_sandbox(n_slots=1, preload=())
    yield opened
    await opened.aclose()


def rules(first: str, second: str) -> list[tuple[str, str, bool]]:
    return [(p, r.replace("FIRST", first).replace("SECOND", second), f) for p, r, f in RULES]


async def twice(folder: Path, sandbox: Sandbox, first: str, second: str, n_answers: int) -> tuple[Draft, Draft, int]:
    """Broken off after some answers, then from the journal; the two drafts, and what the second engine was asked."""
    drafts = []
    for limit in (n_answers, 1000):
        model = Mortal(engine(folder, *rules(first, second)), limit)
        draft = Draft(model.encode("Q"))
        story = Journal(folder / "journal").story("t_1")
        await roll_out(draft, means(model, sandbox, story), sampling=Sampling(), seed=0, budget=BUDGET)
        drafts.append(draft)
    return drafts[0], drafts[1], model.n_asked


@pytest.mark.parametrize("n_answers", [0, 1, 2, 3, 4])
async def test_it_goes_on_where_it_was_broken_off(tmp_path: Path, sandbox: Sandbox, n_answers: int) -> None:
    broken, whole, n_asked = await twice(tmp_path, sandbox, "x = 5\nprint(x)", "print(x + 1)", n_answers)
    assert broken.stop_reason is StopReason.ENGINE_ERROR
    assert whole.stop_reason is StopReason.END
    assert [call.stdout for call in whole.tool_calls] == ["5\n", "6\n"]
    assert not any(call.diverged for call in whole.tool_calls)
    assert n_asked == 5 - n_answers
    assert text(whole).startswith(text(broken))


async def test_a_block_that_prints_something_else_the_second_time_marks_what_follows(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    changing = "import time\nprint(time.time_ns())"
    _, whole, _ = await twice(tmp_path, sandbox, changing, "print(1)", 3)
    assert [call.diverged for call in whole.tool_calls] == [False, True]


async def test_a_block_that_ended_the_interpreter_is_not_run_again(tmp_path: Path, sandbox: Sandbox) -> None:
    deadly = "print(5, flush=True)\nimport os\nos._exit(0)"
    _, whole, _ = await twice(tmp_path, sandbox, deadly, "print(1)", 3)
    assert [call.status for call in whole.tool_calls] == [ExecStatus.ERROR, ExecStatus.OK]
    assert [call.survived for call in whole.tool_calls] == [False, True]
    assert not whole.tool_calls[1].diverged
