"""Records of files that cannot be looked at just now: kept as they are until their place comes back.

Or until the file is found in another place. What is only missing is kept until everything was looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

from shipper.follow import identity
from shipper.keeping.record import FileRecord, encode_file

KEEP_S = 14 * 24 * 3600.0
MOST = 10_000
_Key = TypeVar("_Key")


class Resting:
    """The records by directory, in the order in which they came to rest. No I/O."""

    def __init__(self) -> None:
        self._records: dict[int, FileRecord] = {}
        self._encoded: dict[int, bytes] = {}
        self._by_directory: dict[str, dict[int, FileRecord]] = {}
        self._by_inode: dict[tuple[int, int], dict[int, FileRecord]] = {}
        self._by_head: dict[str, dict[int, FileRecord]] = {}
        """Those with a whole head: a first line proves nothing in another inode, as many begin with it."""
        self._missing: dict[int, FileRecord] = {}

    def __len__(self) -> int:
        """Return how many records rest."""
        return len(self._records)

    def put(self, record: FileRecord, wall_s: float, *, covered: bool) -> None:
        """Keep a record, from now on or from when it came to rest in an earlier run.

        One that no source covers waits for another start.
        """
        if not 0 < record.resting_since_s <= wall_s:
            record.resting_since_s = int(wall_s)
        self._put(record)
        if covered:
            self._by_directory.setdefault(_directory(record), {})[record.id] = record

    def put_missing(self, record: FileRecord) -> None:
        """Keep a record until everything was looked at: its file may have been moved."""
        self._put(record)
        self._missing[record.id] = record

    def missing(self) -> list[FileRecord]:
        """Return the records of the files that are sought everywhere."""
        return list(self._missing.values())

    @property
    def has_missing(self) -> bool:
        """Tell whether any file is sought everywhere."""
        return bool(self._missing)

    def is_missing(self, record: FileRecord) -> bool:
        """Tell whether the file of this very record is still sought everywhere."""
        return self._missing.get(record.id) is record

    def of_inode(self, dev: int, ino: int) -> list[FileRecord]:
        """Return the records with this device and inode."""
        return list(self._by_inode.get((dev, ino), {}).values())

    def of_head(self, head: str) -> list[FileRecord]:
        """Return the records with this hash of a whole head."""
        return list(self._by_head.get(head, {}).values())

    @property
    def has_heads(self) -> bool:
        """Tell whether there are records that can be found by their head alone."""
        return bool(self._by_head)

    def take(self, directory: str) -> list[FileRecord]:
        """Return the covered records of a directory; they rest no more, unless they are put back."""
        taken = list(self._by_directory.get(directory, {}).values())
        for record in taken:
            self.remove(record)
        return taken

    def take_uncovered(self) -> list[FileRecord]:
        """Return the records that no source covers; they rest no more, unless they are put back."""
        taken = [r for r in self._records.values() if r.id not in self._by_directory.get(_directory(r), {})]
        for record in taken:
            self.remove(record)
        return taken

    def has(self, directory: str) -> bool:
        """Tell whether covered records of a directory rest."""
        return directory in self._by_directory

    def directories(self) -> list[str]:
        """Return the directories of which covered records rest."""
        return list(self._by_directory)

    def forget(self, wall_s: float) -> list[FileRecord]:
        """Remove and return what has rested for too long, and the oldest of what is too many."""
        if not self._records:
            return []
        at_rest = (record for record in self._records.values() if record.id not in self._missing)
        oldest = sorted(at_rest, key=lambda record: record.resting_since_s)
        excess = max(0, len(oldest) - MOST)
        gone = oldest[:excess] + [r for r in oldest[excess:] if wall_s - r.resting_since_s > KEEP_S]
        for record in gone:
            self.remove(record)
        return gone

    def encoded(self) -> Iterator[bytes]:
        """Return the records as they stand in a generation of the positions."""
        return iter(self._encoded.values())

    def slots(self) -> Iterator[int]:
        """Return the slots of the files, which no other file should get."""
        return (record.slot for record in self._records.values())

    def remove(self, record: FileRecord) -> None:
        """Keep a record no more."""
        del self._records[record.id], self._encoded[record.id]
        self._missing.pop(record.id, None)
        _take_out(self._by_directory, _directory(record), record)
        _take_out(self._by_inode, (record.dev, record.ino), record)
        _take_out(self._by_head, record.head, record)

    def _put(self, record: FileRecord) -> None:
        self._records[record.id] = record
        self._encoded[record.id] = encode_file(record)
        if record.head_bytes:
            self._by_inode.setdefault((record.dev, record.ino), {})[record.id] = record
        if record.head_bytes == identity.HEAD_BYTES:
            self._by_head.setdefault(record.head, {})[record.id] = record


def _take_out(table: dict[_Key, dict[int, FileRecord]], key: _Key, record: FileRecord) -> None:
    here = table.get(key, {})
    here.pop(record.id, None)
    if not here:
        table.pop(key, None)


def _directory(record: FileRecord) -> str:
    return os.path.dirname(record.path)  # noqa: PTH120 - paths are plain text here, thousands of them
