"""Whole imports: from a file somebody else wrote to a snapshot, as a user gives the command."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from factory.imports.files import MAPPABLE, Survey, TrajectoryFiles
from factory.overrides import pair
from schemas.errors import ProblemsError, UsageError
from schemas.recipe import Imported, Problems, Source
from schemas.tables import SNAPSHOTS
from schemas.vocabulary import SourceKind
from tests.readme import ROOT
from tests.scripted_build import factory, write_recipe
from tests.shared_data import DATA
from warehouse.snapshots import read_manifest

MAP = ("text=solution", "statement=question", "gold_answer=gold", "model=by", "label=ok")
QUESTIONS = [(f"What is {a} * {a + 3}?", str(a * (a + 3))) for a in range(11, 17)]
STEPS = (
    "gold check",
    "decontamination",
    "problem duplicates",
    "rollout",
    "verdict",
    "tool use",
    "repetition",
    "repair",
    "duplicates",
    "selection",
)


def written(code: str, output: str, end: str, opening: str = "Python will say.") -> str:
    return f"{opening}\n```python\n{code}\n```\n```output\n{output}\n```\n{end}"


def rows() -> list[dict[str, Any]]:
    """Per question: right, right by another model in nearly the same words, wrong, without code, failing and mended."""
    made = []
    for i, (question, gold) in enumerate(QUESTIONS):
        product = question.removeprefix("What is ").rstrip("?")
        right = written(f"print({product})", gold, f"So the answer to question number {i} is \\boxed{{{gold}}}.")
        long = " ".join(f"word{i}x{j}" for j in range(60))
        texts = [
            (right, "one", True),
            (right, "two", True),
            (written("print(1)", "1", "It is \\boxed{1}."), "one", True),  # the file is wrong about it
            (f"By hand, it is \\boxed{{{gold}}}.", "one", True),
            (
                f"{long}\n" + written("print(y)", "NameError: name 'y' is not defined", f"\\boxed{{{gold}}}"),
                "one",
                None,
            ),
            ("Cut off:\n```python\nprint(1", "two", False),
        ]
        made += [{"question": question, "gold": gold, "solution": t, "by": m, "ok": ok} for t, m, ok in texts]
    return made


def write(path: Path, given: list[Any]) -> Path:
    lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in given)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def imports(folder: Path, file: Path, *more: str, mapping: tuple[str, ...] = MAP) -> Any:
    recipe = folder / "test.toml"
    if not recipe.exists():
        write_recipe(folder, extra="[d_import.selection]\nmin_tool_success = 1\n")
    options = [word for pair in mapping for word in ("--map", pair)]
    command: list[str | Path] = ["build", "d_import", "--recipe", recipe, "--trajectories", file, *options, *more]
    return factory(*command, home=folder / "home")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("d_import")
    done = imports(folder, write(folder / "foreign.jsonl.gz", rows()))
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_rows_of_the_snapshot(built: tuple[Path, Any]) -> None:
    table = pq.read_table(built[0] / "home" / "snapshots" / "d_import" / "v1" / "data")
    assert table.column_names == [column.name for column in SNAPSHOTS["d_import"].columns]
    given = {row["solution"] for row in rows()}
    got = table.to_pylist()
    assert len(got) == len(QUESTIONS)
    for row in got:
        assert row["completion"] == "".join(s["text"] for s in row["segments"])
        assert row["completion"] in given
        assert [s["origin"] for s in row["segments"]] == ["model", "tool", "model"]
        assert all(s["token_ids"] is None and s["n_tokens"] == len(s["text"].encode()) for s in row["segments"])
        assert row["tool_calls"][0]["stdout"].strip() == row["gold_answer"] == row["answer_text"]
        assert (row["seed"], row["sandbox"], row["sampling"]) == (None, None, "{}")
        assert row["engine"] in {"one@unknown", "two@unknown"}
        assert (row["n_samples"], row["n_correct"]) == (6, 4)
        assert row["prompt"].startswith("<system>\nYou can run Python.\n<user>\nWhat is ")
        assert row["source"] == "foreign.jsonl.gz"


def test_the_funnel_balances_and_says_where_each_row_went(built: tuple[Path, Any]) -> None:
    n = len(QUESTIONS)
    with duckdb.connect(str(built[0] / "home" / "factory.duckdb"), read_only=True) as con:
        funnel = con.sql("select step, rows_in, rows_kept, rows_dropped from marts.funnel order by step_no").fetchall()
        reasons = dict(con.sql("select drop_reason, count(*) from marts.trajectories_scored group by 1").fetchall())
        claims = con.sql("select claim, verdict, n_rows from marts.import_claims").fetchall()
        calls = con.sql(
            "select c.status, c.error_type, count(*) as n from raw.trajectories, unnest(tool_calls) u(c) "
            "group by all order by n"
        ).fetchall()
        origins = con.sql("select distinct arm, stop_reason, oddities from raw.imported_rows natural join "
                          "raw.trajectories where line in (1, 4, 6) order by all").fetchall()  # fmt: skip
    assert tuple(step for step, *_ in funnel) == STEPS
    assert all(n_in == kept + dropped for _, n_in, kept, dropped in funnel)
    assert {step: (n_in, kept) for step, n_in, kept, _ in funnel}["rollout"] == (6 * n, 6 * n)
    assert reasons == {"wrong_answer": 2 * n, "no_tool_success": 2 * n, "duplicate": n, None: n}
    assert sorted(claims, key=str) == [
        (False, "wrong", n), (None, "correct", n), (True, "correct", 3 * n), (True, "wrong", n)
    ]  # fmt: skip
    assert calls == [("error", "NameError", n), ("ok", None, 3 * n)]
    assert origins == [
        ("baseline", "end", []), ("baseline", "length", ["last block is not closed"]), ("self", "end", [])
    ]  # fmt: skip


def test_what_was_not_recognised_is_said(built: tuple[Path, Any]) -> None:
    assert (
        f"not recognised in {len(QUESTIONS)} rows, left in the model's text: last block is not closed"
        in built[1].stderr
    )
    assert "What the files say, and what we say" in built[1].stderr


@pytest.mark.slow
def test_an_import_is_named_after_its_content(built: tuple[Path, Any]) -> None:
    folder = built[0]
    named_otherwise = [{**dict(reversed(row.items())), "more": 1} for row in rows()]
    again = imports(folder, write(folder / "copy.jsonl", named_otherwise))
    assert "unchanged, d_import@v1" in again.stdout
    assert "0 newly generated" in again.stdout


@pytest.mark.slow
def test_what_a_killed_import_has_stored_is_not_read_again(built: tuple[Path, Any], tmp_path: Path) -> None:
    """A shard that is missing is what a kill between two shards leaves."""
    file = write(tmp_path / "foreign.jsonl.gz", rows() * 40)
    done = imports(tmp_path, file)
    assert "import: 1,440 trajectories" in done.stderr
    want = read_manifest(tmp_path / "home" / "snapshots" / "d_import" / "v1").content_hash
    shards = sorted((tmp_path / "home" / "raw" / "trajectories").glob("*.parquet"))
    largest = max(shards, key=lambda path: pq.read_metadata(path).num_rows)
    n = pq.read_metadata(largest).num_rows
    assert n < 1440
    largest.unlink()
    again = imports(tmp_path, file)
    assert f"import: {n:,} trajectories" in again.stderr
    assert f"unchanged, d_import@v1: {len(QUESTIONS)} rows, {n:,} newly generated" in again.stdout
    assert read_manifest(tmp_path / "home" / "snapshots" / "d_import" / "v1").content_hash == want


def survey(file: Path, mapping: dict[str, str], **settings: Any) -> Survey:
    source = Source(kind=SourceKind.FILE, path=str(file), map=mapping)
    return TrajectoryFiles(Problems(sources=(source,), **settings), Imported(), file.parent).survey()


GOOD = rows()[0]
BAD: list[Any] = [
    GOOD, "{broken", {**GOOD, "solution": " "}, {**GOOD, "gold": None}, {**GOOD, "question": ""},
    {**GOOD, "solution": 5}, {"question": "q", "gold": "1"}, {**GOOD, "solution": "half \ud800"},
]  # fmt: skip
REASONS = ("broken_row", "empty_text", "empty_gold", "empty_statement", "bad_value", "missing_column", "not_utf8")


def test_all_bad_rows_are_reported_at_once(tmp_path: Path) -> None:
    file, mapping = write(tmp_path / "bad.jsonl", BAD), dict(pair(text) for text in MAP)
    with pytest.raises(ProblemsError) as caught:
        survey(file, mapping)
    for line, reason in enumerate(REASONS, 2):
        assert f"line {line}: {reason}" in str(caught.value)
    assert "goes on with the 1 good trajectory" in str(caught.value)
    found = survey(file, mapping, skip_bad_rows=True)
    assert [(row["line"], row["reason"]) for row in found.rejected] == list(enumerate(REASONS, 2))
    assert found.n_rows == 1


@pytest.mark.slow
def test_bad_rows_can_be_set_aside(tmp_path: Path) -> None:
    file = write(tmp_path / "bad.jsonl", BAD)
    refused = imports(tmp_path, file)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "home").exists()
    assert imports(tmp_path, file, "--skip-bad-rows").returncode == 0
    with duckdb.connect(str(tmp_path / "home" / "factory.duckdb"), read_only=True) as con:
        assert con.sql("select count(*) from raw.rejected_problems").fetchall() == [(len(REASONS),)]


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"text": "answer", "statement": "question", "gold_answer": "gold"}, "--map text=solution"),
        ({"txt": "solution"}, "Did you mean 'text'?"),
        ({"text": "solution", "messages": "solution"}, "map either text or messages"),
        ({"messages": "solution", "gold_answer": "gold"}, "no JSON"),
    ],
)
def test_a_wrong_mapping_is_explained(tmp_path: Path, mapping: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        survey(write(tmp_path / "foreign.jsonl", rows()[:2]), mapping)
    assert says in str(caught.value)


def test_the_manual_names_every_column_that_can_be_mapped() -> None:
    table = [line for line in (ROOT / "docs" / "import.md").read_text().splitlines() if line.startswith("| `")]
    assert re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table)) == list(MAPPABLE)


def test_a_limit_is_one_of_problems_and_takes_all_their_rows(tmp_path: Path) -> None:
    mixed = rows()[::2] + rows()[1::2]
    found = survey(write(tmp_path / "foreign.jsonl", mixed), dict(pair(text) for text in MAP), limit=2)
    assert (len(found.problems), found.n_rows) == (2, 12)


def test_golds_that_contradict_each_other_are_two_problems(tmp_path: Path) -> None:
    found = survey(write(tmp_path / "foreign.jsonl", [GOOD, {**GOOD, "gold": "5"}]), dict(pair(text) for text in MAP))
    assert (len(found.problems), found.n_statements) == (2, 1)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--problems", "x.jsonl"], "--trajectories is for d_import"),
        (["--set", 'd_import.selection.quota_source={ "a" = 1 }'], "sources: foreign.jsonl"),
    ],
)
def test_a_users_mistake_is_explained(tmp_path: Path, more: list[str], says: str) -> None:
    done = imports(tmp_path, write(tmp_path / "foreign.jsonl", rows()[:2]), *more)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_snapshot_loads_and_exports(built: tuple[Path, Any], tmp_path: Path) -> None:
    import datasets

    folder = built[0] / "home" / "snapshots" / "d_import" / "v1"
    data = datasets.load_dataset("parquet", data_files=str(folder / "data" / "*.parquet"), split="train")
    assert len(data) == len(QUESTIONS)
    assert data[0]["messages"][-1]["role"] == "assistant"
    for kind in ("messages", "prompt-completion", "sharegpt", "grpo"):
        done = factory(
            "export", "d_import", "--format", kind, "--out", tmp_path / f"{kind}.jsonl", home=built[0] / "home"
        )
        assert done.returncode == 0, done.stderr
        assert len((tmp_path / f"{kind}.jsonl").read_text().splitlines()) == len(QUESTIONS)


@pytest.mark.slow
def test_real_trajectories_go_through(tmp_path: Path) -> None:
    file = DATA / "tir_mathcoder_gsm8k_even.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file.name} is not here: it is real data, kept outside the repository")
    mapping = ("text=text", "statement=problem", "gold_answer=gold", "model=model", "label=label")
    more = ("--limit", "60", "--set", "d_import.selection.quota_math=1000")
    held = imports(tmp_path, file, *more, mapping=mapping)
    assert held.returncode == 1  # another sandbox printed one of these outputs otherwise, and the gate says so
    assert "audit 'outputs_reproduce': 1 bad" in held.stderr
    done = imports(tmp_path, file, *more, "--set", "gate.replay=false", mapping=mapping)
    assert done.returncode == 0, done.stderr
    with duckdb.connect(str(tmp_path / "home" / "factory.duckdb"), read_only=True) as con:
        n_rows, n_agreed = con.sql(
            "select count(*), count(*) filter (where i.claim = v.is_correct) from raw.imported_rows as i "
            "join derived.verdicts as v on v.trajectory_id = i.trajectory_id"
        ).fetchall()[0]
        funnel = con.sql("select rows_in, rows_kept, rows_dropped from marts.funnel").fetchall()
    assert n_rows > 400
    assert n_agreed > 0.99 * n_rows
    assert all(n_in == kept + dropped for n_in, kept, dropped in funnel)
