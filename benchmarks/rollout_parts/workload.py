"""The workload: trajectories of 1 to 6 calls whose turns take log-normal times, and the run that makes them."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.rollout.plan import Planned, plan_samples
from factory.run import Run, open_run
from schemas.recipe import Recipe
from schemas.records import Problem
from schemas.vocabulary import Domain
from warehouse.store import Store

MEDIAN_S, SIGMA = 0.4, 0.6
"""Of a turn: 64 trajectories then have a longest one near 4 s."""
MAX_CALLS = 6

BLOCKS = (
    "total = sum(i * i for i in range(N))\nprint(total)",
    "a, b = N, 96\nwhile b:\n    a, b = b, a % b\nprint(a)",
    "print(len([n for n in range(2, 400 + N % 50) if all(n % d for d in range(2, int(n ** 0.5) + 1))]))",
    "from fractions import Fraction\nprint(sum(Fraction(1, k) for k in range(1, 30 + N % 20)))",
    "from math import comb\nprint(sum(comb(30, k) for k in range(N % 20)))",
    "best = max(range(2000), key=lambda n: (n * N) % 997)\nprint(best)",
    "print(sum(1 for a in range(1, 150) for b in range(a, 150) if (a * a + b * b) % N == 0))",
    "from itertools import product\nprint(sum(sum(p) == N % 24 for p in product(range(1, 7), repeat=4)))",
    "import numpy as np\nm = np.arange(1, 10).reshape(3, 3) + N % 5 * np.eye(3)\nprint(round(np.linalg.det(m), 6))",
    "from sympy import factorint\nprint(factorint(N * 1001 + 7))",
    "from sympy import symbols, expand\nx = symbols('x')\nprint(expand((x + N % 9) ** 4))",
    "from sympy import symbols, diff, log\nx = symbols('x')\nprint(diff(log(x) * x ** (N % 5 + 1), x, 2).subs(x, 2))",
    "from sympy import symbols, solve, Eq\nx, y = symbols('x y')\nprint(solve([Eq(3 * x + y, N), Eq(x, y + 7)]))",
    "from sympy import symbols, solve, Eq\nx = symbols('x')\nprint(solve(Eq(x**2 - (N % 40 + 3) * x + N % 17, 0), x))",
)
"""Processor time in the sandbox: median 0.8 ms, nine in ten below 10, mean 3.2. The 2,494 blocks of 1,167 right answers
that MathCoder-L-7b gave to the MATH test set: median 0.7, nine in ten below 11, mean 9.4 with a few of seconds."""


@dataclass(frozen=True)
class Workload:
    """A script for the engine, and what it adds up to."""

    n_calls: int
    longest_s: float
    """Model time of the longest trajectory."""
    model_s: float
    """Model time of all together."""
    codes: list[list[str]]
    tales: list[dict[str, Any]]


def make_workload(n: int, n_calls: int, seed: int) -> Workload:
    """`n` trajectories with `n_calls` calls in all, each 1 to 6."""
    draw = random.Random(seed)
    counts = [1] * n
    for _ in range(n_calls - n):
        counts[draw.choice([i for i, count in enumerate(counts) if count < MAX_CALLS])] += 1
    codes, tales, times = [], [], []
    for number, count in enumerate(counts):
        mine = [draw.choice(BLOCKS).replace("N", str(draw.randrange(100, 3000))) for _ in range(count)]
        seconds = [draw.lognormvariate(0, SIGMA) * MEDIAN_S for _ in range(count + 1)]
        texts = [f"Step {i} needs a program.\n```python\n{code}\n```" for i, code in enumerate(mine)]
        texts.append("So the answer is \\boxed{1}.")
        turns = [{"text": text, "seconds": time} for text, time in zip(texts, seconds, strict=True)]
        tales.append({"tale": f"t{number}", "turns": turns})
        codes.append(mine)
        times.append(sum(seconds))
    return Workload(sum(counts), max(times), sum(times), codes, tales)


def open_workload(workload: Workload, home: Path, slots: int, sessions: int) -> tuple[Run, list[Planned]]:
    """A run over it in a new home."""
    home.mkdir(parents=True)
    script = home / "script.jsonl"
    script.write_text("".join(json.dumps(tale) + "\n" for tale in workload.tales))
    recipe = Recipe.model_validate(
        {
            "name": "benchmark",
            "problems": {"sources": [{"kind": "file", "path": "-"}]},
            "engine": {"kind": "scripted", "model": str(script), "max_running": slots, "max_model_len": 100_000},
            "sandbox": {"max_sessions": sessions},
            "d_start": {"samples": 1, "max_tokens": 50_000, "max_calls": MAX_CALLS},
        }
    )
    shared = {"source": "benchmark", "split": "train", "gold_answer": "1", "licence": "none", "verifier": "math_verify"}
    problems = [
        Problem(problem_id=f"p_{i:06}", domain=Domain.MATH, statement=f"Do it.\ntale: t{i}", **shared)
        for i in range(len(workload.tales))
    ]
    run = open_run("d_start", recipe, Store(home), "scripted", problems, "")
    return run, list(plan_samples(run, list(run.problems)))
