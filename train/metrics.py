"""Measures of a benchmark, as pure functions: pass@k, majority@k, intervals. No I/O, no model.

`marts.leaderboard` states the same rules in SQL; a test holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

Z = 1.96
N_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of k samples is correct, estimated from n samples of which c are.

    Unbiased: 1 - C(n - c, k) / C(n, k), as a product of factors in [0, 1], so that nothing overflows.

    Raises:
        ValueError: not 1 <= k <= n, or not 0 <= c <= n.

    Source:
        Chen et al. 2021, "Evaluating Large Language Models Trained on Code".
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass@{k} of {n} samples, {c} of them correct")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def majority_winner(keys: Sequence[str | None]) -> int | None:
    """Index of the first sample of the answer that most samples give; None where no sample has one.

    Equal keys are one answer. A sample without an answer has no vote. Of two answers with as many votes the one that
    came first wins.
    """
    votes: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        if key is not None:
            votes.setdefault(key, []).append(index)
    return min(votes.values(), key=lambda indexes: (-len(indexes), indexes[0]))[0] if votes else None


def majority_is_correct(keys: Sequence[str | None], is_correct: Sequence[bool | None]) -> bool:
    """Whether the majority's answer is correct; undecided is not."""
    winner = majority_winner(keys)
    return winner is not None and is_correct[winner] is True


def cluster_interval(rates: Sequence[float], n_total: int) -> Interval:
    """Wilson's interval of the mean of per-problem rates.

    Samples of one problem are alike, so problems are the unit: the number of independent samples is that which the
    variance between problems implies, at most `n_total`; where all problems are right or all wrong it is the number of
    problems. Unlike mean +- 1.96 standard errors, 0 of 30 gives [0, 0.11], not [0, 0].

    Args:
        rates: Share of correct samples, per problem, in [0, 1].
        n_total: Samples over all problems.

    Raises:
        ValueError: there are no problems.
    """
    n = len(rates)
    if n == 0:
        raise ValueError("no problems")
    mean = float(np.mean(rates))
    spread = float(np.var(rates, ddof=1)) if n > 1 else 0.0
    if n == 1 or mean in (0.0, 1.0):
        effective = float(n)
    else:
        effective = min(float(n_total), mean * (1 - mean) * n / spread) if spread else float(n_total)
    centre = mean + Z * Z / (2 * effective)
    half = Z * sqrt(mean * (1 - mean) / effective + Z * Z / (4 * effective**2))
    scale = 1 + Z * Z / effective
    low, high = max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
    return Interval(mean, min(low, mean), max(high, mean))  # at 0 and 1 rounding would put the mean outside


def bootstrap_interval(rates: Sequence[float], n_total: int, *, seed: int = 1) -> Interval:
    """Percentile bootstrap of the mean, problems drawn with replacement.

    Where all problems have one rate every draw is the same, which says nothing: then `cluster_interval`.
    """
    if len(set(rates)) < 2:
        return cluster_interval(rates, n_total)
    means = _draws(np.asarray(rates, float), seed)
    return Interval(float(np.mean(rates)), *_percentiles(means))


def paired_difference(base: Sequence[float], other: Sequence[float], *, seed: int = 1) -> Interval:
    """Mean of other - base over the same problems, with a paired bootstrap interval: both keep their problem in a draw.

    Args:
        base: Rate per problem.
        other: Rate per problem, in the same order.
        seed: Of the 10,000 draws; the same seed gives the same interval.

    Raises:
        ValueError: the lengths differ, or are 0.
    """
    if len(base) != len(other) or not base:
        raise ValueError(f"{len(base)} and {len(other)} problems cannot be paired")
    differences = np.asarray(other, float) - np.asarray(base, float)
    return Interval(float(differences.mean()), *_percentiles(_draws(differences, seed)))


def _draws(values: np.ndarray, seed: int) -> np.ndarray:
    """Means of resamples, in blocks that bound the memory."""
    rng = np.random.default_rng(seed)
    block = max(1, min(N_RESAMPLES, 4_000_000 // len(values)))
    parts = [
        values[rng.integers(0, len(values), (min(block, N_RESAMPLES - done), len(values)))].mean(axis=1)
        for done in range(0, N_RESAMPLES, block)
    ]
    return np.concatenate(parts)


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)
