"""Which answers vote together."""

import pytest

from train.votes import MAX_KEY_CHARS, canonical, vote_keys

ASKED: list[tuple[str, str]] = []


async def keys(
    answers: list[str | None], verdicts: list[bool | None], same_pair: tuple[str, str] | None = None
) -> list[str | None]:
    ASKED.clear()

    async def same(one: str, other: str) -> bool:
        ASKED.append((one, other))
        return (one, other) == same_pair

    return await vote_keys(answers, verdicts, same)


@pytest.mark.parametrize(
    "spellings",
    [
        ["0.5", "1/2", r"\frac{1}{2}", "$0.50$", r"\dfrac12"],
        ["1000", "1,000", "1{,}000"],
        ["Monday", "monday", r"\text{Monday}"],
        ["(1, 2)", "(1,2)"],
    ],
)
def test_one_value_has_one_form(spellings: list[str]) -> None:
    assert len({canonical(text) for text in spellings}) == 1


def test_long_answers_have_short_forms_of_their_own() -> None:
    a, b = canonical("x" * 5000), canonical("x" * 5000 + "y")
    assert a != b
    assert max(map(len, (a, b))) <= MAX_KEY_CHARS


async def test_no_answer_has_no_key() -> None:
    assert await keys([None, " ", "7"], [False, False, True]) == [None, None, "7"]


async def test_accepted_answers_are_one_whatever_their_form() -> None:
    got = await keys(["x^2+1", "7", "1+x^2"], [True, False, True])
    assert got[0] == got[2] != got[1]
    assert ASKED == []


async def test_refused_answers_are_one_where_the_verifier_says_so() -> None:
    """So that right answers, which it joins, have no advantage."""
    got = await keys(["x+1", "1+x", "x+2"], [False, False, False], ("x+1", "1+x"))
    assert got[0] == got[1] != got[2]


async def test_numbers_and_undecided_answers_are_never_asked_about() -> None:
    got = await keys(["3", "4", "y", "z"], [False, False, None, None])
    assert len(set(got)) == 4
    assert ASKED == []
