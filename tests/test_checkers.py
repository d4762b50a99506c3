"""Checkers: right verdicts, and a pool that hostile, hanging or dying checks cannot hurt.

The functions named `*_worker` run inside the workers: `confine` is the door through which a test may tamper with them.
"""

import asyncio
import gzip
import inspect
import json
import os
import pathlib
import re
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from quality.checkers import Check, Checkers
from quality.comparison import number, opinion
from quality.scoring import check_golds, score
from quality.verifiers import FORMULA_SCORERS, LIST_SCORERS, plain_form
from schemas.errors import SandboxError
from schemas.records import Problem, Verdict
from schemas.vocabulary import CheckOutcome, Domain, VerifierName

DATA = pathlib.Path(__file__).parents[2] / "shared" / "data"
MATH, GYM = VerifierName.MATH_VERIFY, VerifierName.REASONING_GYM
HANGS = r"9^{9^{9^{9}}}"


def rows(name: str) -> list[dict[str, Any]]:
    path = DATA / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not here: it is real data, kept outside the repository")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def gym_meta(task: str, answer: str, **metadata: Any) -> str:
    return json.dumps({"task": task, "entry": {"question": "?", "answer": answer, "metadata": metadata}})


def checkers(n_workers: int = 1, timeout_s: float = 5.0, confine: Callable[[], object] | None = None) -> Checkers:
    return Checkers(n_workers, timeout_s, memory_mb=1024, confine=confine)


# Verdicts


@pytest.mark.parametrize(("name", "least"), [("ans_mathverify_tests", 0.965), ("ans_consensus_a", 0.995)])
async def test_agrees_with_labelled_pairs(name: str, least: float) -> None:
    pairs = rows(name)
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


# Hanging, dying and lying workers


def sleep_worker() -> None:
    def sleep(request: dict[str, Any]) -> dict[str, Any]:
        if request["answer"] == "sleep":
            time.sleep(60)
        return {"id": request["id"], "is_correct": True, "outcome": "ok", "detail": "awake"}

    vars(sys.modules["__main__"])["_answer"] = sleep


async def test_a_check_that_hangs_is_a_timeout_and_the_next_one_is_not_affected() -> None:
    async with checkers(timeout_s=1.0) as pool:
        for answer in (HANGS, f"${HANGS}$"):
            started = time.perf_counter()
            check = await pool.check(MATH, "5", answer)
            assert time.perf_counter() - started < 2.0 + 3.0 * (answer != HANGS)  # the second waits for a new worker
            assert (check.is_correct, check.outcome) == (None, CheckOutcome.TIMEOUT)
            assert 1000 <= check.wall_ms < 2000
        assert (await pool.check(MATH, "5", r"\frac{10}{2}")).is_correct is True
        started = time.perf_counter()
        assert (await pool.check(MATH, "5", HANGS)).outcome is CheckOutcome.TIMEOUT
        assert time.perf_counter() - started < 0.1, "known already"


async def test_others_carry_on_while_one_sleeps() -> None:
    async with checkers(2, timeout_s=1.5, confine=sleep_worker) as pool:
        sleeping = asyncio.create_task(pool.check(MATH, "5", "sleep"))
        others = await asyncio.gather(*(pool.check(MATH, "5", str(n)) for n in range(100, 150)))
        assert not sleeping.done()
        assert {check.detail for check in others} == {"awake"}
        assert (await sleeping).outcome is CheckOutcome.TIMEOUT


async def test_a_cancelled_check_leaves_the_pool_whole() -> None:
    async with checkers(timeout_s=30, confine=sleep_worker) as pool:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.check(MATH, "5", "sleep"), 0.3)
        assert (await pool.check(MATH, "5", "6")).detail == "awake"


def lying_worker() -> None:
    replies: dict[str, Any] = {
        "word": {"is_correct": "true"},
        "other_id": {"is_correct": True, "id": 0},
        "long": {"is_correct": True, "detail": "x" * 100_000},
        "list": None,
    }

    def lie(request: dict[str, Any]) -> Any:
        if request["answer"] == "exit":
            os._exit(3)
        reply = replies[request["answer"]]
        return ["x"] if reply is None else {"id": request["id"], "outcome": "ok", "detail": "", **reply}

    vars(sys.modules["__main__"])["_answer"] = lie


async def test_a_malformed_reply_is_an_error_and_never_a_verdict() -> None:
    async with checkers(2, confine=lying_worker) as pool:
        lies = ("word", "other_id", "long", "list", "exit")
        checks = await asyncio.gather(*(pool.check(MATH, "5", lie) for lie in lies))
    assert {(check.is_correct, check.outcome) for check in checks} == {(None, CheckOutcome.ERROR)}
    assert "exit code 3" in checks[-1].detail
    assert {check.detail for check in checks[:-1]} == {"the checker worker broke the protocol"}


def greedy_worker() -> None:
    def eat(request: dict[str, Any]) -> tuple[bool, str]:
        return bool(bytearray(4 << 30)), ""

    vars(sys.modules["__main__"])["judge"] = lambda *_: eat({})


async def test_memory_is_limited() -> None:
    async with checkers(confine=greedy_worker) as pool:
        check = await pool.check(MATH, "5", "6")
    assert (check.is_correct, check.outcome, check.detail) == (None, CheckOutcome.ERROR, "out of memory")


# Hostile answers


def trusting_worker() -> None:
    """Take the filter away, so that the answer reaches `eval`."""
    vars(sys.modules["quality.verifiers"])["_looks_harmless"] = lambda *_: True


def confined_worker() -> None:
    """As above, but confined: no file can grow, as the factory's sandbox would have it."""
    trusting_worker()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def hostile(path: pathlib.Path) -> str:
    return f"__import__('pathlib').Path({str(path)!r}).write_text('harm')"


async def test_hostile_answers_do_not_reach_a_scorer_that_evaluates(tmp_path: pathlib.Path) -> None:
    answers = [
        hostile(tmp_path / "x"),
        f"[x for x in [{hostile(tmp_path / 'x')}]]",
        "open('x', 'w')",
        "exec(chr(49))",
        "().__class__.__base__.__subclasses__()",
        "breakpoint()",
        "lambda: 1",
        "f'{1}'",
        "\uff4fpen(1)",
    ]
    async with checkers() as pool:
        for task in sorted(LIST_SCORERS | FORMULA_SCORERS):
            meta = gym_meta(task, "1", valid_answers=["1"], numbers=[1], target=1, variable="x", integrand="1")
            for answer in answers:
                check = await pool.check(GYM, "1", answer, meta)
                assert (check.is_correct, check.detail[:7]) == (False, "refused"), (task, answer)
            harmless = "[1, 2]" if task in LIST_SCORERS else "(1 + x)*sin(x)/2**3"
            assert (await pool.check(GYM, "1", harmless, meta)).detail.startswith(f"{task} scorer")
    assert not list(tmp_path.iterdir())


async def test_without_the_filter_only_confinement_holds(tmp_path: pathlib.Path) -> None:
    meta, canary = gym_meta("string_insertion", "AB"), tmp_path / "canary"
    async with checkers(confine=trusting_worker) as pool:
        await pool.check(GYM, None, hostile(canary), meta)
    assert canary.read_text() == "harm", "the danger is real"
    canary.unlink()
    async with checkers(confine=confined_worker) as pool:
        await pool.check(GYM, None, hostile(canary), meta)
        assert (await pool.check(GYM, None, "AB", meta)).is_correct is True
    assert not canary.exists() or canary.read_text() == ""


def test_every_scorer_that_evaluates_is_known() -> None:
    from reasoning_gym.factory import DATASETS  # noqa: PLC0415

    found = set()
    for task, (dataset, _) in DATASETS.items():
        source = inspect.getsource(dataset.score_answer)
        arguments = re.findall(r"(?:eval|parse_expr|sympify|exec)\(([^,)]*)", source)
        if any("entry" not in argument for argument in arguments):
            found.add(task)
    assert found == LIST_SCORERS | FORMULA_SCORERS


# The workers themselves


def inspecting_worker() -> None:
    print("a library that prints")
    os.write(1, b"or writes")
    os.write(2, b"or complains")
    if "torch" in sys.modules or "SECRET" in os.environ or "reasoning_gym" not in sys.modules:
        raise RuntimeError("torch, a secret, or cold")


async def test_workers_are_quiet_and_light_and_see_no_secrets(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    async with checkers(confine=inspecting_worker) as pool:
        assert (await pool.check(MATH, "5", "6")).is_correct is False
    assert capfd.readouterr() == ("", "")


def refusing_worker() -> None:
    raise PermissionError("the kernel says no")


async def test_confinement_that_fails_stops_everything() -> None:
    with pytest.raises(SandboxError, match="the kernel says no"):
        async with checkers(2, confine=refusing_worker):
            pytest.fail("entered")
    with pytest.raises(ValueError, match="importable"):
        checkers(confine=lambda: None)


def test_works_in_a_thread_and_leaves_nothing_behind() -> None:
    pids: list[int] = []

    async def ask() -> None:
        async with checkers() as pool:
            pids.extend(worker.pid for worker in pool._workers)
            assert (await pool.check(MATH, "5", "5.0")).is_correct is True

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    thread.join(timeout=30)
    assert len(pids) == 1
    assert not pathlib.Path(f"/proc/{pids[0]}").exists()


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
