"""One completion under way, and how its next token is drawn."""

from dataclasses import dataclass, field

import torch

from schemas.protocols import Sampling

NUCLEUS_GUESS = 64
"""Tokens that are looked at first for the nucleus."""


@dataclass(eq=False)
class Request:
    """One running completion."""

    prompt_ids: list[int]
    stop: tuple[str, ...]
    max_tokens: int
    sampling: Sampling
    seed: int
    slot: int = -1
    new_ids: list[int] = field(default_factory=list)
    logprob_sum: float = 0.0
    generator: torch.Generator | None = None

    @property
    def n_tokens(self) -> int:
        """Prompt and completion."""
        return len(self.prompt_ids) + len(self.new_ids)


def pick(logits: torch.Tensor, request: Request) -> tuple[int, float]:
    """Choose the next token from float32 logits of shape (vocabulary,); returns it and its log-probability."""
    logprobs = logits.log_softmax(-1)
    if request.sampling.temperature == 0:
        token = int(logits.argmax())
    else:
        if request.generator is None:
            request.generator = torch.Generator().manual_seed(request.seed)
        probs, tokens = nucleus((logits / request.sampling.temperature).softmax(-1), request.sampling.top_p)
        steps = probs.cumsum(-1)
        drawn = torch.rand((), generator=request.generator) * steps[-1]
        token = int(tokens[min(int(torch.searchsorted(steps, drawn, right=True)), len(tokens) - 1)])
    return token, float(logprobs[token])


def nucleus(probs: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely tokens that together hold `top_p`, and their probabilities, not scaled to 1.

    Sorting a whole vocabulary for every token took a quarter of the time of sampled runs, and a few dozen tokens nearly
    always suffice.
    """
    for n in (NUCLEUS_GUESS, len(probs)):
        top, tokens = probs.topk(min(n, len(probs)))
        before = top.cumsum(-1) - top
        if n == len(probs) or float(before[-1]) >= top_p:
            break
    kept = int((before < top_p).sum())
    return top[:kept], tokens[:kept]
