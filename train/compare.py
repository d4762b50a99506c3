"""`train compare`: evaluated models side by side, from `raw.evaluations` alone.

A column is one arm and round of one model: `base:plain`, `base:tools`, `base:hint2`. An entry without an arm stands for
all its arms, in that order. Each column is held against the first, over the problems that both answered; where a model
was evaluated under several settings the latest evaluation of a benchmark counts. With several benchmarks, `all` pools
their problems, each of one weight, for the columns that were evaluated on every one of them.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.engines.local_model import engine_name
from factory.progress import make_console, make_table
from factory.settings import default_home
from schemas.errors import UsageError
from schemas.recipe import EngineSettings
from schemas.vocabulary import Domain, EvalArm
from train.metrics import Interval, bootstrap_interval, majority_is_correct, paired_difference, pass_at_k
from warehouse.store import Store, fetch

_ARM = re.compile(r"(?P<model>.+):(?P<arm>plain|tools|recorded|hint(?P<round>\d+)?)")
ALL = "all"
"""What stands for the benchmark where all of them are pooled."""
_ORDER = {EvalArm.PLAIN: 0, EvalArm.RECORDED: 1, EvalArm.TOOLS: 2, EvalArm.HINT: 3}


@dataclass(frozen=True)
class Column:
    """One arm and round of one model."""

    label: str
    arm: EvalArm
    n_rounds: int

    @property
    def title(self) -> str:
        """`base:hint2`."""
        return f"{self.label}:{self.arm}" + (str(self.n_rounds) if self.arm is EvalArm.HINT else "")


@dataclass(frozen=True)
class Cell:
    """What one column did on one benchmark."""

    benchmark: str
    column: Column
    rates: dict[str, float]
    """Share of correct samples, by problem."""
    accuracy: Interval
    k: int
    pass_k: float
    majority: float | None
    """Null for code, where answers are programs."""
    n_undecided: int
    mean_tokens: float | None
    tool_use_rate: float
    tool_error_rate: float | None
    """Null where nothing was executed."""
    calls_per_problem: float


def show_comparison(entries: Sequence[str], on: Sequence[str], out: Path | None, home: Path | None) -> None:
    """Print the table and the differences from the first column; draw plots where a folder is given.

    Raises:
        UsageError: a model, arm or benchmark of which nothing is stored; says what is.
    """
    home = home.expanduser() if home else default_home()
    cells = collect(home, entries, [name for text in on for name in text.split(",") if name])
    console = make_console()
    console.print(make_table(list(_shown(cells[0])), [list(_shown(cell).values()) for cell in cells]))
    if differences := paired_rows(cells):
        title = f"difference from {cells[0].column.title} (paired bootstrap over shared problems, 95 %)"
        console.print(make_table(list(differences[0]), [list(row.values()) for row in differences], title=title))
    if out is not None:
        from train.plots import draw

        for path in draw(cells, out):
            print(path)


def collect(home: Path, entries: Sequence[str], on: Sequence[str]) -> list[Cell]:
    """The cells of all entries, benchmark by benchmark, the columns in the order of the entries.

    Raises:
        UsageError: see show_comparison.
    """
    store = Store(home)
    with store.connect() as con:
        rows = fetch(con, "from raw.evaluations order by problem_id, sample_index")
    if not rows:
        raise UsageError(f"{home} holds no evaluations yet.\n  next:  train eval --on held-out --label base")
    known = sorted({row["benchmark"] for row in rows})
    if missing := [name for name in on if name not in known]:
        raise UsageError(f"nothing was evaluated on {', '.join(missing)}. There is: {', '.join(known)}.")
    groups: dict[tuple[Column, str], list[dict[str, Any]]] = {}
    columns = list(dict.fromkeys(column for entry in entries for column in _columns(entry, rows, groups)))
    shown = [name for name in on or known if any((column, name) in groups for column in columns)]
    if not shown:
        raise UsageError(f"none of {', '.join(entries)} was evaluated on {', '.join(on)}.")
    cells = [_cell(name, c, groups[c, name]) for name in shown for c in columns if (c, name) in groups]
    whole = [column for column in columns if len(shown) > 1 and all((column, name) in groups for name in shown)]
    for column in whole:
        rows = [
            row | {"problem_id": f"{name} {row['problem_id']}"} for name in shown for row in groups[column, name]
        ]  # a problem may stand in two benchmarks
        cells.append(_cell(ALL, column, rows))
    return cells


def _columns(
    entry: str, rows: Sequence[dict[str, Any]], groups: dict[tuple[Column, str], list[dict[str, Any]]]
) -> list[Column]:
    """The columns of an entry, in order; their rows, of the latest evaluation of each benchmark, go into `groups`."""
    match = _ARM.fullmatch(entry)
    model, arm, wanted = (match["model"], match["arm"], match["round"]) if match else (entry, "", None)
    mine = [row for row in rows if _is_meant(model, row)]
    if not mine:
        labels = sorted({row["label"] for row in rows})
        close = difflib.get_close_matches(model, labels, n=1)
        raise UsageError(
            f"'{model}' was not evaluated here." + (f" Did you mean '{close[0]}'?" if close else "") + "\n"
            f"  there are:  {', '.join(labels)}\n  next:       train eval --model {model} --on ..."
        )
    found: dict[tuple[Column, str], list[dict[str, Any]]] = {}
    for row in sorted(mine, key=lambda row: (_ORDER[row["arm"]], row["n_rounds"])):
        if (arm and not arm.startswith(row["arm"])) or (wanted and int(wanted) != row["n_rounds"]):
            continue
        column = Column(model.rstrip("/").rpartition("/")[2], EvalArm(row["arm"]), row["n_rounds"])
        found.setdefault((column, row["benchmark"]), []).append(row)
    if not found:
        arms = sorted({Column(model, EvalArm(row["arm"]), row["n_rounds"]).title for row in mine})
        raise UsageError(f"'{entry}' was not evaluated here. There are: {', '.join(arms)}.")
    for key, group in found.items():
        latest = max(group, key=lambda row: row["created_at"])["evaluation_id"]
        groups[key] = [row for row in group if row["evaluation_id"] == latest]
    return [column for column, _ in found]


def _is_meant(model: str, row: Mapping[str, Any]) -> bool:
    """Whether a row is of the model that is named by label, by `name`, `name@revision`, or folder."""
    if model in (row["label"], row["model"], row["model"].partition("@")[0]):
        return True
    return Path(model).is_dir() and bool(row["model"] == engine_name(EngineSettings(model=model)))


def _cell(benchmark: str, column: Column, rows: Iterable[dict[str, Any]]) -> Cell:
    by_problem: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_problem.setdefault(row["problem_id"], []).append(row)
    samples = [row for group in by_problem.values() for row in group]
    counts = [(len(group), sum(row["is_correct"] is True for row in group)) for group in by_problem.values()]
    k = min(n for n, _ in counts)
    rates = {problem: c / n for problem, (n, c) in zip(by_problem, counts, strict=True)}
    majority = [
        majority_is_correct([row["answer_key"] for row in group], [row["is_correct"] for row in group])
        for group in by_problem.values()
    ]
    n_calls = sum(row["n_tool_calls"] for row in samples)
    tokens = [row["n_tokens"] for row in samples if row["n_tokens"] is not None]
    return Cell(
        benchmark=benchmark,
        column=column,
        rates=rates,
        accuracy=bootstrap_interval(list(rates.values()), len(samples)),
        k=k,
        pass_k=sum(pass_at_k(n, c, k) for n, c in counts) / len(counts),
        majority=None if any(row["domain"] == Domain.CODE for row in samples) else sum(majority) / len(majority),
        n_undecided=sum(row["is_correct"] is None for row in samples),
        mean_tokens=sum(tokens) / len(tokens) if tokens else None,
        tool_use_rate=sum(row["called_python"] for row in samples) / len(samples),
        tool_error_rate=sum(row["n_tool_errors"] for row in samples) / n_calls if n_calls else None,
        calls_per_problem=n_calls / len(samples),
    )


def _shown(cell: Cell) -> dict[str, Any]:
    return {
        "benchmark": cell.benchmark,
        "model": cell.column.title,
        "problems": len(cell.rates),
        "k": cell.k,
        "pass@1": f"{cell.accuracy.mean:.3f}",
        "95 % interval": f"{cell.accuracy.low:.3f} to {cell.accuracy.high:.3f}",
        "pass@k": f"{cell.pass_k:.3f}",
        "majority@k": "" if cell.majority is None else f"{cell.majority:.3f}",
        "undecided": cell.n_undecided,
        "tokens": "" if cell.mean_tokens is None else f"{cell.mean_tokens:.0f}",
        "tool use": f"{cell.tool_use_rate:.2f}",
        "tool errors": "" if cell.tool_error_rate is None else f"{cell.tool_error_rate:.2f}",
        "calls": f"{cell.calls_per_problem:.2f}",
    }


def paired_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Per benchmark, each column's difference from the first column named, over the problems that both answered."""
    first, rows = cells[0].column, []
    reference = {cell.benchmark: cell for cell in cells if cell.column == first}
    for cell in cells:
        base = reference.get(cell.benchmark)
        if base is None or cell is base:
            continue
        shared = [problem for problem in base.rates if problem in cell.rates]
        row: dict[str, Any] = {"benchmark": cell.benchmark, "model": cell.column.title, "shared problems": len(shared)}
        if shared:
            found = paired_difference([base.rates[p] for p in shared], [cell.rates[p] for p in shared])
            span = f"{found.low:+.3f} to {found.high:+.3f}"  # all differences equal: every draw is the same
            row |= {
                "difference": f"{found.mean:+.3f}",
                "95 % interval": span if found.low < found.high else "no spread",
            }
        else:
            row |= {"difference": "", "95 % interval": ""}
        rows.append(row)
    return rows
