"""A snapshot as `input_ids` and `labels`, which TRL's SFTTrainer and others take as they are."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.engines.local_model import Weights, find_weights
from factory.engines.tokenizer import Tokenized, cannot_load, load_tokenizer, tokenizer_fingerprint
from factory.release.pull import locate
from factory.settings import default_home
from schemas.errors import SnapshotError, TrainingError
from schemas.recipe import EngineSettings
from schemas.records import Manifest
from schemas.training import ExampleSettings
from train.examples import Example, LeftOut, Maker
from warehouse.files import write_atomically
from warehouse.snapshots import read_manifest

SCHEMA = pa.schema(
    [
        pa.field("trajectory_id", pa.string()),
        pa.field("input_ids", pa.list_(pa.int32())),
        pa.field("labels", pa.list_(pa.int32())),
    ]
)
READ = ["trajectory_id", "engine", "messages", "prompt", "segments", "stop_reason"]
ROWS_AT_ONCE = 256
NO_LIMIT = 1 << 31


@dataclass(frozen=True)
class Counts:
    """What became of a snapshot's rows."""

    n_rows: int
    n_examples: int
    n_cut: int
    left_out: dict[str, int]
    """By reason, a `LeftOut`."""
    n_tokens: int
    n_trained: int
    """Tokens with loss."""
    n_longest: int
    """Tokens of the longest example."""
    n_new_prompts: int
    """Rows whose messages the model's own chat template renders otherwise."""
    has_stored_ids: bool
    """The ids are those that were sampled; else every segment was tokenised anew."""

    def describe(self) -> str:
        """In one or two lines."""
        text = f"{self.n_examples:,} examples, {self.n_tokens:,} tokens, {self.n_trained:,} of them with loss"
        notes = [f"{n:,} rows left out: {reason}" for reason, n in self.left_out.items()]
        notes += [f"{self.n_cut:,} rows cut"] if self.n_cut else []
        notes += [f"{self.n_new_prompts:,} prompts by this model's chat template"] if self.n_new_prompts else []
        notes += [] if self.has_stored_ids else ["ids made anew, the snapshot's belong to another tokenizer"]
        return text + (f" ({'; '.join(notes)})" if notes else "")


def make_examples(
    folder: Path, manifest: Manifest, tokenizer: Any, model_name: str, settings: ExampleSettings
) -> tuple[pa.Table, Counts]:
    """All rows of a snapshot that can be trained on, in order, with what became of the rest.

    Args:
        folder: The snapshot.
        manifest: Its manifest; says whose ids the rows hold.
        tokenizer: Of the model to train.
        model_name: `name@revision` of that model.
        settings: Which tokens carry loss, and what is too long.

    Returns:
        Columns of `SCHEMA`. Held as 32-bit numbers: 50,000 rows of 8,000 tokens take 3.2 GB.

    Raises:
        TrainingError: the tokenizer has no end-of-sequence token.
        SnapshotError: the data files cannot be read.
    """
    if tokenizer.eos_token_id is None:
        raise TrainingError(
            f"the tokenizer of {model_name} names no end-of-sequence token, so nothing could teach the model to stop.\n"
            f"  next:   add eos_token to its tokenizer_config.json"
        )
    known = tokenizer_fingerprint(tokenizer)
    reuse_ids = known is not None and known == manifest.tokenizer
    maker = Maker(Tokenized(tokenizer), tokenizer.eos_token_id, settings, model_name, reuse_ids)
    made: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    n_longest = 0
    batches = []
    for rows in _batches(folder):
        examples = []
        for row in rows:
            example = maker.make(row)
            if isinstance(example, LeftOut):
                left_out[example.value] += 1
                continue
            examples.append(example)
            n_longest = max(n_longest, len(example.input_ids))
            made["tokens"] += len(example.input_ids)
            made["trained"] += example.n_trained
            made["cut"] += example.is_cut
            made["new_prompts"] += example.has_new_prompt
        batches.append(_batch(examples))
    table = pa.Table.from_batches(batches, schema=SCHEMA)
    return table, Counts(
        n_rows=table.num_rows + left_out.total(),
        n_examples=table.num_rows,
        n_cut=made["cut"],
        left_out=dict(sorted(left_out.items())),
        n_tokens=made["tokens"],
        n_trained=made["trained"],
        n_longest=n_longest,
        n_new_prompts=made["new_prompts"],
        has_stored_ids=reuse_ids,
    )


def pretokenise(snapshot: str, out: Path | None, model: str, home: Path | None, *, hint_loss: bool) -> None:
    """Make the examples of a snapshot, print their sizes, and write them where wanted.

    Raises:
        SnapshotError: there is no such snapshot.
        EngineError: there is no such model, or it has no chat template.
    """
    home = home or default_home()
    folder = locate(home, snapshot)
    manifest = read_manifest(folder)
    weights = find_weights(EngineSettings(model=model), home)
    settings = ExampleSettings(max_length=NO_LIMIT, hint_loss=hint_loss)
    data, counts = make_examples(folder, manifest, open_tokenizer(weights, model), weights.name, settings)
    print(f"{manifest.snapshot}: {counts.describe()}")
    if out is not None:
        write_atomically(out, lambda path: pq.write_table(data, path))
        print(out)


def open_tokenizer(weights: Weights, model: str) -> Any:
    """The model's tokenizer.

    Raises:
        EngineError: it cannot be loaded, or has no chat template.
    """
    try:
        return load_tokenizer(weights)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise cannot_load(EngineSettings(model=model), error) from error


def _batches(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Rows, some hundred at a time: as Python objects they take many times their size in the file."""
    files = sorted((folder / "data").glob("*.parquet"))
    if not files:
        raise SnapshotError(f"{folder} holds no data/*.parquet.")
    try:
        for path in files:
            for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=READ):
                yield batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise SnapshotError(f"{folder / 'data'} cannot be read: {error}") from error


def _batch(examples: list[Example]) -> pa.RecordBatch:
    columns = {name: [getattr(example, name) for example in examples] for name in SCHEMA.names}
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)
