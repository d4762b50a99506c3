"""`factory export`: a snapshot as a file for another trainer.

The text formats lose something each; `formats.LOSES` says what, and the command prints it. `pretokenised` loses
nothing that a trainer could use. `grpo` is of another kind: problems, not trajectories (`problem_set`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.release import formats
from factory.release.problem_set import PROBLEM_SET, problem_rows
from factory.release.pull import locate
from factory.release.row_files import check_ending, write_rows
from factory.release.tokens import NO_LOSS, token_rows
from schemas.errors import SnapshotError, UsageError
from schemas.records import Manifest
from schemas.vocabulary import ExportFormat
from warehouse.snapshots import read_manifest

BATCH_ROWS = 256
OWN_OPTIONS = {
    "--tool-turns": ExportFormat.MESSAGES,
    "--model": ExportFormat.PRETOKENISED,
    "--hint-loss": ExportFormat.PRETOKENISED,
    "--min-pass-rate": ExportFormat.GRPO,
    "--max-pass-rate": ExportFormat.GRPO,
}
"""Options that have a meaning in one format only."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says besides snapshot, format and file. None and False: not given."""

    tool_turns: bool = False
    model: str | None = None
    hint_loss: bool = False
    min_pass_rate: float | None = None
    max_pass_rate: float | None = None

    def check(self, wanted: ExportFormat) -> None:
        """Refuse an option that would do nothing.

        Raises:
            UsageError: one is given that the format does not have, or no pass rate lies between the two.
        """
        for option, only in OWN_OPTIONS.items():
            value = getattr(self, option.removeprefix("--").replace("-", "_"))
            if value is not None and value is not False and wanted is not only:
                raise UsageError(f"{option} has no meaning in --format {wanted}; it belongs to --format {only}.")
        low, high = self.pass_rates
        if not 0 <= low <= high <= 1:
            raise UsageError(
                f"pass rates are shares: 0 <= --min-pass-rate ({low:g}) <= --max-pass-rate ({high:g}) <= 1."
            )

    @property
    def pass_rates(self) -> tuple[float, float]:
        """Lowest and highest wanted."""
        return (
            0.0 if self.min_pass_rate is None else self.min_pass_rate,
            1.0 if self.max_pass_rate is None else self.max_pass_rate,
        )


def export_snapshot(home: Path, reference: str, wanted: ExportFormat, out: Path, options: Options) -> None:
    """Write a snapshot as `out`, and say what was written and what the format cannot say.

    Args:
        home: The home.
        reference: `d_seed@latest`, `d_seed@v3`, a folder, or `hf://org/name@revision`.
        wanted: The format.
        out: Ends in .jsonl, .jsonl.gz or .parquet.
        options: Those that the format has.

    Raises:
        UsageError: the ending or an option is wrong.
        SnapshotError: there is no such snapshot, it lacks columns, or its tokens are not those of the model.
        HomeError: the file cannot be written, or (grpo) the home does not hold the snapshot's run.
        EngineError: (pretokenised) the model's tokenizer cannot be loaded.
    """
    options.check(wanted)
    check_ending(out)
    folder = locate(home, reference)
    manifest = read_manifest(folder)
    if wanted is ExportFormat.GRPO:
        found = problem_rows(home, manifest, *options.pass_rates)
        n_rows = write_rows(out, found.rows, PROBLEM_SET)
        print(f"{manifest.snapshot}: {n_rows:,} of {found.n_tried:,} problems with pass rates")
        print(out)
        return
    needed = (*formats.NEEDED[wanted], *formats.KEPT)
    make = _maker(manifest, wanted, home, options)
    counts = {"tokens": 0, "with loss": 0}

    def rows() -> Iterator[dict[str, Any]]:
        for row in snapshot_rows(folder, manifest, needed):
            made = make(row)
            counts["tokens"] += len(made.get("labels", ()))
            counts["with loss"] += sum(label != NO_LOSS for label in made.get("labels", ()))
            yield made

    n_rows = write_rows(out, rows(), formats.SCHEMAS[wanted])
    also = f", {counts['tokens']:,} tokens, {counts['with loss']:,} of them with loss" if counts["tokens"] else ""
    print(f"{manifest.snapshot}: {n_rows:,} rows as {wanted}{also}")
    print(f"left out: {formats.LOSES_IN_TURNS if options.tool_turns else formats.LOSES[wanted]}")
    print(out)


def _maker(
    manifest: Manifest, wanted: ExportFormat, home: Path, options: Options
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    match wanted:
        case ExportFormat.MESSAGES:
            return lambda row: formats.messages_row(row, in_turns=options.tool_turns)
        case ExportFormat.SHAREGPT:
            return formats.sharegpt_row
        case ExportFormat.PRETOKENISED:
            return token_rows(manifest, options.model, home, hint_loss=options.hint_loss)
    return formats.prompt_completion_row


def snapshot_rows(folder: Path, manifest: Manifest, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Some columns of a snapshot, row by row, in order; a few hundred rows are in memory at once.

    Raises:
        SnapshotError: a column or the data is missing, or a file is damaged.
    """
    missing = sorted(set(columns) - set(manifest.columns))
    if missing:
        raise SnapshotError(
            f"{manifest.snapshot} lacks the columns {', '.join(missing)} that this format is made from."
        )
    n_rows = 0
    for path in sorted((folder / "data").glob("*.parquet")):
        try:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                yield from batch.to_pylist()
                n_rows += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise SnapshotError(f"{path} cannot be read: {reason}\n  state:  nothing was written.") from error
    if n_rows != manifest.n_rows:
        raise SnapshotError(
            f"{folder / 'data'} holds {n_rows:,} rows, the manifest says {manifest.n_rows:,}.\n"
            "  state:  nothing was written."
        )
