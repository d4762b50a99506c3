"""Snapshots without a build: rows of a few fields in a real folder with a true manifest."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.records import FileEntry, Manifest
from schemas.tables import SNAPSHOT
from tests.builders import row, segment
from warehouse.snapshots import content_hash, drafted

PROMPT = "<|im_start|>user\nWhat is 6 * 7?<|im_end|>\n<|im_start|>assistant\n"
CODE, OUTPUT = "print(6 * 7)\n```\n", "```output\n42\n```\n"
SEGMENTS = (
    segment("model", "Let me see. "),
    segment("hint", "I will check it in Python.\n```python\n"),
    segment("model", CODE),
    segment("tool", OUTPUT),
    segment("model", "So it is 42 \u2014 \u2603."),
)


def trajectory(number: int, segments: Sequence[Mapping[str, Any]] = SEGMENTS, **values: Any) -> dict[str, Any]:
    """A row of a snapshot whose prompt, completion and messages fit each other."""
    completion = "".join(s["text"] for s in segments)
    said = [("system", "You can run Python."), ("user", "What is 6 * 7?"), ("assistant", completion)]
    given: dict[str, Any] = {
        "problem_id": f"p{number}", "domain": "math", "source": "made/up", "licence": "Apache-2.0", "prompt": PROMPT,
        "completion": completion, "segments": [dict(s) for s in segments], "stop_reason": "end", "is_correct": True,
        "messages": [{"role": role, "content": content} for role, content in said], "engine": "model@1",
    }  # fmt: skip
    return row(SNAPSHOT, trajectory_id=f"t{number}", **given | values)


def make_snapshot(home: Path, rows: Sequence[Mapping[str, Any]], name: str = "d_seed", **manifest: Any) -> Path:
    """Write the next version; `manifest` replaces single fields of its manifest."""
    table = pa.Table.from_pylist([dict(r) for r in rows], schema=SNAPSHOT.arrow_schema)

    def make(reference: str, files: tuple[FileEntry, ...]) -> Manifest:
        given: dict[str, Any] = {
            "snapshot": reference, "parent": None, "content_hash": content_hash(table), "created_at": datetime.now(UTC),
            "factory_version": "0", "run_id": "r_1", "recipe": {"prompt": {"system": "", "suffix": ""}},
            "engine": "model@1", "sandbox": "none", "n_rows": table.num_rows, "columns": tuple(table.schema.names),
            "funnel": (), "gate": (), "sql_hashes": {}, "files": files,
        }  # fmt: skip
        return Manifest(**given | manifest)

    def decorate(folder: Path, reference: str) -> None:
        (folder / "README.md").write_text(f"# {reference}\n")
        (folder / "quality").mkdir()
        (folder / "quality" / "page [1].html").write_text("<p>\u2603</p>")

    return write_snapshot(home, name, table, decorate, make)


def write_snapshot(
    home: Path,
    name: str,
    rows: pa.Table,
    decorate: Callable[[Path, str], None],
    manifest: Callable[[str, tuple[FileEntry, ...]], Manifest],
) -> Path:
    """Write the next version in one call."""
    with drafted(home, name, rows.to_reader()) as draft:
        decorate(draft.folder, draft.reference)
        return draft.place(lambda files: manifest(draft.reference, files))
