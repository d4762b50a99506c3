"""The recipe: every setting of a build, and nothing besides. Files are TOML (`factory/recipes/`).

A key that is not listed here is an error. Each section says in one line what it decides; values are the paper's
where the paper gives one, and the shipped recipes set them explicitly.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.vocabulary import (
    OPPOSITES,
    OWN_SWITCH,
    BestOf,
    Cut,
    Domain,
    Executor,
    FillBy,
    HintFunction,
    OutputDifference,
    ProblemFormat,
    Shingle,
    SourceKind,
)

Share = Annotated[float, Field(ge=0, le=1)]
Similarity = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """Frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Section):
    """One source of problems: a generator, a file or a hub dataset."""

    kind: SourceKind
    task: str | None = None
    """reasoning-gym: the name of the task."""
    count: int | None = Field(default=None, ge=1)
    """reasoning-gym: how many problems."""
    seed: int = 0
    """reasoning-gym: the generator's seed."""
    params: dict[str, Any] = {}
    """reasoning-gym: settings of the task."""
    path: str | None = None
    """file: JSON lines (also .gz), CSV or Parquet. hub: `org/name` or a local dataset folder."""
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    map: dict[str, str] = {}
    """Our column -> the source's column, such as {statement = "problem"}."""
    domain: Domain = Domain.MATH
    format: ProblemFormat | None = None
    """file, hub: code problems, and how their tests stand in a row; the domain is then `code`."""
    licence: str | None = None
    """Where the rows have no licence column. Unset: `unknown`."""
    released_after: date | None = None
    """Only problems released on this day or later. Those without a day are left out then, and are not counted."""
    released_before: date | None = None
    """Only problems released on this day or before."""
    limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _complete(self) -> "Source":
        if self.kind is SourceKind.REASONING_GYM and not (self.task and self.count):
            raise ValueError("a reasoning-gym source needs 'task' and 'count'")
        if self.kind is not SourceKind.REASONING_GYM and not self.path:
            raise ValueError(f"a {self.kind} source needs 'path'")
        if self.format is not None and self.kind is SourceKind.REASONING_GYM:
            raise ValueError("a reasoning-gym source has no format")
        return self


class Problems(Section):
    """Which problems. Sources take turns, so that a limit keeps a bit of each."""

    sources: tuple[Source, ...] = Field(min_length=1)
    limit: int | None = Field(default=None, ge=1)
    skip_bad_rows: bool = False


class EngineSettings(Section):
    """Which model, and how it runs. `max_running` and `device` change the speed, not the text."""

    kind: Literal["transformers", "vllm", "server", "scripted"] = "transformers"
    model: str = "embedded"
    """`embedded` (SmolLM2-135M-Instruct from its package), a hub id, or a local folder."""
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    max_model_len: int = Field(default=2048, ge=64)
    max_running: int = Field(default=32, ge=1)
    """Requests that share a forward pass."""
    timeout_s: float = Field(default=1800.0, gt=0)
    """Of one request: an engine that hangs ends the trajectory, not the run."""
    device: str = "auto"
    tensor_parallel: int = Field(default=1, ge=1)
    """vllm: devices that share one copy of the model."""
    data_parallel: int = Field(default=1, ge=1)
    """vllm: copies of the model."""
    memory_share: Share = 0.9
    """vllm: of the accelerator."""
    urls: tuple[str, ...] = ()
    """server: addresses such as `http://127.0.0.1:8000`; `model` is then whose tokenizer it is."""
    served_model: str | None = None
    """server: the name under which the servers know the model, where they serve several."""
    api_key_env: str = "OPENAI_API_KEY"
    """server: the environment variable that holds the key."""
    retries: int = Field(default=6, ge=0)
    """server: of a request that failed for reasons that may pass."""


class Prompt(Section):
    """What the model is told. Baseline and hint share it, so that the hint can continue the baseline's text."""

    system: str = ""
    suffix: str = ""
    """Appended to the statement."""


class Baseline(Section):
    """The model by itself: no tools are run."""

    temperature: float = Field(default=0.0, ge=0)
    top_p: Share = 1.0
    max_tokens: int = Field(default=1024, ge=1)


class Hint(Section):
    """Hint-infer."""

    library: str = "start"
    """A file of `factory/hints/`, or a path."""
    functions: tuple[HintFunction, ...] = tuple(f for f in HintFunction if f not in OWN_SWITCH)
    """Of the hints at cuts; `opening` and `trust_output` have switches of their own."""
    cuts: tuple[Cut, ...] = (Cut.CONJUNCTION, Cut.END)
    """Where a stored baseline may be cut."""
    triggers: tuple[str, ...] = ("Wait", "Alternatively")
    """Words at which a `conjunction` cut may fall."""
    which_conjunction: Literal["random", "last"] = "random"
    """arXiv v1: a random one. EMNLP: the last."""
    leads: tuple[str, ...] = ("Wait, ", "Alternatively, ")
    code_start: str = ""
    """The first characters of the code, for models too weak to start a program that prints."""
    opening: bool = False
    """As in `[d_start]`, for the arm `tools` of evaluations."""
    trust_output: bool = False
    """Where the model begins to check an output by hand, tell it once that there is no need (CoRT)."""
    branches: int = Field(default=1, ge=1)
    """Hint trajectories per problem."""
    rounds: int = Field(default=1, ge=1)
    """Hints one after the other: a branch that is still wrong is hinted again before its stop token."""
    temperature: float = Field(default=0.0, ge=0)
    top_p: Share = 1.0
    max_tokens: int = Field(default=1024, ge=1)
    """Of the model, over all rounds of one trajectory."""
    max_calls: int = Field(default=6, ge=1)

    @model_validator(mode="after")
    def _known_places(self) -> "Hint":
        if Cut.DOUBT in self.cuts:
            raise ValueError("'doubt' is no cut of a baseline; set trust_output = true")
        return self


class SandboxSettings(Section):
    """Limits of one execution."""

    wall_s: float = Field(default=20.0, gt=0)
    """Several times cpu_s: on a busy machine a program waits for its turn, which must not end it."""
    cpu_s: float = Field(default=5.0, gt=0)
    memory_mb: int = Field(default=512, ge=16)
    output_bytes: int = Field(default=65536, ge=1024)
    shown_chars: int = Field(default=2000, ge=100)
    """Of an output, how much the model gets to see."""
    used_up: str = ""
    """A line that the model is told after its last allowed call (CoRT); empty: nothing."""
    max_sessions: int = Field(default=256, ge=1)
    """Interpreters open at the same time, about 2 MB each."""


class Judge(Section):
    """Verdicts."""

    timeout_s: float = Field(default=4.0, gt=0)
    """Of one check; then its worker is killed."""
    precision: int = Field(default=6, ge=1, le=15)
    """Significant digits to which a rounded decimal must agree with the gold."""
    memory_mb: int = Field(default=1024, ge=256)
    n_workers: int = Field(default=2, ge=1)
    total_s: float = Field(default=60.0, gt=0)
    """Programs: of all tests of one together; then its verdict is `timeout`. `[sandbox]` has the limits of each."""
    time_factor: float = Field(default=2.0, gt=0)
    """Programs: a problem that brings a time limit along gives each test so many times as many CPU seconds, in the
    place of `sandbox.cpu_s`: contests set them for compiled programs."""
    max_test_s: float = Field(default=20.0, gt=0)
    """Programs: CPU seconds of one test at most, whatever its problem says."""


class Decontamination(Section):
    """Against which benchmarks, by which methods. Equal texts always count; a method without a threshold is off."""

    benchmarks: tuple[Source | str, ...] = ()
    """Sources, or names as `train eval --on` takes them: `aime24`, `NAME=FILE`, `org/name?split=test`."""
    near_similarity: Share | None = 0.85
    """near_exact: Jaccard similarity of runs of five characters, between texts with the same numbers."""
    ngram: int = Field(default=13, ge=3)
    """ngram_lcs: words in a row that must be shared (Qwen2.5-Math: 13)."""
    lcs_ratio: Share | None = 0.6
    """ngram_lcs: longest common subsequence over the shorter text (Qwen2.5-Math: 0.6)."""
    stock_texts: int = Field(default=3, ge=0)
    """ngram_lcs: a phrase that stands in so many different texts is no evidence; 0: every phrase is."""
    embedding_model: str = ""
    """embedding: `embedded` (all-MiniLM-L6-v2 from its package), a hub id, or a local folder; empty: off."""
    embedding_similarity: Share = 0.8
    """embedding: cosine of the two vectors."""


class Signals(Section):
    """Which measured properties drop a trajectory. The last three are CoRT's filters (warehouse.behaviours)."""

    max_ngram_repetition: Share = 0.3
    """Share of 8-grams of words that occurred before in the same text."""
    max_line_repetition: Share = 0.5
    """Share of lines that occurred before in the same text."""
    drop_delayed_computation: bool = False
    """An output repeats what was worked out by hand before its code."""
    drop_distrust: bool = False
    """An output is doubted and worked out again by hand."""
    max_hand_calculations: int | None = Field(default=None, ge=0)
    """Equations between numbers in prose before the first code; null: any number."""


class Duplicates(Section):
    """When two texts count as the same: by the Jaccard similarity of their shingles (docs/duplicates.md)."""

    response_similarity: Similarity | None = 0.85
    """Threshold for what the model wrote in two accepted trajectories; null: they are not compared."""
    across_problems: bool = True
    """Whether trajectories of different problems are compared, too."""
    code_similarity: Similarity | None = None
    """Threshold for the code that two accepted trajectories ran; null: it is not compared."""
    statement_similarity: Similarity | None = 0.85
    """Threshold for two problems with the same numbers, of any sources; null: they are not compared."""
    shingle: Shingle = Shingle.WORD
    shingle_size: int = Field(default=5, ge=1)
    """Words or characters per shingle."""
    num_perm: int = Field(default=128, ge=16)
    """Hashes per MinHash signature."""


class Repair(Section):
    """The paper's unpublished "modify": named rules, applied in this order, each making a new row."""

    rules: tuple[str, ...] = ()


class Selection(Section):
    """Which of the accepted trajectories enter the snapshot (`warehouse/models/marts/trajectories_scored.sql`)."""

    min_tool_success: int = Field(default=1, ge=0)
    drop_tool_errors: bool = False
    """EMNLP removes responses with a failing execution."""
    min_pass_rate: Share = 0.0
    """Drop the rows of problems that fewer of this run's candidates solved: hint branches, samples or imported rows.
    Undecided checks, failed rollouts and repaired copies do not count."""
    max_pass_rate: Share = 1.0
    """As above, of problems that more of them solved."""
    per_problem: int = Field(default=1, ge=1)
    best_of: tuple[BestOf, ...] = (BestOf.FEWEST_ERRORS, BestOf.SHORTEST)
    """Which of a problem's rows are preferred; each rule decides where those before it tie, at last trajectory_id."""
    quota_math: int = Field(default=10_000, ge=0)
    quota_code: int = Field(default=2_000, ge=0)
    quota_science: int = Field(default=0, ge=0)
    quota_source: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Rows of a source at most, by its name, in each domain; sources that are not named have their domain's alone."""
    fill_by: FillBy = FillBy.PROBLEMS
    """Who takes the places first."""

    @model_validator(mode="after")
    def _possible(self) -> "Selection":
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(f"min_pass_rate {self.min_pass_rate} is above max_pass_rate {self.max_pass_rate}")
        rules = self.best_of
        idle = [rule for i, rule in enumerate(rules) if rule in rules[:i]]
        idle += [a for pair in OPPOSITES if set(pair) <= set(rules) for a in sorted(pair, key=rules.index)[1:]]
        if idle:
            raise ValueError(f"best_of: '{idle[0]}' decides nothing, for a rule before it orders by the same measure")
        return self


class Sampled(Section):
    """A build that samples a model several times per problem, without hints, and keeps what is right."""

    samples: int = Field(default=16, ge=1)
    """Per problem (paper: 16)."""
    temperature: float = Field(default=0.6, ge=0)
    top_p: Share = 0.95
    max_tokens: int = Field(default=1024, ge=1)
    """Of the model, over all rounds of one trajectory."""
    max_calls: int = Field(default=6, ge=0)
    """0: no tools."""
    opening: bool = False
    """Begin every answer with a sentence of the hint library that says Python will be used (CoRT)."""
    trust_output: bool = False
    """As in `[hint]`."""
    selection: Selection = Selection(min_tool_success=0, quota_math=40_000, quota_code=10_000)


class Imported(Section):
    """A build of trajectories that were written elsewhere. `[problems]` names their files."""

    model: str = "unknown"
    """Who wrote the rows of files that do not say it; `name@revision`, or a name alone."""
    output_fences: tuple[str, ...] = ("output",)
    """Languages of the fences that hold a tool's output."""
    selection: Selection = Selection()


class ExecutorSettings(Section):
    """Where rollouts run. Nothing here changes a text."""

    kind: Executor = Executor.LOCAL
    ray_address: str | None = None
    """Of a running cluster, such as `auto` or `ray://head:10001`; null starts one on this machine."""
    replicas: int = Field(default=1, ge=1)
    """ray: engines, each on the accelerators that `engine.tensor_parallel` and `engine.data_parallel` ask for."""
    shard_rows: int = Field(default=256, ge=1)
    """ray: trajectories of one task."""


class Gate(Section):
    """What a candidate must fulfil besides the promises of its columns."""

    min_rows: int = Field(default=1, ge=1)
    max_failed_share: Share = 0.2
    """Of a step's rollouts or checks that may fail before the build stops."""
    replay: bool = True
    """Run the code of the chosen rows again; one whose outputs do not come out again keeps the snapshot back."""
    tolerate: tuple[OutputDifference, ...] = ()
    """Differences that do not."""


class Recipe(Section):
    """All settings of a build."""

    name: str
    description: str = ""
    seed: int = 0
    problems: Problems
    engine: EngineSettings = EngineSettings()
    prompt: Prompt = Prompt()
    baseline: Baseline = Baseline()
    hint: Hint = Hint()
    sandbox: SandboxSettings = SandboxSettings()
    judge: Judge = Judge()
    decontamination: Decontamination = Decontamination()
    signals: Signals = Signals()
    duplicates: Duplicates = Duplicates()
    repair: Repair = Repair()
    selection: Selection = Selection()
    d_start: Sampled = Sampled()
    """`factory build d_start`: a trained model by itself, tools on."""
    d_rft: Sampled = Sampled(max_calls=0)
    """`factory build d_rft`: the ablation, the base model without tools (the paper's QwQ-RFT)."""
    d_import: Imported = Imported()
    """`factory build d_import`: trajectories written elsewhere, taken in from files."""
    gate: Gate = Gate()
    executor: ExecutorSettings = ExecutorSettings()
