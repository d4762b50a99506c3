"""Judging answers against Math-Verify itself, on pairs of real golds and answers, in turns within one run.

    python benchmarks/judging.py [--pairs 50000] [--chunk 5000] [--data ../shared/data] [--check]

The pairs are drawn with replacement from the recorded trajectories and chains of thought: their golds, and the answers
that their authors extracted. Both use two processes. Math-Verify runs as its documentation shows it (`parse`, `verify`,
its own timeouts), in a pool of processes, whose main threads its timeouts need; ours through one `Checkers` with two
workers, as in a build, which judges each different pair once. Starting either is not counted. Every second chunk runs
in the opposite order. Beside the rates of all checks the table has those of the different pairs alone.

Pairs on which the two differ are printed, once each, with both verdicts and the label that the set's authors gave. Who
is right is for the reader to say: LOG.md does for the sets named here.
"""

import argparse
import asyncio
import gzip
import json
import multiprocessing
import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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


class Ours:
    """Our checkers, open, and a loop to run them in."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._checkers = Checkers(N_PROCESSES, timeout_s=4.0, memory_mb=1024)
        self._runner.run(self._checkers.__aenter__())

    def judge(self, pairs: Sequence[Pair]) -> list[bool | None]:
        """Our verdicts."""
        wanted = [(VerifierName.MATH_VERIFY, pair.gold, pair.answer, "{}") for pair in pairs]
        return [check.is_correct for check in self._runner.run(self._checkers.check_all(wanted))]

    def close(self) -> None:
        """End the workers."""
        self._runner.run(self._checkers.aclose())
        self._runner.close()


def timed(judge: Callable[[], list[Any]]) -> tuple[list[Any], float]:
    """What it says, and the seconds that it took."""
    started = time.perf_counter()
    return judge(), time.perf_counter() - started


def main() -> None:
    """Measure, print the table and the differences, and exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--chunk", type=int, default=5_000)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no data in {options.data}: name the folder with --data")

    drawn = random.Random(0).choices(load(options.data), k=options.pairs)
    chunks = [drawn[i : i + options.chunk] for i in range(0, len(drawn), options.chunk)]
    differences: dict[Pair, tuple[bool | None, bool]] = {}
    different = list(dict.fromkeys(drawn))
    seconds = {"ours": 0.0, "Math-Verify": 0.0}
    with multiprocessing.get_context("spawn").Pool(N_PROCESSES, initializer=warm_up) as pool:
        pool.map(theirs, drawn[:N_PROCESSES])
        judge = Ours()
        both: dict[str, Callable[[Sequence[Pair]], list[Any]]] = {
            "ours": judge.judge,
            "Math-Verify": partial(pool.map, theirs, chunksize=8),
        }
        for number, chunk in enumerate(chunks, 1):
            said = {}
            for name in list(both)[:: -1 if number % 2 else 1]:
                said[name], took = timed(partial(both[name], chunk))
                seconds[name] += took
                print(f"chunk {number} of {len(chunks)}: {name} {len(chunk) / took:,.0f}/s", flush=True)
            answers = zip(chunk, said["ours"], said["Math-Verify"], strict=True)
            differences |= {pair: (a, b) for pair, a, b in answers if a is not b}
        judge.close()
        judge = Ours()
        once = {"ours": timed(partial(judge.judge, different))[1]}
        once["Math-Verify"] = timed(partial(pool.map, theirs, different, chunksize=8))[1]
        judge.close()

    print(f"\n{len(differences)} different pairs with different verdicts (gold | answer | ours | Math-Verify | label):")
    for pair, (mine_says, other_says) in sorted(differences.items()):
        print(f"  {pair.gold[:70]!r} | {pair.answer[:90]!r} | {mine_says} | {other_says} | {pair.label}")
    print(f"\n{'checks/s':14}{len(drawn):>10,} drawn{len(different):>10,} different")
    for name, took in seconds.items():
        print(f"{name:14}{len(drawn) / took:16,.0f}{len(different) / once[name]:20,.0f}")
    ratio, ratio_once = (found["Math-Verify"] / found["ours"] for found in (seconds, once))
    print(f"{'ratio':14}{ratio:16.1f}{ratio_once:20.1f}\nbar: {LEAST_RATIO:g} over the pairs as drawn")
    if options.check and ratio < LEAST_RATIO:
        sys.exit(1)


if __name__ == "__main__":
    main()
