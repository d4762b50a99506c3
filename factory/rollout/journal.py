"""The journal: finished model turns and tool outputs, written down as they happen, so that none is paid for twice.

Files of JSON lines under `home/journal/`, one at a time per writing process. A line is an event of one trajectory,
under a key that hashes everything that determines it: a turn by its tokens so far, stop strings, budget, sampling and
seed, a call by its code, both by what came before. A process that starts reads what earlier ones left;
its trajectories replay their events without generating or executing, as long as the keys are those they ask for.

A line reaches the kernel before the trajectory goes on, so a killed process loses nothing; a power cut can lose the
last lines, which are then made again. Once a trajectory's row is in a shard its events are dead: files that hold only
such are deleted, and a file that has grown is written anew with the living ones.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.protocols import Completion, ExecResult, Sampling
from schemas.vocabulary import ExecStatus
from warehouse.files import cannot_write

ROTATE_BYTES = 256 << 20
"""A file larger than this is written anew, with the events of living trajectories."""

Events = dict[str, dict[str, Any]]
"""Of one trajectory, by key: the fields of a `Completion` or an `ExecResult`."""


class Story:
    """The events of one trajectory: those that an earlier process left, and those that happen now."""

    def __init__(self, trajectory_id: str, left: Events | None = None, journal: "Journal | None" = None) -> None:
        self.trajectory_id = trajectory_id
        self.events = dict(left or {})
        self._journal = journal
        self._last_key = ""

    def recall_turn(self, key: str) -> Completion | None:
        """The completion that an earlier process got for this request, if any."""
        fields = self.events.get(key)
        return None if fields is None else Completion(**{**fields, "token_ids": tuple(fields["token_ids"])})

    def recall_call(self, key: str) -> ExecResult | None:
        """What an earlier process saw of this block, if any."""
        fields = self.events.get(key)
        return None if fields is None else ExecResult(**{**fields, "status": ExecStatus(fields["status"])})

    def record(self, key: str, made: Completion | ExecResult) -> None:
        """Write down what has just happened.

        Raises:
            HomeError: the disk is full, or the home cannot be written.
        """
        fields = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
        self.events[key] = fields
        if self._journal is not None:
            self._journal.write(self.trajectory_id, key, fields)

    def turn_key(self, ids: Sequence[int], stop: Sequence[str], max_tokens: int, sampling: Sampling, seed: int) -> str:
        """Hash of everything that determines a model turn."""
        return self._key("turn", array("q", ids).tobytes(), stop, max_tokens, sampling, seed)

    def call_key(self, code: str) -> str:
        """Hash of everything that determines a tool output: what came before, and the code."""
        return self._key("call", code)

    def _key(self, *parts: object) -> str:
        text = repr((self.trajectory_id, self._last_key, *parts))
        self._last_key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        return self._last_key


class Journal:
    """Events of the trajectories under way."""

    def __init__(self, folder: Path, inherited: Mapping[str, Events] | None = None) -> None:
        """Read what earlier processes left.

        Args:
            folder: Where the files are, and in folders below those of the shards of a cluster.
            inherited: Events that were left elsewhere, by trajectory.
        """
        self.folder = folder
        self._files = sorted(folder.rglob("*.jsonl"), key=lambda path: path.name)
        self.inherited = read(self._files)
        """Of trajectories that go on where an earlier process left them."""
        for id_, events in (inherited or {}).items():
            self.inherited[id_] = {**events, **self.inherited.get(id_, {})}
        self._open: dict[str, Story] = {}
        self._handle = -1
        self._n_bytes = 0

    @property
    def has_files(self) -> bool:
        """Whether an earlier process wrote here, or this one has begun to."""
        return bool(self._files)

    def story(self, trajectory_id: str) -> Story:
        """Begin a trajectory, or go on with it."""
        story = Story(trajectory_id, self.inherited.pop(trajectory_id, None), self)
        self._open[trajectory_id] = story
        return story

    def stored(self, trajectory_ids: Iterable[str]) -> None:
        """These trajectories are in a shard: forget them."""
        ids = [id_ for id_ in trajectory_ids if self._open.pop(id_, None) is not None]
        if ids and self._files:
            self._put(b"".join(_line({"t": id_, "end": True}) for id_ in ids))

    def write(self, trajectory_id: str, key: str, fields: dict[str, Any]) -> None:
        """Append one event; see `Story.record`."""
        if self._n_bytes > ROTATE_BYTES:
            self._rotate()
        self._put(_line({"t": trajectory_id, "k": key, "v": fields}))

    def close(self) -> None:
        """Stop writing. Files stay where trajectories have begun and are in no shard."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        if not self._open and not self.inherited:
            for path in self._files:
                path.unlink(missing_ok=True)
            for folder in {self.folder, *(path.parent for path in self._files)}:
                with contextlib.suppress(OSError):  # not empty, or never made
                    folder.rmdir()

    def _put(self, data: bytes) -> None:
        try:
            if self._handle < 0:
                self._start()
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        self._n_bytes += len(data)

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{time.time_ns()}-{os.getpid()}.jsonl"  # by name they stand in the order of time
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        self._files.append(path)
        self._n_bytes = 0

    def _rotate(self) -> None:
        """A new file with what is alive, in place of all older ones of this process."""
        dead, self._files = self._files, []
        os.close(self._handle)
        self._handle = -1
        for id_, events in {**self.inherited, **{id_: story.events for id_, story in self._open.items()}}.items():
            self._put(b"".join(_line({"t": id_, "k": key, "v": fields}) for key, fields in events.items()))
        self._n_bytes = 0
        for path in dead:
            path.unlink(missing_ok=True)


def read(paths: Iterable[Path]) -> dict[str, Events]:
    """Events of the trajectories that are in no shard yet, over files in the order of time.

    A line that is not whole was being written when its process died, and is left out.
    """
    events: dict[str, Events] = {}
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                    if entry.get("end"):
                        events.pop(entry["t"], None)
                    else:
                        events.setdefault(entry["t"], {})[entry["k"]] = entry["v"]
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
    return events


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"
