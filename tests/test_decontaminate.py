"""`factory decontaminate`: evidence, the report, its file, bad input; and what a build makes of the same rule."""

import json
import subprocess
from pathlib import Path

import pytest

from factory.problems.protected import load_items
from schemas.errors import ProblemsError, UsageError
from schemas.recipe import Decontamination, Source
from schemas.vocabulary import SourceKind
from tests.scripted_build import factory, write_recipe

FARM = "A farmer has 17 sheep and 23 goats in 4 fields, and sells half of the sheep on Monday to his neighbour."
REPHRASED = "On Monday a farmer, owner of 23 goats and 17 sheep in four fields, sells half of his sheep to a neighbour."
OTHER = "multiplication: 12 * 13. Give it."
STATEMENTS = (FARM, FARM.replace("neighbour", "neighbor"), OTHER, REPHRASED)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rows = [{"statement": text, "gold_answer": str(i)} for i, text in enumerate(STATEMENTS)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "exam.jsonl").write_text(json.dumps({"question": FARM}) + "\n" + json.dumps({"question": ""}) + "\n")
    return tmp_path


def decontaminate(files: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    against = f"exam={files / 'exam.jsonl'}?statement=question"
    return factory(
        "decontaminate", "--problems", files / "problems.jsonl", "--against", against, *more, home=files / "home"
    )


def test_evidence_is_shown_and_written(files: Path) -> None:
    done = decontaminate(files, "--report", "--out", files / "evidence.jsonl")
    assert done.returncode == 0, done.stderr
    assert "2 of 4 problems repeat an item of a benchmark" in done.stdout
    assert "What each method and threshold would remove" in done.stdout
    assert "ngram_lcs, stock phrases counted" in done.stdout
    rows = [json.loads(line) for line in (files / "evidence.jsonl").read_text().splitlines()]
    assert {(row["statement"], row["method"]) for row in rows} == {
        (text, method) for text in STATEMENTS[:2] for method in ("near_exact", "ngram_lcs")
    } | {(FARM, "exact")}
    assert {(row["benchmark"], row["item"]) for row in rows} == {("exam", "1")}


def test_mistakes_are_explained(files: Path) -> None:
    for more, said in (
        (("--against", "aimee24"), "Did you mean 'aime24'"),
        (("--against", f"exam={files / 'exam.jsonl'}"), "?statement=COLUMN"),
        (("--against", "aime24?colour=blue"), "unknown setting colour"),
        (("--out", files / "evidence.txt"), "the ending says"),
        (("--set", "decontamination.lcs_ratio=7"), "decontamination.lcs_ratio"),
    ):
        done = decontaminate(files, *more)
        assert done.returncode == 2, more
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    done = factory(
        "decontaminate", "--problems", files / "problems.jsonl", "--set", "decontamination.benchmarks=[]", home=files
    )
    assert "names no benchmarks to compare with" in done.stderr


def test_items_need_no_answers(files: Path) -> None:
    source = Source(kind=SourceKind.FILE, path="exam.jsonl", map={"statement": "question"})
    for benchmark in (source, "mine=exam.jsonl?statement=question"):
        [item] = load_items(Decontamination(benchmarks=(benchmark,)), base=files)
        assert (item.item, item.text) == ("1", FARM)
    (files / "aime.jsonl").write_text(json.dumps({"problem": FARM}))
    [item] = load_items(Decontamination(benchmarks=("aime24=aime.jsonl",)), base=files)
    assert (item.benchmark, item.text) == ("aime24", FARM)
    row = {"prompt": "def f():\n    '''One.'''\n", "test": "def check(f): ...", "entry_point": "f"}
    (files / "he.jsonl").write_text(json.dumps(row))
    [item] = load_items(Decontamination(benchmarks=("humaneval=he.jsonl",)), base=files)
    assert item.text == row["prompt"].strip(), "without the sentences that the format adds"
    with pytest.raises(ProblemsError, match="holds no text"):
        load_items(Decontamination(benchmarks=("aime24=empty.jsonl",)), base=_with_empty(files))
    with pytest.raises(UsageError, match="no benchmark is called"):
        load_items(Decontamination(benchmarks=("nothing",)), base=files)


def test_items_of_a_window_and_without_the_words_of_their_format(files: Path) -> None:
    def row(day: str, starter: str) -> dict[str, str]:
        test = json.dumps([{"input": "1", "output": "2", "testtype": "stdin"}])
        told = {"question_content": f"Add one, {day}.", "public_test_cases": test, "private_test_cases": "[]"}
        return told | {"metadata": "{}", "starter_code": starter, "contest_date": f"{day}T00:00:00"}

    rows = [row("2024-06-30", ""), row("2024-07-01", ""), row("2024-08-01", "class Solution:\n    ...")]
    (files / "lcb.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    late = "livecodebench=lcb.jsonl?released_after=2024-07-01"
    items = load_items(Decontamination(benchmarks=(late,)), base=files)
    assert [(i.item, i.text.split(".")[0]) for i in items] == [
        ("2", "Add one, 2024-07-01"),
        ("3", "Add one, 2024-08-01"),
    ]
    assert items[0].text == "Add one, 2024-07-01."
    assert items[1].text.split() == ["Add", "one,", "2024-08-01.", "class", "Solution:", "..."]
    (files / "mbpp.jsonl").write_text(json.dumps({"text": "Add.", "test_list": ["assert add(1, 1) == 2"]}))
    [item] = load_items(Decontamination(benchmarks=("mbpp=mbpp.jsonl",)), base=files)
    assert item.text.split() == ["Add.", "assert", "add(1,", "1)", "==", "2"]
    with pytest.raises(UsageError, match="write a date as"):
        load_items(Decontamination(benchmarks=("livecodebench=lcb.jsonl?released_after=July",)), base=files)


def _with_empty(files: Path) -> Path:
    (files / "empty.jsonl").write_text(json.dumps({"problem": " "}))
    return files


@pytest.mark.slow
def test_a_build_leaves_rephrasings_out_with_the_sentence_model(files: Path) -> None:
    benchmarks = f'decontamination.benchmarks=["exam={files / "exam.jsonl"}?statement=question"]'
    command = (
        "build", "d_seed", "--recipe", write_recipe(files), "--problems", files / "problems.jsonl",
        "--set", benchmarks, "--set", "decontamination.embedding_model=embedded",
    )  # fmt: skip
    done = factory(*command, home=files / "home")
    assert "contaminated 3" in done.stderr, done.stderr
    query = "select method, count(*) from derived.contamination group by 1 order by 1"
    told = factory("sql", "--csv", query, home=files / "home")
    assert told.stdout.splitlines()[1:] == ["embedding,3", "exact,1", "near_exact,2", "ngram_lcs,2"]
    none = factory("sql", "--csv", "select benchmark, method, n_problems from marts.contamination", home=files / "home")
    assert "exam,embedding,3" in none.stdout
