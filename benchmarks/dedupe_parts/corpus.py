"""Real documents of 3 to 8 KB, cut from the text that lies on every machine with Python: sources, headers, docs.

Copies among them are real (libraries carry each other's files around). One document in fifty is a copy of another with
some of its words changed, so that there are pairs of every similarity from 0.6 upwards.
"""

import hashlib
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOTS = (Path(sys.prefix), Path(sys.base_prefix) / "lib", Path("/usr/share"), Path("/usr/include"))
ENDINGS = {".py", ".pyi", ".h", ".hpp", ".c", ".md", ".rst", ".txt", ".html", ".pm", ".pl", ".pod", ".cmake", ".js"}
LEAST, MOST = 3_000, 8_000
EDITED = 50
"""Every so many documents, one is an edited copy."""


def write_corpus(path: Path, n: int) -> int:
    """Write `n` documents as Parquet (columns id, text), or as many as there is text for; returns how many."""
    draw, texts = random.Random(5), list[str]()
    for text in _cuts(draw):
        texts.append(text)
        if len(texts) % EDITED == 0:
            texts.append(_edited(draw.choice(texts), draw))
        if len(texts) >= n:
            break
    draw.shuffle(texts)
    texts = texts[:n]
    table = pa.table({"id": [f"d{i:07}" for i in range(len(texts))], "text": texts})
    pq.write_table(table, path, row_group_size=4_096)
    return len(texts)


def _files() -> list[Path]:
    """In an order of its own that is the same every time."""
    found = [
        Path(folder) / name
        for root in ROOTS
        for folder, _, names in os.walk(root)
        for name in names
        if Path(name).suffix in ENDINGS and not (Path(folder) / name).is_symlink()
    ]
    return sorted(found, key=lambda path: hashlib.blake2b(str(path).encode()).digest())


def _cuts(draw: random.Random) -> Iterator[str]:
    for path in _files():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        at, size = 0, draw.randint(LEAST, MOST)
        while len(text) - at >= LEAST:
            piece = text[at : at + size]
            if len(piece.split()) >= size // 20:  # tables of numbers and minified code have hardly any words
                yield piece
            at, size = at + size, draw.randint(LEAST, MOST)


def _edited(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    for _ in range(draw.randint(1, max(2, len(words) // 40))):
        words[draw.randrange(len(words))] = f"changed{draw.randrange(1000)}"
    return " ".join(words)
