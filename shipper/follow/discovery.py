"""What is on disk against what is known: new files, grown ones, and those that are not where they were."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from shipper.follow.copies import Copies
from shipper.follow.covers import Covered, Covers
from shipper.follow.inotify import Hints, Watcher
from shipper.follow.known import Known
from shipper.follow.restoring import Restoring
from shipper.follow.rotation import Rotation
from shipper.follow.tracked import Tracked
from shipper.follow.tree import Found, Refused, open_regular, walk

_TOLD_NAMES = 10_000


class Discovery:
    """Scans directories, all of them or those that inotify tells of."""

    def __init__(  # noqa: PLR0917 - the wiring comes in as arguments
        self,
        known: Known,
        covers: Covers,
        copies: Copies,
        restoring: Restoring,
        rotation: Rotation,
        watcher: Watcher | None,
        tell: Callable[..., None],
    ) -> None:
        self._known = known
        self._covers = covers
        self._copies = copies
        self._restoring = restoring
        self._rotation = rotation
        self._watcher = watcher
        self._tell = tell
        self._told_refused: set[str] = set()

    def scan_all(self, now_s: float, version: int) -> None:
        """Compare everything on disk with what is known."""
        missing = self._known.resting.missing()  # what is missed from now on may be where was looked already
        for directory in self._known.resting.directories():
            self._restoring.look_again(directory, now_s)
        self._restoring.forget_old()
        seen: set[str] = set()
        directories: set[str] = set()
        problems: dict[str, str] = {}
        for covered in self._covers:
            found = self._walk(covered, unchanged=seen)
            directories.update(found.directories)
            self._take(covered, found, now_s, version)
            seen.update(found.files)
            for path, why in found.problems:
                problems[path] = why
                self._tell("unreadable_directory", level="warning", path=path, error=why)
            for path, why in found.refused:
                self._refuse(path, why)
        if self._watcher is not None:
            self._watcher.forget_all_but(directories)
        self._restoring.lose(missing)
        for path in self._known.by_path.keys() - seen:
            self._rotation.check_path(path, now_s)
        files = {path: why for path, why in self._known.unreadable.items() if path in seen}
        self._known.unreadable = {**files, **problems}

    def heed(self, hints: Hints, now_s: float, version: int) -> None:
        """Look where inotify says that something happened."""
        known = self._known
        for path in hints.written:
            tracked = known.by_path.get(path)
            if tracked is None:
                self._look_at(path, now_s, version)
            else:
                known.ready[tracked.id] = tracked
        leaving = {journey[0] for journey in hints.journeys if journey[0] in known.by_path}
        for path in hints.moved:
            self._look_at(path, now_s, version)
        for journey in hints.journeys:
            if journey[0] in leaving:
                leaving.discard(journey[0])  # another file that leaves this name was not known
            else:
                self._follow_journey(journey, now_s, version)
        for directory in hints.directories:
            self._scan(directory, now_s, version)

    # ---- directories

    def _scan(self, directory: str, now_s: float, version: int) -> None:
        for covered in self._covers:
            root = covered.pattern.root
            if directory == root or directory.startswith(root + "/") or root.startswith(directory + "/"):
                self._take(covered, self._walk(covered, directory), now_s, version)
        for path in [p for p in self._known.by_path if p.startswith(directory + "/")]:
            self._rotation.check_path(path, now_s)

    def _walk(self, covered: Covered, under: str | None = None, unchanged: set[str] | None = None) -> Found:
        """Return what there is to look at; paths of known files that are as they were go to `unchanged`."""
        by_path: dict[str, Tracked] = {} if self._known.resting else self._known.by_path
        note = (set() if unchanged is None else unchanged).add

        def passes(path: str, status: os.stat_result) -> bool:
            known = by_path.get(path)
            if known is None or not _is_as_it_was(known, status):
                return False
            note(known.path)
            return True

        found = walk(covered.pattern, under, outside=self._covers.state_dir, passes=passes)
        for _ in range(3):
            if not self._watch(found):
                break
            # What came to be between the scan and the watch is seen by a second scan.
            found = walk(covered.pattern, under, outside=self._covers.state_dir, passes=passes)
        return found

    def _watch(self, found: Found) -> bool:
        if self._watcher is None:
            return False
        fresh = [self._watcher.watch(directory) for directory in found.directories]
        return any(fresh)

    def _take(self, covered: Covered, found: Found, now_s: float, version: int) -> None:
        for path, status in found.files.items():
            if self._known.resting:
                self._look_again_at(path, now_s)
            known = self._known.by_path.get(path)
            if known is not None and (known.dev, known.ino) == (status.st_dev, status.st_ino):
                if not _is_as_it_was(known, status):
                    self._changed(known, status)
                continue
            if known is not None:
                self._rotation.check_path(path, now_s)
            self._new_at(covered, path, status, now_s, version)

    def _look_again_at(self, path: str, now_s: float) -> None:
        self._restoring.look_again(os.path.dirname(path), now_s)  # noqa: PTH120 - plain text, thousands of them

    def _refuse(self, path: str, why: str) -> None:
        """Tell of a name that is not followed, once."""
        if path not in self._told_refused and len(self._told_refused) < _TOLD_NAMES:
            self._told_refused.add(path)
            self._tell("refused_file", level="warning", path=path, error=why)

    # ---- files

    def _look_at(self, path: str, now_s: float, version: int) -> None:
        """Look at one name to which something happened."""
        self._rotation.check_path(path, now_s)
        covered = self._covers.of(path)
        if covered is None or path in self._known.by_path:
            return
        try:
            status = os.lstat(path)
        except OSError:
            return
        if stat.S_ISREG(status.st_mode):
            self._look_again_at(path, now_s)
            if path not in self._known.by_path:
                self._new_at(covered, path, status, now_s, version)

    def _changed(self, known: Tracked, status: os.stat_result) -> None:
        self._known.ready[known.id] = known
        if status.st_size <= known.size and status.st_mtime_ns == known.mtime_ns:
            return
        if not _only_grew(known):
            return  # the reader notices as well, by the time of the change, and looks for a copy
        known.mtime_ns = status.st_mtime_ns
        if status.st_size > known.size:
            known.size = status.st_size
            known.account.dirty = True

    def _new_at(
        self, covered: Covered, path: str, status: os.stat_result, now_s: float, version: int
    ) -> None:
        known = self._known
        here = known.by_inode.get((status.st_dev, status.st_ino))
        if here is not None and self._rotation.moved_here(here, path, covered.pattern.root):
            return
        if here is None and self._rotation.came_back(path, now_s):
            return
        if here is None and self._restoring.found_at(covered, path, status, now_s):
            return
        if path.endswith(".gz"):
            # What it continues, if anything, is found by its content.
            self._tell("packed_file_ignored", level="debug", path=path)
            return
        tracked = known.make(covered.source, path, covered.pattern.root, version)
        tracked.dev, tracked.ino = status.st_dev, status.st_ino
        tracked.size, tracked.mtime_ns = status.st_size, status.st_mtime_ns
        known.by_path[path] = tracked
        known.list_inode(tracked)
        known.ready[tracked.id] = tracked
        if status.st_size:
            self._copies.judge(tracked, now_s)

    def _follow_journey(self, names: list[str | None], now_s: float, version: int) -> None:
        """Read a file that had a covered name for a moment, between two looks, where it is now."""
        *before, last = names
        passed = ((self._covers.of(name), name) for name in before if name)
        covered, path = next(((c, name) for c, name in passed if c is not None), (None, ""))
        if covered is None or path.endswith(".gz") or (last is not None and self._covers.of(last)):
            return
        try:
            if last is None:
                raise FileNotFoundError(path)
            fd = open_regular(last, covered.pattern.root)
        except (Refused, OSError):
            consequence = "it left before it was looked at, and nothing of it was read"
            self._tell("missed_file", level="warning", path=path, consequence=consequence)
            return
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) in self._known.by_inode:
            os.close(fd)
            return
        tracked = self._known.make(covered.source, path, covered.pattern.root, version)
        self._known.adopt(tracked, fd)
        self._known.lost_path(tracked, now_s)


def _is_as_it_was(known: Tracked, status: os.stat_result) -> bool:
    """Tell whether what stands at a file's path is the file, read to its end and not touched since."""
    return (
        status.st_mtime_ns == known.mtime_ns
        and status.st_size == max(known.read, known.scanned)
        and status.st_ino == known.ino
        and status.st_dev == known.dev
    )


def _only_grew(known: Tracked) -> bool:
    """Tell whether the inode still holds what was read: else its size says nothing of what is lost."""
    if known.fd >= 0:
        return known.is_in(known.fd)
    try:
        fd = open_regular(known.path, known.root)
    except (Refused, OSError):
        return False
    try:
        return known.is_in(fd)
    finally:
        os.close(fd)
