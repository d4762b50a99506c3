"""The tables: every column with its type, its meaning and its promises, written once.

Arrow schemas, the DuckDB tables, the Great Expectations suite and the column list of the dataset card are all made
from here. SQL models (`warehouse/models/`) list their own columns; a snapshot's columns are in `SNAPSHOTS`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from schemas.vocabulary import (
    Arm,
    ContaminationMethod,
    Domain,
    EvalArm,
    Judgement,
    JudgeStep,
    OutputDifference,
    RejectReason,
    RepairOutcome,
    SandboxLevel,
    StopReason,
    Subject,
    VerifierName,
)


@dataclass(frozen=True)
class Column:
    """One column and what it promises of every row."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool = False
    unique: bool = False
    values: tuple[str, ...] | None = None
    """The closed vocabulary, where it has one."""
    minimum: float | None = None


@dataclass(frozen=True)
class Table:
    """One table. `name` is `schema.table`, as SQL spells it."""

    name: str
    grain: str
    key: tuple[str, ...]
    """Columns that identify a row; of two rows with one key the newest counts."""
    columns: tuple[Column, ...]
    is_published: bool = True
    """Whether `factory.duckdb` has it; what no reader asks for stays in its shards."""

    @property
    def arrow_schema(self) -> pa.Schema:
        """Arrow schema; a nullable field is a column that may be null."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])


STRING, INT, FLOAT, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")

SEGMENT = pa.struct(
    [
        pa.field("origin", STRING),
        pa.field("text", STRING),
        pa.field("n_tokens", INT),
        pa.field("token_ids", pa.list_(pa.int32())),
    ]
)
HINT = pa.struct(
    [
        pa.field("hint_id", STRING),
        pa.field("function", STRING),
        pa.field("cut", STRING),
        pa.field("trigger", STRING),
        pa.field("char_offset", INT),
        pa.field("round", INT),
    ]
)
_CALL_FIELDS = [
    pa.field("code", STRING),
    pa.field("stdout", STRING),
    pa.field("error_type", STRING),
    pa.field("traceback", STRING),
    pa.field("status", STRING),
    pa.field("output_truncated", BOOL),
]
TOOL_CALL = pa.struct(
    [
        *_CALL_FIELDS,
        pa.field("exit_code", INT),
        pa.field("wall_ms", FLOAT),
        pa.field("survived", BOOL),
        pa.field("diverged", BOOL),
    ]
)
PUBLISHED_TOOL_CALL = pa.struct(_CALL_FIELDS)
MESSAGE = pa.struct([pa.field("role", STRING), pa.field("content", STRING)])


def _words(vocabulary: Iterable[StrEnum]) -> tuple[str, ...]:
    return tuple(str(member) for member in vocabulary)


PROBLEMS = Table(
    "raw.problems",
    "problem",
    ("problem_id",),
    (
        Column("problem_id", STRING, "content hash of domain, statement, gold answer and tests", unique=True),
        Column("domain", STRING, "what it is about", values=_words(Domain)),
        Column("source", STRING, "where it came from first"),
        Column("split", STRING, "split of the source"),
        Column("statement", STRING, "the question"),
        Column("gold_answer", STRING, "the reference answer", nullable=True),
        Column("tests", STRING, "JSON list of tests, for code", nullable=True),
        Column("starter_code", STRING, "code the answer must begin with", nullable=True),
        Column("difficulty", STRING, "as the source says", nullable=True),
        Column("released_at", STRING, "as the source says, ISO date", nullable=True),
        Column("licence", STRING, "licence of this row, `unknown` where the source is silent"),
        Column("verifier", STRING, "who judges its answers", values=_words(VerifierName)),
        Column("meta", STRING, "JSON: what the verifier needs, and what the source said besides"),
    ),
)

REJECTED_PROBLEMS = Table(
    "raw.rejected_problems",
    "bad row of a problem source",
    ("source", "line"),
    (
        Column("source", STRING, "the file or dataset"),
        Column("line", INT, "line of a text file, row number elsewhere, from 1", minimum=1),
        Column("reason", STRING, "what is wrong", values=_words(RejectReason)),
        Column("detail", STRING, "in words"),
        Column("excerpt", STRING, "the first characters of the row"),
    ),
)

RUNS = Table(
    "raw.runs",
    "run: one recipe over one list of problems",
    ("run_id",),
    (
        Column(
            "run_id", STRING, "hash of the recipe and the problem ids: the same command is the same run", unique=True
        ),
        Column("build", STRING, "d_seed, d_start, or eval, which is never shown as the current run"),
        Column("recipe", STRING, "JSON of the whole recipe"),
        Column("recipe_ids", STRING, "JSON: per step, the hash of the settings that decide its rows"),
        Column("engine", STRING, "name@revision"),
        Column("factory_version", STRING, "version of this code"),
        Column("started_at", TIME, "last start"),
    ),
)

RUN_PROBLEMS = Table(
    "raw.run_problems",
    "problem of a run",
    ("run_id", "problem_id"),
    (
        Column("run_id", STRING, "the run"),
        Column("problem_id", STRING, "the problem"),
        Column("position", INT, "place in the run's list, from 0", minimum=0),
    ),
)

TRAJECTORIES = Table(
    "raw.trajectories",
    "trajectory",
    ("trajectory_id",),
    (
        Column("trajectory_id", STRING, "hash of everything that determines the text", unique=True),
        Column("parent_id", STRING, "the baseline it continues, or the row it was repaired from", nullable=True),
        Column("run_id", STRING, "the run that made it first"),
        Column("recipe_id", STRING, "hash of the settings that determine rollouts"),
        Column("problem_id", STRING, "the problem"),
        Column("arm", STRING, "treatment", values=_words(Arm)),
        Column("sample_index", INT, "which of the arm's samples", minimum=0),
        Column("seed", INT, "of its draws; null where it was written elsewhere", nullable=True),
        Column("engine", STRING, "name@revision"),
        Column("sandbox", STRING, "isolation its code ran under", nullable=True, values=_words(SandboxLevel)),
        Column("sampling", STRING, "JSON of temperature, top_p, max_tokens"),
        Column("prompt", STRING, "text before the first segment, chat template applied"),
        Column("segments", pa.list_(SEGMENT), "the text by author; concatenates to what followed the prompt"),
        Column("hints", pa.list_(HINT), "every hint inserted"),
        Column("tool_calls", pa.list_(TOOL_CALL), "every execution"),
        Column("repairs", pa.list_(STRING), "repair rules that made it from its parent"),
        Column("answer_text", STRING, "final answer as extracted", nullable=True),
        Column("stop_reason", STRING, "why it ended", values=_words(StopReason)),
        Column("error", STRING, "what the engine or the sandbox said when it failed", nullable=True),
        Column("n_tokens_model", INT, "written by the model", minimum=0),
        Column("n_tokens_hint", INT, "inserted", minimum=0),
        Column("n_tokens_tool", INT, "tool output", minimum=0),
        Column("wall_s", FLOAT, "seconds from first request to last answer", minimum=0),
        Column("engine_s", FLOAT, "of them, waiting for the engine", minimum=0),
        Column("sandbox_s", FLOAT, "of them, waiting for the sandbox", minimum=0),
        Column("created_at", TIME, "when it ended"),
    ),
)

GOLD_CHECKS = Table(
    "derived.gold_checks",
    "problem",
    ("problem_id", "recipe_id"),
    (
        Column("problem_id", STRING, "the problem"),
        Column("recipe_id", STRING, "hash of the judging settings"),
        Column("is_accepted", BOOL, "its own verifier accepts the gold"),
        Column("verdict", STRING, "of the check", values=_words(Judgement)),
        Column("detail", STRING, "why not"),
    ),
)

CONTAMINATION = Table(
    "derived.contamination",
    "problem that repeats an item of a benchmark, by one method (its best match)",
    ("problem_id", "recipe_id", "benchmark", "method"),
    (
        Column("problem_id", STRING, "the problem"),
        Column("recipe_id", STRING, "hash of the rule, of the benchmarks' contents and of the run's problems"),
        Column("benchmark", STRING, "the benchmark"),
        Column("item", STRING, "its item, by row number from 1"),
        Column("method", STRING, "how it was found", values=_words(ContaminationMethod)),
        Column("score", FLOAT, "in [0, 1], as the method measures it (quality.decontamination)", minimum=0),
        Column("matched_text", STRING, "the words both have in a row; method embedding: the item's text"),
    ),
)

VERDICTS = Table(
    "derived.verdicts",
    "trajectory",
    ("trajectory_id", "recipe_id"),
    (
        Column("trajectory_id", STRING, "the trajectory"),
        Column("recipe_id", STRING, "hash of the judging settings"),
        Column("verdict", STRING, "of the check", values=_words(Judgement)),
        Column("is_correct", BOOL, "the verdict; null where it is neither correct nor wrong", nullable=True),
        Column("verifier", STRING, "who judged", values=_words(VerifierName)),
        Column("step", STRING, "the step that decided", values=_words(JudgeStep)),
        Column("second_opinion", BOOL, "of a judge that shares no code with that step", nullable=True),
        Column("disagreement", BOOL, "the two opinions differ"),
        Column("n_tests_passed", INT, "code: tests passed", nullable=True, minimum=0),
        Column("n_tests", INT, "code: tests", nullable=True, minimum=0),
        Column("failed_test", STRING, "code: JSON of the first that failed, with input, expected, got", nullable=True),
        Column("detail", STRING, "what was compared, or why it could not be"),
        Column("wall_ms", FLOAT, "of the check", minimum=0),
    ),
)

SIGNALS = Table(
    "derived.signals",
    "trajectory, by one version of the definitions",
    ("trajectory_id", "signals_version"),
    (
        Column("trajectory_id", STRING, "the trajectory"),
        Column("signals_version", INT, "of the definitions (warehouse.signals.VERSION)", minimum=1),
        Column("n_chars", INT, "length of the text", minimum=0),
        Column("n_tokens_model", INT, "tokens written by the model", minimum=0),
        Column("n_tokens_hint", INT, "tokens inserted as hints", minimum=0),
        Column("n_tokens_tool", INT, "tokens of tool output", minimum=0),
        Column("model_share", FLOAT, "share of characters written by the model", minimum=0),
        Column("model_token_share", FLOAT, "share of tokens written by the model", minimum=0),
        Column("n_tool_calls", INT, "executions", minimum=0),
        Column("n_tool_success", INT, "executions with status ok and some output", minimum=0),
        Column("n_tool_silent", INT, "executions with status ok and no output", minimum=0),
        Column("n_tool_errors", INT, "executions that did not end ok", minimum=0),
        Column("tool_errors", pa.list_(STRING), "of those in order the exception's type, else the status"),
        Column("n_blocks_not_run", INT, "closed Python blocks beyond the executions", minimum=0),
        Column("ngram_repetition", FLOAT, "share of 8-grams of words that occurred before in the text", minimum=0),
        Column("ngram_at", INT, "where the most repeated passage stands for the second time", nullable=True, minimum=0),
        Column("ngram_chars", INT, "its length", nullable=True, minimum=1),
        Column("ngram_times", INT, "how often it occurs", nullable=True, minimum=2),
        Column("line_repetition", FLOAT, "share of lines that occurred before in the text", minimum=0),
        Column("line_at", INT, "where the most repeated line stands for the second time", nullable=True, minimum=0),
        Column("line_chars", INT, "its length", nullable=True, minimum=1),
        Column("line_times", INT, "how often it occurs", nullable=True, minimum=2),
        Column("loop_chars", INT, "characters at the end that are one passage again and again", minimum=0),
        Column("loop_period", INT, "length of that passage", nullable=True, minimum=1),
        Column("delayed_computation", BOOL, "an output repeats what was worked out by hand before its code"),
        Column("distrusts_output", BOOL, "an output is doubted and worked out again by hand"),
        Column("n_hand_calculations", INT, "equations between numbers in prose before the first code", minimum=0),
        Column("n_hand_equations", INT, "equations between numbers in all of the prose", minimum=0),
        Column("hand_computed_share", FLOAT, "of those and the executions together, the equations' share", minimum=0),
        Column("language", STRING, "of the prose, ISO 639; unknown where there is hardly any"),
        Column("mixed_script", FLOAT, "share of letters of the prose outside its main script", minimum=0),
    ),
)

REPAIRS = Table(
    "derived.repairs",
    "trajectory that a repair rule applies to",
    ("trajectory_id", "recipe_id"),
    (
        Column("trajectory_id", STRING, "the trajectory as it was"),
        Column("recipe_id", STRING, "hash of the settings that determine repaired ones"),
        Column("outcome", STRING, "what became of the copy", values=_words(RepairOutcome)),
        Column("repaired_id", STRING, "the copy, made or not"),
        Column("rules", pa.list_(STRING), "those that applied, in order"),
        Column("n_blocks_dropped", INT, "executed blocks that the copy does without", minimum=0),
        Column("detail", STRING, "not_reproduced: the first block that gave something else, from 1, and what"),
    ),
)

REPLAYS = Table(
    "derived.replays",
    "trajectory whose code was run again, by what was recorded and where it was run",
    ("trajectory_id", "calls_hash", "environment_id"),
    (
        Column("trajectory_id", STRING, "the trajectory"),
        Column("calls_hash", STRING, "of its code and of the outputs that are recorded and shown"),
        Column("environment_id", STRING, "hash of limits and versions, and the level of isolation"),
        Column("environment", STRING, "the same in words"),
        Column("n_calls", INT, "executions", minimum=0),
        Column("n_same", INT, "of them those whose output came out again", minimum=0),
        Column("classes", pa.list_(STRING), "of those that differ, each class once, the worst first"),
        Column("worst", STRING, "the first of them", nullable=True, values=_words(OutputDifference)),
        Column("detail", STRING, "JSON list of what differs: block (from 1), class, why, recorded, again"),
        Column("replayed_at", TIME, "when"),
    ),
)

SIGNATURES = Table(
    "derived.signatures",
    "text that was signed",
    ("subject", "scheme", "row_id"),
    (
        Column("subject", STRING, "of what the text is", values=_words(Subject)),
        Column("scheme", STRING, "what decides a signature besides the text"),
        Column("row_id", STRING, "the trajectory, or the problem"),
        Column("text_hash", pa.binary(), "equal where the texts are, case and blanks at the ends aside"),
        Column("n_shingles", INT, "of the text, repeats included; 0: it is compared with none", minimum=0),
        Column("signature", pa.binary(), "MinHash: num_perm unsigned 32-bit integers, little endian"),
    ),
    is_published=False,
)

DUPLICATE_PAIRS = Table(
    "derived.duplicate_pairs",
    "problem or accepted trajectory that repeats another",
    ("run_id", "subject", "dropped_id"),
    (
        Column("run_id", STRING, "the run whose rows were compared"),
        Column("subject", STRING, "what of them was compared", values=_words(Subject)),
        Column("kept_id", STRING, "representative of the cluster"),
        Column("dropped_id", STRING, "the repeating row"),
        Column("similarity", FLOAT, "exact Jaccard similarity of these two; low where a chain joins them", minimum=0),
        Column("linked_id", STRING, "the row of the cluster that it repeats: kept_id, where that is one"),
        Column("linked_similarity", FLOAT, "to that row, at least the threshold", minimum=0),
    ),
)

IMPORTED_ROWS = Table(
    "raw.imported_rows",
    "trajectory that was written elsewhere",
    ("trajectory_id",),
    (
        Column("trajectory_id", STRING, "the trajectory that it became", unique=True),
        Column("source", STRING, "the file"),
        Column("line", INT, "line of a text file, row number elsewhere, from 1", minimum=1),
        Column(
            "claim", BOOL, "whether the file says that the answer is right; null where it says nothing", nullable=True
        ),
        Column("oddities", pa.list_(STRING), "what of its text was not recognised"),
    ),
)

EVALUATIONS = Table(
    "raw.evaluations",
    "graded sample of a benchmark",
    ("evaluation_id", "benchmark", "problem_id", "n_rounds", "sample_index"),
    (
        Column("evaluation_id", STRING, "hash of all settings of the arm and of the judge, the model included"),
        Column("model", STRING, "name@revision"),
        Column("label", STRING, "what the user calls the model; the newest one counts"),
        Column("benchmark", STRING, "the benchmark"),
        Column("item", STRING, "its item, by number from 1"),
        Column("problem_id", STRING, "the problem"),
        Column("domain", STRING, "what it is about", values=_words(Domain)),
        Column("gold_answer", STRING, "the reference answer; null for programs", nullable=True),
        Column("arm", STRING, "treatment", values=_words(EvalArm)),
        Column("n_rounds", INT, "rounds of hints so far, 0 without", minimum=0),
        Column("sample_index", INT, "which of the problem's samples", minimum=0),
        Column("trajectory_id", STRING, "its text; that of an earlier round where the text could not be continued"),
        Column("is_correct", BOOL, "null: could not tell, which counts as not correct", nullable=True),
        Column("verdict", STRING, "of the check; undecided where the rollout itself failed", values=_words(Judgement)),
        Column("answer_text", STRING, "final answer as extracted; null for programs", nullable=True),
        Column("answer_key", STRING, "equal for answers of one problem that count as one", nullable=True),
        Column("n_tokens", INT, "written by the model, over all rounds; null where unknown", nullable=True, minimum=0),
        Column("n_tool_calls", INT, "executions, over all rounds", minimum=0),
        Column("n_tool_errors", INT, "executions that did not end ok", minimum=0),
        Column("called_python", BOOL, "at least one execution"),
        Column("recipe_id", STRING, "hash of the settings that determine the arm's rollouts"),
        Column("created_at", TIME, "when it was graded"),
    ),
)

RAW_TABLES = (PROBLEMS, REJECTED_PROBLEMS, RUNS, RUN_PROBLEMS, TRAJECTORIES, IMPORTED_ROWS, EVALUATIONS)
DERIVED_TABLES = (GOLD_CHECKS, CONTAMINATION, VERDICTS, SIGNALS, REPAIRS, REPLAYS, SIGNATURES, DUPLICATE_PAIRS)
STORED_TABLES = {table.name: table for table in (*RAW_TABLES, *DERIVED_TABLES)}
"""Tables kept as Parquet shards; everything else in the warehouse is SQL over them."""


def _snapshot(*own: Column, has_tools: bool = True, is_own: bool = True) -> Table:
    """The columns that every snapshot has, and those of its kind."""
    columns = (
        Column("trajectory_id", STRING, "hash of everything that determines the text", unique=True),
        Column("problem_id", STRING, "content hash of the problem"),
        Column("domain", STRING, "what the problem is about", values=_words(Domain)),
        Column("source", STRING, "where the problem came from"),
        Column("licence", STRING, "licence of the problem"),
        Column("statement", STRING, "the question"),
        Column("gold_answer", STRING, "the reference answer", nullable=True),
        Column("messages", pa.list_(MESSAGE), "the chat: system, user, assistant"),
        Column("prompt", STRING, "text before the answer, chat template applied"),
        Column("completion", STRING, "the answer: model, hint and tool text together"),
        Column("segments", pa.list_(SEGMENT), "the completion by author, with token ids"),
        Column("hints", pa.list_(HINT), "every hint inserted, and where"),
        Column("tool_calls", pa.list_(PUBLISHED_TOOL_CALL), "every execution: code, output, status"),
        Column("repairs", pa.list_(STRING), "repair rules applied"),
        Column("answer_text", STRING, "final answer as extracted"),
        Column("is_correct", BOOL, "the verifier accepts the answer; true in every row", values=("true",)),
        Column("verifier", STRING, "who judged", values=_words(VerifierName)),
        *own,
        Column("stop_reason", STRING, "why it ended", values=_words(StopReason)),
        Column("n_tokens_model", INT, "written by the model", minimum=1),
        Column("n_tokens_hint", INT, "inserted as hints", minimum=0),
        Column("n_tokens_tool", INT, "tool output", minimum=0),
        Column("engine", STRING, "name@revision of the model"),
        Column(
            "sandbox",
            STRING,
            "isolation the code ran under",
            nullable=not (has_tools and is_own),
            values=_words(SandboxLevel),
        ),
        Column("sampling", STRING, "JSON of temperature, top_p, max_tokens"),
        Column("seed", INT, "of the draws", nullable=not is_own),
        Column("recipe_id", STRING, "hash of the settings that determine rollouts"),
    )
    return Table("snapshot", "accepted trajectory", ("trajectory_id",), columns)


SNAPSHOT = _snapshot(
    Column("baseline_trajectory_id", STRING, "the same model on the same problem without tools"),
    Column("baseline_text", STRING, "what it wrote"),
    Column("baseline_answer", STRING, "what it answered", nullable=True),
    Column("baseline_is_correct", BOOL, "false in every row", values=("false",)),
)
"""Of D_seed."""
_PASS_RATE = (
    Column("n_samples", INT, "trajectories sampled from the problem", minimum=1),
    Column("n_correct", INT, "of them with a right answer", minimum=1),
)
SNAPSHOTS = {
    "d_seed": SNAPSHOT,
    "d_start": _snapshot(*_PASS_RATE),
    "d_rft": _snapshot(*_PASS_RATE, has_tools=False),
    "d_import": _snapshot(*_PASS_RATE, is_own=False),
}
"""By build."""
