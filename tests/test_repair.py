"""Repair rules on their own examples, token boundaries, and what a cut must never touch."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RecipeError
from schemas.records import HintUse, Segment, ToolCall, Trajectory
from schemas.tables import TRAJECTORIES
from schemas.vocabulary import Arm, Cut, ExecStatus, HintFunction, Origin, StopReason
from tests.shared_data import rows
from warehouse.fences import blocks
from warehouse.repair import check_rules, may_repair, needs_replay, repair
from warehouse.repairing.edits import Edit, apply
from warehouse.repairing.rules import RULES
from warehouse.repairing.written import Example, Written

MODEL, HINT, TOOL = Origin.MODEL, Origin.HINT, Origin.TOOL
EXAMPLES = [(name, example) for name, rule in RULES.items() for example in rule.examples]


def segment(origin: Origin, text: str, *, with_ids: bool = True) -> Segment:
    """A token is a byte."""
    ids = tuple(text.encode())
    return Segment(origin=origin, text=text, n_tokens=len(ids), token_ids=ids if with_ids else None)


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def calls_of(parts: Sequence[tuple[Origin, str]]) -> tuple[ToolCall, ...]:
    """One per output: the last block before it; an output whose last line names an error is that of a failing call."""
    calls, before = [], ""
    for origin, text in parts:
        if origin is not TOOL:
            before += text
            continue
        shown = text.strip("`\n").removeprefix("output").strip("\n")
        last = shown.rpartition("\n")[2]
        failed = "Error" in last
        code = next((b.code for b in reversed(blocks(before, loose=True)) if b.is_python), "1")
        calls.append(
            ToolCall(
                code=code, stdout="" if failed else shown, error_type=last.partition(":")[0] if failed else None,
                traceback=last if failed else None, status=ExecStatus.ERROR if failed else ExecStatus.OK, wall_ms=1,
                output_truncated=False,
            )
        )  # fmt: skip
        before = ""
    return tuple(calls)


def trajectory(
    *parts: tuple[Origin, str], with_ids: bool = True, stop_reason: StopReason = StopReason.LENGTH
) -> Trajectory:
    segments = tuple(segment(origin, text, with_ids=with_ids) for origin, text in parts)
    n_tokens = {origin: sum(s.n_tokens for s in segments if s.origin is origin) for origin in Origin}
    hint = HintUse(hint_id="general/1", function=HintFunction.GENERAL, cut=Cut.END, trigger="", char_offset=0, round=1)
    return Trajectory(
        trajectory_id="t_parent",
        parent_id="t_baseline",
        run_id="r",
        recipe_id="c",
        problem_id="p",
        arm=Arm.HINT,
        sample_index=0,
        seed=0,
        engine="e@1",
        sandbox=None,
        sampling="{}",
        prompt="",
        segments=segments,
        hints=(hint,) * sum(s.origin is HINT for s in segments),
        tool_calls=calls_of(parts),
        answer_text="42",
        stop_reason=stop_reason,
        n_tokens_model=n_tokens[MODEL],
        n_tokens_hint=n_tokens[HINT],
        n_tokens_tool=n_tokens[TOOL],
        wall_s=3.0,
        created_at=datetime(2025, 3, 6, tzinfo=UTC),
    )


def check_repaired(repaired: Trajectory, parent: Trajectory) -> None:
    """What every repair promises."""
    outputs = [s for s in repaired.segments if s.origin is TOOL]
    assert set(outputs) <= {s for s in parent.segments if s.origin is TOOL}
    assert len(repaired.tool_calls) == len(outputs)
    assert set(repaired.tool_calls) <= set(parent.tool_calls)
    assert needs_replay(repaired, parent) == (repaired.tool_calls != parent.tool_calls)
    hints = [s for s in repaired.segments if s.origin is HINT]
    assert set(hints) <= {s for s in parent.segments if s.origin is HINT}
    assert len(repaired.hints) == len(hints)
    for kept in repaired.segments:
        assert kept.token_ids is None or decode(kept.token_ids) == kept.text
    for origin, n in ((MODEL, repaired.n_tokens_model), (HINT, repaired.n_tokens_hint), (TOOL, repaired.n_tokens_tool)):
        assert n == sum(s.n_tokens for s in repaired.segments if s.origin is origin)


def may(parent: Trajectory, rules: Sequence[str]) -> bool:
    table = pa.Table.from_pylist([parent.model_dump()], schema=TRAJECTORIES.arrow_schema)
    return bool(may_repair(pl.DataFrame(table), rules)[0])


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(EXAMPLES)])
@pytest.mark.parametrize("with_ids", [True, False])
def test_rules_do_what_their_examples_say(name: str, example: Example, with_ids: bool) -> None:
    parent = trajectory(*example.before, with_ids=with_ids, stop_reason=example.stop_reason)
    repaired = repair(parent, [name], decode)
    assert (repaired and repaired.text) == example.after
    assert Written(parent.segments, parent.tool_calls).executed or not RULES[name].drops_calls, (
        "the example says nothing"
    )
    if repaired:
        assert may(parent, [name]), "the test of columns must let it through"
        check_repaired(repaired, parent)
        assert repair(repaired, [name], decode) is None, "a rule has nothing left to do on its own result"


def test_every_rule_has_examples_of_both_kinds() -> None:
    for name, rule in RULES.items():
        assert {example.after is None for example in rule.examples} == {True, False}, name


def test_a_repaired_row_says_what_it_is() -> None:
    parent = trajectory(
        (MODEL, "So it is \\boxed{1}.\n\nI hope this helps!\n"), (HINT, "Wait.\n```python\n"), (MODEL, "for")
    )
    repaired = repair(parent, list(RULES), decode)
    assert repaired is not None
    assert (repaired.parent_id, repaired.repairs) == ("t_parent", ("drop_trailing_open_block",))
    again = repair(repaired, list(RULES), decode)
    assert again is not None
    assert again.text == "So it is \\boxed{1}."
    assert again.repairs == ("drop_trailing_open_block", "cut_after_answer")
    assert (again.answer_text, again.wall_s, again.stop_reason) == (None, 0.0, StopReason.LENGTH)
    assert len({parent.trajectory_id, repaired.trajectory_id, again.trajectory_id}) == 3
    assert repair(parent, list(RULES), decode) == repaired, "the same repair has the same id"


def test_nothing_to_repair_and_nothing_left() -> None:
    assert repair(trajectory((MODEL, "So it is \\boxed{1}.")), list(RULES), decode) is None
    assert repair(trajectory((MODEL, "```python\nfor")), list(RULES), decode) is None
    assert repair(trajectory(), list(RULES), decode) is None


def test_an_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"no rule 'polish'. Known rules: normalise_fences, .*hint$"):
        check_rules(["cut_loop", "polish"])
    with pytest.raises(RecipeError, match="no rule"):
        repair(trajectory(), ["polish"])


def test_outputs_and_hints_are_whole_or_gone() -> None:
    segments = trajectory((MODEL, "a"), (TOOL, "bbb"), (HINT, "ccc"), (MODEL, "d")).segments
    for edit in (Edit(0, 0, 2), Edit(2, 2, 4), Edit(4, 4, 6), Edit(5, 5, 6), Edit(2, 2, 2, "x")):
        with pytest.raises(ValueError, match=r"would change a (tool|hint) segment"):
            apply(segments, [edit], decode)
    gone = apply(segments, [Edit(1, 1, 4)], decode)
    assert ([s.text for s in gone.segments], gone.tools_kept, gone.hints_kept, gone.moved) == (
        ["a", "ccc", "d"],
        (),
        (0,),
        (3,),
    )
    gone = apply(segments, [Edit(1, 1, 7)], decode)
    assert [(s.text, s.token_ids) for s in gone.segments] == [("ad", (97, 100))], "what the model wrote becomes one"
    assert gone.hints_kept == ()


def test_hints_behind_what_is_gone_move_with_it() -> None:
    fails = ((MODEL, "```python\nprint(x + 1)\n```\n"), (TOOL, "```output\nNameError: x\n```\n"))
    right = ((MODEL, "```python\nx = 1\nprint(x + 1)\n```\n"), (TOOL, "```output\n2\n```\n"))
    parent = trajectory(*fails, *right, (HINT, "Wait.\n"), (MODEL, "It is 2."))
    place = parent.text.index("Wait.")
    parent = parent.model_copy(update={"hints": (parent.hints[0].model_copy(update={"char_offset": place}),)})
    repaired = repair(parent, ["drop_failed_attempts"], decode)
    assert repaired is not None
    assert repaired.hints[0].char_offset == repaired.text.index("Wait.")
    assert [call.code for call in repaired.tool_calls] == ["x = 1\nprint(x + 1)\n"]


def test_ids_become_a_prefix_on_a_token_boundary_and_null_between_tokens() -> None:
    vocabulary = ["So", " it", " is", " 42", ".\n", "\nI", " hope"]
    parts = (Segment(origin=MODEL, text="".join(vocabulary), n_tokens=7, token_ids=tuple(range(7))),)

    def words(ids: Sequence[int]) -> str:
        return "".join(vocabulary[i] for i in ids)

    assert apply(parts, [Edit(12, 14, 24)], words).segments == (
        Segment(origin=MODEL, text="So it is 42.\n", n_tokens=5, token_ids=(0, 1, 2, 3, 4)),
    )
    assert apply(parts, [Edit(12, 12, 24)], words).segments == (Segment(origin=MODEL, text="So it is 42.", n_tokens=5),)
    assert apply(parts, [Edit(12, 14, 24)], None).segments[0].token_ids is None


@given(
    pieces=st.lists(st.tuples(st.sampled_from(list(Origin)), st.text(max_size=8)), max_size=6),
    tail=st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]), min_size=1, max_size=30),
    data=st.data(),
)
def test_cuts_keep_what_stands_before_them(pieces: list[tuple[Origin, str]], tail: str, data: st.DataObject) -> None:
    segments = tuple(segment(origin, text) for origin, text in [*pieces, (MODEL, tail)])
    text = "".join(s.text for s in segments)
    begin = len(text) - len(tail)
    earliest = data.draw(st.integers(begin, len(text)))
    span = Edit(earliest, data.draw(st.integers(earliest, len(text))), len(text))
    shorter = apply(segments, [span], decode).segments
    kept = "".join(s.text for s in shorter)
    assert text.startswith(kept)
    assert span.earliest <= len(kept) <= span.latest
    assert all(s.token_ids is not None and decode(s.token_ids) == s.text for s in shorter), "bytes end at every offset"
    assert [s.origin for s in shorter] == [s.origin for s in segments][: len(shorter)]


@given(
    unit=st.text("ab \n.", min_size=1, max_size=70).filter(lambda unit: unit.strip(" \n.") != ""),
    head=st.text("xyz", max_size=9),
    n=st.integers(1, 12),
)
def test_loops_are_cut_to_one_passage_and_shorter_ones_left_alone(unit: str, head: str, n: int) -> None:
    parent = trajectory((MODEL, head + unit * n))
    repaired = repair(parent, ["cut_loop"], decode)
    if len(unit) * n >= 200 and n >= 4:
        assert repaired is not None
        check_repaired(repaired, parent)
        assert repaired.text.startswith(head)
        assert len(repaired.text) <= len(head) + 2 * len(unit)
    elif len(unit) * n < 100:
        assert repaired is None


REAL = ("tir_mathcoder_gsm8k_even", "tir_mathcoder_math_l7b_correct", "tir_rho_math500", "cot_r1_math500_small")


def test_real_texts_keep_their_outputs_and_columns_miss_no_repair() -> None:
    texts = {row["text"] for name in REAL for row in rows(name)[:1200]}
    parents = [trajectory(*parts_of(text), with_ids=False, stop_reason=StopReason.END) for text in sorted(texts)]
    table = pa.Table.from_pylist([parent.model_dump() for parent in parents], schema=TRAJECTORIES.arrow_schema)
    applied: Counter[str] = Counter()
    for name in RULES:
        for parent, possible in zip(parents, may_repair(pl.DataFrame(table), [name]), strict=True):
            repaired = repair(parent, [name]) if possible else None
            if repaired is None:
                found = RULES[name].find(Written(parent.segments, parent.tool_calls, parent.stop_reason))
                assert possible or not found, (name, parent.text)
                continue
            applied[name] += 1
            check_repaired(repaired, parent)
            assert Written(repaired.segments, repaired.tool_calls).executed or not repaired.tool_calls
    for name in ("cut_loop", "cut_after_answer", "drop_failed_attempts", "fold_repeated_block"):
        assert 0 < applied[name] < 0.05 * len(parents), name


def parts_of(text: str) -> list[tuple[Origin, str]]:
    """An output block directly behind a Python block is the tool's."""
    parts, at, ran = [], 0, -1
    for block in blocks(text):
        if block.language == "output" and ran >= 0 and not text[ran : block.begin].strip():
            end = min(block.end + 1, len(text))
            parts += [(MODEL, text[at : block.begin]), (TOOL, text[block.begin : end])]
            at = end
        ran = block.end if block.is_python and block.is_closed else -1
    return [*parts, (MODEL, text[at:])] if text[at:] else parts


LONG = ("\\boxed{", "```python\n", "```python\n1\n```\n", "`", " ", "x\n\n", "Output:\n", "a b ")


@pytest.mark.parametrize("unit", LONG)
def test_rules_stand_long_texts(unit: str) -> None:
    parent = trajectory((MODEL, unit * 50_000), with_ids=False)
    repaired = repair(parent, list(RULES))
    assert repaired is None or repaired.text
