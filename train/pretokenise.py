"""`train examples`: a snapshot as `input_ids` and `labels`, which TRL's SFTTrainer and others take as they are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer

from factory.engines.local_model import find_weights
from factory.settings import default_home
from schemas.recipe import EngineSettings
from train.examples import make_examples
from warehouse.files import write_atomically
from warehouse.snapshots import read_manifest, resolve

SCHEMA = pa.schema(
    [
        pa.field("trajectory_id", pa.string()),
        pa.field("input_ids", pa.list_(pa.int32())),
        pa.field("labels", pa.list_(pa.int32())),
    ]
)


def pretokenise(snapshot: str, out: Path | None, model: str, home: Path | None, *, hint_loss: bool) -> None:
    """Make the examples of a snapshot, print their sizes, and write them where wanted.

    Raises:
        SnapshotError: there is no such snapshot.
        EngineError: there is no such model.
    """
    home = home or default_home()
    folder = resolve(home, snapshot)
    weights = find_weights(EngineSettings(model=model), home)
    tokenizer = AutoTokenizer.from_pretrained(weights.path, revision=weights.revision or "main")

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def encode_prompt(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    rows = pq.read_table(folder / "data", columns=["trajectory_id", "prompt", "segments", "stop_reason"]).to_pylist()
    made = list(make_examples(rows, encode, encode_prompt, tokenizer.eos_token_id, hint_loss=hint_loss))
    n_tokens, n_trained = sum(len(e.input_ids) for e in made), sum(e.n_trained for e in made)
    name = read_manifest(folder).snapshot
    print(f"{name}: {len(made):,} examples, {n_tokens:,} tokens, {n_trained:,} of them with loss")
    if out is not None:
        columns = {
            "trajectory_id": [e.trajectory_id for e in made],
            "input_ids": [e.input_ids for e in made],
            "labels": [e.labels for e in made],
        }
        data = pa.table(columns, schema=SCHEMA)
        write_atomically(out, lambda path: pq.write_table(data, path))
        print(out)
