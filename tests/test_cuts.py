"""Cuts: exact small cases of each rule, and real conjunctions in real thoughts."""

import gzip
import itertools
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.rollout.cuts import CutPoint, find_cuts
from schemas.vocabulary import Cut, StopReason
from warehouse.fences import blocks

DATA = Path(__file__).parents[2] / "shared" / "data"
WORDS = ("Wait", "Alternatively")


def cuts(text: str, cut: Cut, triggers: tuple[str, ...] = WORDS, stop: StopReason = StopReason.END) -> list[int]:
    return [point.char_offset for point in find_cuts(text, cut, triggers=triggers, stop_reason=stop)]


def conjunctions(text: str) -> list[int]:
    return cuts(text, Cut.CONJUNCTION)


def test_start_is_always_there() -> None:
    for text in ("", "x", "```python\nopen"):
        assert find_cuts(text, Cut.START, triggers=(), stop_reason=StopReason.LENGTH) == [CutPoint(Cut.START, 0, "")]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("To add, we align. Then we sum.", "To add, we align."),
        ("We get 3.14 here! So", "We get 3.14 here!"),
        ("We compute:\n\n1. First", "We compute:"),
        ("No end\nof line", "No end\n"),
        ("1. First we add. Then", "1. First we add."),
        ("\n\n  12.\nSo\nit is", "\n\n  12.\nSo\n"),
        ("Only one sentence", None),
        ("12. 34.", None),
        ("", None),
        ("Is it done?", "Is it done?"),
        ("A `x. y` is. So", "A `x. y` is."),
        ("```python\nx = 1\n```\nSo it is. Yes.", "```python\nx = 1\n```\n"),
        ("Well ```python\nx = 1\n```", None),
        ("```python\nx = 1. \n", None),
        ("See:\n```python\nx = 1\n```", "See:"),
        ("Größe ist 5. Ja.", "Größe ist 5."),
    ],
)
def test_sentence_is_the_first_that_holds_a_letter(text: str, kept: str | None) -> None:
    found = cuts(text, Cut.SENTENCE)
    assert [text[:offset] for offset in found] == ([] if kept is None else [kept])


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("Wait, no", 1),
        ('so.\nWait: no. (Wait) "Wait" Wait! Wait\u2014no Wait\nWait', 7),
        ("Waiting Waits wait WAIT Wait-time Wait's Wait\u2019s non-Wait 'Wait' _Wait Wait2 \u00e9Wait", 0),
        ("Alternatively, Wait", 2),
        ("no conjunction", 0),
    ],
)
def test_conjunctions_are_whole_words_as_written(text: str, n: int) -> None:
    found = find_cuts(text, Cut.CONJUNCTION, triggers=WORDS, stop_reason=StopReason.LENGTH)
    assert len(found) == n
    for point in found:
        assert text[point.char_offset :].startswith(point.trigger)
        assert point.trigger in WORDS


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("```python\n# Wait, no\n```\nWait", ["```python\n# Wait, no\n```\n"]),
        ("```\nWait\n```", []),
        ("```output\nWait\n```\n", []),
        ("Wait\n```python\nWait, the block\nis never closed. Wait", [""]),
        ("````output\n```\nWait\n````\n", []),
        ("Say `Wait` or ``a ` Wait`` or ``` Wait ```: `Wait", ["Say `Wait` or ``a ` Wait`` or ``` Wait ```: `"]),
        ("Code: ```python\n# Wait\n```", []),  # a fence that only the loose reading sees
        ("  - a list\n\n      ```python\n      # Wait\n      ```\n", []),
        ("`a\nWait`", ["`a\n"]),  # inline code ends with its line
    ],
)
def test_no_conjunction_in_code(text: str, kept: list[str]) -> None:
    assert [text[:offset] for offset in conjunctions(text)] == kept


def test_triggers_are_those_asked_for_and_the_longer_wins() -> None:
    text = "But wait, but. Hmm (x). But then"
    assert cuts(text, Cut.CONJUNCTION, ("But", "But wait")) == [0, 24]
    triggers = [
        p.trigger for p in find_cuts(text, Cut.CONJUNCTION, triggers=("But", "But wait"), stop_reason=StopReason.END)
    ]
    assert triggers == ["But wait", "But"]
    assert cuts(text, Cut.CONJUNCTION, ("(x",)) == [19]
    assert cuts(text, Cut.CONJUNCTION, ()) == []
    assert cuts(text, Cut.CONJUNCTION, ("",)) == []


def test_end_is_before_the_stop_token() -> None:
    assert cuts("So 5.\n", Cut.END) == [6]
    assert cuts("So 5.\n```python\nx\n```", Cut.END) == [21]
    for stop in StopReason:
        if stop is not StopReason.END:
            assert cuts("So 5.", Cut.END, stop=stop) == []  # cut off, so there is no stop token to stand before


@pytest.mark.parametrize("text", ["", " \n", "So 5.\n```python\nx", "See: ```python\nx = 1\n", "```\n```\n```"])
def test_no_end_of_nothing_nor_inside_code(text: str) -> None:
    assert cuts(text, Cut.END) == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("We add.\nSo 12 + 30 = 42, fine.", "We add.\n"),
        ("First 3.5 \\times 2 = 7.", ""),
        ("a line\n(12 \u00d7 (3 + 4)) = 84", "a line\n"),
        ("x + y = z and f(2) = 4, 1998 - a story", None),
        ("```python\nprint(1 + 2 == 3)\n```\nthen 5 * 5 = 25", "```python\nprint(1 + 2 == 3)\n```\n"),
        ("12 + 30 is left to the reader = no", None),
    ],
)
def test_computation_is_before_the_first_line_worked_out_by_hand(text: str, kept: str | None) -> None:
    assert [text[:offset] for offset in cuts(text, Cut.COMPUTATION)] == ([] if kept is None else [kept])


CUTS = [cut for cut in Cut if cut is not Cut.DOUBT]
fragments = ["1 + 2 = 3", "Wait", "Alternatively", "```", "```python", "````", "`", "\n", " ", ". ", "a", ": "]


@given(st.lists(st.sampled_from(fragments), max_size=30).map("".join), st.sampled_from(CUTS))
def test_a_cut_never_leaves_a_block_open(text: str, cut: Cut) -> None:
    for offset in cuts(text, cut):
        assert all(block.is_closed for block in blocks(text[:offset])), text[:offset]


@pytest.mark.parametrize(
    "unit", ["Wait ", "`a. ", "1.\n", "`a` Wait ", "`", "```\n", "``a`", ". ", "Wait\n```\n", "1+1", "2*"]
)
def test_cuts_take_time_that_grows_with_the_text(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    started = time.process_time()
    for cut in CUTS:
        cuts(text, cut)
    assert time.process_time() - started < 2


# Real thoughts: 624 of reasoning models, of which 17 are empty. None holds code, so it is put in from real solutions.


def real(name: str, column: str) -> list[str]:
    path = DATA / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not here: it is real data, kept outside the repository")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [text for line in lines if (text := json.loads(line)[column])]


def scan(text: str, words: tuple[str, ...] = WORDS) -> list[tuple[int, str]]:
    """Whole words that are triggers, found character by character."""
    found = []
    begin = 0
    for joined, run in itertools.groupby(text, key=lambda c: c.isalnum() or c in "_-'\u2019"):
        word = "".join(run)
        if joined and word in words:
            found.append((begin, word))
        begin += len(word)
    return found


def test_cuts_at_real_conjunctions() -> None:
    thoughts = real("cot_reasoning_misguided_dev", "thinking")
    n_with = dict.fromkeys(WORDS, 0)
    n_cuts = n_with_any = 0
    for thought in thoughts:
        found = find_cuts(thought, Cut.CONJUNCTION, triggers=WORDS, stop_reason=StopReason.END)
        assert [(point.char_offset, point.trigger) for point in found] == scan(thought)
        n_cuts += len(found)
        n_with_any += bool(found)
        for word in WORDS:
            n_with[word] += any(point.trigger == word for point in found)
    assert (len(thoughts), n_with_any, n_cuts) == (607, 526, 23_152)
    assert n_with == {"Wait": 524, "Alternatively": 455}


def test_real_word_boundaries() -> None:
    words = ("So", "But", "wait", "The")  # unlike the two above, these also begin longer words of the thoughts
    n_cuts = n_inside = 0
    for thought in real("cot_reasoning_misguided_dev", "thinking")[:150]:
        found = find_cuts(thought, Cut.CONJUNCTION, triggers=words, stop_reason=StopReason.END)
        assert [(point.char_offset, point.trigger) for point in found] == scan(thought, words)
        n_cuts += len(found)
        n_inside += sum(thought.count(word) for word in words) - len(found)
    assert (n_cuts, n_inside) == (16_192, 4_965)


def test_no_cut_falls_into_code_put_into_real_thoughts() -> None:
    thoughts = [t for t in real("cot_reasoning_misguided_dev", "thinking") if conjunctions(t)][:80]
    solutions = [text for text in real("tir_tora_gsm8k", "text") if "```python" in text]
    assert len(thoughts) == 80
    for thought, solution in zip(thoughts, solutions, strict=False):
        block = blocks(solution)[0]
        code = solution[block.begin : block.end].replace("\n", "\n# Wait, is this right? Alternatively, ", 1)
        assert code.startswith("```python\n# Wait")
        paragraphs = thought.split("\n\n")
        middle = len(paragraphs) // 2
        before, after = "\n\n".join(paragraphs[:middle]) + "\n\n", "\n\n" + "\n\n".join(paragraphs[middle:])
        expected = [at for at, _ in scan(before)]
        begin = len(before) + len(code)
        assert conjunctions(before + code + after) == expected + [begin + at for at, _ in scan(after)]
        assert conjunctions(before + code.removesuffix("```") + after) == expected  # the block is never closed
