"""Which tokens carry loss."""

from typing import Any

from train.examples import NO_LOSS, make_example

ROW: dict[str, Any] = {
    "trajectory_id": "t",
    "prompt": "Q",
    "stop_reason": "end",
    "segments": [
        {"origin": "model", "text": "ab", "token_ids": [1, 2]},
        {"origin": "hint", "text": "h", "token_ids": [3]},
        {"origin": "model", "text": "c", "token_ids": [4]},
        {"origin": "tool", "text": "out", "token_ids": [5, 6]},
        {"origin": "model", "text": "d", "token_ids": None},
    ],
}


def make(row: dict[str, Any], *, hint_loss: bool = False) -> tuple[list[int], list[int]]:
    example = make_example(row, lambda text: [ord(c) for c in text], lambda _: [90, 91], 0, hint_loss=hint_loss)
    return example.input_ids, example.labels


def test_loss_is_on_the_models_own_tokens_and_its_end() -> None:
    ids, labels = make(ROW)
    assert ids == [90, 91, 1, 2, 3, 4, 5, 6, ord("d"), 0]
    assert labels == [NO_LOSS, NO_LOSS, 1, 2, NO_LOSS, 4, NO_LOSS, NO_LOSS, ord("d"), 0]


def test_hints_carry_loss_only_when_switched() -> None:
    assert make(ROW, hint_loss=True)[1][4] == 3
    assert make(ROW)[1][4] == NO_LOSS


def test_an_answer_cut_by_its_budget_does_not_teach_to_stop() -> None:
    ids, labels = make({**ROW, "stop_reason": "length"})
    assert ids[-1] == labels[-1] == ord("d")
