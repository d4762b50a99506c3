"""Exports: what each format says, that nothing drifts from the trainer's own masks, and what is refused."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.release.export import Options, export_snapshot
from factory.release.tokens import HINT, MODEL, PROMPT, TOOL, token_row
from factory.release.turns import bare_output, tool_turns
from factory.rollout.outputs import output_block
from schemas.errors import SnapshotError, UsageError
from schemas.training import ExampleSettings
from schemas.vocabulary import ExportFormat, StopReason
from tests.builders import segment
from tests.made_snapshots import OUTPUT, SEGMENTS, make_snapshot, trajectory
from tests.scripted_build import factory, write_recipe
from train.examples import Example, Maker

KEPT = {"problem_id": "p0", "domain": "math", "source": "made/up", "licence": "Apache-2.0", "trajectory_id": "t0"}


def export(home: Path, wanted: str, out: Path, reference: str = "d_seed", **options: Any) -> list[dict[str, Any]]:
    export_snapshot(home, reference, ExportFormat(wanted), out, Options(**options))
    return read(out)


def read(out: Path) -> list[dict[str, Any]]:
    if out.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
        return rows
    text = gzip.decompress(out.read_bytes()).decode() if out.suffix == ".gz" else out.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


# What the rows say


def test_every_format_says_what_the_snapshot_says(tmp_path: Path) -> None:
    made = trajectory(0)
    make_snapshot(tmp_path, [made])
    chat = [(m["role"], m["content"]) for m in made["messages"]]
    (messages,) = export(tmp_path, "messages", tmp_path / "m.jsonl")
    assert messages == {"messages": [{"role": r, "content": c} for r, c in chat], **KEPT}
    (texts,) = export(tmp_path, "prompt-completion", tmp_path / "p.jsonl")
    assert texts == {"prompt": made["prompt"], "completion": made["completion"], **KEPT}
    (shared,) = export(tmp_path, "sharegpt", tmp_path / "s.jsonl")
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    assert shared == {"conversations": [{"from": names[r], "value": c} for r, c in chat], **KEPT}


def test_a_tool_turn_holds_the_bare_output_and_the_turn_before_it_ends_with_the_code(tmp_path: Path) -> None:
    make_snapshot(tmp_path, [trajectory(0)])
    (row,) = export(tmp_path, "messages", tmp_path / "m.jsonl", tool_turns=True)
    assert [(m["role"], m["content"]) for m in row["messages"]] == [
        ("system", "You can run Python."),
        ("user", "What is 6 * 7?"),
        ("assistant", "Let me see. I will check it in Python.\n```python\nprint(6 * 7)\n```\n"),
        ("tool", "42"),
        ("assistant", "So it is 42 \u2014 \u2603."),
    ]


def test_a_trajectory_without_a_last_word_ends_in_a_tool_turn() -> None:
    assert [turn["role"] for turn in tool_turns(SEGMENTS[:4])] == ["assistant", "tool"]
    assert tool_turns([segment("model", "No code.")]) == [{"role": "assistant", "content": "No code."}]


@given(st.lists(st.tuples(st.text(min_size=1), st.text("`a\n ", max_size=12)), max_size=4), st.text())
def test_tool_turns_lose_the_fences_and_nothing_else(rounds: list[tuple[str, str]], last: str) -> None:
    segments = [s for said, out in rounds for s in (segment("model", said), segment("tool", "\n" + output_block(out)))]
    turns = tool_turns([*segments, *([segment("model", last)] if last else [])])
    assert "".join(t["content"] for t in turns if t["role"] == "assistant") == "".join(s for s, _ in rounds) + last
    assert [t["content"] for t in turns if t["role"] == "tool"] == [out.removesuffix("\n") for _, out in rounds]


def test_what_is_no_output_block_is_kept_whole() -> None:
    assert bare_output("```output\n1\n```\n") == "1"
    for text in ("plain", "```output\nopen", "```python\n1\n```\n", OUTPUT + OUTPUT):
        assert bare_output(text) == text


# Tokens


def test_every_token_has_an_author() -> None:
    made = token_row(trajectory(0), lambda text: [len(text)], lambda text: [7, 8], 9)
    sizes = [len(s["text"]) for s in SEGMENTS]
    assert made["input_ids"] == [7, 8, *sizes, 9]
    assert made["origin"] == [PROMPT, PROMPT, MODEL, HINT, MODEL, TOOL, MODEL, MODEL]
    assert made["labels"] == [-100, -100, sizes[0], -100, sizes[2], -100, sizes[4], 9]


class Letters:
    """A codec of one token per character, with a begin token before a prompt."""

    def prompt(self, messages: Sequence[dict[str, str]]) -> str:
        raise NotImplementedError

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        return [-1] * special + [ord(c) for c in text]

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in token_ids if i >= 0)


LETTERS = Letters()


@given(
    st.lists(st.tuples(st.sampled_from(["model", "hint", "tool"]), st.text(max_size=4), st.booleans()), max_size=6),
    st.sampled_from(list(StopReason)),
    st.booleans(),
    st.text(max_size=4),
)
def test_labels_are_those_of_the_trainer_position_by_position(
    pieces: list[tuple[str, str, bool]], stop_reason: str, hint_loss: bool, prompt: str
) -> None:
    row = {
        "trajectory_id": "t",
        "prompt": prompt,
        "segments": [segment(o, text, 1, LETTERS.encode(text) if has_ids else None) for o, text, has_ids in pieces],
        "stop_reason": stop_reason,
        "engine": "the model's own",
        "messages": [],
    }
    settings = ExampleSettings(max_length=10_000, hint_loss=hint_loss)
    theirs = Maker(LETTERS, 2, settings, "the model's own").make(row)
    ours = token_row(row, LETTERS.encode, lambda text: LETTERS.encode(text, special=True), 2, hint_loss=hint_loss)
    if not isinstance(theirs, Example):
        assert all(label == -100 for label in ours["labels"])
        return
    assert (ours["input_ids"], ours["labels"]) == (theirs.input_ids, theirs.labels)
    assert len(ours["origin"]) == len(theirs.input_ids)


# Files


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
@pytest.mark.parametrize("wanted", ["messages", "prompt-completion", "sharegpt"])
def test_datasets_loads_every_kind_of_file(tmp_path: Path, wanted: str, ending: str) -> None:
    from datasets import load_dataset

    rows = [trajectory(i, seed=i) for i in range(5)]
    make_snapshot(tmp_path, rows)
    out = tmp_path / f"out.{ending}"
    expected = export(tmp_path, wanted, out)
    kind = "parquet" if ending == "parquet" else "json"
    loaded = load_dataset(kind, data_files=str(out), cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded.to_list() == expected
    assert [row["trajectory_id"] for row in expected] == [f"t{i}" for i in range(5)]


def test_the_same_snapshot_makes_the_same_bytes(tmp_path: Path) -> None:
    make_snapshot(tmp_path, [trajectory(0)])
    for ending in ("jsonl", "jsonl.gz", "parquet"):
        files = [tmp_path / f"{name}.{ending}" for name in ("a", "b")]
        for file in files:
            export(tmp_path, "messages", file)
        assert files[0].read_bytes() == files[1].read_bytes()
    assert (tmp_path / "a.jsonl.gz").read_bytes()[3:8] == bytes(5), "neither name nor time in the gzip header"


def test_what_a_format_cannot_say_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_snapshot(tmp_path, [trajectory(0)])
    for in_turns in (False, True):
        export(tmp_path, "messages", tmp_path / "m.jsonl", tool_turns=in_turns)
        said = capsys.readouterr().out
        assert "d_seed@v1: 1 rows as messages\n" in said
        assert "left out: token ids" in said
        assert ("output fences" in said) is in_turns


# Refusals


@pytest.mark.parametrize(
    ("wanted", "name", "options", "says"),
    [
        ("messages", "out.csv", {}, "none of .jsonl, .jsonl.gz, .parquet"),
        ("sharegpt", "o.jsonl", {"tool_turns": True}, "--tool-turns has no meaning in --format sharegpt"),
        ("messages", "o.jsonl", {"model": "m"}, "--model has no meaning in --format messages"),
        ("messages", "o.jsonl", {"hint_loss": True}, "--hint-loss has no meaning"),
        ("messages", "o.jsonl", {"min_pass_rate": 0.0}, "--min-pass-rate has no meaning"),
        ("grpo", "o.jsonl", {"min_pass_rate": 0.6, "max_pass_rate": 0.5}, "pass rates are shares"),
        ("grpo", "o.jsonl", {"max_pass_rate": 50.0}, "pass rates are shares"),
        ("grpo", "o.jsonl", {}, "build d_start first"),
    ],
)
def test_a_users_mistake_is_refused(tmp_path: Path, wanted: str, name: str, options: dict[str, Any], says: str) -> None:
    make_snapshot(tmp_path, [trajectory(0)])
    with pytest.raises(UsageError, match=says):
        export(tmp_path, wanted, tmp_path / name, **options)
    assert not (tmp_path / name).exists()


def test_a_snapshot_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="does not exist"):
        export(tmp_path, "messages", tmp_path / "o.jsonl")


def test_a_damaged_snapshot_leaves_the_old_file_alone(tmp_path: Path) -> None:
    folder = make_snapshot(tmp_path, [trajectory(0)])
    out = tmp_path / "o.jsonl"
    before = export(tmp_path, "messages", out)
    data = next((folder / "data").iterdir())
    data.write_bytes(data.read_bytes()[:-20])
    with pytest.raises(SnapshotError, match="cannot be read"):
        export(tmp_path, "messages", out)
    data.unlink()
    with pytest.raises(SnapshotError, match="holds 0 rows, the manifest says 1"):
        export(tmp_path, "messages", out)
    assert read(out) == before
    assert not list(tmp_path.glob(".draft-*"))


def test_a_snapshot_without_a_needed_column(tmp_path: Path) -> None:
    make_snapshot(tmp_path, [trajectory(0)], columns=("trajectory_id", "prompt"))
    with pytest.raises(SnapshotError, match="lacks the columns completion, domain"):
        export(tmp_path, "prompt-completion", tmp_path / "o.jsonl")


# From the command line, on a snapshot that a build made


@pytest.mark.slow
def test_a_built_snapshot_from_the_command_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert factory("build", "d_seed", "--recipe", write_recipe(tmp_path), home=home).returncode == 0
    for options in ((), ("--tool-turns",)):
        out = tmp_path / f"messages{len(options)}.jsonl"
        done = factory("export", "d_seed@latest", "--format", "messages", "--out", out, *options, home=home)
        assert done.returncode == 0, done.stderr
        rows = read(out)
        assert f"d_seed@v1: {len(rows)} rows as messages" in done.stdout
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "assistant"]
        code, output = row["messages"][2]["content"], row["messages"][3]["content"]
        assert code.endswith("```")  # where the engine stopped
        left, _, right = code.partition("print(")[2].partition(")")[0].partition(" * ")
        assert output == str(int(left) * int(right))
    wrong = factory("export", "d_seed@v9", "--out", tmp_path / "no.jsonl", home=home)
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (1, False)
    assert "d_seed@v1" in wrong.stderr
