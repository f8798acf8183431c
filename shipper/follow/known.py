"""The files that are known: by id, path and inode; held open; with something to read; without a path."""

from __future__ import annotations

import os

from shipper.entries.stamp import SLOTS
from shipper.follow.content import tail_of
from shipper.follow.phase import Happening
from shipper.follow.resting import Resting
from shipper.follow.tracked import Tracked
from shipper.sources.base import Source


class Known:
    """Tables, and what changes several of them at once. Every descriptor of a file is in `open`."""

    def __init__(self) -> None:
        self.all: dict[int, Tracked] = {}
        self.by_path: dict[str, Tracked] = {}
        self.by_inode: dict[tuple[int, int], Tracked] = {}
        self.open: dict[int, Tracked] = {}
        self.ready: dict[int, Tracked] = {}
        """Files that have, or may have, something to read."""
        self.draining: dict[int, Tracked] = {}
        """Files without a path, or without their content."""
        self.resting = Resting()
        self.unreadable: dict[str, str] = {}
        """Files and directories that could not be read when that was last tried, and why."""
        self.next_id = 1
        self.next_slot = 0

    def make(self, source: Source, path: str, root: str, version: int) -> Tracked:
        """Return a new file generation; save `version` will hold its slot."""
        tracked = Tracked(self.next_id, self._slot(), source, source.describe(path), path, root)
        tracked.version = version
        self.next_id += 1
        self.all[tracked.id] = tracked
        return tracked

    def adopt(self, tracked: Tracked, fd: int) -> None:
        """Hold a file by this descriptor."""
        status = os.fstat(fd)
        self.unlist_inode(tracked)
        tracked.fd = fd
        self.open[tracked.id] = tracked
        self.unreadable.pop(tracked.path, None)
        tracked.dev, tracked.ino = status.st_dev, status.st_ino
        tracked.size = max(tracked.size, status.st_size)
        tracked.mtime_ns = status.st_mtime_ns
        tracked.tail = tail_of(fd, tracked.read)
        tracked.grow_head()
        self.list_inode(tracked)

    def close(self, tracked: Tracked) -> None:
        """Give a file's descriptor back."""
        tracked.close()
        self.open.pop(tracked.id, None)
        if tracked.id in self.all:
            tracked.fold()

    def take_fd(self, tracked: Tracked) -> int:
        """Return the file's descriptor, or -1, and hold it no more."""
        fd, tracked.fd = tracked.fd, -1
        self.open.pop(tracked.id, None)
        return fd

    def lost_path(self, tracked: Tracked, now_s: float) -> None:
        """Note that a file has no path any more: what is left of it is read."""
        tracked.happened(Happening.LOST_PATH)
        tracked.lost_path_s = now_s
        self.draining[tracked.id] = tracked
        self.ready[tracked.id] = tracked

    def found_path(self, tracked: Tracked, path: str, root: str) -> None:
        """Note that a file stands at this path."""
        tracked.path = path
        tracked.root = root
        tracked.away = False
        tracked.happened(Happening.FOUND_PATH)
        tracked.lost_path_s = None
        self.draining.pop(tracked.id, None)
        self.by_path[path] = tracked
        self.ready[tracked.id] = tracked

    def forget(self, tracked: Tracked) -> None:
        """Remove a file from all tables and close it."""
        self.unlist(tracked)
        self.draining.pop(tracked.id, None)
        self.ready.pop(tracked.id, None)
        self.all.pop(tracked.id, None)
        if tracked.fd >= 0:
            self.close(tracked)

    def list_inode(self, tracked: Tracked) -> None:
        """Know the file by its device and inode."""
        self.by_inode[tracked.dev, tracked.ino] = tracked

    def unlist_inode(self, tracked: Tracked) -> None:
        """Know it by them no more, if it is this file that they stand for."""
        if self.by_inode.get((tracked.dev, tracked.ino)) is tracked:
            del self.by_inode[tracked.dev, tracked.ino]

    def unlist(self, tracked: Tracked) -> None:
        """Know the file neither by inode nor by path."""
        self.unlist_inode(tracked)
        if self.by_path.get(tracked.path) is tracked:
            del self.by_path[tracked.path]

    def _slot(self) -> int:
        used: set[int] = set()
        if len(self.all) + len(self.resting) < SLOTS:
            used = {tracked.slot for tracked in self.all.values()}.union(self.resting.slots())
        for _ in range(SLOTS):
            slot = self.next_slot
            self.next_slot = (self.next_slot + 1) % SLOTS
            if slot not in used:
                return slot
        return slot
