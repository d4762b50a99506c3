"""Signals and the search for repairs: microseconds per row, on rows of 2 to 8 KB packed from real texts.

    python benchmarks/signals.py [--rows 3000] [--check]

Each part is timed by itself on one core, then all of derived.signals together; then every repair rule's test of whole
columns. With --check it exits non-zero where a bar is missed: 400 us per row for all signals, 300 for all tests.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial

os.environ["POLARS_MAX_THREADS"] = "1"

import polars as pl

from benchmarks.signals_parts import hostile_texts, packed_rows
from warehouse.behaviours import BEHAVIOURS
from warehouse.calculations import calculations, pieces_of, prose_of
from warehouse.language import languages
from warehouse.loops import find_loop
from warehouse.repair import may_repair
from warehouse.repairing.rules import RULES
from warehouse.repetition import line_repetition, ngram_repetition
from warehouse.signals import signals
from warehouse.texts import model_text, word_ngrams

BARS_US = {"all signals": 400.0, "all rules: may one apply": 300.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    rows = packed_rows(args.rows)
    whole = rows["segments"].list.eval(pl.element().struct.field("text")).list.join("")
    own = rows.select(model_text()).to_series()
    print(f"{len(rows):,} rows, {sum(map(len, whole)) / len(rows):,.0f} characters on average")
    pieces = pieces_of(whole)
    prose = prose_of(pieces)
    parts: dict[str, Callable[[], object]] = {
        **{f"rule by rule: {rule.name}": partial(_one_by_one, rule.find, whole) for rule in BEHAVIOURS},
        "calculations together": lambda: calculations(whole, pieces_of(whole)),
        "word n-grams": lambda: word_ngrams(own, 8),
        "n-gram repetition": lambda: ngram_repetition(own),
        "line repetition": lambda: line_repetition(own),
        "loops": lambda: [find_loop(text) for text in own],
        "language": lambda: languages(prose),
        "all signals": lambda: signals(rows),
        **{f"may apply: {name}": partial(may_repair, rows, [name]) for name in RULES},
        "all rules: may one apply": lambda: may_repair(rows, list(RULES)),
    }
    missed = []
    for name, work in parts.items():
        work()
        started = time.perf_counter()
        work()
        us = (time.perf_counter() - started) / len(rows) * 1e6
        print(f"{name:40} {us:8.1f} us per row")
        if us > BARS_US.get(name, float("inf")):
            missed.append(name)
    for name, text in hostile_texts().items():
        times = [_seconds(text * n) for n in (1, 4)]
        print(f"hostile: {name:31} {times[0]:8.2f} s for {len(text):,} characters, {times[1]:.2f} s for four times")
        if times[1] > 8 * times[0] + 0.5:
            missed.append(name)
    if args.check and missed:
        print("missed:", ", ".join(missed))
    return int(args.check and bool(missed))


def _one_by_one(find: Callable[[str], object], texts: pl.Series) -> None:
    for text in texts:
        find(text)


def _seconds(text: str) -> float:
    segments = [[{"origin": "model", "text": text, "n_tokens": 1, "token_ids": None}]]
    row = packed_rows(1).head(1).with_columns(segments=pl.Series(segments, dtype=packed_rows(1)["segments"].dtype))
    started = time.perf_counter()
    signals(row)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
