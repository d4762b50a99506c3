"""Judging answers against Math-Verify itself, on pairs of real golds and answers, in turns within one run.

    python benchmarks/judging.py [--pairs 50000] [--chunk 10000] [--data ../shared/data] [--check]

The pairs are drawn with replacement from the recorded trajectories and chains of thought: their golds, and the answers
that their authors extracted. Both use two processes. Math-Verify runs as its documentation shows it (`parse`, `verify`,
its own timeouts), in a pool of processes, whose main threads its timeouts need; ours through `Checkers`, a new pool of
two workers and so an empty memory of earlier results for each chunk. Starting either is not counted. Every second chunk
runs in the opposite order.

Ours is asked for its verdicts; pairs on which the two differ are printed, once each, with both verdicts and the label
that the set's authors gave. Who is right is for the reader to say: LOG.md does for the sets named here.
"""

import argparse
import asyncio
import gzip
import json
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script, and again in each process of the pool

from quality.answers import clean_gold
from quality.checkers import Checkers
from schemas.vocabulary import VerifierName

N_PROCESSES = 2
LEAST_RATIO = 20.0
SETS = (
    "tir_mathcoder_gsm8k_even", "tir_mathcoder_math_l7b_correct", "tir_rho_math500", "tir_tora_gsm8k",
    "cot_qwen25math_100x8", "cot_r1_math500_small",
)  # fmt: skip


class Pair(NamedTuple):
    """A gold, an answer, and what the set's authors say of it."""

    gold: str
    answer: str
    label: bool | None


def load(data: Path) -> list[Pair]:
    """Every row of the sets that has a gold and an answer."""
    pairs = []
    for name in SETS:
        with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        pairs += [Pair(clean_gold(r["gold"]), r["pred"], r["label"]) for r in rows if r["gold"] and r["pred"]]
    return pairs


def theirs(pair: Pair) -> bool:
    """Math-Verify, with the answers in the delimiters that it looks for."""
    from math_verify import parse, verify

    try:
        gold, answer = (parse(text if "$" in text or "\\boxed" in text else f"${text}$") for text in pair[:2])
        return bool(verify(gold, answer))
    except Exception:  # its timeouts raise from inside SymPy, too
        return False


def warm_up() -> None:
    """Import Math-Verify in a process of the pool."""
    theirs(Pair(r"\frac{1}{2}", "0.5", None))


async def ours(pairs: Sequence[Pair]) -> tuple[list[bool | None], float]:
    """Our verdicts, and the seconds that they took."""
    async with Checkers(N_PROCESSES, timeout_s=4.0, memory_mb=1024) as checkers:
        started = time.perf_counter()
        checks = await checkers.check_all([(VerifierName.MATH_VERIFY, p.gold, p.answer, "{}") for p in pairs])
        return [check.is_correct for check in checks], time.perf_counter() - started


def main() -> None:
    """Measure, print the table and the differences, and exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--chunk", type=int, default=10_000)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no data in {options.data}: name the folder with --data")

    drawn = random.Random(0).choices(load(options.data), k=options.pairs)
    chunks = [drawn[i : i + options.chunk] for i in range(0, len(drawn), options.chunk)]
    rates: dict[str, list[float]] = {"ours": [], "Math-Verify": []}
    differences: dict[Pair, tuple[bool | None, bool]] = {}
    with multiprocessing.get_context("spawn").Pool(N_PROCESSES, initializer=warm_up) as pool:
        pool.map(theirs, drawn[:N_PROCESSES])
        for number, chunk in enumerate(chunks):
            if number % 2 == 0:
                mine, mine_s = asyncio.run(ours(chunk))
            started = time.perf_counter()
            other = pool.map(theirs, chunk, chunksize=8)
            other_s = time.perf_counter() - started
            if number % 2:
                mine, mine_s = asyncio.run(ours(chunk))
            rates["ours"].append(len(chunk) / mine_s)
            rates["Math-Verify"].append(len(chunk) / other_s)
            differences |= {p: (a, b) for p, a, b in zip(chunk, mine, other, strict=True) if a is not b}
            print(
                f"chunk {number + 1} of {len(chunks)}: {len(chunk) / mine_s:,.0f}/s and {len(chunk) / other_s:,.1f}/s"
            )

    print(f"\n{len(differences)} different pairs with different verdicts (gold | answer | ours | Math-Verify | label):")
    for pair, (mine_says, other_says) in sorted(differences.items()):
        print(f"  {pair.gold[:70]!r} | {pair.answer[:90]!r} | {mine_says} | {other_says} | {pair.label}")
    ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
    print(f"\n{'':14}checks/s (median of {len(chunks)} chunks of {options.chunk:,})")
    for name, values in rates.items():
        print(f"{name:14}{statistics.median(values):12,.1f}")
    print(f"ratio of the two, median over the chunks: {ratio:.1f} (bar: {LEAST_RATIO:g})")
    if options.check and ratio < LEAST_RATIO:
        sys.exit(1)


if __name__ == "__main__":
    main()
