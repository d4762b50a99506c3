"""Which version of a snapshot is the latest: the newest, unless `factory rollback` said otherwise.

A rollback is one small file, `snapshots/<name>/latest.json`. It names a version and the newest one that there was when
it was written, and counts only as long as no newer one exists. So the next promotion ends it by its rename alone:
there is no moment at which a kill could leave the two in disagreement.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import FactoryError, SnapshotError
from warehouse.files import readable_json, write_atomically

POINTER = "latest.json"


@dataclass(frozen=True)
class Pointer:
    """A decision that a version other than the newest is the latest."""

    version: int
    newest: int
    """When it was made; it ends with the next one."""
    since: str
    reason: str


def read_pointer(home: Path, name: str, known: Sequence[int]) -> Pointer | None:
    """The decision in force, if any.

    Args:
        home: The home.
        name: `d_seed`.
        known: Version numbers, ascending.

    Raises:
        SnapshotError: the file cannot be read, or names a version that is gone.
    """
    path = home / "snapshots" / name / POINTER
    if not known or not path.is_file():
        return None
    try:
        value = readable_json(path)
        pointer = Pointer(
            int(str(value["version"])), int(str(value["newest"])), str(value["since"]), str(value["reason"])
        )
    except (FactoryError, KeyError, ValueError) as error:
        raise SnapshotError(
            f"{path} does not say which version is the latest: {error}\n"
            f"  next:   factory rollback {name}@v{known[-1]} writes it anew\n"
            f"  state:  every version is there under its own name."
        ) from error
    if pointer.newest < known[-1]:
        return None
    if pointer.version not in known:
        raise SnapshotError(
            f"{name} was rolled back to v{pointer.version} ({pointer.since}), which is not there any more.\n"
            f"  next:   factory rollback {name}@v{known[-1]}\n"
            f"  state:  nothing was changed."
        )
    return pointer


def latest(home: Path, name: str, known: Sequence[int]) -> int:
    """The version that `<name>@latest` means; `known` has at least one."""
    pointer = read_pointer(home, name, known)
    return pointer.version if pointer else known[-1]


def point_at(home: Path, name: str, version: int, newest: int, reason: str) -> None:
    """Make a version the latest. Only for who holds the home's lock.

    Raises:
        HomeError: it cannot be written; the latest is what it was.
    """
    since = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    text = json.dumps(asdict(Pointer(version, newest, since, reason)), indent=2) + "\n"
    path = home / "snapshots" / name / POINTER
    write_atomically(path, lambda draft: _write(draft, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
