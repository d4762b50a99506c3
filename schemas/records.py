"""Frozen records: one problem, one trajectory and its parts, one verdict, one manifest.

Field names equal the column names of `schemas.tables`; a test holds the two together.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.vocabulary import (
    Arm,
    Cut,
    Domain,
    ExecStatus,
    HintFunction,
    Judgement,
    JudgeStep,
    Origin,
    SandboxLevel,
    StopReason,
)


class Record(BaseModel):
    """Frozen, and closed: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Record):
    """A question with its gold: the reference answer, or tests."""

    problem_id: str
    """Content hash of domain, statement, gold answer and tests: the same problem has the same id everywhere."""
    domain: Domain
    source: str
    split: str
    statement: str
    gold_answer: str | None = None
    tests: str | None = None
    """JSON list of tests, for code."""
    starter_code: str | None = None
    difficulty: str | None = None
    released_at: str | None = None
    licence: str
    verifier: str
    """A `VerifierName`."""
    meta: str = "{}"
    """JSON: what the verifier needs beyond the gold, and what the source said besides."""


class Segment(Record):
    """A piece of text by one author. Segments concatenate to exactly what followed the prompt."""

    origin: Origin
    text: str
    n_tokens: int = Field(ge=0)
    token_ids: tuple[int, ...] | None = None
    """Where the engine gives ids, they decode to exactly `text`."""


class HintUse(Record):
    """One insertion of one hint."""

    hint_id: str
    function: HintFunction
    cut: Cut
    trigger: str
    """The word of the baseline at which it was cut, empty where no word decides."""
    char_offset: int = Field(ge=0)
    """Characters of the baseline that were kept."""
    round: int = Field(ge=1)


class ToolCall(Record):
    """One execution of one code block, as the sandbox saw it."""

    code: str
    stdout: str
    error_type: str | None
    traceback: str | None
    status: ExecStatus
    exit_code: int = 0
    wall_ms: float = Field(ge=0)
    output_truncated: bool
    survived: bool = True
    """The interpreter lived on after it."""
    diverged: bool = False
    """The interpreter was rebuilt before it, and an earlier block then printed something else than the first time."""


class Trajectory(Record):
    """The record of one rollout."""

    trajectory_id: str
    """Hash of everything that determines the text: problem, prompt, engine, sampling, seed, hint, cut, parent."""
    parent_id: str | None
    """The baseline that a hint trajectory continues, or the trajectory that a repaired one was made from."""
    run_id: str
    recipe_id: str
    """Hash of the recipe's sections that determine rollouts; rows under different ones are never mixed."""
    problem_id: str
    arm: Arm
    sample_index: int = Field(ge=0)
    seed: int | None
    """Null where nobody knows: it was written elsewhere."""
    engine: str
    """Name and revision of the model, `name@revision`."""
    sandbox: SandboxLevel | None
    """Null where no code was run, or not here."""
    sampling: str
    """JSON of temperature, top_p, max_tokens; of what is known of them where it was written elsewhere."""
    prompt: str
    """The text before the first segment, chat template applied."""
    segments: tuple[Segment, ...]
    hints: tuple[HintUse, ...]
    tool_calls: tuple[ToolCall, ...]
    repairs: tuple[str, ...] = ()
    """Names of the repair rules that made this row from its parent, in order."""
    answer_text: str | None
    """The final answer as extracted from the text, null where there is none."""
    stop_reason: StopReason
    error: str | None = None
    n_tokens_model: int = Field(ge=0)
    n_tokens_hint: int = Field(ge=0)
    n_tokens_tool: int = Field(ge=0)
    wall_s: float = Field(ge=0)
    engine_s: float = Field(default=0, ge=0)
    sandbox_s: float = Field(default=0, ge=0)
    created_at: datetime

    @property
    def text(self) -> str:
        """What followed the prompt."""
        return "".join(segment.text for segment in self.segments)


class Verdict(Record):
    """What the verifier said of one trajectory."""

    trajectory_id: str
    recipe_id: str
    verdict: Judgement
    is_correct: bool | None
    """The verdict as a boolean; null where it is neither `correct` nor `wrong`."""
    verifier: str
    step: JudgeStep
    second_opinion: bool | None
    """Of a judge that shares no code with the step that decided; null where none was asked, or it has none."""
    disagreement: bool
    n_tests_passed: int | None = None
    n_tests: int | None = None
    failed_test: str | None = None
    """JSON of the first test that failed: index, input, expected, got, status."""
    detail: str = ""
    """What was compared, or why it could not be."""
    wall_ms: float = Field(ge=0)


class FileEntry(Record):
    """One file of a snapshot."""

    path: str
    n_rows: int | None
    n_bytes: int
    sha256: str


class GateCheck(Record):
    """One expectation or audit of the gate."""

    name: str
    kind: str
    passed: bool
    n_bad: int
    detail: str = ""


class InputShard(Record):
    """One shard that a snapshot was made from."""

    table: str
    name: str
    """Of the file, without its ending."""
    n_rows: int
    sha256: str


class Manifest(Record):
    """What a snapshot is made of; written last, so a folder without one is no snapshot."""

    snapshot: str
    """`d_seed@v1`."""
    parent: str | None
    content_hash: str
    """SHA-256 over the rows, independent of file layout and of time."""
    created_at: datetime
    factory_version: str
    run_id: str
    recipe: dict[str, Any]
    engine: str
    tokenizer: str | None = None
    """Fingerprint of the tokenizer that the rows' token ids belong to; null where the engine has none of a model's."""
    sandbox: str
    n_rows: int
    columns: tuple[str, ...]
    funnel: tuple[dict[str, Any], ...]
    gate: tuple[GateCheck, ...]
    sql_hashes: dict[str, str]
    files: tuple[FileEntry, ...]
    recipe_ids: dict[str, str] | None = None
    """Per step, the hash of the settings that determine its rows; null in manifests of before this was recorded."""
    inputs: tuple[InputShard, ...] | None = None
    """The shards that the home held when it was made: `factory rebuild` reads these and no others. Null as above."""
    code_hash: str | None = None
    """Over the factory's own Python files. Null as above."""
    pyarrow_version: str | None = None
    """What wrote `data/*.parquet`: another version may write the same rows as other bytes. Null as above."""
