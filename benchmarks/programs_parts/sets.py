"""The sets of code problems with references, through the readers and formats of the factory."""

from dataclasses import dataclass
from pathlib import Path

from factory.problems.files import read_rows
from factory.problems.formats import CODE_FORMATS, OPTIONAL, REQUIRED
from factory.problems.rows import Bad
from schemas.records import Problem
from schemas.vocabulary import ProblemFormat


@dataclass(frozen=True)
class CodeSet:
    """One file."""

    file: str
    format: ProblemFormat
    columns: dict[str, str]


SETS = {
    "HumanEval": CodeSet(
        "code_humaneval", ProblemFormat.FUNCTION, {"tests": "test", "reference": "canonical_solution"}
    ),
    "MBPP": CodeSet(
        "code_mbpp",
        ProblemFormat.ASSERTS,
        {"statement": "text", "tests": "test_list", "setup": "test_setup_code", "reference": "code"},
    ),
    "TACO": CodeSet(
        "code_taco_stdin_verified", ProblemFormat.STDIN, {"statement": "problem", "reference": "reference_solution"}
    ),
}


def load(name: str, data: Path, limit: int | None = None) -> dict[str, Problem]:
    """Problems by what the set calls them. Those of equal text are all kept, unlike in a build."""
    chosen, problems = SETS[name], dict[str, Problem]()
    for line, row in read_rows(data / f"{chosen.file}.jsonl.gz"):
        if isinstance(row, Bad):
            raise ValueError(f"{chosen.file}, line {line}: {row.detail}")
        known = (*REQUIRED[chosen.format], *OPTIONAL)
        mapped = {ours: row.get(chosen.columns.get(ours, ours)) for ours in known}
        problems[str(row.get("task_id", row.get("id")))] = CODE_FORMATS[chosen.format](mapped, name, "x")
        if limit is not None and len(problems) == limit:
            break
    return problems
