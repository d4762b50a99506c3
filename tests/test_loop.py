"""`make loop`, small: killed on its way, it goes on to a START that calls Python, and then has nothing left to do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from tests.readme import ROOT
from warehouse.snapshots import read_manifest


def loop(folder: Path) -> subprocess.Popen[str]:
    """The target, with this environment in place of `.venv` and a home of its own."""
    sizes = ["LIMIT=24", "HELD_OUT=4", f"LOOP={folder}", f"BIN={Path(sys.executable).parent}"]
    return subprocess.Popen(
        ["make", "-o", ".venv/.installed", "loop", *sizes],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    printed, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, printed[-3000:]
    return printed


@pytest.mark.slow
def test_the_loop_closes_and_goes_on_after_kills(tmp_path: Path) -> None:
    for seconds in (40, 75):
        process = loop(tmp_path)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    printed = finish(loop(tmp_path))
    assert "difference from base:plain" in printed
    for name in ("d_seed", "d_start", "d_rft"):
        assert read_manifest(tmp_path / "snapshots" / name / "v1").n_rows > 0
    assert read_manifest(tmp_path / "snapshots" / "d_start" / "v1").engine.startswith("start0@")
    with duckdb.connect(str(tmp_path / "factory.duckdb"), read_only=True) as con:
        board = {
            (label, arm, n_rounds): (n, right, use)
            for label, arm, n_rounds, n, right, use in con.sql(
                "select label, arm, n_rounds, sum(n_problems), avg(pass_at_1), avg(tool_use_rate) "
                "from marts.leaderboard group by all"
            ).fetchall()
        }
    assert {board[key][0] for key in board} == {16}
    assert board["base", "plain", 0][2] == 0
    for label in ("START-0", "START"):  # 24 problems teach a little: the habit, and more right answers than none
        assert board[label, "tools", 0][2] > 0.5
        assert board[label, "tools", 0][1] > board["base", "plain", 0][1]
    assert (tmp_path / "plots" / "scaling.png").stat().st_size > 10_000

    started = time.monotonic()
    again = finish(loop(tmp_path))
    assert time.monotonic() - started < 180
    assert again.count("unchanged, ") == 6  # three snapshots, three models
    assert again.count("\n0 newly generated") == 4  # evaluations
