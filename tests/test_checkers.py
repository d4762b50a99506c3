"""Checkers: a pool that hostile, hanging, dying or lying checks cannot hurt.

The functions named `*_worker` run inside the workers: `confine` is the door through which a test may tamper with them.
"""

import asyncio
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

from quality.checkers import Checkers
from quality.verifiers import FORMULA_SCORERS, LIST_SCORERS
from schemas.errors import SandboxError
from schemas.vocabulary import Judgement, VerifierName

MATH, GYM = VerifierName.MATH_VERIFY, VerifierName.REASONING_GYM
HANGS = r"9^{9^{9^{9}}}"
BEYOND = r"\sum_{k=1}^{5} k"
"""Only a worker can judge it."""


def gym_meta(task: str, answer: str, **metadata: Any) -> str:
    return json.dumps({"task": task, "entry": {"question": "?", "answer": answer, "metadata": metadata}})


def checkers(n_workers: int = 1, timeout_s: float = 5.0, confine: Callable[[], object] | None = None) -> Checkers:
    return Checkers(n_workers, timeout_s, memory_mb=1024, confine=confine)


# Hanging, dying and lying workers


def sleep_worker() -> None:
    def sleep(request: dict[str, Any]) -> dict[str, Any]:
        if request["answer"] == "sleep":
            time.sleep(60)
        return {"id": request["id"], "is_correct": True, "detail": "awake"}

    vars(sys.modules["__main__"])["_answer"] = sleep


async def test_a_check_that_hangs_is_a_timeout_and_the_next_one_is_not_affected() -> None:
    async with checkers(timeout_s=1.0) as pool:
        for answer in (HANGS, f"${HANGS}$"):
            check = await pool.check(MATH, "5", answer)  # the second waits for a new worker
            assert (check.is_correct, check.verdict) == (None, Judgement.TIMEOUT)
            assert 1000 <= check.wall_ms < 2000
        assert (await pool.check(MATH, "5", r"\frac{10}{2}")).is_correct is True
        started = time.perf_counter()
        assert (await pool.check(MATH, "5", HANGS)).verdict is Judgement.TIMEOUT
        assert time.perf_counter() - started < 0.1, "known already"


async def test_others_carry_on_while_one_sleeps() -> None:
    async with checkers(2, timeout_s=1.5, confine=sleep_worker) as pool:
        sleeping = asyncio.create_task(pool.check(MATH, BEYOND, "sleep"))
        others = await asyncio.gather(*(pool.check(MATH, BEYOND, str(n)) for n in range(100, 150)))
        assert not sleeping.done()
        assert {check.detail for check in others} == {"awake"}
        assert (await sleeping).verdict is Judgement.TIMEOUT


async def test_a_cancelled_check_leaves_the_pool_whole() -> None:
    async with checkers(timeout_s=30, confine=sleep_worker) as pool:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.check(MATH, BEYOND, "sleep"), 0.3)
        assert (await pool.check(MATH, BEYOND, "6")).detail == "awake"


def lying_worker() -> None:
    replies: dict[str, Any] = {
        "word": {"is_correct": "true"},
        "other_id": {"is_correct": True, "id": 0},
        "long": {"is_correct": True, "detail": "x" * 100_000},
    }

    def lie(request: dict[str, Any]) -> Any:
        if request["answer"] == "exit":
            os._exit(3)
        return {"id": request["id"], "detail": "", **replies[request["answer"]]}

    vars(sys.modules["__main__"])["_answer"] = lie


async def test_a_malformed_reply_is_an_error_and_never_a_verdict() -> None:
    async with checkers(2, confine=lying_worker) as pool:
        lies = ("word", "other_id", "long", "exit")
        checks = await asyncio.gather(*(pool.check(MATH, BEYOND, lie) for lie in lies))
    assert {(check.is_correct, check.verdict) for check in checks} == {(None, Judgement.UNDECIDED)}
    assert "exit code 3" in checks[-1].detail
    assert {check.detail for check in checks[:-1]} == {"the checker worker broke the protocol"}


def greedy_worker() -> None:
    def eat(request: dict[str, Any]) -> tuple[bool, str]:
        return bool(bytearray(4 << 30)), ""

    vars(sys.modules["__main__"])["judge"] = lambda **_: eat({})


async def test_memory_is_limited() -> None:
    async with checkers(confine=greedy_worker) as pool:
        check = await pool.check(MATH, BEYOND, "6")
    assert (check.is_correct, check.verdict, check.detail) == (None, Judgement.UNDECIDED, "out of memory")


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
    from reasoning_gym.factory import DATASETS

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
        assert (await pool.check(MATH, BEYOND, "6")).is_correct is False
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
            assert (await pool.check(MATH, BEYOND, "15")).is_correct is True

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    thread.join(timeout=30)
    assert len(pids) == 1
    assert not pathlib.Path(f"/proc/{pids[0]}").exists()
