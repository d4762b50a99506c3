"""The embedded engine against plain `generate` of the same library, on the same prompts in the same run.

    python benchmarks/engine.py [--rounds 3] [--check]

Both get the same prompts and the same budgets; tokens after an answer's end do not count. The bar: at least as many
tokens per second as `generate` at batch 32.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from factory.engines.local_model import find_weights
from factory.engines.transformers import TransformersEngine
from factory.settings import default_home
from schemas.protocols import Sampling
from schemas.recipe import EngineSettings

BATCH, MAX_TOKENS = 32, 96
BAR_RATIO, BAR_TOKENS_S = 1.0, 85.0


def prompts(engine: TransformersEngine) -> list[list[int]]:
    """32 questions of different lengths."""
    texts = [f"What is {137 + 11 * i} times {23 + 7 * i}? Explain {'very ' * (i % 9)}well." for i in range(BATCH)]
    return [engine.encode(engine.prompt([{"role": "user", "content": text}]), special=True) for text in texts]


def plain(model: Any, asked: list[list[int]], pad: int, eos: int) -> int:
    """`generate` on one padded batch; returns the tokens that belong to answers."""
    width = max(map(len, asked))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in asked])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in asked])
    out = model.generate(ids, attention_mask=mask, max_new_tokens=MAX_TOKENS, do_sample=False, pad_token_id=pad)
    answers = out[:, width:].tolist()
    return sum(answer.index(eos) if eos in answer else len(answer) for answer in answers)


async def ours(engine: TransformersEngine, asked: list[list[int]]) -> int:
    """All prompts at once on our engine."""
    done = await asyncio.gather(
        *(engine.complete(p, stop=(), max_tokens=MAX_TOKENS, sampling=Sampling(), seed=0) for p in asked)
    )
    return sum(len(completion.token_ids) for completion in done)


async def measure(rounds: int) -> dict[str, list[float]]:
    """Tokens per second of both, alternating."""
    settings = EngineSettings(max_running=BATCH)
    weights = find_weights(settings, default_home())
    engine = TransformersEngine(weights, settings)
    model = AutoModelForCausalLM.from_pretrained(weights.path, dtype=torch.float32).eval()
    asked, eos = prompts(engine), int(engine.tokenizer.eos_token_id)
    rates: dict[str, list[float]] = {"generate": [], "factory": []}
    for turn in range(rounds + 1):
        # other prompts each time, so that the prefix cache holds no more of them than it does in a build
        asked_now = [p[:-4] + engine.encode(f" {turn}") + p[-4:] for p in asked]
        for name, measured in rates.items():
            started = time.monotonic()
            n = plain(model, asked_now, eos, eos) if name == "generate" else await ours(engine, asked_now)
            if turn:  # the first round warms up
                measured.append(n / (time.monotonic() - started))
    await engine.aclose()
    return rates


def main() -> int:
    """Print a table; with --check, exit non-zero where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    Path(default_home()).mkdir(parents=True, exist_ok=True)
    rates = asyncio.run(measure(options.rounds))
    print(f"{'engine':<10} {'tokens/s':>9}  all rounds")
    for name, values in rates.items():
        print(f"{name:<10} {statistics.median(values):>9.1f}  {', '.join(f'{value:.1f}' for value in values)}")
    ratio = statistics.median(a / b for a, b in zip(rates["factory"], rates["generate"], strict=True))
    rate = statistics.median(rates["factory"])
    print(
        f"median ratio of pairs {ratio:.2f} (bar {BAR_RATIO}); tokens/s {rate:.1f} (bar {BAR_TOKENS_S}, 2 idle cores)"
    )
    return int(options.check and (ratio < BAR_RATIO or rate < BAR_TOKENS_S))


if __name__ == "__main__":
    sys.exit(main())
