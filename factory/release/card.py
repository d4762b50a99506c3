"""The dataset card, generated from what is in the snapshot and how it was made. Nothing in it is written by hand."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow.dataset

from factory.run import Run
from schemas.records import GateCheck
from schemas.tables import SNAPSHOTS
from warehouse.snapshots import Draft

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
SHOWN_CHARS = 1_500
KINDS = {
    "d_seed": "problems that the model answered wrongly by itself and rightly once a hint made it run Python.",
    "d_start": "right answers of the model by itself, Python at hand, no hints, from several samples per problem.",
    "d_rft": "right answers of the model by itself, without Python and hints, from several samples per problem.",
    "d_import": "right answers written elsewhere; what their tools printed is what the imported text says.",
}
"""By build, what the rows are."""


def write_card(draft: Draft, run: Run, funnel: Sequence[dict[str, Any]], checks: Sequence[GateCheck]) -> None:
    """Write `README.md` of a snapshot whose rows are written."""
    data = pyarrow.dataset.dataset(draft.folder / "data", format="parquet")
    licences, sources = _counts(data, "licence"), _counts(data, "source")
    reference, n_rows = draft.reference, draft.n_rows
    size = next((word for limit, word in SIZES if n_rows < limit), "1M<n<10M")
    only = licences[0][0] if len(licences) == 1 else "unknown"
    licence = "other" if only == "unknown" else only.lower()
    header = [
        "---",
        f"license: {licence}",
        f"pretty_name: {reference}",
        "language: [en]",
        "task_categories: [text-generation]",
        "tags: [reasoning, tool-use, python, synthetic, start]",
        f"size_categories: ['{size}']",
        "configs:",
        "- config_name: default",
        "  data_files: [{split: train, path: data/*.parquet}]",
        "---",
    ]
    body = [
        f"# {reference}",
        "",
        f"{n_rows:,} trajectories of **{run.engine_name}**: {KINDS[run.build]} "
        "Made by a START dataset factory (after arXiv 2503.04625).",
        "",
        f"Content hash `{draft.content_hash}`, recipe `{run.recipe.name}` ({run.recipe.description}), run "
        f"`{run.run_id}`. The whole recipe, file hashes and SQL hashes are in `manifest.json`; "
        "the checks are in `quality/index.html`.",
        "",
        *_table("Where the rows come from", ("source", "rows"), sources),
        *_table("Licences", ("licence", "rows"), licences),
        *_table(
            "Funnel",
            ("step", "unit", "in", "kept", "dropped", "reasons"),
            [(f["step"], f["unit"], f["rows_in"], f["rows_kept"], f["rows_dropped"], f["reasons"]) for f in funnel],
        ),
        *_table("Columns", ("column", "what it holds"), [(f"`{c.name}`", c.doc) for c in SNAPSHOTS[run.build].columns]),
        f"**Gate**: {sum(check.passed for check in checks)} of {len(checks)} checks passed.",
        "",
        "## One row",
        "",
        *_fenced(_sample(data)),
        "",
        "## Load it",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'rows = load_dataset("parquet", data_files="data/*.parquet", split="train")',
        "```",
        "",
        "Training: `messages` for any chat trainer; `segments` name the author of every piece, so that tool output "
        "and, if wanted, hints carry no loss.",
        "",
        "## Limits",
        "",
        "Every answer was judged by the problem's verifier, not by a person. A right answer can rest on wrong "
        "reasoning around the tool call. Near-duplicates were looked for among the accepted texts, contamination "
        f"against the {len(run.recipe.decontamination.benchmarks)} benchmark sources of the recipe only.",
        "",
    ]
    (draft.folder / "README.md").write_text("\n".join(header + body))


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [f"## {title}", "", f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return [*lines, ""]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _counts(data: pyarrow.dataset.Dataset, name: str) -> list[tuple[str, int]]:
    """Values of a column, the commonest first."""
    counted = Counter(value for batch in data.to_batches(columns=[name]) for value in batch[name].to_pylist())
    return counted.most_common()


def _sample(data: pyarrow.dataset.Dataset) -> str:
    """The first row's problem and completion, hint and tool output marked."""
    row = data.head(1).to_pylist()[0]
    text = ""
    for segment in row["segments"]:
        origin, own = segment["origin"], segment["text"]
        text += own if origin == "model" else f"[{origin}>{own}<{origin}]"
    if "baseline_answer" in row:
        told = f"baseline: {json.dumps(row['baseline_answer'])} (wrong)"
    else:
        told = f"right in {row['n_correct']} of {row['n_samples']} samples"
    said = f"problem:  {row['statement']}\n{told}\n\n{text}"
    return said if len(said) <= SHOWN_CHARS else said[:SHOWN_CHARS] + "\n[... the rest of the row is left out here ...]"


def _fenced(text: str) -> list[str]:
    """A code block whose fence the text cannot close."""
    fence = "`" * 3
    while fence in text:
        fence += "`"
    return [f"{fence}text", text, fence]
