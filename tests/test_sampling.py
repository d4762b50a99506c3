"""How the next token is drawn: the nucleus, and frequencies that follow the model's probabilities."""

from collections import Counter

import pytest
import torch

from factory.engines.request import NUCLEUS_GUESS, Request, nucleus, pick
from schemas.protocols import Sampling


def request(temperature: float, top_p: float = 1.0, seed: int = 7) -> Request:
    return Request([1], (), 8, Sampling(temperature, top_p), seed)


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("n", [3, NUCLEUS_GUESS, 5000])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 6.0])  # flat ones need more than the first guess
def test_the_nucleus_is_the_smallest_set_that_holds_top_p(n: int, top_p: float, sharpness: float) -> None:
    probs = (torch.randn(n, generator=torch.Generator().manual_seed(n)) * sharpness).softmax(-1)
    kept, tokens = nucleus(probs, top_p)
    ordered = sorted(probs.tolist(), reverse=True)
    wanted = next((i + 1 for i in range(n) if sum(ordered[: i + 1]) >= top_p - 1e-6), n)
    assert abs(len(kept) - wanted) <= (n if top_p == 1 else 1)  # rounding decides the last one
    assert kept.tolist() == probs[tokens].tolist() == ordered[: len(kept)]
    if top_p == 1 and sharpness < 1:
        assert len(kept) == n


def test_frequencies_follow_the_probabilities() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, float("-inf")])
    running = request(temperature=0.5)
    drawn = Counter(pick(logits, running)[0] for _ in range(20_000))
    for token, probability in enumerate((logits / 0.5).softmax(-1).tolist()):
        assert drawn[token] / 20_000 == pytest.approx(probability, abs=0.01)


def test_draws_depend_on_the_seed_alone_and_report_the_models_own_probability() -> None:
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(1))

    def draw(seed: int) -> list[tuple[int, float]]:
        running = request(1.0, 0.9, seed)
        return [pick(logits, running) for _ in range(20)]

    assert draw(3) == draw(3) != draw(4)
    assert all(logprob == pytest.approx(float(logits.log_softmax(-1)[token])) for token, logprob in draw(3))


def test_greedy_takes_the_likeliest() -> None:
    assert pick(torch.tensor([0.1, 3.0, 0.2]), request(0.0))[0] == 1
