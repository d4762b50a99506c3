"""The hint library and the choice of hints: what is chosen, where, as which text, and that it never changes."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory.rollout.hints import HintLibrary, LibraryHint, PlannedHint, load_library, plan_hints
from schemas.errors import RecipeError
from schemas.recipe import Hint
from schemas.vocabulary import Cut, Domain, HintFunction, StopReason
from warehouse.fences import blocks

BASELINE = "We multiply.\n\nWait, is it 9? Alternatively, add. So it is 8.\n2 * 4 = 8"
FIRST_CUTS = (Cut.START, Cut.SENTENCE, Cut.CONJUNCTION, Cut.END)
CUTS = (*FIRST_CUTS, Cut.COMPUTATION)
CODE_BASELINE = "We write it:\n```python\nprint(1)\n```\nWait, is that right?"


@pytest.fixture(scope="module")
def library() -> HintLibrary:
    return load_library("start")


def plan(
    library: HintLibrary,
    text: str = BASELINE,
    *,
    baseline_id: str = "t_1",
    stop: StopReason = StopReason.END,
    domain: Domain = Domain.MATH,
    seed: int = 0,
    **settings: Any,
) -> list[PlannedHint]:
    return plan_hints(
        baseline_id, text, stop_reason=stop, domain=domain, settings=Hint(**settings), library=library, seed=seed
    )


def test_the_shipped_library_has_every_function_in_several_wordings(library: HintLibrary) -> None:
    for function in HintFunction:
        texts = [hint.text for hint in library.of(function)]
        assert len(texts) == len(set(texts)) >= 2
    assert len({hint.hint_id for hint in library.hints}) == len(library.hints)
    assert all(hint.text.endswith(".") and hint.hint_id.startswith(hint.function) for hint in library.hints)


def test_a_hint_reads_on_and_leaves_a_python_block_open(library: HintLibrary) -> None:
    for domain, text in ((Domain.MATH, BASELINE), (Domain.CODE, CODE_BASELINE)):
        for n in range(40):
            for hint in plan(library, text, domain=domain, cuts=CUTS, branches=7, baseline_id=f"t_{n}"):
                kept = text[: hint.point.char_offset]
                block = blocks(kept + hint.text)[-1]
                assert (block.is_closed, block.is_python, block.code) == (False, True, "")
                assert not kept or kept[-1].isspace() or hint.text[0].isspace()
                assert hint.text.strip("\n").count("\n") == 1  # the sentence, and the fence


def test_the_texts_of_each_cut(library: HintLibrary) -> None:
    one = replace(library, hints=library.of(HintFunction.GENERAL)[:1])

    def texts(cut: Cut, **settings: Any) -> set[str]:
        return {h.text for n in range(20) for h in plan(one, cuts=(cut,), baseline_id=f"t_{n}", **settings)}

    said = "maybe Python can help here.\n```python\n"
    assert texts(Cut.START) == {f"Wait, {said}", f"Alternatively, {said}"}
    assert texts(Cut.SENTENCE) == {f" Wait, {said}", f" Alternatively, {said}"}
    assert texts(Cut.END) == {f"\n\nWait, {said}", f"\n\nAlternatively, {said}"}
    assert texts(Cut.CONJUNCTION) == {f"Wait, {said}", f"Alternatively, {said}"}
    assert texts(Cut.CONJUNCTION, which_conjunction="last") == {f"Alternatively, {said}"}
    assert texts(Cut.START, leads=("Hmm. ",), code_start="print(") == {f"Hmm. Maybe{said[5:]}print("}
    assert texts(Cut.START, leads=()) == {f"Maybe{said[5:]}"}


def test_a_lead_joins_the_sentence_as_one_would_write_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[general]\ntexts = ["I\'ll run Python.", "Python it is.", "Let me see.", "it is time."]\n')
    mine = load_library(str(path))
    hints = [h for n in range(60) for h in plan(mine, cuts=("start",), leads=("Wait, ", "So: "), baseline_id=f"t_{n}")]
    assert {h.text.partition("\n")[0] for h in hints} == {
        "Wait, I'll run Python.", "Wait, Python it is.", "Wait, let me see.", "Wait, it is time.",
        "So: I'll run Python.", "So: Python it is.", "So: Let me see.", "So: It is time.",
    }  # fmt: skip


def test_a_branch_never_changes_when_others_are_added(library: HintLibrary) -> None:
    for n in range(30):
        few = plan(library, cuts=CUTS, branches=3, baseline_id=f"t_{n}")
        assert plan(library, cuts=CUTS, branches=11, baseline_id=f"t_{n}")[:3] == few
        assert [hint.branch for hint in few] == [0, 1, 2]


def test_the_choice_is_a_choice_of_the_seed(library: HintLibrary) -> None:
    # On every machine, for ever: stored trajectories rest on it.
    hints = tuple(LibraryHint(f"{f}/{i}", f, "so.") for f in HintFunction for i in (1, 2, 3))
    fixed = replace(library, hints=hints)
    got = [(h.hint.hint_id, h.point.cut, h.point.char_offset) for h in plan(fixed, cuts=FIRST_CUTS, branches=3)]
    assert got == [
        ("alternative_method/2", "end", 70),
        ("self_reflection/3", "start", 0),
        ("deeper_thinking/1", "conjunction", 14),
    ]
    assert len({plan(library, cuts=CUTS, seed=seed)[0].text for seed in range(30)}) > 10
    assert len({plan(library, cuts=CUTS, baseline_id=f"t_{n}")[0].text for n in range(30)}) > 10


def test_functions_take_turns_and_cuts_are_all_used(library: HintLibrary) -> None:
    hints = [h for n in range(50) for h in plan(library, cuts=CUTS, branches=6, baseline_id=f"t_{n}")]
    assert Counter(h.hint.function for h in hints) == {f: 50 for f in Hint().functions if f is not HintFunction.DEBUG}
    used = Counter(h.point.cut for h in hints)
    assert set(used) == set(CUTS)
    assert min(used.values()) > 300 / len(CUTS) / 2
    first = {plan(library, baseline_id=f"t_{n}")[0].hint.function for n in range(60)}
    assert len(first) == 6  # a single branch is not always the same function


def test_code_gets_debug_and_nothing_else_does(library: HintLibrary) -> None:
    for domain in Domain:
        got = {h.hint.function for h in plan(library, domain=domain, branches=12)}
        assert (got == {HintFunction.DEBUG}) == (domain is Domain.CODE)
        assert (HintFunction.DEBUG in got) == (domain is Domain.CODE)
    assert plan(library, domain=Domain.CODE, functions=("general",)) == []
    assert plan(library, functions=("debug",)) == []


def test_no_hint_where_no_allowed_cut_exists(library: HintLibrary) -> None:
    assert plan(library, "No conjunction here.", cuts=("conjunction",)) == []
    assert plan(library, cuts=("end",), stop=StopReason.LENGTH) == []
    assert plan(library, cuts=()) == []
    either = plan(library, cuts=("end", "conjunction"), stop=StopReason.LENGTH, branches=20)
    assert {h.point.cut for h in either} == {Cut.CONJUNCTION}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[general\n", "cannot be read"),
        (b"[general]\ntexts = ['\xff']\n", "cannot be read"),
        (b"[calculate]\ntexts = ['a.']\n", "unknown function 'calculate'"),
        (b"[general]\n", "[general] needs 'texts'"),
        (b"general = ['a.']\n", "[general] needs 'texts'"),
        (b"[general]\ntexts = []\n", "[general] needs 'texts'"),
        (b"[general]\ntexts = 'one string'\n", "[general] needs 'texts'"),
        (b"[general]\ntexts = ['a.', ' ']\n", "[general] needs 'texts'"),
        (b"[general]\ntexts = ['a.', 1]\n", "[general] needs 'texts'"),
        (b"[general]\ntexts = ['run ```python']\n", "[general] needs 'texts'"),
        (b"[general]\ntexts = ['''two\nlines''']\n", "[general] needs 'texts'"),
        (b"# nothing\n", "holds no hints"),
        (b"[debug]\ntexts = ['a.']\n", "[debug.templates] needs exactly"),
        (b"[debug]\ntexts = ['a.']\ntemplates = ['starter', 'function', 'stdin']\n", "[debug.templates] needs exactly"),
        (b"[debug]\ntexts = ['a.']\ntemplates = {starter = 1, function = '', stdin = ''}\n", "needs exactly"),
        (b"[general]\ntexts = ['a.']\n[general]\ntexts = ['b.']\n", "cannot be read"),
    ],
)
def test_a_library_that_cannot_be_used_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_library(str(path))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_library_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"'nowhere' does not exist\. Known: .*\bstart\b"):
        load_library("nowhere")
    with pytest.raises(RecipeError, match="does not exist"):
        load_library(str(tmp_path / "mine.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(RecipeError, match="cannot be read"):
        load_library(str(tmp_path / "folder.toml"))


def test_another_content_is_another_library(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[general]\ntexts = ['a.']\n")
    first = load_library(str(path))
    path.write_text("[general]\ntexts = ['b.']\n")
    assert first.sha256 != load_library(str(path)).sha256
