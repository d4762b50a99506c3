"""The journal: what a killed process had finished is neither generated nor executed again."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.rollout import journal as journals
from factory.rollout.journal import Journal, Story, read
from schemas.errors import HomeError
from schemas.protocols import Completion, ExecResult, Sampling
from schemas.vocabulary import ExecStatus

TURN = Completion("print(6 * 7)\n```", (1, 2, 3), "```", False, -0.5)
CALL = ExecResult(ExecStatus.ERROR, 1, "4\ud8002", "Traceback", False, 1.5, 0.5, 1000, survived=False)


def key_of_turn(story: Story, ids: list[int]) -> str:
    return story.turn_key(ids, ("```",), 100, Sampling(0.6, 0.95), 7)


def test_what_was_finished_comes_back_as_it_was(tmp_path: Path) -> None:
    story = Journal(tmp_path).story("t_1")
    turn, call = key_of_turn(story, [1, 2]), story.call_key("print(6 * 7)")
    story.record(turn, TURN)
    story.record(call, CALL)
    again = Journal(tmp_path).story("t_1")
    assert again.recall_turn(key_of_turn(again, [1, 2])) == TURN
    assert again.recall_call(again.call_key("print(6 * 7)")) == CALL
    assert again.recall_turn(key_of_turn(again, [1, 2, 3])) is None


@pytest.mark.parametrize("change", ["ids", "stop", "budget", "sampling", "seed", "trajectory", "history"])
def test_another_request_finds_nothing(tmp_path: Path, change: str) -> None:
    story = Journal(tmp_path).story("t_1")
    story.record(key_of_turn(story, [1, 2]), TURN)
    again = Journal(tmp_path).story("t_2" if change == "trajectory" else "t_1")
    if change == "history":
        again.call_key("x = 1")
    request = {
        "ids": [1, 3] if change == "ids" else [1, 2],
        "stop": () if change == "stop" else ("```",),
        "max_tokens": 99 if change == "budget" else 100,
        "sampling": Sampling(0.6, 1.0) if change == "sampling" else Sampling(0.6, 0.95),
        "seed": 8 if change == "seed" else 7,
    }
    assert again.recall_turn(again.turn_key(**request)) is None  # type: ignore[arg-type]


def test_what_is_stored_in_a_shard_is_forgotten_and_its_file_deleted(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for name in ("t_1", "t_2"):
        story = journal.story(name)
        story.record(key_of_turn(story, [1]), TURN)
    journal.stored(["t_1"])
    journal.close()
    assert set(read(tmp_path.glob("*.jsonl"))) == {"t_2"}
    journal = Journal(tmp_path)
    assert len(journal.inherited) == 1
    journal.story("t_2")
    journal.stored(["t_2"])
    journal.close()
    assert not list(tmp_path.glob("*"))


def test_a_trajectory_over_several_processes_is_one_story(tmp_path: Path) -> None:
    for n in range(4):
        story = Journal(tmp_path).story("t_1")
        for i in range(n + 1):
            key = key_of_turn(story, [i])
            assert (story.recall_turn(key) is not None) == (i < n)
            if i == n:
                story.record(key, TURN)
    assert len(list(tmp_path.iterdir())) == 4
    assert len(read(sorted(tmp_path.iterdir()))["t_1"]) == 4


@given(st.integers(0, 400), st.binary(max_size=20))
def test_a_torn_or_damaged_line_costs_its_event_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    story = journal.story("t_1")
    for i in range(3):
        story.record(key_of_turn(story, [i]), TURN)
    journal.close()
    path = next(folder.iterdir())
    data = path.read_bytes()
    path.write_bytes(data[:at] + noise)
    whole = data[:at].count(b"\n")
    found = read([path]).get("t_1", {})
    assert list(found)[:whole] == list(story.events)[:whole]


def test_a_grown_file_is_written_anew_with_the_living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = Journal(tmp_path).story("t_0")
    earlier.record(key_of_turn(earlier, [0]), TURN)
    monkeypatch.setattr(journals, "ROTATE_BYTES", 2000)
    journal = Journal(tmp_path)
    for i in range(50):
        story = journal.story(f"t_{i + 1}")
        story.record(key_of_turn(story, [i]), TURN)
        if i % 10:
            journal.stored([f"t_{i + 1}"])
    assert set(read(sorted(tmp_path.iterdir()))) == {"t_0", "t_1", "t_11", "t_21", "t_31", "t_41"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4000
    assert len(list(tmp_path.iterdir())) == 1


def test_a_home_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    blocked = tmp_path / "journal"
    blocked.write_text("no folder")
    story = Journal(blocked).story("t_1")
    with pytest.raises(HomeError, match="cannot write"):
        story.record(key_of_turn(story, [1]), TURN)


def test_a_full_disk_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    story = Journal(tmp_path).story("t_1")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HomeError, match="free some space"):
        story.record(key_of_turn(story, [1]), TURN)
