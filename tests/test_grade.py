"""`train grade`: recorded outputs, against an independent computation of a few lines."""

import json
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import pytest

from factory.cli import run_app
from tests import shared_data
from tests.scripted_eval import ask
from train.cli import app


def grade(*arguments: str | Path) -> None:
    run_app(lambda: app(["grade", *map(str, arguments)], standalone_mode=False))


def cells(printed: str) -> list[str]:
    """The values of the only row of the table, split at wide gaps."""
    line = next(line for line in printed.splitlines() if ".jsonl" in line)
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def plain(answer: str | None) -> str:
    """An independent reading of an answer: an exact number where it is one, else the text without blanks."""
    text = (answer or "").replace(" ", "").replace("{,}", "").replace(",\\!", "").replace("\\dfrac", "\\frac")
    try:
        return str(Fraction(text.strip("$").replace(",", "")))
    except (ValueError, ZeroDivisionError):
        return text


def test_recorded_samples_agree_with_an_independent_computation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file's own extracted answers and labels, counted in a few lines.

    One of its 800 labels calls 10000 wrong where the gold is 10{,}000; that one is put right here.
    """
    rows = shared_data.rows("cot_qwen25math_100x8")
    samples: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for row in rows:
        right = row["label"] or plain(row["pred"]) == plain(row["gold"])
        samples[row["problem_id"]].append((plain(row["pred"]), right))
    assert sum(right for group in samples.values() for _, right in group) == 1 + sum(row["label"] for row in rows)
    n = len(samples)
    pass_1 = sum(sum(right for _, right in group) / 8 for group in samples.values()) / n
    pass_8 = sum(any(right for _, right in group) for group in samples.values()) / n
    majority_8 = 0
    for group in samples.values():
        winner = Counter(answer for answer, _ in group if answer).most_common(1)[0][0]
        majority_8 += next(right for answer, right in group if answer == winner)
    grade(shared_data.DATA / "cot_qwen25math_100x8.jsonl.gz", "--label", "qwen", "--home", tmp_path)
    got = cells(capsys.readouterr().out)
    assert got[1:3] == ["100", "8"]
    assert float(got[3]) == pytest.approx(pass_1, abs=5e-5)
    assert (float(got[5]), float(got[6]), got[7]) == (pass_8, majority_8 / n, "0")
    [stored] = ask(tmp_path, "select label, arm, pass_at_1, pass_at_k, majority_at_k from marts.leaderboard")
    assert stored == ("qwen", "recorded", float(got[3]), pass_8, majority_8 / n)


ROWS = [
    {"q": "1 + 1?", "a": "2", "said": "The answer is 2."},
    {"q": "1 + 1?", "a": "2", "said": "It is \\boxed{3}."},
    {"q": "2 + 2?", "a": "4", "said": "```python\nprint(2 + 2)\n```\n```output\n4\n```\nSo 4."},
    {"q": "2 + 2?", "a": "4", "said": "Nothing to say."},
]
MAP = ("--map", "statement=q", "--map", "gold_answer=a", "--map", "text=said")


@pytest.mark.slow
def test_rows_of_one_statement_are_samples_of_one_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    grade(path, *MAP)
    assert cells(capsys.readouterr().out)[1:] == ["2", "2", "0.5", "0.1500 to 0.8500", "1.0", "1.0", "0"]
    assert sorted(tmp_path.iterdir()) == [path]  # nothing is stored
    grade(path, *MAP, "--home", tmp_path / "home")
    grade(path, *MAP, "--home", tmp_path / "home")
    assert "0 new rows" in capsys.readouterr().out
    assert ask(tmp_path / "home", "select label, tool_use_rate, mean_tokens from marts.leaderboard") == [
        ("own", 0.25, None)
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "line 1: no statement.\n  columns: q, a, said\n  next:    --map statement=COLUMN"),
        ((*MAP[:4], "--map", "text=words"), "--map text=COLUMN"),
        (("--map", "txt=said"), "ours are problem_id, statement, gold_answer, text"),
    ],
)
def test_wrong_columns_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(ROWS[0]))
    with pytest.raises(SystemExit) as ended:
        grade(path, *arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
