"""What the rooms ask of an engine and of a sandbox. Implementations live in `factory/`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from schemas.vocabulary import ExecStatus, SandboxLevel


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy, and then top_p says nothing."""

    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine wrote.

    `token_ids` decode to exactly `text`. A stop string is part of the text; the text ends with the token that
    completed it, so it can run a few characters past the stop string and never holds half a token.
    """

    text: str
    token_ids: tuple[int, ...]
    stopped_on: str | None
    """The stop string that ended it; null at the end-of-turn token and at a limit."""
    finished: bool
    """The model wrote its end-of-turn token (which is not part of the text)."""
    logprob_sum: float


class Codec(Protocol):
    """Text to token ids and back."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Tokens of `text`; unless `special`, control tokens spelled out in it are ordinary characters."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of tokens, unchanged: no clean-up, control tokens spelled out."""
        ...


class Engine(Codec, Protocol):
    """A language model that continues token ids. It knows nothing of hints and tools."""

    name: str
    """`name@revision`: two engines of one name give the same text for the same request."""
    max_model_len: int

    async def complete(
        self, prompt_ids: Sequence[int], *, stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int
    ) -> Completion:
        """Continue `prompt_ids`.

        Args:
            prompt_ids: Tokens so far, special ones included; at most `max_model_len - 1`.
            stop: Strings that end the completion.
            max_tokens: At least 1; the context window cuts it further.
            sampling: Temperature and top_p.
            seed: Decides the draw where the temperature is above 0.

        Raises:
            EngineError: this request failed. Others are not affected.
        """
        ...

    def prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """The text of a chat up to where the assistant starts to write."""
        ...

    async def aclose(self) -> None:
        """Stop, and free the memory."""
        ...


LARGEST_LIMITS = {"wall_s": 1e6, "cpu_s": 1e6, "memory_mb": 1 << 24, "output_bytes": 1 << 30}
"""Eleven days, 16 TB, 1 GB: more is a typing error, and not every kernel can count it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one execution may use.

    Raises:
        ValueError: a limit is not above 0 or larger than `LARGEST_LIMITS`.
    """

    wall_s: float = 10.0
    """More than `cpu_s`: on a busy machine a program waits for its turn."""
    cpu_s: float = 5.0
    memory_mb: int = 512
    """Beyond what the warm interpreter itself needs."""
    output_bytes: int = 64 * 1024
    """Of stdout and stderr each; more ends the execution with status `output`."""

    def __post_init__(self) -> None:
        for name, largest in LARGEST_LIMITS.items():
            value = getattr(self, name)
            if not (isfinite(value) and 0 < value <= largest):
                raise ValueError(f"{name} is {value}; it must be above 0 and at most {largest:,.0f}")


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How an execution ended and what it printed. Nothing in it was claimed by the code itself."""

    status: ExecStatus
    exit_code: int
    """Negative: the signal that ended the process."""
    stdout: str
    """Undecodable bytes are escaped, so the text is always valid UTF-8."""
    stderr: str
    """For a raised exception: the traceback with the frames of the code alone."""
    output_truncated: bool
    wall_ms: float
    cpu_ms: float
    max_rss_kb: int
    diverged: bool = False
    """In a session: the interpreter had died and was rebuilt by running the earlier blocks again, and one of them
    printed something else than the first time. What this block saw may not be what the earlier outputs say."""
    survived: bool = True
    """In a session: the interpreter lives on after this block."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block that was run in a session, and what it gave then."""

    code: str
    result: ExecResult


@dataclass(frozen=True, slots=True)
class TestRun:
    """One test of a program."""

    __test__ = False  # not a class of tests for pytest

    result: ExecResult
    passed: bool


class Session(Protocol):
    """An interpreter whose state lives from one block to the next, as the tool calls of one trajectory need."""

    async def run(self, code: str) -> ExecResult:
        """Run one block. Its last expression is echoed, as in a notebook.

        After a block that killed the interpreter (time, memory, signal) the next call starts a fresh one and runs
        the earlier blocks again. If one of them prints something else, the result says `diverged`.
        """
        ...

    async def aclose(self) -> None:
        """End the interpreter. Never raises."""
        ...


class Sandbox(Protocol):
    """Runs hostile Python."""

    level: SandboxLevel
    limits: Limits
    """Where a call gives none."""

    async def run(self, code: str, stdin: str = "", limits: Limits | None = None) -> ExecResult:
        """Run a program in a fresh interpreter. A failure of the code is a status; of the sandbox, `lost`."""
        ...

    async def run_tests(
        self,
        code: str,
        inputs: Sequence[str],
        *,
        accept: Callable[[int, ExecResult], bool],
        entry: str | None = None,
        stop_early: bool = False,
        limits: Limits | None = None,
    ) -> list[TestRun]:
        """Run one program on many inputs, in one process as long as all goes well.

        A test that fails after others ran in the same process is run once more in a fresh one, and that counts: what an
        earlier test left behind is never held against a program. The tests after a crash go on in a fresh process, too.

        Args:
            code: The program.
            inputs: Stdin per test; with `entry` the JSON array of the arguments per call.
            accept: Whether the result of the test with this index is right. Compares outside of the sandbox: expected
                outputs never go in. Should be quick, and see to the status, too.
            entry: The function to call, `name` or `Class.method` of a new instance. `stdout` is then what it returned,
                as `factory.sandbox.canonical.canonical_json`, and `stderr` holds what it printed.
            stop_early: Leave out what comes after the first test that fails.
            limits: Of each test; memory of the process.

        Returns:
            One per input, in order; fewer with `stop_early`.
        """
        ...

    async def session(self, limits: Limits | None = None, earlier: Sequence[Block] = ()) -> Session:
        """Open a stateful interpreter.

        Args:
            limits: Of each block.
            earlier: Blocks of an interpreter that is gone. Before the first new block those that it survived are run
                again and compared; if one prints something else, the results say `diverged`.

        Raises:
            SandboxError: no interpreter could be started, three times in a row.
        """
        ...

    async def aclose(self) -> None:
        """Kill everything that runs, and wait for it."""
        ...
