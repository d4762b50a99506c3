"""What `--on` names: the registry, files, generators, dates, options, hidden tests, and what the hub refuses."""

import base64
import gzip
import json
import os
import pickle
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.problems.contests import contest
from factory.problems.formats import choice
from factory.problems.registry import FORMATS, registry
from factory.settings import load_recipe
from schemas.errors import ProblemsError, UsageError
from schemas.recipe import Recipe
from schemas.vocabulary import Domain, VerifierName
from tests import shared_data
from tests.test_code_tests import lcb
from train.benchmarks import HELD_OUT, load_benchmarks
from train.windows import Benchmark, Window


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("demo", {})


def load(recipe: Recipe, base: Path, *on: str, **window: Any) -> list[Benchmark]:
    return load_benchmarks(on, recipe, Window(**window), base=base)


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_registry_is_whole() -> None:
    known = registry()
    assert {"aime24", "aime25", "amc23", "math500", "gpqa", "livecodebench", "gsm8k", "humaneval", "mbpp"} <= set(known)
    for name, entry in known.items():
        assert entry["path"].count("/") == 1, name
        assert entry["format"] in {"answer", *FORMATS}, name
        assert {"split", "licence", "columns"} <= set(entry), name
        Domain(entry.get("domain", "math"))


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("aime24", {"problem": "1 + 1?", "answer": "2", "id": 60}),
        ("amc23", {"question": "1 + 1?", "answer": 2.0}),
        ("amc23", {"problem": "1 + 1?", "answer": "2"}),
        ("gsm8k", {"question": "1 + 1?", "answer": "It is 2.\n#### 2"}),
        ("math500", {"problem": "1 + 1?", "answer": "2", "solution": "count", "level": 1}),
    ],
)
def test_the_columns_of_the_hub_and_of_local_copies(
    recipe: Recipe, tmp_path: Path, name: str, row: dict[str, Any]
) -> None:
    write(tmp_path / "a.jsonl", row)
    [loaded] = load(recipe, tmp_path, f"{name}=a.jsonl")
    [(item, problem)] = loaded.items.items()
    assert (loaded.name, item, problem.statement, problem.verifier) == (name, "1", "1 + 1?", VerifierName.MATH_VERIFY)


@pytest.mark.parametrize(
    ("name", "file", "n"),
    [
        ("aime24", "bench_aime24", 30), ("aime25", "bench_aime25", 30), ("amc23", "bench_amc23", 40),
        ("math500", "bench_math500", 500), ("gsm8k", "math_gsm8k_test", 1319), ("humaneval", "code_humaneval", 164),
        ("mbpp", "code_mbpp", 974),
    ],
)  # fmt: skip
def test_real_copies_are_read_whole(recipe: Recipe, name: str, file: str, n: int) -> None:
    shared_data.rows(file)
    [loaded] = load(recipe, shared_data.DATA, f"{name}={file}.jsonl.gz")
    assert (len(loaded.items), loaded.n_left_out) == (n, 0)


def test_a_dataset_folder_is_read_as_the_hub_is(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "humaneval").mkdir()
    rows = {"prompt": ["def f():\n    ''"], "test": ["def check(f):\n    assert f() == 1\n"], "entry_point": ["f"]}
    pq.write_table(pa.table(rows), tmp_path / "humaneval" / "test-00000-of-00001.parquet")
    [loaded] = load(recipe, tmp_path, "humaneval=humaneval")
    assert loaded.items["1"].verifier == VerifierName.CODE_TESTS
    assert "check(f)" in str(loaded.items["1"].tests)


def test_own_files_need_a_name_and_maybe_a_map(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl.gz").write_bytes(gzip.compress(b'{"q": "1 + 1?", "a": 2}\n{"q": "2 + 2?", "a": 4}\n'))
    [loaded] = load(recipe, tmp_path, "mine=own.jsonl.gz", mapping={"statement": "q", "gold_answer": "a"}, limit=1)
    assert (loaded.name, [p.gold_answer for p in loaded.items.values()]) == ("mine", ["2"])
    with pytest.raises(ProblemsError, match="--map statement=q --map gold_answer=a"):
        load(recipe, tmp_path, "mine=own.jsonl.gz")
    with pytest.raises(ProblemsError, match=r"columns: a, q"):
        load(recipe, tmp_path, "humaneval=own.jsonl.gz")


def test_held_out_is_what_no_build_trains_on(recipe: Recipe) -> None:
    loaded = load(recipe, Path(), HELD_OUT, limit=3)
    assert [b.name.partition(".")[0] for b in loaded] == [
        "reasoning-gym/products@900011",
        "reasoning-gym/chain_sum@900012",
    ]
    assert [len(b.items) for b in loaded] == [3, 3]
    without = recipe.model_copy(
        update={"decontamination": recipe.decontamination.model_copy(update={"benchmarks": ()})}
    )
    with pytest.raises(UsageError, match="no held-out problems"):
        load(without, Path(), HELD_OUT)


def test_generators_by_task_seed_and_settings(recipe: Recipe) -> None:
    a, b, c = load(
        recipe, Path(),
        "reasoning-gym:products?count=4&seed=5&max_digits=1", "reasoning-gym:products?count=4&seed=5",
        "reasoning-gym:products?count=4&seed=6",
    )  # fmt: skip
    assert len({a.name, b.name, c.name}) == 3
    assert all(len(p.gold_answer or "") <= 3 for p in a.items.values())
    assert {p.verifier for p in a.items.values()} == {VerifierName.REASONING_GYM}


def test_dates_choose_and_an_empty_window_says_what_there_is(recipe: Recipe, tmp_path: Path) -> None:
    dates = ["2023-05-01T00:00:00", "2024-08-01T00:00:00", "2024-09-30T23:00:00", "2025-01-05T00:00:00"]
    rows = [lcb(statement=f"Task {i}.", released_at=None) | {"contest_date": day} for i, day in enumerate(dates)]
    names = {"statement": "question_content", "public": "public_test_cases", "private": "private_test_cases"}
    write(tmp_path / "lcb.jsonl", *({names.get(k, k): v for k, v in row.items()} for row in rows))
    on = "livecodebench=lcb.jsonl"
    [loaded] = load(recipe, tmp_path, on, after=date(2024, 8, 1), before=date(2024, 9, 30))
    assert list(loaded.items) == ["2", "3"]  # both days are inside
    [first] = load(recipe, tmp_path, on, after=date(2024, 8, 1), limit=1)
    assert list(first.items) == ["2"]  # the limit counts what the window lets in
    with pytest.raises(UsageError, match="between 2026-01-01 and today; they span 2023-05-01 to 2025-01-05"):
        load(recipe, tmp_path, on, after=date(2026, 1, 1))


GPQA = {
    "Question": "Which is heaviest?", "Correct Answer": "gold",
    "Incorrect Answer 1": "tin", "Incorrect Answer 2": "zinc", "Incorrect Answer 3": "iron",
}  # fmt: skip


def test_options_are_shuffled_by_content_and_judged_as_letters(recipe: Recipe, tmp_path: Path) -> None:
    write(tmp_path / "gpqa.jsonl", GPQA, *(GPQA | {"Question": f"Question {i}?"} for i in range(60)))
    [loaded] = load(recipe, tmp_path, "gpqa=gpqa.jsonl")
    [again] = load(recipe, tmp_path, "gpqa=gpqa.jsonl")
    assert loaded == again
    golds = [problem.gold_answer for problem in loaded.items.values()]
    assert min(golds.count(letter) for letter in "ABCD") >= 6  # of 61: no place is favoured
    for problem in loaded.items.values():
        assert f"({problem.gold_answer}) gold" in problem.statement
        assert (problem.verifier, problem.domain) == (VerifierName.CHOICE, Domain.SCIENCE)


@pytest.mark.parametrize(
    ("answer", "is_correct"),
    [
        ("B", True), ("(B)", True), ("b", True), ("B.", True), (r"\text{B}", True), ("[B]", True), ("(B) 42 m/s", True),
        ("B: 42", True), ("A", False), ("(C)", False), ("B prime", False), ("42", False), ("Both", False), ("", False),
    ],
)  # fmt: skip
def test_a_letter_is_judged(answer: str, is_correct: bool) -> None:
    from quality.verifiers import judge

    assert judge(VerifierName.CHOICE, "B", answer, "{}")[0] is is_correct


def packed(value: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def test_hidden_tests_are_unpacked() -> None:
    hidden = [{"input": "5\n", "output": "6\n", "testtype": "stdin"}]
    public = json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}])
    for private in (json.dumps(hidden), packed(json.dumps(hidden))):
        made = contest(lcb(public=public, private=private, starter_code="", metadata="{}"), "lcb", "unknown")
        assert json.loads(made.tests or "") == [
            {"output": "2\n", "input": "1\n"}, {"output": "6\n", "input": "5\n", "hidden": True},
        ]  # fmt: skip


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made-by-a-pickle",)


def test_a_pickle_that_calls_something_is_a_bad_row(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"statement": "question_content", "public": "public_test_cases", "private": "private_test_cases"}
    rows = [lcb(), lcb(statement="Worse.", private=packed(Hostile()))]
    write(tmp_path / "lcb.jsonl", *({names.get(k, k): v for k, v in row.items()} for row in rows))
    [loaded] = load(recipe, tmp_path, "livecodebench=lcb.jsonl")
    assert (list(loaded.items), loaded.n_left_out) == (["1"], 1)
    assert not (tmp_path / "made-by-a-pickle").exists()
    write(tmp_path / "lcb.jsonl", {names.get(k, k): v for k, v in rows[1].items()})
    with pytest.raises(ProblemsError, match=r"(?s)no usable problem; 1 rows were left out.*names posix.mkdir"):
        load(recipe, tmp_path, "livecodebench=lcb.jsonl")


def test_a_choice_keeps_its_order_wherever_it_stands() -> None:
    row = {"statement": "?", "gold_answer": "a", "wrong_1": "b", "wrong_2": "c", "wrong_3": "d"}
    assert choice(row, "x", "y").problem_id == choice(dict(reversed(row.items())), "z", "y").problem_id


class Refusing(BaseHTTPRequestHandler):
    """A hub where GPQA is gated."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to dataset Idavidrein/gpqa is restricted.")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@pytest.fixture
def hub_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_gated_benchmark_says_what_to_do(tmp_path: Path, hub_url: str) -> None:
    environment = {
        **os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub_url, "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    command = [sys.executable, "-m", "train.cli", "eval", "--on", "gpqa", "--home", str(tmp_path / "home")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "gpqa (Idavidrein/gpqa): the hub wants a login" in done.stderr
    assert "hf auth login" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()
