"""Is a new file a copy of a known one? Then it waits for a moment: the original may be about to go.

A copy whose original is cut or deleted meanwhile is the original, going on; else it is a file of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from shipper.follow import identity
from shipper.follow.content import holds
from shipper.follow.held import is_spent
from shipper.follow.phase import Phase
from shipper.follow.tracked import Tracked
from shipper.follow.tree import Refused, open_regular

WAIT_S = 12.0
"""From one rescan to the next, and a moment: so long after its copy a file may be cut."""
LONGEST_WAIT_S = 600.0
"""A copy that is still being made is waited for longer."""
_MOST_SIZES = 64


class Ended(NamedTuple):
    """A new file need wait no more: it goes on with `original`, or, without one, is a file of its own."""

    file: Tracked
    original: Tracked | None
    whole: bool = False
    """It has all that the original has, the unread too."""


@dataclass(slots=True)
class _Wait:
    file: Tracked
    original: Tracked
    size: int
    until_s: float
    at_last_s: float


class Copies:
    """The new files that look like copies. `known` are all files that are followed."""

    def __init__(self, known: dict[int, Tracked]) -> None:
        self._known = known
        self._heads: _Heads | None = None
        self._waits: dict[int, _Wait] = {}

    def __len__(self) -> int:
        """Return how many files wait."""
        return len(self._waits)

    def __contains__(self, file: Tracked) -> bool:
        """Tell whether a file waits, and must not be read."""
        return file.id in self._waits

    def begin_turn(self) -> None:
        """Forget what the heads of files were in the turn before."""
        self._heads = None

    def judge(self, file: Tracked, now_s: float) -> None:
        """Let a file of which nothing was read wait, if it looks like a copy of another in its directory."""
        self._heads = self._heads or _Heads(self._known.values())
        if not self._heads.has(_directory(file.path)):
            file.unjudged = False
            return
        fd = _descriptor(file)
        if fd is None:
            return
        try:
            first = os.pread(fd, identity.HEAD_BYTES, 0)
            if not first:
                return  # it may be a copy all the same, once something is in it
            file.unjudged = False
            size = os.fstat(fd).st_size
            for original in self._heads.like(_directory(file.path), first):
                if original.source.kind != file.source.kind:
                    continue
                if original is not file and may_go_on(original, now_s) and _is_copy(fd, size, original):
                    wait = _Wait(file, original, size, now_s + WAIT_S, now_s + LONGEST_WAIT_S)
                    self._waits[file.id] = wait
                    return
        finally:
            if fd != file.fd:
                os.close(fd)

    def review(self, now_s: float) -> list[Ended]:
        """Return the files that need wait no more."""
        ended = []
        for wait in list(self._waits.values()):
            if wait.file.id not in self._known:
                del self._waits[wait.file.id]
                continue
            end = self._ended(wait, now_s)
            if end is not None:
                del self._waits[wait.file.id]
                ended.append(end)
        return ended

    def next_deadline_s(self) -> float:
        """Return the monotonic time at which a wait ends at the latest."""
        return min((wait.until_s for wait in self._waits.values()), default=float("inf"))

    def _ended(self, wait: _Wait, now_s: float) -> Ended | None:
        original = wait.original
        alone = Ended(wait.file, None)
        if original.id not in self._known or not may_go_on(original, now_s):
            return alone
        fd = _descriptor(wait.file)
        if fd is None:
            return alone
        try:
            size = os.fstat(fd).st_size
            if not _is_copy(fd, size, original):
                return alone
            if is_deleted(original) and size >= original.read:
                return Ended(wait.file, original, _agree(fd, original))
        finally:
            if fd != wait.file.fd:
                os.close(fd)
        if wait.size < size and wait.size < original.read:
            wait.until_s = min(wait.at_last_s, now_s + WAIT_S)
        wait.size = size
        return alone if now_s >= wait.until_s else None


def may_go_on(original: Tracked, now_s: float) -> bool:
    """Tell whether a copy of this file can become its continuation: it stands at its path, or was deleted.

    What was deleted long ago and is only held for what may come has nothing to do with a new file.
    """
    return original.phase is Phase.FOLLOWING or (
        is_deleted(original) and (original.away or not is_spent(original, now_s))
    )


def is_deleted(original: Tracked) -> bool:
    """Tell whether no name is left of a file; one that was renamed away is still somewhere."""
    if original.phase is not Phase.DRAINING or original.fd < 0:
        return False
    return os.fstat(original.fd).st_nlink == 0


class _Heads:
    """Files by directory and hash of their first bytes, of which each has a few or a thousand."""

    def __init__(self, files: Iterable[Tracked]) -> None:
        self._by_directory: dict[str, dict[int, dict[str, list[Tracked]]]] = {}
        for file in files:
            if not file.head_bytes:
                file.grow_head()  # it was empty when it was opened
            if file.head_bytes:
                sizes = self._by_directory.setdefault(_directory(file.path), {})
                sizes.setdefault(file.head_bytes, {}).setdefault(file.head, []).append(file)

    def has(self, directory: str) -> bool:
        return directory in self._by_directory

    def like(self, directory: str, first: bytes) -> list[Tracked]:
        """Return files of which `first` is, or may become, the beginning; the likest first."""
        sizes = self._by_directory.get(directory, {})
        found = []
        for size in sorted((s for s in sizes if s <= len(first)), reverse=True)[:_MOST_SIZES]:
            found += sizes[size].get(identity.digest(first[:size]), [])
        return found


def _is_copy(fd: int, size: int, original: Tracked) -> bool:
    """Tell whether a file holds what was read of the original, or, still shorter, the beginning of that."""
    if size >= original.read:
        return holds(fd, original.fingerprint)
    return _agree(fd, original, size)


def _agree(fd: int, original: Tracked, end: int | None = None) -> bool:
    """Tell whether the bytes before `end`, if not given the original's end, are the same in both."""
    other = _descriptor(original)
    if other is None:
        return False
    try:
        end = os.fstat(other).st_size if end is None else end
        start = identity.tail_start(end)
        return os.pread(fd, end - start, start) == os.pread(other, end - start, start)
    finally:
        if other != original.fd:
            os.close(other)


def _descriptor(file: Tracked) -> int | None:
    """Return the file's descriptor, or one that the caller must close."""
    if file.fd >= 0:
        return file.fd
    try:
        return open_regular(file.path, file.root)
    except (Refused, OSError):
        return None


def _directory(path: str) -> str:
    return os.path.dirname(path)  # noqa: PTH120 - paths are plain text here, thousands of them
