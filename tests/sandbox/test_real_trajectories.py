"""What real models' code printed elsewhere, it prints here."""

import asyncio
from collections import Counter

import pytest

from factory.sandbox.pool import Pool
from schemas.protocols import ExecResult
from schemas.vocabulary import ExecStatus
from tests.sandbox.real_data import (
    NOTEBOOKS,
    PROGRAMS,
    REPRODUCED,
    Match,
    Trajectory,
    notebook_match,
    program_match,
    replay,
    share,
    trajectories,
)

pytestmark = pytest.mark.asyncio(loop_scope="package")
LEAST = 0.99


async def replay_all(sandbox: Pool, chosen: list[Trajectory]) -> tuple[Counter[Match], list[str]]:
    """Run them all. Counts recorded outputs, of every row; says of each that is not reproduced where it is and why."""
    matches = await _in_order(sandbox, chosen)
    counts: Counter[Match] = Counter()
    rest = []
    for trajectory, found in zip(chosen, matches, strict=True):
        for number, match in enumerate(found, start=1):
            counts[match] += len(trajectory.row_ids)
            if match not in REPRODUCED:
                rest += [f"{row_id} block {number}: {match}" for row_id in trajectory.row_ids]
    return counts, rest


async def _in_order(sandbox: Pool, chosen: list[Trajectory]) -> list[list[Match]]:
    few = asyncio.Semaphore(4)

    async def one(trajectory: Trajectory) -> list[Match]:
        async with few:
            return await replay(sandbox, trajectory)

    return await asyncio.gather(*(one(trajectory) for trajectory in chosen))


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("tir_mathcoder_gsm8k_even", 60),
        ("tir_mathcoder_math_l7b_correct", 25),
        ("tir_tora_gsm8k", 60),
        ("tir_tora_corpus_examples", 5),
    ],
)
async def test_a_sample_is_reproduced(sandbox: Pool, name: str, every: int) -> None:
    counts, rest = await replay_all(sandbox, trajectories(name)[::every])
    assert share(counts) >= LEAST, rest


@pytest.mark.slow
@pytest.mark.parametrize("names", [NOTEBOOKS, PROGRAMS], ids=["notebooks", "programs"])
async def test_recorded_outputs_are_reproduced(sandbox: Pool, names: tuple[str, ...]) -> None:
    total: Counter[Match] = Counter()
    for name in names:
        chosen = trajectories(name)
        counts, rest = await replay_all(sandbox, chosen)
        total += counts
        print(f"\n{name}: {len(chosen):,} distinct trajectories, {counts.total():,} recorded outputs")
        print(f"  {share(counts):.4f} of the deterministic ones are reproduced")
        print("\n".join(f"  {n:6,}  {match}" for match, n in counts.most_common()))
        print("\n".join(f"    {line}" for line in rest))
    assert share(total) >= LEAST


# ---- the comparison itself, on texts of our own


def ended(status: ExecStatus, stdout: str = "", stderr: str = "") -> ExecResult:
    return ExecResult(status, 0 if status is ExecStatus.OK else 1, stdout, stderr, False, 1.0, 1.0, 1)


DASHES = "-" * 75
TRACE = "Traceback (most recent call last):\n"


@pytest.mark.parametrize(
    ("recorded", "stdout", "stderr", "match"),
    [
        ("1.0", "1.0\n", "", Match.SAME),
        ("<empty_execution>", "", "", Match.SAME),
        ("[1,\n 2]", "[1, 2]\n", "", Match.LAYOUT),
        ("/tmp/x.py:1: UserWarning: old\n  f()\n3", "3\n", "", Match.SAME),
        ("4", "5\n", "", Match.OTHER),
        ("4", "", f"{TRACE}ValueError: 4\n", Match.OTHER),
        ("25", "np.int64(25)\n", "", Match.NUMPY),
        ("(2.0000000000000004, 1)", "(np.float64(2.0), 1)\n", "", Match.DIGITS),
        ("(2.0001, 1)", "(2.0, 1)\n", "", Match.OTHER),
        ("{1, 2}", "{2, 1}\n", "", Match.SETS),
        ("[1,\n 2,\n ...]", "[1, 2, 3]\n", "", Match.ABBREVIATED),
        (f"a\n{DASHES}\nValueError  {TRACE} Cell\n ValueError: no", "a\n", f"{TRACE}x.ValueError: no\n", Match.SAME),
        (f"b\n{DASHES}\nValueError  {TRACE} Cell\n ValueError: no", "a\n", f"{TRACE}ValueError: no\n", Match.OTHER),
        (f"{DASHES}\nValueError  {TRACE} Cell\n ValueError: no", "", "ValueError: never\n", Match.WORDING),
        (f"{DASHES}\nValueError  {TRACE} Cell\n ValueError: no", "", "TypeError: no\n", Match.OTHER),
        (f"{DASHES}\nValueError  {TRACE} Cell\n ValueError: no", "1\n", "", Match.OTHER),
        (f"{DASHES}\n ImportError: x (/home/a)", "", "ImportError: x (/usr/b)\n", Match.SAME),
        ("  Cell In[1], line 1\n    a b\nSyntaxError: no", "", "  File\nSyntaxError: no\n", Match.SAME),
    ],
)
async def test_a_notebook_s_record_is_compared(recorded: str, stdout: str, stderr: str, match: Match) -> None:
    result = ended(ExecStatus.ERROR if stderr else ExecStatus.OK, stdout, stderr)
    assert notebook_match(recorded, result, uses_sympy=False) is match


@pytest.mark.parametrize(
    ("recorded", "stdout", "stderr", "match"),
    [
        ("2\n", "1\n2\n", "", Match.SAME),
        ("1\n", "1\n2\n", "", Match.OTHER),
        (f"{'a' * 50}...{'b' * 50}", f"{'a' * 60}{'b' * 60}\n", "", Match.SAME),
        ("IndexError: list index out of range", "", "", Match.SAME),
        ("NameError: name 'x' is not defined", "1\n", f"{TRACE}NameError: name 'x' is not defined\n", Match.SAME),
        ("NameError: x", "1\n", f"{TRACE}NameError: name 'x' is not defined\n", Match.WORDING),
    ],
)
async def test_a_program_s_record_is_compared(recorded: str, stdout: str, stderr: str, match: Match) -> None:
    assert program_match(recorded, ended(ExecStatus.ERROR if stderr else ExecStatus.OK, stdout, stderr)) is match
