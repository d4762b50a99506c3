"""Why an output did not come out again.

What is asked, in this order; the first that holds is the class:

1. Does a limit of time, memory or output stand on one side only? `environment`.
2. Does the text of the row show another output than its own call holds? `real`.
3. Do further runs differ among each other? Then `time` where the code reads a clock, else `randomness`. (Runs that give
   the same lines in another order, by code with sets: `hash_order`.)
4. Rows from elsewhere: does the output follow the seeds of `random`, numpy or sympy? `randomness`. Of our rows these
   seeds are known, so they are no excuse.
5. Does it follow the date? `time`. 6. Does it follow the hash seed? `hash_order`.
7. Is it the same but for how libraries and floats are written, or one of them an error that names a missing module,
   file, function or argument? `environment`. Rows from elsewhere only: the same tokens in another order, by code with
   sets (`hash_order`) or sympy (`environment`); numbers of numerical methods within a thousandth; a reworded error; an
   interpreter that shows no last expression, more of them, or warnings (`environment`).
8. Did an earlier block of the row end differently, and does this one fail on one side for a name that is not
   defined? The earlier block's class.
9. Else `real`.

3 to 6 hold only where the recorded output agrees with the second run in every token that stayed the same in all
experiments, so a program that prints the time excuses no other number. Not covered: an output of a random generator,
a clock or a set that was changed by hand in the very tokens that vary; one whose last digits were (beyond the tenth);
an error message of ours that was reworded; foreign rows under versions of libraries that give another result.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from factory.replay.evidence import uses
from factory.replay.experiments import Laboratory
from factory.replay.forms import (
    MISSING,
    STOPPED,
    UNDEFINED,
    environment_reason,
    is_close,
    is_noise,
    is_reworded,
    marks_nothing,
    says_limit,
)
from factory.replay.texts import (
    FINISHED,
    Recorded,
    is_same,
    shown_text,
    shows_something_else,
    tokens,
    trimmed,
    without_traceback,
)
from schemas.protocols import ExecResult
from schemas.vocabulary import ExecStatus, OutputDifference

FURTHER_RUNS = 2
MORE_RUNS = 6
"""Of code that draws without a seed, where the first ones happened to agree."""
_OF_TIME = re.compile(r"\b(?:time|took|elapsed|seconds?|secs?|ms|date|today|now|day|year)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """A block whose output differs."""

    block: int
    """From 0."""
    kind: OutputDifference
    why: str
    recorded: str
    again: str


async def differences(lab: Laboratory, calls: Sequence[Recorded]) -> list[Found]:
    """Run the blocks of one row again, compare, and say of each that differs why.

    Raises:
        SandboxError: no interpreter could be had, or it was lost.
    """
    blocks = [call.code for call in calls]
    results = await lab.run(blocks)
    differing = [i for i, (call, result) in enumerate(zip(calls, results, strict=True)) if not is_same(call, result)]
    if not differing:
        return []
    case = _Case(lab, calls, results, differing)
    await case.gather()
    found: list[Found] = []
    for index in differing:
        kind, why = case.classify(index, found)
        found.append(Found(index, kind, why, calls[index].text, trimmed(shown_text(results[index]))))
    return found


class _Case:
    """One row with its experiments."""

    def __init__(
        self, lab: Laboratory, calls: Sequence[Recorded], results: Sequence[ExecResult], differing: Sequence[int]
    ) -> None:
        self.lab, self.calls, self.results, self.differing = lab, calls, results, differing
        self.is_foreign = calls[0].is_foreign
        self.first = [trimmed(shown_text(result)) for result in results]
        self.uses: list[frozenset[str]] = []
        self.again: list[list[str]] = []
        self.reseeded: list[list[str]] = []
        self.dated: list[list[str]] = []
        self.hashed: list[list[str]] = []

    async def gather(self) -> None:
        """Make the experiments that what the code uses asks for."""
        blocks = [call.code for call in self.calls]
        self.uses = await uses(self.lab.sandbox, blocks)
        if all(self.results[i].status not in FINISHED for i in self.differing):
            return  # a limit, and it would be hit again
        used = self.uses[max(self.differing)]
        self.again = await self.lab.again(blocks, FURTHER_RUNS)
        if "unseeded" in used and all(run == self.first for run in self.again):
            self.again += await self.lab.again(blocks, MORE_RUNS)
        if self.is_foreign and "random" in used:
            self.reseeded = await self.lab.reseeded(blocks)
        if "clock" in used:
            self.dated = await self.lab.other_dates(blocks)
        if "hash" in used:
            self.hashed = await self.lab.other_hashes(blocks)

    def classify(self, index: int, earlier: Sequence[Found]) -> tuple[OutputDifference, str]:
        """The class of a block that differs, and why."""
        call, result, text = self.calls[index], self.results[index], self.calls[index].text
        used = self.uses[index]
        limited = {call.result.status, result.status} - set(FINISHED)
        if limited and call.result.status is not result.status:
            return OutputDifference.ENVIRONMENT, f"limit: {', '.join(sorted(limited))}"
        if self.is_foreign and says_limit(text) != says_limit(self.first[index]):
            return OutputDifference.ENVIRONMENT, "limit, by what is written"
        if shows_something_else(call):
            return OutputDifference.REAL, "the text shows another output than its call holds"
        if self._explains(self.again, index):
            others = [run[index] for run in self.again]
            if "hash" in used and all(sorted(tokens(one)) == sorted(tokens(self.first[index])) for one in others):
                return OutputDifference.HASH_ORDER, "every run gives the same in another order"
            in_words = _OF_TIME.search(text) is not None
            if "clock" in used and (in_words or not used & {"random", "unseeded"}):
                return OutputDifference.TIME, "every run gives another output, and the code reads a clock"
            return OutputDifference.RANDOMNESS, "every run gives another output"
        if self._explains(self.reseeded, index):
            return OutputDifference.RANDOMNESS, "the output follows the seeds of generators"
        if self._explains(self.dated, index):
            return OutputDifference.TIME, "the output follows the date"
        if self._explains(self.hashed, index):
            return OutputDifference.HASH_ORDER, "the output follows the hash seed"
        if reason := environment_reason(text, self.first[index], is_foreign=self.is_foreign):
            return OutputDifference.ENVIRONMENT, reason
        if self.is_foreign and (reason_and_kind := self._foreign(index)):
            return reason_and_kind
        return self._for_the_sake_of(index, earlier) or (OutputDifference.REAL, "nothing else explains it")

    def _explains(self, runs: Sequence[Sequence[str]], index: int) -> bool:
        """Whether an experiment changes the output, and changed nothing in which the recorded one differs."""
        variants = [self.first[index], *(run[index] for run in runs)]
        if len(set(variants)) == 1:
            return False
        rows = [tokens(without_traceback(one)) for one in variants]
        recorded = tokens(without_traceback(self.calls[index].text))
        if len({len(row) for row in rows}) > 1:
            return _common_prefix(rows) == recorded[: len(_common_prefix(rows))]
        if len(recorded) != len(rows[0]):
            return sorted(map(sorted, rows)) == [sorted(recorded)] * len(rows)
        fixed = [i for i in range(len(rows[0])) if len({row[i] for row in rows}) == 1]
        if all(Counter(row) == Counter(rows[0]) for row in rows):  # another order of the same
            return Counter(recorded) == Counter(rows[0])
        return all(recorded[i] == rows[0][i] for i in fixed)

    def _foreign(self, index: int) -> tuple[OutputDifference, str] | None:
        """What is possible only where nobody knows what ran the code."""
        text, here = self.calls[index].text, self.first[index]
        used = self.uses[index]
        is_reordered = text != here and Counter(tokens(text)) == Counter(tokens(here))
        if is_reordered and "hash" in used:
            return OutputDifference.HASH_ORDER, "the same tokens in another order, by code with sets"
        if is_reordered and "sympy" in used:
            return OutputDifference.ENVIRONMENT, "sympy writes the same terms in another order"
        if "numeric" in used and is_close(text, here, STOPPED):
            return OutputDifference.ENVIRONMENT, "where an iteration of another version stops"
        if self.results[index].status is ExecStatus.ERROR and is_reworded(text, here):
            return OutputDifference.ENVIRONMENT, "wording of an error"
        if here and text.endswith(here) and is_noise(text.removesuffix(here)):
            return OutputDifference.ENVIRONMENT, "the other interpreter says something of itself"
        if not here and marks_nothing(text):
            return OutputDifference.ENVIRONMENT, "the other interpreter has a mark for an empty output"
        lines, lines_here = text.splitlines(), here.splitlines()
        if "echo" in used and lines == lines_here[: len(lines)] and self.results[index].stdout.rstrip().endswith(here):
            return OutputDifference.ENVIRONMENT, "the other interpreter does not show the last expression"
        if lines_here and lines[-len(lines_here) :] == lines_here and "echo" in used:
            return OutputDifference.ENVIRONMENT, "the other interpreter shows more than the last expression"
        return None

    def _for_the_sake_of(self, index: int, earlier: Sequence[Found]) -> tuple[OutputDifference, str] | None:
        """The class of an earlier block whose failing here leaves this one without its names or values."""
        for one in earlier:
            fails_here = self.results[one.block].status is not self.calls[one.block].result.status
            last_lines = [text.rpartition("\n")[2] for text in (self.first[index], self.calls[index].text)]
            if fails_here and any(UNDEFINED.match(line) or MISSING.match(line) for line in last_lines):
                return one.kind, f"for the sake of block {one.block + 1}"
        return None


def _common_prefix(rows: Sequence[Sequence[str]]) -> list[str]:
    same: list[str] = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        same.append(column[0])
    return same
