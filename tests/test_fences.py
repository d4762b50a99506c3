"""Code fences: offsets, the open last block, the two readings, and time that grows with the text alone."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.rollout.outputs import output_block
from quality.answers import extract
from warehouse.fences import Kind, blocks, split_fences

FRAGMENTS = ["```", "````", "`", "```python", "```output", "````output", "\n", " ", "    ", "Wait", "x = 1", "py"]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=30).map("".join)


@given(texts, st.booleans())
def test_blocks_lie_in_order_and_slice_the_text(text: str, loose: bool) -> None:
    found = blocks(text, loose=loose)
    at = 0
    for block in found:
        assert at <= block.begin < block.end <= len(text)
        at = block.end
        whole = text[block.begin : block.end]
        fence = whole.lstrip(" \t").partition("\n")[0].rstrip(" \t")
        assert fence.startswith("```")
        assert fence.lstrip("`").split()[:1] == block.language.split()
        inside = whole.partition("\n")[2]
        assert inside.startswith(block.code)
        assert set(inside.removeprefix(block.code)) <= (set(" \t`") if block.is_closed else set())
    assert all(block.is_closed for block in found[:-1])
    if found and not found[-1].is_closed:
        assert found[-1].end == len(text)


@given(texts)
def test_a_text_grows_without_changing_the_blocks_that_are_closed(text: str) -> None:
    lines = text.split("\n")
    for n in range(len(lines)):
        so_far = "".join(line + "\n" for line in lines[:n])
        closed = [block for block in blocks(so_far) if block.is_closed]
        assert blocks(text)[: len(closed)] == closed


@given(st.text(alphabet="`ab \n~", max_size=60))
def test_no_tool_output_ends_its_own_block(output: str) -> None:
    for loose in (False, True):
        found = blocks(output_block(output), loose=loose)
        assert [(b.language, b.kind, b.is_closed) for b in found] == [("output", Kind.OUTPUT, True)]
        assert found[0].code.removesuffix("\n") == output.removesuffix("\n")


def test_the_strict_reading_is_commonmark() -> None:
    text = "Say ```python\n   ```python x\na\n    ```\n``` b\n`````\n```\nopen"
    got = [(b.language, b.code, b.is_closed, b.is_python) for b in blocks(text)]
    assert got == [("python", "a\n    ```\n``` b\n", True, True), ("", "open", False, False)]
    assert text[blocks(text)[0].begin :].startswith("   ```python x\n")


def test_an_open_block_is_the_last_and_runs_to_the_end() -> None:
    for text, code in (("a\n```py", ""), ("a\n```py\n", ""), ("a\n```py\nx", "x"), ("a\n```py\nx\n`` `", "x\n`` `")):
        for loose in (False, True):
            (block,) = blocks(text, loose=loose)
            assert (block.begin, block.end, block.code, block.is_closed) == (2, len(text), code, False)


def test_the_loose_reading_finds_fences_where_models_put_them() -> None:
    text = "Let me see ```python\nprint(3)```\n```python\n4\n```output\n4\n```\nSo 4."
    got = [(b.language, b.code.strip(), text[b.begin : b.begin + 3]) for b in blocks(text, loose=True)]
    assert got == [("python", "print(3)", "```"), ("python", "4", "```"), ("output", "4", "```")]


def test_kinds() -> None:
    kinds = {word: blocks(f"```{word}\n")[0].kind for word in ("", "text", "LaTeX", "python", "Output", "sql")}
    assert kinds == {
        "": Kind.PROSE, "text": Kind.PROSE, "LaTeX": Kind.PROSE, "python": Kind.CODE, "Output": Kind.OUTPUT,
        "sql": Kind.CODE,
    }  # fmt: skip


def test_an_answer_is_read_after_an_output_that_holds_fences() -> None:
    shown = "```\nThe answer is 7.\n```python\n\\boxed{8}\n```"
    text = f"Run it:\n```python\nprint(s)\n```\n{output_block(shown)}So the answer is 5."
    assert output_block(shown).startswith("````output\n")
    assert [piece.kind for piece in split_fences(text)] == [Kind.PROSE, Kind.CODE, Kind.OUTPUT, Kind.PROSE]
    assert split_fences(text)[2].text == shown + "\n"
    assert extract(text).answer == "5"
    assert extract(text.removesuffix("So the answer is 5.") + "Hm.").answer == "8"  # the last number it printed


def test_a_silent_output_is_an_output() -> None:
    text = f"\\boxed{{12}}\n```python\nx = 15\n```\n{output_block('')}The answer is 15."
    assert [piece.kind for piece in split_fences(text)][2:] == [Kind.OUTPUT, Kind.PROSE]
    assert extract(text).answer == "15"


@pytest.mark.parametrize(
    "unit",
    ["`", "`x", "``` ", "```\n", "```python\n", " ```", "``` a b", "\n````\n```x\n", "```a", " ", "\t```", "~~~\n"],
)
def test_1_mb_of_anything_takes_two_seconds_at_most(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    for candidate in (text, "```" + text + "`", "```output\n" + text, text + "!"):
        started = time.process_time()
        blocks(candidate)
        blocks(candidate, loose=True)
        assert time.process_time() - started < 2  # half of it is usual; a quadratic reading takes hours
