"""Repair rules on their own examples, token boundaries, and what a cut must never touch."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RecipeError
from schemas.records import HintUse, Segment, ToolCall, Trajectory
from schemas.vocabulary import Arm, Cut, ExecStatus, HintFunction, Origin, StopReason
from warehouse.repair import check_rules, cut, repair
from warehouse.repair_rules import RULES, Example, Span

MODEL, HINT, TOOL = Origin.MODEL, Origin.HINT, Origin.TOOL
EXAMPLES = [(name, example) for name, rule in RULES.items() for example in rule.examples]


def segment(origin: Origin, text: str, *, with_ids: bool = True) -> Segment:
    """A token is a byte."""
    ids = tuple(text.encode())
    return Segment(origin=origin, text=text, n_tokens=len(ids), token_ids=ids if with_ids else None)


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def trajectory(*parts: tuple[Origin, str], with_ids: bool = True) -> Trajectory:
    segments = tuple(segment(origin, text, with_ids=with_ids) for origin, text in parts)
    n_tokens = {origin: sum(s.n_tokens for s in segments if s.origin is origin) for origin in Origin}
    hint = HintUse(hint_id="general/1", function=HintFunction.GENERAL, cut=Cut.END, trigger="", char_offset=0, round=1)
    call = ToolCall(
        code="1", stdout="1\n", error_type=None, traceback=None, status=ExecStatus.OK, wall_ms=1, output_truncated=False
    )
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
        tool_calls=(call,) * sum(s.origin is TOOL for s in segments),
        answer_text="42",
        stop_reason=StopReason.LENGTH,
        n_tokens_model=n_tokens[MODEL],
        n_tokens_hint=n_tokens[HINT],
        n_tokens_tool=n_tokens[TOOL],
        wall_s=3.0,
        created_at=datetime(2025, 3, 6, tzinfo=UTC),
    )


def check_repaired(repaired: Trajectory, parent: Trajectory) -> None:
    """What every repair promises."""
    assert parent.text.startswith(repaired.text)
    assert len(repaired.text) < len(parent.text)
    assert [s for s in repaired.segments if s.origin is TOOL] == [s for s in parent.segments if s.origin is TOOL]
    assert repaired.tool_calls == parent.tool_calls
    assert len(repaired.hints) == sum(s.origin is HINT for s in repaired.segments)
    for kept, old in zip(repaired.segments, parent.segments, strict=False):
        assert kept.origin is old.origin
        assert kept.token_ids is None or decode(kept.token_ids) == kept.text
    assert repaired.n_tokens_model == sum(s.n_tokens for s in repaired.segments if s.origin is MODEL)
    assert repaired.n_tokens_hint == sum(s.n_tokens for s in repaired.segments if s.origin is HINT)


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(EXAMPLES)])
@pytest.mark.parametrize("with_ids", [True, False])
def test_rules_do_what_their_examples_say(name: str, example: Example, with_ids: bool) -> None:
    parent = trajectory(*example.before, with_ids=with_ids)
    repaired = repair(parent, [name], decode)
    assert (repaired and repaired.text) == example.after
    if repaired:
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
    with pytest.raises(RecipeError, match=r"no rule 'polish'. Known rules: cut_loop, cut_after_answer, .*hint$"):
        check_rules(["cut_loop", "polish"])
    with pytest.raises(RecipeError, match="no rule"):
        repair(trajectory(), ["polish"])


def test_tool_output_is_never_dropped() -> None:
    segments = trajectory((MODEL, "a"), (TOOL, "b"), (MODEL, "c")).segments
    for end in (0, 1):
        with pytest.raises(ValueError, match="tool segment"):
            cut(segments, Span(end, end), decode)


def test_ids_become_a_prefix_on_a_token_boundary_and_null_between_tokens() -> None:
    vocabulary = ["So", " it", " is", " 42", ".\n", "\nI", " hope"]
    parts = (Segment(origin=MODEL, text="".join(vocabulary), n_tokens=7, token_ids=tuple(range(7))),)

    def words(ids: Sequence[int]) -> str:
        return "".join(vocabulary[i] for i in ids)

    assert cut(parts, Span(12, 14), words) == (
        Segment(origin=MODEL, text="So it is 42.\n", n_tokens=5, token_ids=(0, 1, 2, 3, 4)),
    )
    assert cut(parts, Span(12, 12), words) == (Segment(origin=MODEL, text="So it is 42.", n_tokens=5),)
    assert cut(parts, Span(12, 14), None)[0].token_ids is None


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
    span = Span(earliest, data.draw(st.integers(earliest, len(text))))
    shorter = cut(segments, span, decode)
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
