"""Problems from the Hugging Face hub, or from a dataset folder on this machine, through `datasets`.

Code that a dataset brings along is never run: current `datasets` has no such feature, and nothing here asks for it.
Downloads go to the cache of `datasets`; a revision pins what is read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory.problems.files import BATCH_ROWS, arrow_rows
from factory.problems.rows import Row
from schemas.errors import ProblemsError
from schemas.recipe import Source


def read_rows(source: Source, *, base: Path) -> Iterator[tuple[int, Row]]:
    """Rows of one split with their numbers, from 1.

    Raises:
        ProblemsError: the hub cannot be reached, or has no such dataset, configuration or split, or wants a login.
    """
    dataset = _load(source, base)
    number = 0
    for table in dataset.with_format("arrow").iter(batch_size=BATCH_ROWS):
        for row in arrow_rows(table):
            number += 1
            yield number, row
    if number == 0:
        raise ProblemsError(f"the split '{source.split}' holds no rows.")


def local_folder(source: Source, base: Path) -> Path | None:
    """The folder that the path names, where there is one; a hub id otherwise.

    Raises:
        ProblemsError: the path can be no hub id, and is no folder.
    """
    path = str(source.path)
    folder = base / Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ProblemsError('this is a file. Use kind = "file" for it.')
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ProblemsError("no such folder, and no hub id either (those look like 'org/name').")
    return None


def _load(source: Source, base: Path) -> Any:
    folder = local_folder(source, base)
    import datasets

    try:
        return datasets.load_dataset(
            str(folder) if folder else source.path,
            name=source.config,
            revision=None if folder else source.revision,
            split=source.split,
        )
    except Exception as error:
        raise ProblemsError(_explain(error)) from error


def _explain(error: Exception) -> str:
    """What went wrong and what to do, in our words, with what `datasets` said in brackets."""
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    told = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
    said = " ".join(str(told).split())[:400] or type(told).__name__
    if "gated" in said.lower():
        return f"the hub wants a login for it ({said})\n  next:    accept its terms on the hub, then `hf auth login`"
    if isinstance(error, ConnectionError):
        return (
            f"the hub cannot be reached ({said})\n"
            "  next:    check the network (and HF_HUB_OFFLINE), or give the path of a local copy"
        )
    if isinstance(error, DatasetNotFoundError):
        return (
            f"the hub has no such dataset, or hides it from you ({said})\n"
            "  next:    check name and revision; a private one needs `hf auth login`"
        )
    return f"`datasets` cannot load it: {type(told).__name__}: {said}"
