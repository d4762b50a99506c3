"""Plots of a comparison: accuracy per benchmark, test-time scaling, tool use; each a PNG beside a CSV of numbers.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines differ by marker, too.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.vocabulary import EvalArm
from train.compare import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#F0E442")
MARKERS = "osD^vPX*"


def draw(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Draw what the cells allow; scaling only where a model has rounds of hints.

    Args:
        cells: See `train.compare.collect`.
        folder: Made where it is missing.

    Returns:
        The files written.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = _accuracy(cells, folder) + _tools(cells, folder)
    return written + (_scaling(cells, folder) if any(cell.column.n_rounds for cell in cells) else [])


def _accuracy(cells: Sequence[Cell], folder: Path) -> list[Path]:
    rows = [
        {
            "benchmark": c.benchmark,
            "model": c.column.title,
            "pass_at_1": c.accuracy.mean,
            "low_95": c.accuracy.low,
            "high_95": c.accuracy.high,
            "n_problems": len(c.rates),
        }
        for c in cells
    ]
    figure, axes = _figure(len(rows))
    _bars(axes, rows, "pass_at_1", errors=True)
    axes.set_ylabel("accuracy (pass@1)")
    axes.set_title("Accuracy, 95 % bootstrap intervals over problems")
    return _save(figure, rows, folder / "accuracy")


def _tools(cells: Sequence[Cell], folder: Path) -> list[Path]:
    rows = [
        {
            "benchmark": c.benchmark,
            "model": c.column.title,
            "tool_use_rate": c.tool_use_rate,
            "tool_error_rate": c.tool_error_rate,
            "calls_per_problem": c.calls_per_problem,
        }
        for c in cells
    ]
    figure, axes = _figure(len(rows))
    _bars(axes, rows, "tool_use_rate", errors=False)
    axes.set_ylabel("share of answers that ran Python")
    axes.set_title("Tool use")
    return _save(figure, rows, folder / "tool_use")


def _scaling(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """One line per benchmark and model that was hinted: round 0 is the plain answer."""
    hinted = {cell.column.label for cell in cells if cell.column.n_rounds}
    lines: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.column.arm in (EvalArm.PLAIN, EvalArm.HINT) and cell.column.label in hinted:
            lines.setdefault((cell.column.label, cell.benchmark), []).append(cell)
    figure, axes = _figure(14)
    rows = []
    for i, ((label, benchmark), line) in enumerate(sorted(lines.items())):
        line.sort(key=lambda cell: cell.column.n_rounds)
        x = [cell.column.n_rounds for cell in line]
        y = [cell.accuracy.mean for cell in line]
        errors = [[c.accuracy.mean - c.accuracy.low for c in line], [c.accuracy.high - c.accuracy.mean for c in line]]
        shift = 0.03 * (i - (len(lines) - 1) / 2)  # so that intervals at one round do not hide each other
        axes.errorbar(
            [value + shift for value in x],
            y,
            yerr=errors,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            capsize=3,
            linewidth=1.8,
            label=f"{label}, {_short(benchmark, [name for _, name in lines])}",
        )
        rows += [
            {
                "model": label,
                "benchmark": benchmark,
                "n_rounds": c.column.n_rounds,
                "pass_at_1": c.accuracy.mean,
                "low_95": c.accuracy.low,
                "high_95": c.accuracy.high,
                "mean_tokens": c.mean_tokens,
                "n_problems": len(c.rates),
            }
            for c in line
        ]
    axes.set_xticks(sorted({row["n_rounds"] for row in rows}))
    axes.set_xlabel("rounds of hints (0: plain)")
    axes.set_ylabel("accuracy (pass@1)")
    _limit_y(axes, [cell.accuracy.high for line in lines.values() for cell in line])
    axes.set_title("Test-time scaling by hint rounds")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _save(figure, rows, folder / "scaling")


def _figure(n_bars: int) -> tuple[Any, "Axes"]:
    """A figure of its own, drawn without a display and without pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(13.0, max(6.0, 2.5 + 0.45 * n_bars)), 4.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def _bars(axes: "Axes", rows: Sequence[dict[str, Any]], column: str, *, errors: bool) -> None:
    """Groups of bars, one group per benchmark, one colour per model."""
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    width = 0.8 / len(models)
    for i, model in enumerate(models):
        mine = [row for row in rows if row["model"] == model]
        x = [benchmarks.index(row["benchmark"]) + (i - (len(models) - 1) / 2) * width for row in mine]
        values = [row[column] for row in mine]
        spans = None
        if errors:
            spans = [[r[column] - r["low_95"] for r in mine], [r["high_95"] - r[column] for r in mine]]
        axes.bar(x, values, width * 0.92, yerr=spans, capsize=3, color=COLOURS[i % len(COLOURS)], label=model)
    names = [_short(name, benchmarks) for name in benchmarks]
    is_crowded = len(names) > 3
    axes.set_xticks(range(len(names)), names, rotation=20 if is_crowded else 0, ha="right" if is_crowded else "center")
    axes.set_xlim(-0.6, len(names) - 0.4)
    _limit_y(axes, [row["high_95"] if errors else row[column] for row in rows])
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _short(name: str, names: Sequence[str]) -> str:
    """`products@900011` for `reasoning-gym/products@900011.a092`, unless another benchmark would read the same."""

    def cut(text: str) -> str:
        return text.rpartition("/")[2].partition(".")[0]

    return cut(name) if len({other for other in names if cut(other) == cut(name)}) == 1 else name


def _limit_y(axes: "Axes", highest: Sequence[float]) -> None:
    """From 0 to 1; less where all values are small and could not be told apart."""
    top = max(highest, default=1.0)
    axes.set_ylim(0, 1.02 if top > 0.6 or top == 0 else 1.15 * top)


def _save(figure: Any, rows: Sequence[dict[str, Any]], stem: Path) -> list[Path]:
    png, table = stem.with_suffix(".png"), stem.with_suffix(".csv")
    figure.savefig(png)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return [png, table]
