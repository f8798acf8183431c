"""Records of files that cannot be looked at just now: kept as they are until their place comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator

from shipper.positions import FileRecord, encode_file

KEEP_S = 14 * 24 * 3600.0
MOST = 10_000


class Resting:
    """The records by directory, in the order in which they came to rest. No I/O."""

    def __init__(self) -> None:
        self._records: dict[int, FileRecord] = {}
        self._encoded: dict[int, bytes] = {}
        self._by_directory: dict[str, dict[int, FileRecord]] = {}

    def __len__(self) -> int:
        """Return how many records rest."""
        return len(self._records)

    def put(self, record: FileRecord, wall_s: float, *, covered: bool) -> None:
        """Keep a record, from now on or from when it came to rest in an earlier run.

        One that no source covers waits for another start.
        """
        if not 0 < record.resting_since_s <= wall_s:
            record.resting_since_s = int(wall_s)
        self._records[record.id] = record
        self._encoded[record.id] = encode_file(record)
        if covered:
            self._by_directory.setdefault(_directory(record), {})[record.id] = record

    def take(self, directory: str) -> list[FileRecord]:
        """Return the covered records of a directory; they rest no more, unless they are put back."""
        taken = list(self._by_directory.get(directory, {}).values())
        for record in taken:
            self._remove(record)
        return taken

    def take_uncovered(self) -> list[FileRecord]:
        """Return the records that no source covers; they rest no more, unless they are put back."""
        taken = [r for r in self._records.values() if r.id not in self._by_directory.get(_directory(r), {})]
        for record in taken:
            self._remove(record)
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
        oldest = sorted(self._records.values(), key=lambda record: record.resting_since_s)
        excess = max(0, len(oldest) - MOST)
        gone = oldest[:excess] + [r for r in oldest[excess:] if wall_s - r.resting_since_s > KEEP_S]
        for record in gone:
            self._remove(record)
        return gone

    def encoded(self) -> Iterator[bytes]:
        """Return the records as they stand in a generation of the positions."""
        return iter(self._encoded.values())

    def slots(self) -> Iterator[int]:
        """Return the slots of the files, which no other file should get."""
        return (record.slot for record in self._records.values())

    def _remove(self, record: FileRecord) -> None:
        del self._records[record.id], self._encoded[record.id]
        here = self._by_directory.get(_directory(record), {})
        here.pop(record.id, None)
        if not here:
            self._by_directory.pop(_directory(record), None)


def _directory(record: FileRecord) -> str:
    return os.path.dirname(record.path)  # noqa: PTH120 - paths are plain text here, thousands of them
