"""Closed vocabularies. Code, SQL, cards and tests use these words and no others."""

from enum import StrEnum


class Domain(StrEnum):
    """What a problem is about, which decides how it is judged and which quota it fills."""

    MATH = "math"
    CODE = "code"
    SCIENCE = "science"


class Build(StrEnum):
    """A dataset that can be built."""

    D_SEED = "d_seed"
    """Problems that the model gets wrong by itself and right with a hint."""
    D_START = "d_start"
    """What a trained model solves by itself, tools on, no hints."""
    D_RFT = "d_rft"
    """The ablation: what the base model solves without tools."""
    D_IMPORT = "d_import"
    """Trajectories that were written elsewhere."""


class Executor(StrEnum):
    """Where rollouts run."""

    LOCAL = "local"
    """In this process."""
    RAY = "ray"
    """As tasks of a Ray cluster, one engine per replica."""


class Arm(StrEnum):
    """Under which treatment a trajectory was sampled."""

    BASELINE = "baseline"
    """No tools, no hints: what the model does by itself."""
    HINT = "hint"
    """The stored baseline is cut, a hint is inserted, code runs."""
    SELF = "self"
    """Tools on, no hints: a trained model calls Python unprompted."""


class EvalArm(StrEnum):
    """Under which treatment a benchmark was answered."""

    PLAIN = "plain"
    """No tools, no hints."""
    TOOLS = "tools"
    """Python runs, no hints."""
    HINT = "hint"
    """The plain answer is cut and hinted, then hinted again before its stop token, round by round."""
    RECORDED = "recorded"
    """Written elsewhere and graded here."""


class Origin(StrEnum):
    """Who wrote a segment. Loss masks are decided from this, in `train/`."""

    MODEL = "model"
    HINT = "hint"
    TOOL = "tool"


class HintFunction(StrEnum):
    """What a hint asks the model to do with Python (paper: hint library)."""

    COMPLEX_CALCULATION = "complex_calculation"
    SELF_REFLECTION = "self_reflection"
    LOGIC_CHECK = "logic_check"
    ALTERNATIVE_METHOD = "alternative_method"
    GENERAL = "general"
    DEEPER_THINKING = "deeper_thinking"
    DEBUG = "debug"
    """Code problems only: run the sample tests."""
    OPENING = "opening"
    """The first words of an answer: that Python will be used (CoRT: prompt-level hint). Opens no code."""
    TRUST_OUTPUT = "trust_output"
    """Where the model begins to check an output by hand: that Python's arithmetic need not be doubted (CoRT)."""


OWN_SWITCH = (HintFunction.OPENING, HintFunction.TRUST_OUTPUT)
"""Functions of hints that are not inserted at cuts."""


class Cut(StrEnum):
    """Where the stored baseline is truncated before the hint."""

    START = "start"
    """Before the first character: the whole answer follows the hint."""
    SENTENCE = "sentence"
    """After the first sentence; for weak models, whose long wrong answers drag the continuation along."""
    CONJUNCTION = "conjunction"
    """Before a `Wait` or `Alternatively` of the baseline (arXiv v1: at random)."""
    COMPUTATION = "computation"
    """Before the first line that computes by hand (CoRT)."""
    END = "end"
    """Before the stop token (arXiv v1 and EMNLP)."""
    DOUBT = "doubt"
    """In the middle of a rollout, where the model begins to doubt an output (CoRT); no cut of a baseline."""


class StopReason(StrEnum):
    """Why a rollout ended. A bad rollout is data, not a crash."""

    END = "end"
    """The model wrote its end-of-turn token."""
    LENGTH = "length"
    """The token budget of the recipe was used up."""
    CONTEXT = "context"
    """The model's context window was used up."""
    ENGINE_ERROR = "engine_error"
    """The engine failed on this request; its siblings carried on."""
    SANDBOX_LOST = "sandbox_lost"
    """The sandbox itself failed (not the code in it)."""


class ExecStatus(StrEnum):
    """How an execution ended, taken from the kernel's wait status and never from what the code says."""

    OK = "ok"
    ERROR = "error"
    """The code raised, or exited with a non-zero code."""
    SIGNAL = "signal"
    CPU = "cpu"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    """More output than the limit; what fitted is kept."""
    LOST = "lost"
    """The sandbox failed. Nothing is known of the code."""


class SandboxLevel(StrEnum):
    """What isolates model-written code on this machine."""

    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    NONE = "none"
    """No isolation. Only on the user's explicit word, and marked on every row."""


class Judgement(StrEnum):
    """What became of one check. The last two count neither as wrong nor as right."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNDECIDED = "undecided"
    """No step can tell, or the check itself failed."""
    TIMEOUT = "timeout"
    """The check was killed at its time limit."""

    @classmethod
    def of(cls, is_correct: bool | None) -> "Judgement":
        """`undecided` for None."""
        return cls.UNDECIDED if is_correct is None else cls.CORRECT if is_correct else cls.WRONG

    @property
    def is_correct(self) -> bool | None:
        """None where it is undecided."""
        return {Judgement.CORRECT: True, Judgement.WRONG: False}.get(self)


class JudgeStep(StrEnum):
    """The step that decided a check, from the cheapest to the dearest."""

    NONE = "none"
    """There is no answer, or no step could tell."""
    EXACT = "exact"
    """Equal texts."""
    NORMALISED = "normalised"
    """Equal but for blanks, delimiters, sizing and the spelling of commands."""
    NUMERIC = "numeric"
    """Numbers, amounts with units and formulas without symbols, compared by value."""
    CHOICE = "choice"
    """The letter of an option."""
    TIME = "time"
    """Times of the day, or dates."""
    WORDS = "words"
    """Text."""
    STRUCTURE = "structure"
    """Tuples, sets, intervals, matrices, equations or inequalities, part by part."""
    VALUE = "value"
    """Formulas with symbols, compared at points."""
    SYMBOLIC = "symbolic"
    """Math-Verify."""
    SCORER = "scorer"
    """The scorer of the task that generated the problem."""
    TESTS = "tests"
    """The problem's tests, run in the sandbox."""


class VerifierName(StrEnum):
    """Who judges a problem's answers."""

    MATH_VERIFY = "math_verify"
    REASONING_GYM = "reasoning_gym"
    """The scorer that the generator of the task ships."""
    CHOICE = "choice"
    """One letter among the options of a multiple-choice question."""
    CODE_TESTS = "code_tests"
    """The problem's tests, run in the sandbox."""


class ProblemFormat(StrEnum):
    """How a code problem stands in its row (`factory.problems.formats`)."""

    ASSERTS = "asserts"
    """A sentence and asserts, as in MBPP."""
    FUNCTION = "function"
    """A function to complete and a `check` that calls it, as in HumanEval."""
    CONTEST = "contest"
    """Public and private tests, on standard input or calls, as in LiveCodeBench."""
    STDIN = "stdin"
    """A statement and pairs of input and output."""
    CODE_CONTESTS = "code_contests"
    """Columns of lists: public, private and generated tests, and solutions, as in DeepMind's CodeContests."""
    CODEFORCES = "codeforces"
    """A statement in parts, examples and official tests, as in Open-R1's Codeforces."""
    TACO = "taco"
    """JSON of inputs and outputs, and JSON of solutions, as in TACO and APPS."""


class SourceKind(StrEnum):
    """Where problems come from."""

    REASONING_GYM = "reasoning-gym"
    FILE = "file"
    HUB = "hub"


class ExportFormat(StrEnum):
    """A shape in which a snapshot is handed to another trainer."""

    MESSAGES = "messages"
    """One chat per row."""
    PROMPT_COMPLETION = "prompt-completion"
    """Two texts per row, chat template applied as it was to the model."""
    PRETOKENISED = "pretokenised"
    """Token ids, labels, and the author of every token."""
    SHAREGPT = "sharegpt"
    """One chat per row, in the names that ShareGPT uses."""
    GRPO = "grpo"
    """No trajectories: the problems of the snapshot's run, with pass rates, for reinforcement learning."""


class ContaminationMethod(StrEnum):
    """How a problem was found to repeat a benchmark item."""

    EXACT = "exact"
    """Equal texts, layout aside."""
    NEAR_EXACT = "near_exact"
    """Nearly the same characters, and the same numbers."""
    NGRAM_LCS = "ngram_lcs"
    """A common 13-gram and a longest common subsequence of at least 0.6 (Qwen2.5-Math), stock phrases aside."""
    EMBEDDING = "embedding"
    """A sentence model finds them alike: a rephrasing."""


class BestOf(StrEnum):
    """What makes one accepted trajectory of a problem better than another (`[selection] best_of`)."""

    FEWEST_ERRORS = "fewest_errors"
    """Of failing tool calls."""
    MOST_SUCCESSES = "most_successes"
    """Of tool calls that ended well and printed something."""
    FEWEST_CALLS = "fewest_calls"
    MOST_CALLS = "most_calls"
    SHORTEST = "shortest"
    """By tokens of the model."""
    LONGEST = "longest"
    LEAST_REPETITION = "least_repetition"
    """By repeated 8-grams of words, then by repeated lines."""
    LEAST_HAND_CALCULATION = "least_hand_calculation"
    """By equations between numbers in prose before the first code."""


OPPOSITES = (
    (BestOf.FEWEST_CALLS, BestOf.MOST_CALLS),
    (BestOf.SHORTEST, BestOf.LONGEST),
)
"""Of two rules over one measure the second never decides."""


class FillBy(StrEnum):
    """In which order rows take the places that quotas leave (`[selection] fill_by`)."""

    PROBLEMS = "problems"
    """In the order of the run's problems, all rows of one before the next."""
    SOURCES = "sources"
    """Sources take turns, one row each, in the order of their problems: a domain's quota keeps a bit of each."""


class Subject(StrEnum):
    """Of what texts are compared, when repeats are looked for."""

    RESPONSE = "response"
    """What the model wrote in a trajectory."""
    CODE = "code"
    """The code that a trajectory ran."""
    STATEMENT = "statement"
    """A problem."""


class Shingle(StrEnum):
    """Of what a shingle is a run."""

    WORD = "word"
    CHARACTER = "character"


class RejectReason(StrEnum):
    """Why a row of a problems file is not a problem."""

    BROKEN_ROW = "broken_row"
    """The line does not parse."""
    NOT_UTF8 = "not_utf8"
    MISSING_COLUMN = "missing_column"
    EMPTY_STATEMENT = "empty_statement"
    EMPTY_GOLD = "empty_gold"
    EMPTY_TEXT = "empty_text"
    """Of a trajectory written elsewhere: nothing was written."""
    DUPLICATE = "duplicate"
    """The same statement and gold stand earlier in the same source."""
    CONFLICTING_GOLD = "conflicting_gold"
    """The same statement stands earlier with another gold: at least one of them is wrong."""
    BAD_VALUE = "bad_value"
    """A column holds a value outside its vocabulary or of another kind."""


class RepairOutcome(StrEnum):
    """What became of a repaired copy."""

    MADE = "made"
    """It is a row of raw.trajectories. Where it runs other code than its parent, that gave the same outputs again."""
    NOT_REPRODUCED = "not_reproduced"
    """Without the blocks that a rule took away, a later one gives something else: no row, and the parent stays."""


class OutputDifference(StrEnum):
    """Why an output does not come out again, from the least to the most serious (factory.replay)."""

    TIME = "time"
    """The code reads a clock or the date."""
    RANDOMNESS = "randomness"
    """Runs differ among each other: generators without a seed, addresses, races."""
    HASH_ORDER = "hash_order"
    """The order of a set, or a hash, which follow the interpreter's hash seed."""
    ENVIRONMENT = "environment"
    """Modules, files, versions of libraries, how floats and errors are written, limits."""
    REAL = "real"
    """None of these explains it: the code does not print this."""


class DropReason(StrEnum):
    """Why a problem or a trajectory is not in the snapshot. The first that applies, in this order."""

    GOLD_UNVERIFIED = "gold_unverified"
    """The problem's own verifier does not accept its gold answer."""
    CONTAMINATED = "contaminated"
    DUPLICATE_STATEMENT = "duplicate_statement"
    """An earlier problem of the run asks nearly the same, with the same numbers."""
    BASELINE_FAILED = "baseline_failed"
    """The baseline rollout itself broke, so nothing is known of the problem."""
    BASELINE_UNDECIDED = "baseline_undecided"
    BASELINE_CORRECT = "baseline_correct"
    """The model solves it without Python: nothing to teach."""
    NO_CUT = "no_cut"
    """None of the cuts that the recipe allows exists in the baseline."""
    ROLLOUT_FAILED = "rollout_failed"
    NONDETERMINISTIC = "nondeterministic"
    """Its interpreter was rebuilt, and an earlier block then printed something else than the text says."""
    UNDECIDED = "undecided"
    """The checker timed out or failed: never counted as wrong."""
    WRONG_ANSWER = "wrong_answer"
    NO_TOOL_SUCCESS = "no_tool_success"
    TOOL_ERROR = "tool_error"
    """At least one failing execution; EMNLP removes these, a switch."""
    DELAYED_COMPUTATION = "delayed_computation"
    """Code computes what was worked out by hand before it; CoRT removes these, a switch."""
    DISTRUSTS_OUTPUT = "distrusts_output"
    """An output is doubted and worked out again by hand; CoRT removes these, a switch."""
    HAND_COMPUTATION = "hand_computation"
    """More calculations by hand before the first code than the recipe allows."""
    REPETITIVE = "repetitive"
    REPAIRED = "repaired"
    """A repaired row replaces this one."""
    DUPLICATE = "duplicate"
    DUPLICATE_CODE = "duplicate_code"
    """It ran nearly the code of another; a switch."""
    TOO_HARD = "too_hard"
    """Its problem was solved less often than the recipe allows."""
    TOO_EASY = "too_easy"
    """Its problem was solved more often than the recipe allows."""
    NOT_BEST = "not_best"
    """Another trajectory of the same problem was preferred."""
    OVER_QUOTA = "over_quota"
