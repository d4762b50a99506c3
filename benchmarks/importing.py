"""How long an import takes, by part, and that its memory does not grow with the file.

    python benchmarks/importing.py [--rows 5000] [--data ../shared/data] [--check]

Rows of 5 KB or a little more are put together from texts of `tir_mathcoder_gsm8k_even`. Surveying reads, checks, cuts
and hashes every row; importing reads and cuts it again, counts tokens with the embedded model's tokenizer, extracts the
answer and writes shards. The two dearest parts of importing are measured by themselves, too, on 2,000 rows.
"""

import argparse
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

ROW_CHARS, SAMPLE_ROWS = 5000, 2000
MOST_SURVEY_MS, MOST_REST_MS, MOST_GROWTH = 0.5, 1.5, 1.15


def main() -> None:
    """Measure in processes of their own, print the table, and exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    source = options.data / "tir_mathcoder_gsm8k_even.jsonl.gz"
    if not source.is_file():
        sys.exit(f"no {source}: name its folder with --data")
    names = ("rows", "MB", "survey_ms", "import_ms", "tokens_ms", "answer_ms", "peak_mb")
    print("  ".join(f"{name:>9}" for name in names) + "   (ms of processor time per row)")
    found = []
    for n_rows in (options.rows, 4 * options.rows):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.jsonl"
            write(file, source, n_rows)
            command = [sys.executable, __file__, "--measure", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        print("  ".join(f"{found[-1][name]:>9,.2f}" for name in names), flush=True)
    small, large = found
    rest = large["import_ms"] - large["tokens_ms"]
    growth = large["peak_mb"] / small["peak_mb"]
    print(f"\nwithout counting tokens {rest:.2f} ms per row; four times the rows: {growth:.2f} times the memory")
    missed = [f"survey {large['survey_ms']:.2f} ms"] * (large["survey_ms"] > MOST_SURVEY_MS)
    missed += [f"import without tokens {rest:.2f} ms"] * (rest > MOST_REST_MS)
    missed += [f"memory grows {growth:.2f} times"] * (growth > MOST_GROWTH)
    print(f"bars: survey {MOST_SURVEY_MS} ms, import without tokens {MOST_REST_MS} ms, memory {MOST_GROWTH} times")
    if options.check and missed:
        sys.exit(f"missed: {'; '.join(missed)}")


def write(file: Path, source: Path, n_rows: int) -> None:
    """A file of rows of at least `ROW_CHARS` characters."""
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        real = [json.loads(line) for line in lines]
    draw = random.Random(1)
    with file.open("w") as out:
        for i in range(n_rows):
            row, text = real[i % len(real)], ""
            while len(text) < ROW_CHARS:
                text += draw.choice(real)["text"] + "\n\n"
            out.write(json.dumps({"text": text, "statement": row["problem"], "gold_answer": row["gold"]}) + "\n")


def measure(file: Path) -> dict[str, Any]:
    """Figures of one import, in this process."""
    from factory.imports.files import TrajectoryFiles
    from factory.progress import Reporter
    from factory.run import IMPORT, open_run
    from factory.settings import load_recipe
    from factory.steps.imports import import_trajectories
    from factory.workbench import Workbench
    from quality.answers import extract_answer
    from warehouse.store import Store

    recipe = load_recipe("import", {"problems.sources": [{"kind": "file", "path": str(file)}]})
    home = file.parent / "home"
    files = TrajectoryFiles(recipe.problems, recipe.d_import, file.parent)
    bench = Workbench(recipe, home, trust=False)
    bench.codec().count(["loaded before the clock starts"])
    found, survey_ms = timed(files.survey)
    run = open_run(IMPORT, recipe, Store(home), "imported@benchmark", found.loaded.problems, [])
    _, import_ms = timed(lambda: import_trajectories(run, bench, Reporter(), files, found.n_rows))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    some = list(islice(files.rows(found.problems), SAMPLE_ROWS))
    texts = [text for row in some for _, text in row.transcript.segments]
    _, tokens_ms = timed(lambda: bench.codec().count(texts))
    _, answer_ms = timed(lambda: [extract_answer(row.text) for row in some])
    return {
        "rows": found.n_rows,
        "MB": file.stat().st_size / 1e6,
        "survey_ms": survey_ms / found.n_rows,
        "import_ms": import_ms / found.n_rows,
        "tokens_ms": tokens_ms / len(some),
        "answer_ms": answer_ms / len(some),
        "peak_mb": peak_mb,
    }


def timed(call: Any) -> tuple[Any, float]:
    """What a call returns, and its milliseconds of processor time, over all threads."""
    started = time.process_time()
    return call(), (time.process_time() - started) * 1000


if __name__ == "__main__":
    main()
