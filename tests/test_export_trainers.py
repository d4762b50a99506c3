"""Exported files given to the real tokenizer, and to the real trainers' preparation of their data."""

from pathlib import Path
from typing import Any

import pytest

from factory.engines.tokenizer import Tokenized
from factory.release.export import Options, export_snapshot
from factory.release.tokens import MODEL
from schemas.errors import EngineError, SnapshotError
from schemas.training import ExampleSettings
from schemas.vocabulary import ExportFormat
from tests.builders import segment
from tests.made_snapshots import SEGMENTS, make_snapshot, trajectory
from tests.tiny_model import tiny_model
from train.examples import NO_LOSS, Example, Maker


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


@pytest.fixture
def rows(tokenizer: Any) -> list[dict[str, Any]]:
    """Two trajectories with real ids, one of them ended by its budget, and one that has lost its ids."""
    own = Tokenized(tokenizer)
    with_ids = [segment(s["origin"], s["text"], 1, own.encode(s["text"])) for s in SEGMENTS]
    return [
        trajectory(0, with_ids),
        trajectory(1, with_ids[:-1], stop_reason="length"),
        trajectory(2, [segment("model", "A <|im_end|> is no end.")]),
    ]


def export(home: Path, wanted: ExportFormat, out: Path, **options: Any) -> Any:
    from datasets import load_dataset

    export_snapshot(home, "d_seed", wanted, out, Options(**options))
    kind = "parquet" if out.suffix == ".parquet" else "json"
    return load_dataset(kind, data_files=str(out), cache_dir=str(out.parent / "cache"), split="train")


# Tokens


@pytest.mark.parametrize("hint_loss", [False, True])
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_pretokenised_rows_are_those_of_train_examples(
    tmp_path: Path, model: Path, tokenizer: Any, rows: list[dict[str, Any]], ending: str, hint_loss: bool
) -> None:
    make_snapshot(tmp_path, rows)
    options: dict[str, Any] = {"model": str(model), "hint_loss": hint_loss}
    loaded = export(tmp_path, ExportFormat.PRETOKENISED, tmp_path / f"out.{ending}", **options)
    own = Tokenized(tokenizer)
    maker = Maker(own, tokenizer.eos_token_id, ExampleSettings(max_length=10_000, hint_loss=hint_loss))
    theirs = [example for row in rows if isinstance(example := maker.make(row | {"messages": []}), Example)]
    assert [(row["input_ids"], row["labels"]) for row in loaded] == [(e.input_ids, e.labels) for e in theirs]
    for row, made in zip(loaded, rows, strict=True):
        end = tokenizer.eos_token if made["stop_reason"] == "end" else ""
        assert tokenizer.decode(row["input_ids"]) == made["prompt"] + made["completion"] + end
        assert len(row["origin"]) == len(row["input_ids"])
        if not hint_loss:
            assert [label != NO_LOSS for label in row["labels"]] == [origin == MODEL for origin in row["origin"]]
    assert loaded[2]["input_ids"].count(tokenizer.eos_token_id) == 2, (
        "the prompt's and the end, not the one in the text"
    )


def test_the_model_that_wrote_the_snapshot_is_the_default(
    tmp_path: Path, model: Path, rows: list[dict[str, Any]]
) -> None:
    make_snapshot(tmp_path, rows, recipe={"engine": {"model": str(model)}})
    assert len(export(tmp_path, ExportFormat.PRETOKENISED, tmp_path / "out.parquet")) == 3


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path, model: Path, rows: list[dict[str, Any]]) -> None:
    foreign = rows[0] | {"segments": [segment("model", "hello", 5, list(b"hello"))], "engine": "other@1"}
    beyond = rows[0] | {"segments": [segment("model", "hello", 1, [10_000_000])], "engine": "other@1"}
    for number, row in enumerate((foreign, beyond)):
        home = tmp_path / str(number)
        make_snapshot(home, [row])
        with pytest.raises(SnapshotError, match=r"are those of other@1; the tokenizer of tiny@.* another text"):
            export(home, ExportFormat.PRETOKENISED, home / "out.parquet", model=str(model))
        assert not (home / "out.parquet").exists()


def test_a_model_that_is_none(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    make_snapshot(tmp_path, rows, recipe={"engine": {"model": "/no/such/folder"}})
    with pytest.raises(EngineError, match="does not exist") as named:
        export(tmp_path, ExportFormat.PRETOKENISED, tmp_path / "out.parquet", model="/no/such/folder")
    assert "--model" not in str(named.value)
    with pytest.raises(EngineError, match=r"d_seed@v1 was written by it.*\n.*--model"):
        export(tmp_path, ExportFormat.PRETOKENISED, tmp_path / "out.parquet")


# TRL


def prepared(model: Path, tokenizer: Any, dataset: Any, folder: Path) -> Any:
    """TRL's SFTTrainer on a dataset, its preparation done."""
    import trl

    args = trl.SFTConfig(
        output_dir=str(folder / "run"), use_cpu=True, report_to="none", max_length=None, per_device_train_batch_size=3,
        max_steps=1, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    return trl.SFTTrainer(str(model), args=args, train_dataset=dataset, processing_class=tokenizer)


def test_trl_takes_what_is_meant_for_it_as_it_is(
    tmp_path: Path, model: Path, tokenizer: Any, rows: list[dict[str, Any]]
) -> None:
    make_snapshot(tmp_path, rows)

    chats = export(tmp_path, ExportFormat.MESSAGES, tmp_path / "m.jsonl")
    seen = prepared(model, tokenizer, chats, tmp_path).train_dataset
    for row, chat in zip(seen, chats, strict=True):
        assert tokenizer.decode(row["input_ids"]) == tokenizer.apply_chat_template(chat["messages"], tokenize=False)

    in_turns = export(tmp_path, ExportFormat.MESSAGES, tmp_path / "t.jsonl", tool_turns=True)
    seen = prepared(model, tokenizer, in_turns, tmp_path).train_dataset
    assert "<|im_start|>tool\n42<|im_end|>" in tokenizer.decode(seen[0]["input_ids"])

    texts = export(tmp_path, ExportFormat.PROMPT_COMPLETION, tmp_path / "p.jsonl")
    seen = prepared(model, tokenizer, texts, tmp_path).train_dataset
    for row, text in zip(seen, texts, strict=True):
        ids, n_prompt = row["input_ids"], len(tokenizer(text["prompt"])["input_ids"])
        assert tokenizer.decode(ids) == text["prompt"] + text["completion"] + tokenizer.eos_token
        assert row["labels"] == [NO_LOSS] * n_prompt + ids[n_prompt:]

    tokens = export(tmp_path, ExportFormat.PRETOKENISED, tmp_path / "x.parquet", model=str(model))
    trainer = prepared(model, tokenizer, tokens, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert sorted(_bare(ids, mask) for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)) == (
        sorted(row["input_ids"] for row in tokens)
    )
    n_trained = sum(label != NO_LOSS for row in tokens for label in row["labels"])
    assert int((batch["labels"] != NO_LOSS).sum()) == n_trained
    trainer.train()
    assert trainer.state.global_step == 1


def _bare(ids: Any, mask: Any) -> list[int]:
    kept: list[int] = ids[mask.bool()].tolist()
    return kept
