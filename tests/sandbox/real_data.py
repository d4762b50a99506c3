"""Trajectories that real models wrote, run again: how a record was made, and what the same code gives here.

Two recorders, as their published sources have it:

* a notebook (MathCoder): the blocks of a trajectory run in one Jupyter kernel. Recorded is what was printed, then the
  last expression or the traceback with IPython's frames. After ten silent seconds the record says "Timeout waiting for
  reply"; the kernel goes on, so the outputs of all later blocks come one block late, or later still.
* programs (ToRA): every block runs alone. Recorded is the last line printed; where there is none, the last line of the
  traceback. More than 100 characters are cut to the first and last 50.

An output is deterministic unless a clock decided it: only records of a time limit, and what follows one in a notebook,
are left out. Whatever depends on versions (this is not the Python, numpy and sympy of 2023) counts as not reproduced,
under a reason of its own.

Not covered: tracebacks are compared by what was printed before them, the exception and its message, not by frames.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import isclose

from schemas.protocols import ExecResult, Limits, Sandbox
from schemas.vocabulary import ExecStatus
from tests.shared_data import rows
from warehouse.fences import Kind, split_fences

NOTEBOOKS = ("tir_mathcoder_gsm8k_even", "tir_mathcoder_math_l7b_correct")
PROGRAMS = ("tir_tora_gsm8k", "tir_tora_corpus_examples")
LIMITS = Limits(wall_s=60, cpu_s=10)
"""The recorders gave ten seconds, too. Of processor time here, so that a busy machine is no reason to fail."""
_RECORDED_CLOCK = re.compile(r"Timeout waiting for reply|Timed Out|Timeout Error")


class Match(StrEnum):
    """What became of one recorded output."""

    SAME = "same"
    """Text and error are those of the record, but for blanks at the ends of a program's output."""
    LAYOUT = "same but for line breaks: a notebook breaks a long container into lines"
    CLOCK = "a time limit of the recorder decided it"
    WORDING = "the same exception, which another version words differently"
    NUMPY = "numpy 2 shows the type of a scalar"
    SETS = "a notebook sorts the elements of a set"
    DIGITS = "floats that differ by less than 1e-9 of their size"
    ABBREVIATED = "a notebook ends a container after 1,000 elements"
    SYMPY = "sympy is at work: versions differ in the form of an expression, and in whether 2 equals 2.0"
    OUR_CLOCK = "it, or a block before it, ran out of time here"
    OTHER = "none of these"


REPRODUCED = frozenset({Match.SAME, Match.LAYOUT})


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Blocks that were run in order, and what was recorded of each. Rows with both the same are one."""

    source: str
    blocks: tuple[str, ...]
    outputs: tuple[str, ...]
    row_ids: tuple[str, ...]


def trajectories(name: str) -> list[Trajectory]:
    """The distinct trajectories of a file that run any code."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in rows(name):
        if name in NOTEBOOKS:
            pieces = [(piece["type"], piece["content"]) for piece in row["segments"]]
        else:
            text = row["text"] if "text" in row else row["messages"][-1]["content"]
            pieces = [(piece.kind.value, piece.text) for piece in split_fences(text)]
        pieces = [piece for piece in pieces if piece[0] != "text" and piece[0] != Kind.PROSE]
        runs = [(one[1], two[1]) for one, two in pairwise(pieces) if (one[0], two[0]) == _RUN]
        if runs:
            blocks, outputs = zip(*runs, strict=True)
            found.setdefault((blocks, outputs), []).append(row["id"])
    return [Trajectory(name, *key, tuple(row_ids)) for key, row_ids in found.items()]


_RUN = ("code", "output")


async def replay(sandbox: Sandbox, trajectory: Trajectory) -> list[Match]:
    """Run the blocks again as their recorder did, and compare. One match per block."""
    clocked = [bool(_RECORDED_CLOCK.search(output)) for output in trajectory.outputs]
    if trajectory.source in PROGRAMS:
        return [
            Match.CLOCK if stopped else program_match(output, await sandbox.run(block, limits=LIMITS))
            for block, output, stopped in zip(trajectory.blocks, trajectory.outputs, clocked, strict=True)
        ]
    n_sound = [*clocked, True].index(True)
    matches: list[Match] = []
    session = await sandbox.session(LIMITS)
    try:
        for number, output in enumerate(trajectory.outputs[:n_sound], start=1):
            result = await session.run(trajectory.blocks[number - 1])
            uses_sympy = any("sympy" in block for block in trajectory.blocks[:number])
            match = notebook_match(output, result, uses_sympy=uses_sympy)
            lost_state = Match.OUR_CLOCK in matches and match not in REPRODUCED
            matches.append(Match.OUR_CLOCK if lost_state else match)
    finally:
        await session.aclose()
    return matches + [Match.CLOCK] * (len(clocked) - n_sound)


# ---- programs


def program_match(output: str, result: ExecResult) -> Match:
    """Compare with what a runner of single programs recorded."""
    recorded, shown = output.strip(), _cut(_last_line(result))
    if recorded == shown:
        return Match.SAME
    if result.status in {ExecStatus.TIMEOUT, ExecStatus.CPU}:
        return Match.OUR_CLOCK
    same_error = result.status is ExecStatus.ERROR and _exception(recorded)[0] == _exception(shown)[0]
    return Match.WORDING if same_error else Match.OTHER


def _last_line(result: ExecResult) -> str:
    if result.status is not ExecStatus.OK:
        return _last(result.stderr)
    # The recorder takes the last element of a list of lines.
    return _last(result.stdout) if result.stdout else "IndexError: list index out of range"


def _last(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[2].strip()


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:50]}...{text[-50:]}"


# ---- notebooks

_OWN_MESSAGE = re.compile(r"^The history saving thread hit an unexpected error .*?written to the database\.\n?", re.M)
_WARNING = re.compile(r"^\S*?:\d+: \w*Warning: .*\n(?: +.*\n?)?", re.M)
_TRACEBACK = re.compile(r"^-{75}", re.M)
_SYNTAX_ERROR = re.compile(r"\s*(?:Cell In|Input In|File)\b.*, line \d+\b")
_NUMPY_SCALAR = re.compile(r"\bnp\.(?:float|int|bool|complex)\w*\(([^()]*)\)")
_NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?:e[+-]?\d+)?|(?<![\w.])\d+(?![\w.])")


def notebook_match(output: str, result: ExecResult, *, uses_sympy: bool) -> Match:
    """Compare with what a notebook recorded."""
    recorded = _WARNING.sub("", _OWN_MESSAGE.sub("", output))
    if recorded.strip() == "<empty_execution>":
        recorded = ""
    found = _TRACEBACK.search(recorded) or _SYNTAX_ERROR.match(recorded)
    if found is not None:
        printed, error = recorded[: found.start()], _exception(_last(recorded))
        if result.status is ExecStatus.ERROR and _dense(printed) == _dense(result.stdout):
            here = _exception(_last(result.stderr))
            return Match.SAME if here == error else Match.WORDING if here[0] == error[0] else Match.OTHER
    elif result.status is ExecStatus.OK and recorded.strip() == result.stdout.strip():
        return Match.SAME
    elif result.status is ExecStatus.OK and _dense(recorded) == _dense(result.stdout):
        return Match.LAYOUT
    if result.status in {ExecStatus.TIMEOUT, ExecStatus.CPU}:
        return Match.OUR_CLOCK
    return _difference(recorded.strip(), result.stdout.strip(), uses_sympy=uses_sympy)


def _difference(recorded: str, here: str, *, uses_sympy: bool) -> Match:
    """Why two texts differ, as far as that can be seen from them."""
    plain = _NUMPY_SCALAR.sub(r"\1", here)
    if _dense(plain) == _dense(recorded):
        return Match.NUMPY
    if "{" in recorded and sorted(_dense(here)) == sorted(_dense(recorded)):
        return Match.SETS
    beginning, found, _ = recorded.rpartition("...]")
    if found and _dense(here).startswith(_dense(beginning)):
        return Match.ABBREVIATED
    numbers = [_NUMBER.findall(text) for text in (recorded, plain)]
    if _dense(_NUMBER.sub("#", recorded)) == _dense(_NUMBER.sub("#", plain)) and all(
        isclose(float(one), float(two), rel_tol=1e-9, abs_tol=1e-12) for one, two in zip(*numbers, strict=True)
    ):
        return Match.DIGITS
    return Match.SYMPY if uses_sympy and here else Match.OTHER


def _dense(text: str) -> str:
    return "".join(text.split())


def _exception(line: str) -> tuple[str, str]:
    """Name and message. Some recorders write the name with its module; paths in a message are the machine's own."""
    name, _, message = line.partition(":")
    return name.rpartition(".")[2].strip(), re.sub(r"\(/[^)]*\)", "(path)", message).strip()


def share(counts: dict[Match, int]) -> float:
    """Reproduced outputs among the deterministic ones."""
    n_deterministic = sum(n for match, n in counts.items() if match is not Match.CLOCK)
    return sum(counts.get(match, 0) for match in REPRODUCED) / n_deterministic
