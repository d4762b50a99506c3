"""Which tokens carry loss, and that ids and text belong together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from factory.engines.tokenizer import Tokenized, tokenizer_fingerprint
from schemas.training import ExampleSettings
from tests.tiny_training import embedded_tokenizer, product_rows, real_rows, tiny_snapshot, trajectory
from train.examples import NO_LOSS, Example, LeftOut, Maker
from train.pretokenise import make_examples
from warehouse.snapshots import read_manifest


class Letters:
    """One id per character; the chat template is the last message in angle brackets."""

    def prompt(self, messages: Sequence[dict[str, str]]) -> str:
        return f"<{messages[-1]['content']}>"

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        return [ord(c) for c in text]

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(map(chr, token_ids))


ROW: dict[str, Any] = {
    "trajectory_id": "t",
    "engine": "m@1",
    "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "abhcoutd"}],
    "prompt": "<Q>",
    "stop_reason": "end",
    "segments": [
        {"origin": "model", "text": "ab", "token_ids": [97, 98]},
        {"origin": "hint", "text": "h", "token_ids": [104]},
        {"origin": "model", "text": "c", "token_ids": [99]},
        {"origin": "tool", "text": "out", "token_ids": [111, 117, 116]},
        {"origin": "model", "text": "d", "token_ids": None},
    ],
}
X = NO_LOSS


def make(
    row: dict[str, Any], *, name: str = "m@1", limit: int = 100, reuse_ids: bool = True, **values: Any
) -> Example | LeftOut:
    settings = ExampleSettings(max_length=100, **values).model_copy(update={"max_length": limit})
    return Maker(Letters(), 0, settings, name, reuse_ids).make(row)


def made(row: dict[str, Any], **options: Any) -> Example:
    example = make(row, **options)
    assert isinstance(example, Example)
    return example


def test_loss_is_on_the_models_own_tokens_and_its_end() -> None:
    example = made(ROW)
    assert example.input_ids == [*map(ord, "<Q>abhcoutd"), 0]
    assert example.labels == [X, X, X, 97, 98, X, 99, X, X, X, 100, 0]
    assert example.n_trained == 5


def test_hints_carry_loss_only_when_switched() -> None:
    assert made(ROW, hint_loss=True).labels == [X, X, X, 97, 98, 104, 99, X, X, X, 100, 0]


def test_an_answer_cut_by_its_budget_does_not_teach_to_stop() -> None:
    example = made({**ROW, "stop_reason": "length"})
    assert example.input_ids[-1] == example.labels[-1] == ord("d")


@pytest.mark.parametrize("limit", [4, 7, 10, 11])
def test_a_cut_row_keeps_its_beginning_and_no_end(limit: int) -> None:
    whole, example = made(ROW), made(ROW, long_rows="cut", limit=limit)
    assert (example.input_ids, example.labels) == (whole.input_ids[:limit], whole.labels[:limit])
    assert example.is_cut
    assert 0 not in example.input_ids


def test_long_rows_are_dropped_or_cut_and_rows_without_loss_always_left_out() -> None:
    assert make(ROW, limit=11) is LeftOut.TOO_LONG
    assert isinstance(make(ROW, limit=12), Example)
    assert make(ROW, limit=3, long_rows="cut") is LeftOut.NOTHING_TO_LEARN
    tool_only = {**ROW, "segments": ROW["segments"][3:4], "stop_reason": "length"}
    assert make(tool_only) is LeftOut.NOTHING_TO_LEARN


def test_ids_that_do_not_decode_to_the_text_leave_the_row_out() -> None:
    segments = [{"origin": "model", "text": "ab", "token_ids": [97, 99]}]
    assert make({**ROW, "segments": segments}) is LeftOut.IDS_DIFFER
    assert made({**ROW, "segments": segments}, reuse_ids=False).labels == [X, X, X, 97, 98, 0]


def test_the_prompt_is_the_stored_one_for_its_own_model_and_rendered_anew_for_another() -> None:
    row = {**ROW, "prompt": "[Q]"}
    own, other = made(row), made(row, name="other@1")
    assert (chr(own.input_ids[0]), own.has_new_prompt) == ("[", False)
    assert (chr(other.input_ids[0]), other.has_new_prompt) == ("<", True)
    assert not made(ROW, name="other@1").has_new_prompt  # the same template


def arrays(folder: Path, **values: Any) -> tuple[list[dict[str, Any]], Any]:
    data, counts = make_examples(
        folder, read_manifest(folder), embedded_tokenizer(), "embedded@1", ExampleSettings(**values)
    )
    return data.to_pylist(), counts


def test_stored_ids_are_taken_only_under_the_same_tokenizer(tmp_path: Path) -> None:
    rows = product_rows(2)
    for row in rows:  # sampled models need not write the shortest tokens: here one id per character
        for segment in row["segments"]:
            segment["token_ids"] = [i for c in segment["text"] for i in Tokenized(embedded_tokenizer()).encode(c)]
    same, counts = arrays(tiny_snapshot(tmp_path / "same", rows))
    anew, counts_anew = arrays(tiny_snapshot(tmp_path / "other", rows, tokenizer="0" * 64))
    unknown, _ = arrays(tiny_snapshot(tmp_path / "unknown", rows, tokenizer=None))
    sampled = [i for segment in rows[0]["segments"] for i in segment["token_ids"]]
    assert same[0]["input_ids"][-len(sampled) - 1 : -1] == sampled
    assert counts.has_stored_ids
    assert not counts_anew.has_stored_ids
    assert "made anew" in counts_anew.describe()
    assert anew == unknown
    assert len(anew[0]["input_ids"]) < len(same[0]["input_ids"])


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    broken = trajectory("t_bad", "?", [("model", "yes")])
    broken["segments"][0]["token_ids"] = [5, 5, 5]
    rows = [*product_rows(3), broken, trajectory("t_long", "?", [("model", "so " * 300)])]
    folder = tiny_snapshot(tmp_path, rows)
    made_rows, counts = arrays(folder, max_length=256)
    assert (counts.n_rows, counts.n_examples, counts.n_cut) == (5, 3, 0)
    assert counts.left_out == {"ids_differ": 1, "too_long": 1}
    assert counts.n_tokens == sum(len(row["input_ids"]) for row in made_rows)
    assert counts.n_trained == sum(label != NO_LOSS for row in made_rows for label in row["labels"])
    _, counts = arrays(folder, max_length=256, long_rows="cut")
    assert (counts.n_examples, counts.n_cut, counts.n_longest) == (4, 1, 256)


def test_real_trajectories_mask_exactly_their_tool_outputs(tmp_path: Path) -> None:
    rows = real_rows(300)
    codec = Tokenized(embedded_tokenizer())
    made_rows, counts = arrays(tiny_snapshot(tmp_path, rows), max_length=8192)
    assert counts.n_examples == counts.n_rows == 300
    assert sum(segment["origin"] == "tool" for row in rows for segment in row["segments"]) > 300
    for row, example in zip(rows, made_rows, strict=True):
        own = "".join(s["text"] for s in row["segments"] if s["origin"] == "model")
        other = row["prompt"] + "".join(s["text"] for s in row["segments"] if s["origin"] == "tool")
        pairs = list(zip(example["input_ids"], example["labels"], strict=True))
        assert all(label in (token, NO_LOSS) for token, label in pairs)
        assert codec.decode([token for token, label in pairs if label != NO_LOSS]) == own + "<|im_end|>"
        assert codec.decode([token for token, label in pairs if label == NO_LOSS]) == other


# The tokenizer's fingerprint


def test_a_fingerprint_ignores_what_does_not_decide_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = embedded_tokenizer()
    mark = tokenizer_fingerprint(tokenizer)
    assert mark is not None
    assert len(mark) == 64
    tokenizer.save_pretrained(tmp_path)
    child = AutoTokenizer.from_pretrained(tmp_path)
    child.chat_template = "{{ messages }}"
    child("some words", truncation=True, max_length=1, padding="max_length")  # leaves its traces in the backend
    assert tokenizer_fingerprint(child) == mark
    child.add_tokens(["<tool>"])
    assert tokenizer_fingerprint(child) != mark


def test_a_tokenizer_that_cannot_be_compared_has_none() -> None:
    assert tokenizer_fingerprint(object()) is None
