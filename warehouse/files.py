"""Files that are either whole or absent, and the lock of a home."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from schemas.errors import FactoryError, HomeError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file in a hidden folder beside `path`, flush it to the disk, and only then give it its name.

    What else `write` leaves in that folder, such as a database's log, goes with it.

    Raises:
        HomeError: the disk is full or the folder cannot be written; `path` is as it was before.
    """
    folder: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".draft-"))
        draft = folder / path.name
        write(draft)
        draft.chmod(0o644)
        flush(draft)
        os.replace(draft, path)
        flush(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def flush(path: Path) -> None:
    """Make a file's content, or a rename in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(path: Path, error: OSError) -> HomeError:
    """The error message for a failed write. An error without a number (DuckDB's) is known by its words."""
    code = error.errno or next((code for code in _FULL | _CLOSED if os.strerror(code) in str(error)), None)
    if code in _FULL:
        advice = "free some space, then give the same command again"
    elif code in _CLOSED:
        advice = "name a folder you may write with --home, or FACTORY_HOME"
    else:
        advice = "mend it, then give the same command again"
    return HomeError(
        f"cannot write {path}: {error.strerror or error}.\n"
        f"  next:   {advice}\n"
        f"  state:  everything written before is whole and will be used; nothing was promoted."
    )


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home for one writer; the kernel frees it when the process dies.

    Raises:
        HomeError: the home cannot be written, or another process holds it; the message says which and since when.
    """
    path = home / ".lock"
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeError(_held_by(path, home)) from None
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid(), "since": time.strftime("%F %T")}).encode(), 0)
        except OSError as error:
            raise cannot_write(path, error) from error
        yield
    finally:
        os.close(handle)


def _held_by(path: Path, home: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f"process {holder['pid']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        who = "another process"
    return (
        f"the home {home} is in use by {who}.\n"
        f"  next:   wait for it, or name another folder with --home\n"
        f"  state:  nothing was changed. Reading (factory sql, status, why) works meanwhile."
    )


def readable_json(path: Path) -> dict[str, object]:
    """A JSON object from a file.

    Raises:
        FactoryError: it is not there or not whole.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FactoryError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise FactoryError(f"cannot read {path}: not a JSON object")
    return value
