"""Problems through `datasets`: local dataset folders, and a hub on loopback. In a process of its own, since
`datasets` and `huggingface_hub` read their environment once, when they are imported."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CHILD = """
import json, sys
from pathlib import Path
from factory.problems import load_source
from schemas.errors import ProblemsError
from schemas.recipe import Source
answers = []
for settings in json.loads(sys.argv[1]):
    try:
        loaded = load_source(Source(kind="hub", **settings), base=Path.cwd())
        good = [[p.statement, p.gold_answer, p.source, p.split] for p in loaded.problems]
        answers.append([good, [[r["line"], r["reason"]] for r in loaded.rejected]])
    except ProblemsError as error:
        answers.append(str(error))
print("ANSWERS" + json.dumps(answers))
"""


class Hub(BaseHTTPRequestHandler):
    """Knows one gated dataset, and no other."""

    def do_GET(self) -> None:
        gated = "org/gated" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(folder: Path, *settings: dict[str, Any], **env: str) -> list[Any]:
    """What load_source said to each of the settings."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(settings)],
        cwd=folder,
        env={**os.environ, "HF_HOME": str(folder / "hf"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "ANSWERS" in done.stdout, done.stderr
    answers: list[Any] = json.loads(done.stdout.split("ANSWERS")[1])
    return answers


def test_local_dataset_folders(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "train.jsonl").write_text('{"statement": "a", "gold_answer": 1}\n')
    (tmp_path / "lines" / "test.jsonl").write_text('{"statement": "b", "gold_answer": 2}\n')
    (tmp_path / "parquet").mkdir()
    rows = {"q": ["x", "y", "", "x"], "n": [1, 2, 3, 1]}
    pq.write_table(pa.table(rows), tmp_path / "parquet" / "train-00000-of-00001.parquet")
    theirs = {"statement": "q", "gold_answer": "n"}
    answers = ask(
        tmp_path,
        {"path": "lines", "split": "test"},
        {"path": "parquet", "map": theirs},
        {"path": "parquet", "map": theirs, "split": "test"},
        {"path": "parquet", "map": theirs, "config": "other"},
        {"path": "parquet"},
        {"path": "./nowhere"},
        {"path": "lines/train.jsonl"},
        {"path": "org/name"},
        HF_HUB_OFFLINE="1",
    )
    assert answers[0] == [[["b", "2", "lines", "test"]], []]
    assert answers[1] == [
        [["x", "1", "parquet", "train"], ["y", "2", "parquet", "train"]],
        [[3, "empty_statement"], [4, "duplicate"]],
    ]
    for answer, words in zip(
        answers[2:],
        [
            """Unknown split "test". Should be one of ['train']""",
            "'other' not found. Available: ['default']",
            "--map statement=q --map gold_answer=COLUMN",
            "no such folder, and no hub id",
            "this is a file",
            "org/name: the hub cannot be reached",
        ],
        strict=True,
    ):
        assert words in answer
        assert "nothing was written" in answer


def test_nested_columns_of_code_contests(tmp_path: Path) -> None:
    row = {
        "description": "Add one.", "public_tests": {"input": ["1\n"], "output": ["2\n"]},
        "private_tests": {"input": ["5"], "output": ["6"]}, "generated_tests": {"input": [], "output": []},
        "time_limit": {"seconds": 2, "nanos": 0}, "cf_rating": 0, "input_file": "",
        "solutions": {"language": [2, 3], "solution": ["int main() {}", "print(int(input()) + 1)"]},
    }  # fmt: skip
    (tmp_path / "contests").mkdir()
    table = pa.Table.from_pylist([row, {**row, "input_file": "input.txt"}])
    pq.write_table(table, tmp_path / "contests" / "train-00000-of-00001.parquet")
    settings = {"path": "contests", "format": "code_contests", "domain": "code"}
    (((problem,), rejected),) = ask(tmp_path, settings, HF_HUB_OFFLINE="1")
    assert problem[0].startswith("Add one.")
    assert problem[1:] == ["print(int(input()) + 1)", "contests", "train"]
    assert rejected == [[2, "bad_value"]]


def test_what_the_hub_refuses_is_explained(tmp_path: Path, hub_url: str) -> None:
    gated, missing = ask(tmp_path, {"path": "org/gated"}, {"path": "org/none"}, HF_ENDPOINT=hub_url)
    assert "org/gated: the hub wants a login" in gated
    assert "org/none: the hub has no such dataset" in missing
