"""`factory rollback`: another version is the latest; nothing is deleted."""

from pathlib import Path

from schemas.errors import SnapshotError, UsageError
from warehouse.files import locked
from warehouse.pointer import latest, point_at
from warehouse.snapshots import resolve, versions


def rollback(home: Path, reference: str, reason: str) -> str:
    """Make a version the latest, until it is done again or a build promotes a new one.

    Args:
        home: The home.
        reference: `d_seed@v1`, with its number.
        reason: For whoever looks at `factory status`.

    Raises:
        UsageError: no version is named.
        SnapshotError: there is no such version.
        HomeError: another process holds the home.
    """
    name, _, version = reference.partition("@")
    if version in {"", "latest"}:
        raise UsageError(f"name the version to go to, such as {name}@v1. `factory status` lists them.")
    with locked(home):
        folder, known = resolve(home, reference), versions(home, name)
        if not known or folder.parent != home / "snapshots" / name:
            raise SnapshotError(f"{reference} is no version of this home; only those can be the latest.")
        before, number = _latest(home, name, known), int(folder.name[1:])
        if before == number:
            return f"{name}@latest is {name}@v{number} already"
        point_at(home, name, number, known[-1], reason)
    back = f", was v{before}; nothing was deleted. Back: factory rollback {name}@v{before}" if before else ""
    return f"{name}@latest is {name}@v{number} now{back}"


def _latest(home: Path, name: str, known: list[int]) -> int:
    """The latest; 0 where the file that says so is damaged, which a rollback writes anew."""
    try:
        return latest(home, name, known)
    except SnapshotError:
        return 0
