"""Rows for `benchmarks/signals.py`, packed from real trajectories, and texts made to be slow."""

import gzip
import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from schemas.tables import TRAJECTORIES
from warehouse.fences import Kind, blocks

DATA = Path(__file__).parents[2] / "shared" / "data"
FILES = ("tir_mathcoder_gsm8k_even", "tir_rho_math500", "cot_reasoning_misguided_dev", "cot_qwen25math_100x8")
LEAST, MOST = 2_000, 8_000
CALL: dict[str, Any] = {"traceback": None, "output_truncated": False, "exit_code": 0, "wall_ms": 1.0, "survived": True}


def packed_rows(n: int) -> pl.DataFrame:
    """Columns trajectory_id, segments, tool_calls: real texts one after the other until a row has 2 to 8 KB."""
    names = ("trajectory_id", "segments", "tool_calls")
    schema = pa.schema([TRAJECTORIES.arrow_schema.field(name) for name in names])
    rows: list[dict[str, Any]] = []
    text, texts = "", cycle(_texts())
    while len(rows) < n:
        text += next(texts) + "\n"
        if len(text) >= LEAST + 997 * len(rows) % 4_000:
            segments, calls = parsed(text[:MOST])
            rows.append({"trajectory_id": f"t{len(rows)}", "segments": segments, "tool_calls": calls})
            text = ""
    return pl.DataFrame(pa.Table.from_pylist(rows, schema=schema))


def _texts() -> list[str]:
    streams = []
    for name in FILES:
        with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        streams.append([row.get("text") or row.get("thinking") or "-" for row in rows][:600])
    return [text for texts in zip(*streams, strict=False) for text in texts]


def parsed(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Segments and calls of a text with fences: an output block right behind a Python block is the tool's."""
    segments: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for origin, part, code in _parts(text):
        segments.append({"origin": origin, "text": part, "n_tokens": max(len(part) // 4, 1), "token_ids": None})
        if code is not None:
            last = part.strip("`\n").splitlines()[-1:] or [""]
            failed = "Error" in last[0]
            kind = last[0].partition(":")[0] if failed else None
            status = "error" if failed else "ok"
            calls.append(CALL | {"code": code, "stdout": part, "status": status, "error_type": kind, "diverged": False})
    return segments, calls


def _parts(text: str) -> Iterator[tuple[str, str, str | None]]:
    at, before = 0, None
    for block in blocks(text):
        if block.kind is Kind.OUTPUT and before is not None and not text[before.end : block.begin].strip():
            end = block.end + (text[block.end : block.end + 1] == "\n")
            yield "model", text[at : block.begin], None
            yield "tool", text[block.begin : end], before.code
            at = end
        before = block if block.is_python and block.is_closed else None
    if text[at:]:
        yield "model", text[at:], None


def hostile_texts() -> dict[str, str]:
    """Half a megabyte or less of what a signal may stumble over."""
    return {
        "one character": "a" * 500_000,
        "blanks": " " * 500_000,
        "backticks": "`" * 500_000,
        "fences": "```python\n1\n```\n" * 20_000,
        "open fences": "```python\n" * 30_000,
        "equations": "1 + 1 = 2, " * 40_000,
        "digits": "1" * 500_000,
        "operators": "1+" * 200_000,
        "dollars": "$" * 300_000,
        "brackets": "\\(" * 200_000,
        "almost a loop": ("x" * 60 + "y") * 4_000 + "x" * 60 + "z" + "x" * 60,
    }
