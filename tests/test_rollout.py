"""One trajectory: the scripted engine, the real sandbox."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.engines.scripted import ScriptedEngine
from factory.rollout.attempt import answer_region, ids_of_prefix
from factory.rollout.gate import Gate, Seat
from factory.rollout.hints import load_library, reassurance_of
from factory.rollout.journal import Story
from factory.rollout.live import Tally
from factory.rollout.loop import Budget, Draft, Means, roll_out
from factory.sandbox.pool import open_sandbox
from schemas.protocols import Block, Completion, Engine, Limits, Sampling, Sandbox, Session
from schemas.recipe import EngineSettings
from schemas.records import Segment
from schemas.vocabulary import ExecStatus, Origin, StopReason

BUDGET = Budget(max_tokens=2000, max_calls=6, shown_chars=400)


def engine(folder: Path, *rules: tuple[str, str, bool], max_model_len: int = 4096) -> ScriptedEngine:
    script = folder / "script.jsonl"
    lines = [json.dumps({"pattern": p, "reply": r, "finished": f}) + "\n" for p, r, f in rules]
    script.write_text("".join(lines))
    return ScriptedEngine(EngineSettings(kind="scripted", model=str(script), max_model_len=max_model_len))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = await open_sandbox(n_slots=1)
    yield opened
    await opened.aclose()


async def run(model: ScriptedEngine, sandbox: Sandbox, budget: Budget = BUDGET, hint: str = "") -> Draft:
    draft = Draft(model.encode("<user>\nQ\n<assistant>\n"))
    if hint:
        draft.add(Origin.HINT, hint, model.encode(hint))
    await roll_out(draft, means(model, sandbox), sampling=Sampling(), seed=0, budget=budget)
    return draft


def means(model: Engine, sandbox: Sandbox, story: Story | None = None, limits: Limits | None = None) -> Means:
    async def open_session(earlier: Sequence[Block]) -> Session:
        return await sandbox.session(limits, earlier)

    return Means(model, open_session, story or Story("t_1"), Seat(Gate(1), 0), 60.0, Tally())


def text(draft: Draft) -> str:
    return "".join(segment.text for segment in draft.segments)


def origins(draft: Draft) -> list[str]:
    return [segment.origin.value for segment in draft.segments]


async def test_code_of_hint_and_model_together_is_what_runs(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(tmp_path, (r"print\(\Z", "6 * 7)\n```\n", False), (r"42\n```\n\Z", "It is 42.", True))
    draft = await run(model, sandbox, hint="Wait, let me see.\n```python\nprint(")
    assert [call.code for call in draft.tool_calls] == ["print(6 * 7)\n"]
    assert origins(draft) == ["hint", "model", "tool", "model"]
    assert draft.stop_reason is StopReason.END
    assert text(draft).endswith("```\n```output\n42\n```\nIt is 42.")


async def test_a_block_that_the_model_opens_itself_runs_and_state_lives_on(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(
        tmp_path,
        (r"x \+ 1\n```\s*```output\n6\n```\n\Z", "Done.", True),
        (r"```output\n```\n\Z", "And then\n```python", False),
        (r"And then\n```python\Z", "\nx + 1\n```\n", False),
        (r"```python\Z", "\nx = 5\n```\n", False),
        (r"<assistant>\n\Z", "Let me try.\n```python", False),
    )
    draft = await run(model, sandbox)
    assert [(call.code, call.stdout) for call in draft.tool_calls] == [("x = 5\n", ""), ("x + 1\n", "6\n")]


async def test_the_model_sees_the_last_line_of_a_traceback(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(tmp_path, (r"print\(\Z", "1 / 0)\n```\n", False), (r"output\n.*\Z", "Hm.", True))
    draft = await run(model, sandbox, hint="```python\nprint(")
    call = draft.tool_calls[0]
    assert (call.status, call.error_type) == (ExecStatus.ERROR, "ZeroDivisionError")
    assert draft.segments[2].text.strip() == "```output\nZeroDivisionError: division by zero\n```"
    assert "Traceback" in (call.traceback or "")


async def test_after_the_last_allowed_call_code_is_text(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(
        tmp_path,
        (r"print\(\Z", "1)\n```\n", False),
        (r"output\n1\n```\n\Z", "Again.\n```python\nprint(2)\n```\n", True),
    )
    draft = await run(model, sandbox, Budget(2000, 1, 400), hint="```python\nprint(")
    assert len(draft.tool_calls) == 1
    assert draft.segments[-1].text == "Again.\n```python\nprint(2)\n```\n"


async def test_a_long_output_is_shown_in_part_and_marked(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(tmp_path, (r"print\(\Z", "'x' * 5000)\n```\n", False), (r"output\n.*\Z", "Long.", True))
    draft = await run(model, sandbox, hint="```python\nprint(")
    assert "4,601 characters left out" in draft.segments[2].text
    assert draft.tool_calls[0].output_truncated
    assert len(draft.tool_calls[0].stdout) == 5001


async def test_what_the_vocabulary_cannot_spell_is_shown_as_an_escape(tmp_path: Path, sandbox: Sandbox) -> None:
    class Poor(ScriptedEngine):
        """Its vocabulary lacks the first byte of U+40000."""

        def encode(self, text: str, *, special: bool = False) -> list[int]:
            return [byte for byte in super().encode(text) if byte != 0xF1]

    made = engine(tmp_path, (r"print\(\Z", "'a' + chr(0x40000) + 'é')\n```\n", False), (r"output\n.*\Z", "Hm.", True))
    made.__class__ = Poor
    draft = await run(made, sandbox, hint="```python\nprint(")
    assert draft.segments[2].text.strip() == "```output\na\\U00040000é\n```"
    assert draft.tool_calls[0].stdout == "a\U00040000é\n"  # the record says what was printed
    assert all(made.decode(segment.token_ids or ()) == segment.text for segment in draft.segments)


async def test_an_output_cannot_close_its_fence(tmp_path: Path, sandbox: Sandbox) -> None:
    code = "'``' + '`' + '\\\\n' + '``' + '`python')\n```\n"
    model = engine(tmp_path, (r"print\(\Z", code, False), (r"````\n\Z", "Fine.", True))
    draft = await run(model, sandbox, hint="```python\nprint(")
    assert draft.segments[2].text.strip().startswith("````output\n")
    assert draft.stop_reason is StopReason.END


@pytest.mark.parametrize(
    ("budget", "window", "reason"),
    [(Budget(10, 6, 400), 4096, StopReason.LENGTH), (BUDGET, 64, StopReason.CONTEXT)],
)
async def test_a_used_up_budget_is_a_stop_reason(
    tmp_path: Path, sandbox: Sandbox, budget: Budget, window: int, reason: StopReason
) -> None:
    model = engine(tmp_path, (r".*", "word " * 100, True), max_model_len=window)
    draft = await run(model, sandbox, budget)
    assert draft.stop_reason is reason


async def test_a_dead_engine_ends_this_trajectory_only(tmp_path: Path, sandbox: Sandbox) -> None:
    draft = await run(engine(tmp_path, (r"never", "x", True)), sandbox)
    assert draft.stop_reason is StopReason.ENGINE_ERROR
    assert "the script has no turn" in (draft.error or "")


async def test_code_that_never_ends_is_a_timeout_and_the_trajectory_goes_on(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(tmp_path, (r"print\(\Z", "1)\nwhile True: pass\n```\n", False), (r"output\n.*\Z", "Hm.", True))
    draft = Draft(model.encode("Q"))
    draft.add(Origin.HINT, "```python\nprint(", model.encode("```python\nprint("))
    short = means(model, sandbox, limits=Limits(wall_s=0.5, cpu_s=0.5))
    await roll_out(draft, short, sampling=Sampling(), seed=0, budget=BUDGET)
    assert draft.tool_calls[0].status in {ExecStatus.TIMEOUT, ExecStatus.CPU, ExecStatus.ERROR}
    assert draft.stop_reason is StopReason.END


async def test_where_the_model_doubts_an_output_it_is_told_once_that_there_is_no_need(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    library = load_library("start")
    reassurance = reassurance_of(library, "key")
    assert reassurance is not None
    told = reassurance.hint.text
    model = engine(
        tmp_path,
        (r"print\(\Z", "6 * 7)\n```\n", False),
        (r"42\n```\n\Z", "It is 42. Let me double-check: 6 * 7 = 41.", True),
        (rf"double-check{re.escape(told)}\Z", " It is 42. Let me double-check. Yes.", True),
    )
    draft = Draft(model.encode("Let me double-check the question."))
    draft.add(Origin.HINT, "```python\nprint(", model.encode("```python\nprint("))
    budget = replace(BUDGET, reassurance=reassurance)
    await roll_out(draft, means(model, sandbox), sampling=Sampling(), seed=0, budget=budget)
    assert origins(draft) == ["hint", "model", "tool", "model", "hint", "model"]
    assert draft.segments[3].text == "It is 42. Let me double-check"
    assert text(draft).endswith(told + " It is 42. Let me double-check. Yes.")
    (use,) = draft.hints
    assert (use.function, use.cut, use.trigger) == ("trust_output", "doubt", "Let me double-check")
    assert text(draft)[: use.char_offset].endswith("Let me double-check")


async def test_after_its_last_call_the_model_is_told_so(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(tmp_path, (r"print\(\Z", "1)\n```\n", False), (r"No more code.\n\Z", "Fine.", True))
    budget = replace(BUDGET, max_calls=1, used_up="No more code.")
    draft = await run(model, sandbox, budget, hint="```python\nprint(")
    assert draft.segments[2].origin is Origin.TOOL
    assert draft.segments[2].text.endswith("```output\n1\n```\nNo more code.\n")
    assert draft.stop_reason is StopReason.END


async def test_the_interpreter_is_opened_while_the_model_writes(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(tmp_path, (r"print\(\Z", "6 * 7)\n```\n", False), (r"42\n```\n\Z", "It is 42.", True))
    opened = asyncio.Event()
    complete = model.complete

    async def open_session(earlier: Sequence[Block]) -> Session:
        opened.set()
        return await sandbox.session(earlier=earlier)

    async def slow(*args: Any, **options: Any) -> Completion:
        async with asyncio.timeout(10):
            await opened.wait()
        return await complete(*args, **options)

    model.complete = slow  # type: ignore[method-assign]
    draft = Draft(model.encode("Q"))
    draft.add(Origin.HINT, "```python\nprint(", model.encode("```python\nprint("))
    await roll_out(
        draft, replace(means(model, sandbox), open_session=open_session), sampling=Sampling(), seed=0, budget=BUDGET
    )
    assert text(draft).endswith("42\n```\nIt is 42.")


async def test_an_interpreter_that_no_block_needed_is_closed(tmp_path: Path, sandbox: Sandbox) -> None:
    model = engine(tmp_path, (r"print\(\Z", "6 * 7) and no end", True))
    sessions: list[Session] = []

    async def open_session(earlier: Sequence[Block]) -> Session:
        sessions.append(await sandbox.session(earlier=earlier))
        return sessions[-1]

    draft = Draft(model.encode("Q"))
    draft.add(Origin.HINT, "```python\nprint(", model.encode("```python\nprint("))
    await roll_out(
        draft, replace(means(model, sandbox), open_session=open_session), sampling=Sampling(), seed=0, budget=BUDGET
    )
    assert draft.stop_reason is StopReason.END
    for session in sessions:
        assert (await session.run("print(1)")).status is ExecStatus.LOST  # closed


@given(st.text(max_size=60), st.integers(0, 60))
def test_ids_of_a_prefix_decode_to_exactly_the_prefix(whole: str, cut: int) -> None:
    model = ScriptedEngine.__new__(ScriptedEngine)  # its tokenizer needs no script
    prefix = whole[:cut]
    ids = ids_of_prefix(model, whole, model.encode(whole), prefix)
    assert model.decode(ids) == prefix


def test_the_answer_is_looked_for_from_the_hint_on() -> None:
    segments = [
        Segment(origin=Origin.MODEL, text="\\boxed{1}", n_tokens=1),
        Segment(origin=Origin.HINT, text="Wait, ", n_tokens=1),
        Segment(origin=Origin.MODEL, text="it is 2", n_tokens=1),
    ]
    assert answer_region(segments) == "Wait, it is 2"
    assert answer_region(segments[:1]) == "\\boxed{1}"
