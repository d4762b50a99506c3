"""Verdicts: what is equal to what, by which step, on small examples and on labelled real data."""

import asyncio
import json
from typing import Any

import pytest

from quality.checkers import Check, Checkers
from quality.comparison import number, opinion
from quality.scoring import check_golds, score
from quality.verifiers import plain_form
from schemas.records import Problem, Verdict
from schemas.vocabulary import CheckOutcome, Domain, VerifierName
from tests.shared_data import rows

MATH, GYM = VerifierName.MATH_VERIFY, VerifierName.REASONING_GYM
HANGS = r"9^{9^{9^{9}}}"


def gym_meta(task: str, answer: str, **metadata: Any) -> str:
    return json.dumps({"task": task, "entry": {"question": "?", "answer": answer, "metadata": metadata}})


def checkers(n_workers: int = 1, timeout_s: float = 5.0) -> Checkers:
    return Checkers(n_workers, timeout_s, memory_mb=1024)


@pytest.mark.parametrize(
    ("name", "every", "least"), [("ans_mathverify_tests", 1, 0.965), ("ans_consensus_a", 3, 0.995)]
)
async def test_agrees_with_labelled_pairs(name: str, every: int, least: float) -> None:
    pairs = rows(name)[::every]
    async with checkers(2) as pool:
        checks = await asyncio.gather(*(pool.check(MATH, row["gold"], row["pred"]) for row in pairs))
    right = sum(check.is_correct == row["expected"] for check, row in zip(checks, pairs, strict=True))
    assert right / len(pairs) >= least


async def test_math_verdicts_name_their_step() -> None:
    async with checkers() as pool:
        got = {
            pair: await pool.check(MATH, *pair)
            for pair in [
                ("72", "72"),
                (r"\frac{1}{2}", r"$\dfrac{1}{2}$"),
                (r"\frac{1}{2}", "0.5"),
                ("x+1", "1+x"),
                ("(1,2)", "(2,1)"),
                (r"\$42409", r"42,409"),
                ("50", r"50.0\%"),
                ("72", "73"),
                ("North", r"\text{north}"),
            ]
        }
        nothing = await pool.check(MATH, "72", None)
        endless = await pool.check(MATH, "72", "1+" * 20_000)
    assert [(check.is_correct, check.second_opinion, check.detail) for check in got.values()] == [
        (True, True, "exact"),
        (True, True, "normalised"),
        (True, True, "Math-Verify"),
        (True, None, "Math-Verify"),
        (False, False, "Math-Verify"),
        (True, True, "Math-Verify"),
        (True, True, "Math-Verify"),
        (False, False, "Math-Verify"),
        (False, True, "Math-Verify"),
    ]
    assert list(got.values())[-1].disagreement
    assert nothing == Check(False, CheckOutcome.OK, None, "no answer", 0.0)
    assert (endless.is_correct, endless.outcome) == (None, CheckOutcome.ERROR)


async def test_reasoning_gym_scorers_and_plain_forms() -> None:
    product = gym_meta("products", "1234")
    async with checkers() as pool:
        for answer in ("1234", "1,234", "1234.", "1234.0", r"\boxed{1234}", "$1234$", "12 * 34 = 1,234", " 1234\n"):
            check = await pool.check(GYM, "1234", answer, product)
            assert (check.is_correct, check.second_opinion in (True, None)) == (True, True), (answer, check)
        for answer in ("1235", "234", "12345", "product"):
            assert (await pool.check(GYM, "1234", answer, product)).is_correct is False, answer
        part_marks = await pool.check(GYM, None, "['A', 'B']", gym_meta("string_insertion", "AB"))
        assert (part_marks.is_correct, part_marks.outcome) == (False, CheckOutcome.OK)
        for broken in ("{}", "[]", "no json", gym_meta("no_such_task", "1"), gym_meta("composite", "1")):
            check = await pool.check(GYM, "1", "1", broken)
            assert (check.is_correct, check.outcome) == (None, CheckOutcome.ERROR), broken


def test_plain_form_leaves_other_answers_alone() -> None:
    for answer in ("1234", "A B C", "3/4", "Q _ _\n_ Q _"):
        assert plain_form(answer) == answer
    assert plain_form(r"\boxed{-7}") == "-7"
    assert plain_form("50%") == "50"


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("1,000", "1000.0", True),
        (r"\frac{3}{56}", "0.0535714285714164", True),
        (r"\frac12", "0.5", True),
        (r"2\frac{1}{2}", "5/2", True),
        (r"3.5\times10^4", "35,000", True),
        ("3e2", "300", True),
        ("28", r"28\%", True),
        ("0.28", "28%", True),
        (r"90^\circ", "90", True),
        ("0.333", r"\frac13", False),
        ("(1, 2)", r"\left( 1, \frac{4}{2} \right)", True),
        ("(1,2)", "[1,2]", None),
        (r"\text{Even}", "even", True),
        ("even", "odd", False),
        ("x+1", "1+x", None),
        ("12", "1 2", None),
        ("1", "1e999", None),
        ("1", "9" * 5000, None),
        ("1/0", "1", None),
    ],
)
def test_second_opinion(gold: str, answer: str, expected: bool | None) -> None:
    assert opinion(gold, answer) is expected


def test_numbers_are_exact() -> None:
    assert number("0.1") != 0.1
    assert number("1e400") == 10**400


# Rows


def problem(gold: str | None, name: str = "p", verifier: VerifierName = MATH, meta: str = "{}") -> Problem:
    return Problem(
        problem_id=name, domain=Domain.MATH, source="s", split="train", statement="?", gold_answer=gold,
        licence="MIT", verifier=verifier, meta=meta,
    )  # fmt: skip


async def test_golds_must_satisfy_their_own_verifier() -> None:
    problems = [
        problem("so 6*7 = 42\n#### 42", "good"),
        problem("", "empty"),
        problem(None, "none"),
        problem("408", "gym", GYM, gym_meta("products", "408")),
        problem("409", "gym_wrong", GYM, gym_meta("products", "408")),
        problem("408", "gym_no_entry", GYM),
    ]
    async with checkers() as pool:
        got = await check_golds(problems, pool, "r1")
    assert [(row["problem_id"], row["is_accepted"], row["outcome"]) for row in got] == [
        ("good", True, "ok"),
        ("empty", False, "ok"),
        ("none", False, "ok"),
        ("gym", True, "ok"),
        ("gym_wrong", False, "ok"),
        ("gym_no_entry", False, "error"),
    ]
    assert [row["detail"] == "" for row in got] == [True, False, False, True, False, False]


async def test_verdict_rows() -> None:
    trajectories = [
        ("right", "```python\nprint(12*34)\n```\n```output\n408\n```\nThe product is 408.", problem("408")),
        ("wrong", r"\boxed{407}", problem("408")),
        ("silent", "I do not know.", problem("408")),
        ("hangs", rf"\boxed{{{HANGS}}}", problem("408")),
    ]
    async with checkers(timeout_s=1.0) as pool:
        got = {row["trajectory_id"]: row async for row in score(iter(trajectories), pool, "r1")}
    assert {name: (row["is_correct"], row["outcome"], row["disagreement"]) for name, row in got.items()} == {
        "right": (True, "ok", False),
        "wrong": (False, "ok", False),
        "silent": (False, "ok", False),
        "hangs": (None, "timeout", False),
    }
    assert got["right"]["detail"] == "output '408': exact"
    assert got["silent"]["detail"] == "no answer"
    assert all(list(row) == list(Verdict.model_fields) for row in got.values())


@pytest.mark.parametrize(("name", "least"), [("tir_tora_gsm8k", 0.995), ("cot_qwen25math_100x8", 0.99)])
async def test_labels_of_real_trajectories_are_reproduced(name: str, least: float) -> None:
    labelled = {row["id"]: row for row in rows(name) if row["label"] is not None and row["gold"]}
    todo = ((row["id"], row["text"], problem(row["gold"])) for row in labelled.values())
    same = 0
    async with checkers(2) as pool:
        async for verdict in score(todo, pool, "r1"):
            same += verdict["is_correct"] == labelled[verdict["trajectory_id"]]["label"]
    assert same / len(labelled) >= least
