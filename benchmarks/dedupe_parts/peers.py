"""Three ways from a Parquet file of documents to clusters, each as its users write it: ours, datasketch's, rensa's.

All compare words in runs of `SIZE`, lower case, with `NUM_PERM` hashes at `THRESHOLD`. The other two make no shingles,
so Python does; and they estimate similarities, where ours computes them.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.dataset
import pyarrow.parquet as pq

from schemas.vocabulary import Shingle
from warehouse.duplicates import Rule, duplicate_pairs, sign

SIZE, NUM_PERM, THRESHOLD = 5, 128, 0.85
RULE = Rule(Shingle.WORD, SIZE, NUM_PERM, THRESHOLD)
Pairs = set[tuple[str, str]]


def read(path: Path) -> Iterator[pl.DataFrame]:
    """Some thousand documents at a time."""
    for batch in pq.ParquetFile(path).iter_batches(4_096):
        yield pl.DataFrame(batch)


def ours(path: Path) -> tuple[Pairs, int]:
    """Pairs of a document and the representative of its cluster; how many documents there are."""
    signed = pl.concat([sign(part["id"], part["text"], RULE) for part in read(path)])

    def texts(ids: pl.Series) -> Iterator[pl.DataFrame]:
        wanted = pyarrow.dataset.field("id").isin(ids.to_arrow())
        data = pyarrow.dataset.dataset(path)
        for batch in data.to_batches(columns=["id", "text"], filter=wanted, batch_size=4_096):
            yield pl.DataFrame(batch).rename({"id": "row_id"})

    with tempfile.TemporaryDirectory() as folder:
        found = duplicate_pairs(signed, RULE, texts, Path(folder))
    return set(found.select("kept_id", "dropped_id").iter_rows()), len(signed)


def word_runs(text: str) -> list[str]:
    """The shingles of a text."""
    words = text.lower().split()
    return [" ".join(words[i : i + SIZE]) for i in range(max(1, len(words) - SIZE + 1))]


def datasketch(path: Path) -> tuple[Pairs, int]:
    """Sign, ask the index, insert: one document after the other."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=THRESHOLD, num_perm=NUM_PERM)
    found, n = Pairs(), 0
    for part in read(path):
        for name, text in part.iter_rows():
            signature = MinHash(num_perm=NUM_PERM)
            signature.update_batch([run.encode() for run in word_runs(text)])
            before = lsh.query(signature)
            if before:
                found.add((min(before), name))
            lsh.insert(name, signature)
            n += 1
    return found, n


def rensa(path: Path) -> tuple[Pairs, int]:
    """The package's own deduplicator, fed with shingles."""
    from rensa import RMinHashDeduplicator

    dedup: Any = RMinHashDeduplicator(threshold=THRESHOLD, num_perm=NUM_PERM, use_lsh=True)
    found, n = Pairs(), 0
    for part in read(path):
        names, texts = part["id"].to_list(), part["text"].to_list()
        kept = dedup.add_pairs((name, word_runs(text)) for name, text in zip(names, texts, strict=True))
        found |= {("", name) for name, is_new in zip(names, kept, strict=True) if not is_new}
        n += len(names)
    return found, n


WAYS = {"ours": ours, "ours, one core": ours, "datasketch": datasketch, "rensa": rensa}
