"""pass@k, majority@k, intervals: against brute force and known values, and SQL against Python."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

import duckdb
import pytest

from tests.builders import build, later, put, rows_of
from train.metrics import (
    bootstrap_interval,
    cluster_interval,
    majority_is_correct,
    majority_winner,
    paired_difference,
    pass_at_k,
)


def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample() -> None:
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                subsets = list(itertools.combinations([i < c for i in range(n)], k))
                assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_of_many_samples_does_not_overflow() -> None:
    assert pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5)
    assert pass_at_k(1000, 0, 1000) == 0.0


@pytest.mark.parametrize("counts", [(4, 5, 1), (4, 1, 5), (4, 1, 0), (4, -1, 1)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="samples"):
        pass_at_k(*counts)


@pytest.mark.parametrize(
    ("keys", "winner"),
    [
        (["7", "8", "8"], 1),
        (["8", "7", "7", "8"], 0),  # a tie goes to the answer that came first
        ([None, None, "3"], 2),  # no answer has no vote
        ([None, None], None),
        ([], None),
    ],
)
def test_the_majority(keys: Sequence[str | None], winner: int | None) -> None:
    assert majority_winner(keys) == winner


def test_a_majority_without_a_verdict_is_not_correct() -> None:
    assert majority_is_correct(["1", "1", "2"], [True, True, False])
    assert not majority_is_correct(["1", "1", "2"], [None, None, True])
    assert not majority_is_correct([None], [True])


def test_no_success_in_thirty_is_not_certain_failure() -> None:
    none = cluster_interval([0.0] * 30, 30)
    assert (none.mean, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.1135, abs=1e-4)  # Wilson
    all_ = cluster_interval([1.0] * 30, 240)  # 8 samples each say no more of problems than one
    assert all_.low == pytest.approx(1 - 0.1135, abs=1e-4)
    assert all_.high == 1.0
    assert bootstrap_interval([0.0] * 30, 30) == none


def test_samples_of_one_problem_count_as_alike() -> None:
    """8 equal samples per problem are 30 observations, not 240."""
    rates = [1.0] * 15 + [0.0] * 15
    alike = cluster_interval(rates, 240)
    independent = cluster_interval([0.5] * 30, 240)
    assert alike.high - alike.low == pytest.approx(0.34, abs=0.02)
    assert independent.high - independent.low == pytest.approx(0.126, abs=0.005)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(3)
    inside = 0
    for _ in range(400):
        truths = [rng.betavariate(0.6, 1.4) for _ in range(80)]  # mean 0.3
        rates = [sum(rng.random() < p for _ in range(4)) / 4 for p in truths]
        interval = cluster_interval(rates, 320)
        inside += interval.low <= 0.3 <= interval.high
    assert 0.92 <= inside / 400 <= 0.98


def test_the_bootstrap_agrees_with_the_normal_interval_where_that_holds() -> None:
    rng = random.Random(1)
    rates = [float(rng.random() < 0.4) for _ in range(400)]
    found, wilson = bootstrap_interval(rates, 400), cluster_interval(rates, 400)
    assert found.low == pytest.approx(wilson.low, abs=0.006)
    assert found.high == pytest.approx(wilson.high, abs=0.006)
    assert bootstrap_interval(rates, 400) == found


def test_pairing_sees_what_two_intervals_hide() -> None:
    """Problems differ far more than models do: unpaired intervals overlap, the paired one excludes 0."""
    rng = random.Random(2)
    base = [rng.random() for _ in range(60)]
    other = [min(1.0, rate + 0.05 * (i % 2)) for i, rate in enumerate(base)]
    a, b = bootstrap_interval(base, 60), bootstrap_interval(other, 60)
    assert b.low < a.high
    difference = paired_difference(base, other)
    assert 0 < difference.low < difference.mean < difference.high < 0.05
    assert paired_difference(other, base).mean == -difference.mean
    assert paired_difference(base, other) == difference
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([0.1], [])


def evaluation(problem: str, sample: int, correct: bool | None, key: str | None, **more: Any) -> dict[str, Any]:
    return {
        "evaluation_id": "e_1", "model": "m@1", "label": "base", "benchmark": "b", "problem_id": problem,
        "arm": "plain", "domain": "math", "sample_index": sample, "is_correct": correct, "verdict": "correct",
        "answer_key": key,        "n_tokens": 10, "created_at": later(0), **more,
    }  # fmt: skip


def board(*rows: dict[str, Any], columns: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as con:
        put(con, "raw.evaluations", *rows)
        build(con, "marts.leaderboard")
        return rows_of(con, f"select {columns} from marts.leaderboard")


def test_the_leaderboard_measures_as_python_does() -> None:
    rng = random.Random(5)
    rows, groups = [], []
    for problem in range(40):
        chance = rng.random()
        group = []
        for sample in range(6):
            key = rng.choice(["a", "b", "c", None])
            correct = None if rng.random() < 0.05 else key is not None and rng.random() < chance
            group.append((key, correct))
            rows.append(evaluation(f"p{problem}", sample, correct, key))
        groups.append(group)
    counts = [sum(correct is True for _, correct in group) for group in groups]
    interval = cluster_interval([c / 6 for c in counts], 240)
    majority = [majority_is_correct([k for k, _ in g], [c for _, c in g]) for g in groups]
    [got] = board(*rows, columns="n_problems, n_samples, pass_at_1, low_95, high_95, pass_at_k, majority_at_k")
    assert got[:2] == (40, 6)
    want = (
        interval.mean,
        interval.low,
        interval.high,
        sum(pass_at_k(6, c, 6) for c in counts) / 40,
        sum(majority) / 40,
    )
    assert got[2:] == tuple(pytest.approx(value, abs=1e-4) for value in want)


def test_pass_at_k_of_the_leaderboard_is_of_the_fewest_samples() -> None:
    rows = [evaluation("p1", i, i == 0, "a") for i in range(4)] + [evaluation("p2", i, False, "b") for i in range(2)]
    [got] = board(*rows, columns="n_samples, pass_at_1, pass_at_k")
    assert got == (2, 0.125, pytest.approx(pass_at_k(4, 1, 2) / 2))


def test_one_row_per_evaluation_benchmark_arm_and_round() -> None:
    rows = [
        evaluation("p1", 0, True, "a"),
        evaluation("p1", 0, False, "b", evaluation_id="e_2"),  # other settings are never mixed in
        evaluation("p1", 0, False, "b", benchmark="c"),
        evaluation("p1", 0, True, "a", arm="hint", n_rounds=1, evaluation_id="e_3"),
        evaluation("p1", 0, False, "b", arm="hint", n_rounds=2, evaluation_id="e_3"),
    ]
    got = board(*rows, columns="benchmark, arm, n_rounds, evaluation_id, pass_at_1")
    assert got == [
        ("b", "hint", 1, "e_3", 1.0), ("b", "hint", 2, "e_3", 0.0), ("b", "plain", 0, "e_1", 1.0),
        ("b", "plain", 0, "e_2", 0.0), ("c", "plain", 0, "e_1", 0.0),
    ]  # fmt: skip


def test_tool_use_and_undecided_checks() -> None:
    rows = [
        evaluation("p1", 0, True, "a", n_tool_calls=3, n_tool_errors=1, called_python=True),
        evaluation("p2", 0, None, "b", verdict="timeout", n_tokens=30),
        evaluation("p3", 0, False, "b", n_tool_calls=1, called_python=True, label="renamed", created_at=later(9)),
        evaluation("p4", 0, True, "b"),
    ]
    [got] = board(
        *rows,
        columns="label, pass_at_1, undecided_share, mean_tokens, tool_use_rate, tool_error_rate, calls_per_problem",
    )
    assert got == ("renamed", 0.5, 0.25, 15.0, 0.5, 0.25, 1.0)
    [none] = board(rows[1], columns="tool_error_rate, majority_at_k, low_95, high_95 < 0.8")
    assert none == (None, 0.0, 0.0, True)


def test_bounds_stay_inside_zero_and_one() -> None:
    for right, edge in ((False, "0.0"), (True, "1.0")):
        for n in (1, 7, 30, 49):
            rows = [evaluation(f"p{i}", 0, right, "a") for i in range(n)]
            [(low, high)] = board(*rows, columns="low_95::text, high_95::text")
            assert edge in (low, high)
            assert 0 <= float(low) < float(high) <= 1


def test_programs_have_no_majority() -> None:
    rows = [evaluation("p1", i, True, None, domain="code") for i in range(3)]
    assert board(*rows, columns="majority_at_k, pass_at_k") == [(None, 1.0)]
