"""Checks from any thread, beside other work of an event loop, and in tasks and actors of Ray, without any signal."""

import asyncio
import signal
import threading

import pytest

from quality.checkers import Checkers
from schemas.vocabulary import Judgement, VerifierName

MATH = VerifierName.MATH_VERIFY
HANGS = r"9^{9^{9^{9}}}"


async def judge_three() -> list[str]:
    """One that a worker decides, one that it cannot in time, and one after it."""
    async with Checkers(1, 1.0, memory_mb=1024) as pool:
        wanted = [
            (MATH, r"\sum_{k=1}^{5} k", "15", "{}"),
            (MATH, "5", HANGS, "{}"),
            (MATH, r"\sum_{k=1}^{5} k", "16", "{}"),
        ]
        return [str(check.verdict) for check in await pool.check_all(wanted)]


VERDICTS = ["correct", "timeout", "wrong"]


def forbidden(*_: object) -> None:
    pytest.fail("an alarm was set")


async def test_no_alarm_is_set_and_the_loop_is_free_while_a_check_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.05)
            ticks += 1

    for name in ("alarm", "setitimer"):
        monkeypatch.setattr(signal, name, forbidden)
    handler = signal.getsignal(signal.SIGALRM)
    ticking = asyncio.create_task(tick())
    assert await judge_three() == VERDICTS
    ticking.cancel()
    assert ticks >= 10  # the hanging check alone takes 20, less what a busy machine leaves out
    assert signal.getsignal(signal.SIGALRM) is handler


@pytest.mark.slow
def test_several_threads_with_loops_of_their_own() -> None:
    got: list[list[str]] = []
    threads = [threading.Thread(target=lambda: got.append(asyncio.run(judge_three()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert got == [VERDICTS, VERDICTS]


@pytest.mark.slow
async def test_a_result_is_known_by_gold_and_answer() -> None:
    async with Checkers(1, 1.0, memory_mb=1024) as pool:
        first = await pool.check(MATH, r"\sum_{k=1}^{5} k", "15")
        for worker in list(pool._workers):
            worker.kill()
        assert await pool.check(MATH, r"\sum_{k=1}^{5} k", "15") is first
        assert (await pool.check(MATH, r"\sum_{k=1}^{5} k", "16")).verdict is Judgement.UNDECIDED  # its worker is dead
        assert (await pool.check(MATH, r"\sum_{k=1}^{5} k", "16")).verdict is Judgement.WRONG  # and was replaced


@pytest.mark.slow
def test_in_tasks_and_actors_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def judge() -> list[str]:
        return asyncio.run(judge_three())

    class Judge:
        async def judge(self) -> list[str]:
            return await judge_three()  # in the actor's own loop, beside its other calls

    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        task = ray.remote(num_cpus=1)(judge).remote()
        actor = ray.remote(num_cpus=1)(Judge).remote()
        assert ray.get([task, actor.judge.remote()], timeout=120) == [VERDICTS, VERDICTS]
    finally:
        ray.shutdown()
