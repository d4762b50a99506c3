"""Verdicts: what is equal to what, by which step, on small examples and on labelled real data."""

import asyncio
import json
from typing import Any

import duckdb
import pytest

from quality.checkers import Check, Checkers
from quality.equivalence.numbers import number
from quality.scoring import check_golds, score
from quality.verifiers import plain_form
from schemas.records import Problem, Verdict
from schemas.vocabulary import Domain, Judgement, JudgeStep, VerifierName
from tests.builders import build, fake, put, rows_of
from tests.shared_data import rows

MATH, GYM = VerifierName.MATH_VERIFY, VerifierName.REASONING_GYM
HANGS = r"9^{9^{9^{9}}}"


def gym_meta(task: str, answer: str, **metadata: Any) -> str:
    return json.dumps({"task": task, "entry": {"question": "?", "answer": answer, "metadata": metadata}})


def checkers(n_workers: int = 1, timeout_s: float = 5.0) -> Checkers:
    return Checkers(n_workers, timeout_s, memory_mb=1024)


@pytest.mark.parametrize(("name", "every", "least"), [("ans_mathverify_tests", 1, 0.98), ("ans_consensus_a", 1, 0.995)])
async def test_agrees_with_labelled_pairs(name: str, every: int, least: float) -> None:
    pairs = [row for row in rows(name)[::every] if not row.get("suspect")]
    async with checkers(2, timeout_s=30) as pool:
        checks = await asyncio.gather(*(pool.check(MATH, row["gold"], row["pred"]) for row in pairs))
    right = sum(check.is_correct == row["expected"] for check, row in zip(checks, pairs, strict=True))
    assert right / len(pairs) >= least


async def test_math_verdicts_name_their_step() -> None:
    steps = {
        ("72", "72"): ("exact", True, None),
        (r"\frac{1}{2}", r"$\dfrac{1}{2}$"): ("normalised", True, None),
        (r"\frac{1}{2}", "0.5"): ("numeric", True, None),
        (r"\$42409", r"42,409"): ("numeric", True, None),
        ("72", "73"): ("numeric", False, None),
        ("B", "(b) 42"): ("choice", True, None),
        ("3 PM", "15:00"): ("time", True, None),
        ("North", r"\text{the south}"): ("words", False, None),
        ("x+1", "1+x"): ("value", True, True),
        ("(1,2)", "(2,1)"): ("structure", False, None),
        (r"\sum_{k=1}^n k", r"\sum_{k=1}^{n} k^2"): ("symbolic", False, None),
    }
    async with checkers() as pool:
        got = {pair: await pool.check(MATH, *pair) for pair in steps}
        nothing = await pool.check(MATH, "72", None)
        endless = await pool.check(MATH, "72", "1+" * 20_000)
    assert {pair: (str(c.step), c.is_correct, c.second_opinion) for pair, c in got.items()} == steps
    assert nothing == Check(Judgement.WRONG, JudgeStep.NONE, None, "no answer", 0.0)
    assert (endless.verdict, endless.step) == (Judgement.UNDECIDED, JudgeStep.NONE)


async def test_two_opinions_that_differ_are_a_disagreement() -> None:
    async with checkers() as pool:
        check = await pool.check(MATH, "h + 2p", "2p + h")
        hanging = await pool.check(MATH, "2", rf"\frac{{{HANGS}}}{{{HANGS}}} + 1")
    assert (check.is_correct, check.second_opinion, check.disagreement) == (True, False, True), check
    assert (hanging.verdict, hanging.disagreement) == (Judgement.TIMEOUT, False)


async def test_reasoning_gym_scorers_and_plain_forms() -> None:
    product = gym_meta("products", "1234")
    async with checkers() as pool:
        for answer in ("1234", "1,234", "1234.", "1234.0", r"\boxed{1234}", "$1234$", "12 * 34 = 1,234", " 1234\n"):
            check = await pool.check(GYM, "1234", answer, product)
            assert (check.is_correct, check.second_opinion in (True, None)) == (True, True), (answer, check)
        for answer in ("1235", "234", "12345", "product"):
            assert (await pool.check(GYM, "1234", answer, product)).is_correct is False, answer
        part_marks = await pool.check(GYM, None, "['A', 'B']", gym_meta("string_insertion", "AB"))
        assert part_marks.verdict is Judgement.WRONG
        for broken in ("{}", "[]", "no json", gym_meta("no_such_task", "1"), gym_meta("composite", "1")):
            check = await pool.check(GYM, "1", "1", broken)
            assert (check.is_correct, check.verdict) == (None, Judgement.UNDECIDED), broken


def test_plain_form_leaves_other_answers_alone() -> None:
    for answer in ("1234", "A B C", "3/4", "Q _ _\n_ Q _"):
        assert plain_form(answer) == answer
    assert plain_form(r"\boxed{-7}") == "-7"
    assert plain_form("50%") == "50"


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
    assert [(row["problem_id"], row["is_accepted"], row["verdict"]) for row in got] == [
        ("good", True, "correct"),
        ("empty", False, "wrong"),
        ("none", False, "wrong"),
        ("gym", True, "correct"),
        ("gym_wrong", False, "wrong"),
        ("gym_no_entry", False, "undecided"),
    ]
    assert [row["detail"] == "" for row in got] == [True, False, False, True, False, False]


async def test_disagreements_of_real_checks_are_shown_with_both_opinions_and_texts() -> None:
    asked = [("t1", "h + 2p", r"\boxed{2p + h}"), ("t2", "x + 1", r"\boxed{1 + x}"), ("t3", "8", r"\boxed{7}")]
    async with checkers() as pool:
        texts = [(name, text, problem(gold, name)) for name, gold, text in asked]
        verdicts = [row async for row in score(texts, pool, "judge")]
    with duckdb.connect() as con:
        put(con, "derived.verdicts", *verdicts)
        build(con, "staging.verdicts")
        fields = "trajectory_id text, problem_id text, arm text, answer_text text"
        fake(con, "staging.trajectories", fields, *((name, name, "hint", text) for name, _, text in asked))
        fields = "problem_id text, gold_answer text, statement text"
        fake(con, "staging.problems", fields, *((name, gold, "?") for name, gold, _ in asked))
        build(con, "marts.disagreements")
        shown = rows_of(con, "select * exclude (arm, statement, problem_id) from marts.disagreements")
    detail = "boxed '2p + h': value: equal; Math-Verify: different"
    assert shown == [("t1", "correct", "value", False, "h + 2p", r"\boxed{2p + h}", detail)]


async def test_verdict_rows() -> None:
    trajectories = [
        ("right", "```python\nprint(12*34)\n```\n```output\n408\n```\nThe product is 408.", problem("408")),
        ("wrong", r"\boxed{407}", problem("408")),
        ("silent", "I do not know.", problem("408")),
        ("hangs", rf"\boxed{{{HANGS}}}", problem("408")),
    ]
    async with checkers(timeout_s=1.0) as pool:
        got = {row["trajectory_id"]: row async for row in score(iter(trajectories), pool, "r1")}
    assert {name: (row["is_correct"], row["verdict"], row["disagreement"]) for name, row in got.items()} == {
        "right": (True, "correct", False),
        "wrong": (False, "wrong", False),
        "silent": (False, "wrong", False),
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
