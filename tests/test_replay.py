"""Outputs that are run again: what counts as the same, and why something differs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from factory.replay.classify import differences
from factory.replay.evidence import uses
from factory.replay.examples import EXAMPLES, Example
from factory.replay.experiments import Laboratory
from factory.replay.texts import Recorded, recorded_calls
from factory.rollout.outputs import output_block, shown_output
from schemas.protocols import ExecResult, Limits, Sandbox
from schemas.vocabulary import ExecStatus, OutputDifference

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIMITS = Limits(wall_s=20.0, cpu_s=1.0, memory_mb=256)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(sandbox: Sandbox) -> AsyncIterator[Laboratory]:
    async with Laboratory(sandbox, LIMITS) as lab:
        yield lab


def said(stdout: str, status: ExecStatus = ExecStatus.OK, stderr: str = "") -> ExecResult:
    return ExecResult(status, 0 if status is ExecStatus.OK else 1, stdout, stderr, False, 0, 0, 0)


async def calls_of(lab: Laboratory, example: Example) -> list[Recorded]:
    """As a row would have them: the blocks before the last one gave what they give."""
    made = await lab.run(example.blocks)
    last = made[-1] if example.record is None else said(example.record)
    before = made[:-1]
    if example.is_foreign:
        before = [said("") for _ in before]
    return [Recorded(c, r, example.is_foreign) for c, r in zip(example.blocks, [*before, last], strict=True)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.kind}: {one.blocks[-1][-40:]!r}")
async def test_example(lab: Laboratory, example: Example) -> None:
    found = await differences(lab, await calls_of(lab, example))
    kinds = {one.block: (str(one.kind), one.why) for one in found}
    expected = None if example.kind is None else str(example.kind)
    assert kinds.get(len(example.blocks) - 1, (None,))[0] == expected, kinds


async def test_every_class_has_examples_of_both_kinds() -> None:
    assert {example.kind for example in EXAMPLES} == {None, *OutputDifference}


@pytest.mark.parametrize("shown_chars", [2_000, 100])
async def test_the_text_must_show_what_the_call_holds(lab: Laboratory, shown_chars: int) -> None:
    code = "print('\u2603', ', '.join(map(str, range(100))))"
    (result,) = await lab.run([code])
    text, _ = shown_output(result, shown_chars)
    call = {"code": code, "stdout": result.stdout, "traceback": None, "status": "ok", "output_truncated": False}

    def row(shown: str) -> list[Recorded]:
        segments = [{"origin": "model", "text": code}, {"origin": "tool", "text": output_block(shown)}]
        return recorded_calls({"tool_calls": [call], "segments": segments, "sandbox": "namespaces"})

    assert await differences(lab, row(text)) == []
    assert await differences(lab, row(text.replace("\u2603", "\\u2603"))) == []  # as some vocabularies spell it
    (found,) = await differences(lab, row(text.replace("98, 99", "98, 98")))
    assert found.kind is OutputDifference.REAL


async def test_hostile_code_is_only_read_and_run_in_the_sandbox(lab: Laboratory, tmp_path: Path) -> None:
    target = tmp_path / "written"
    blocks = [
        f"open({str(target)!r}, 'w').write('x')",
        "print('random unseeded clock hash')",
        "(" * 100_000,
        "import os\nos._exit(0)",
    ]
    assert await uses(lab.sandbox, blocks[1:2]) == [frozenset()]
    assert all(not words for words in await uses(lab.sandbox, ["print(1)", "(" * 100_000]))
    found = await asyncio.wait_for(differences(lab, [Recorded(code, said("5\n"), False) for code in blocks]), 60)
    assert [one.block for one in found] == [0, 1, 2, 3]
    assert not target.exists()
    assert found[1].kind is OutputDifference.REAL
