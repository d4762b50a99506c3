"""Near-duplicates of 100,000 real documents of 3 to 8 KB, from a Parquet file to clusters: ours, datasketch, rensa.

    python benchmarks/dedupe.py [--documents 100000] [--laps 3] [--check]

The script cuts the documents from text on the machine (`dedupe_parts/corpus.py`). Each way runs in a process of its
own, by turns, so that its peak memory is its own; figures are medians and include imports. datasketch runs over a tenth
of the documents in every lap and once over all of them, which says whether its cost per document grows. Ours uses all
cores while it signs, the others have one thread; "one core" binds ours to one. Its clusters are held against those of
exact similarities, in a sample: of every two documents that share a shingle.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow.parquet as pq

from benchmarks.dedupe_parts.corpus import write_corpus
from benchmarks.dedupe_parts.peers import THRESHOLD, WAYS, ours, read, word_runs
from factory.progress import make_console, make_table

LEAST_OVER_DATASKETCH, LEAST_OVER_RENSA, MOST_GIB = 10.0, 1.0, 4.0
SAMPLE = 4_000


def main() -> None:
    """Measure, print the tables, and exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--laps", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--way", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way[0], Path(options.way[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        whole, tenth = Path(folder) / "all.parquet", Path(folder) / "tenth.parquet"
        n = write_corpus(whole, options.documents)
        table = pq.read_table(whole)
        n_bytes = table["text"].nbytes
        pq.write_table(table.slice(0, n // 10), tenth, row_group_size=4_096)
        print(f"{n:,} documents, {n_bytes / n:,.0f} bytes each")
        laps: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for _ in range(options.laps):
            for name in WAYS:
                laps[name].append(run(name, tenth if name == "datasketch" else whole))
        all_of_it = run("datasketch", whole)
        missed = report(laps, all_of_it, n)
        missed += quality(tenth)
    for line in missed:
        print(f"MISSED: {line}")
    sys.exit(1 if options.check and missed else 0)


def run(name: str, path: Path) -> dict[str, Any]:
    """One lap, in a process of its own."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)} if name == "ours, one core" else cores)
    try:
        done = subprocess.run([sys.executable, __file__, "--way", name, str(path)], stdout=subprocess.PIPE, check=True)
    finally:
        os.sched_setaffinity(0, cores)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(name: str, path: Path) -> dict[str, Any]:
    """Seconds and peak memory of one way."""
    pairs, n = WAYS[name](path)
    seconds = time.clock_gettime(time.CLOCK_MONOTONIC) - _process_began()
    return {
        "seconds": seconds,
        "n": n,
        "n_dropped": len(pairs),
        "gib": _peak_kib() / 2**20,
    }


def _peak_kib() -> int:
    """Of this process alone: what getrusage says begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _process_began() -> float:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def report(laps: dict[str, list[dict[str, Any]]], all_of_it: dict[str, Any], n: int) -> list[str]:
    """The table, the ratios, and what misses a bar."""
    rows, per_document = [], dict[str, float]()
    for name, found in [*laps.items(), ("datasketch, all", [all_of_it])]:
        per_document[name] = statistics.median(lap["seconds"] / lap["n"] for lap in found)
        gib = max(lap["gib"] for lap in found)
        rate, first = 1 / per_document[name], found[0]
        rows.append(
            [name, f"{first['n']:,}", f"{rate:,.0f}", f"{n / rate:,.1f}", f"{first['n_dropped']:,}", f"{gib:.2f}"]
        )
    names = ("", "documents", "documents per second", f"seconds for {n:,}", "dropped", "peak memory, GiB")
    make_console().print(make_table(names, rows))
    figures = (
        ("times datasketch, over its tenth", per_document["datasketch"] / per_document["ours"], LEAST_OVER_DATASKETCH),
        ("times datasketch, over all", per_document["datasketch, all"] / per_document["ours"], LEAST_OVER_DATASKETCH),
        ("times rensa", per_document["rensa"] / per_document["ours"], LEAST_OVER_RENSA),
        ("times rensa, one core", per_document["rensa"] / per_document["ours, one core"], LEAST_OVER_RENSA),
    )
    for name, value, bar in figures:
        print(f"{name}: {value:.1f} (at least {bar:g})")
    most = max(lap["gib"] for lap in laps["ours"])
    print(f"peak memory: {most:.2f} GiB (at most {MOST_GIB:g})")
    missed = [name for name, value, bar in figures if value < bar]
    return missed + (["peak memory"] if most > MOST_GIB else [])


def quality(path: Path) -> list[str]:
    """What ours finds in some documents against the exact similarity of every two that share a shingle."""
    texts = {name: frozenset(word_runs(text)) for part in read(path) for name, text in part.iter_rows()}
    texts = dict(list(texts.items())[:SAMPLE])
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for name, runs in texts.items():
        for shingle in runs:
            holders[shingle].append(name)
    common: Counter[tuple[str, str]] = Counter()
    for names in holders.values():
        common.update(combinations(names, 2))
    exact = {(i, j): n / (len(texts[i]) + len(texts[j]) - n) for (i, j), n in common.items()}
    near = [pair for pair, value in exact.items() if value >= THRESHOLD]
    root = {name: name for name in texts}
    for i, j in near:  # components over the true pairs
        old, new = sorted((root[i], root[j]), reverse=True)
        root = {name: new if own == old else own for name, own in root.items()}
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.parquet"
        pq.write_table(pq.read_table(path).slice(0, SAMPLE), sample)
        found, _ = ours(sample)
    together = {frozenset(pair) for pair in found}
    should = {name for name, own in root.items() if own != name}
    got = {dropped for _, dropped in found}
    wrong = [pair for pair in together if len({root[name] for name in pair}) > 1]
    print(f"sample of {len(texts):,}: {len(near)} pairs reach {THRESHOLD}, {len(should)} documents repeat others;")
    print(f"  ours drops {len(got)}, {len(wrong)} of them for a document of another cluster")
    missed = ["precision"] if wrong else []
    return missed + (["recall"] if len(got) < 0.98 * len(should) else [])


if __name__ == "__main__":
    main()
