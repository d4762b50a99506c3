"""Whether code gives the same output when it is run again: how nondeterminism is found.

Fixed are the hash seed, locale, time zone, thread counts, the seeds of the usual generators and, where the kernel lets
us, addresses. What is left varies by itself: the clock, unseeded generators, races between threads.

Not covered: what is the same on this machine every time and another on the next (versions of libraries, the last digits
of floats on another processor, the order of sets of objects under another memory layout).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.protocols import ExecResult, Limits, Sandbox
from schemas.vocabulary import ExecStatus

_FINISHED = (ExecStatus.OK, ExecStatus.ERROR)


@dataclass(frozen=True, slots=True)
class Difference:
    """A block that ended or printed differently."""

    block: int
    """From 0."""
    first: ExecResult
    again: ExecResult


def same_outcome(first: ExecResult, again: ExecResult) -> bool:
    """Same end and, of code that came to its own end, same output. How far a killed program got is chance."""
    if first.status is not again.status:
        return False
    if first.status not in _FINISHED:
        return True
    return (first.exit_code, first.stdout, first.stderr) == (again.exit_code, again.stdout, again.stderr)


async def reproduce(
    sandbox: Sandbox, blocks: Sequence[str], recorded: Sequence[ExecResult] | None = None, limits: Limits | None = None
) -> list[Difference]:
    """Run the blocks of one trajectory again, in a new session, and compare.

    Args:
        sandbox: Where.
        blocks: In order; all that were run the first time, failed ones included.
        recorded: What they gave the first time; null runs them twice now.
        limits: Those of the first time.

    Returns:
        The blocks that differ. After the first one the others may differ for its sake only.

    Raises:
        SandboxError: no interpreter could be started.
    """
    first = recorded if recorded is not None else await _run(sandbox, blocks, limits)
    again = await _run(sandbox, blocks[: len(first)], limits)
    return [
        Difference(index, one, other)
        for index, (one, other) in enumerate(zip(first, again, strict=True))
        if not same_outcome(one, other)
    ]


async def _run(sandbox: Sandbox, blocks: Sequence[str], limits: Limits | None) -> list[ExecResult]:
    session = await sandbox.session(limits)
    try:
        return [await session.run(block) for block in blocks]
    finally:
        await session.aclose()
