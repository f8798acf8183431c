"""All files that are followed: found, opened, recognised again, let go."""

from __future__ import annotations

import math
import os
import pathlib
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from shipper.follow import identity
from shipper.follow.copies import Copies
from shipper.follow.inotify import Hints, Watcher
from shipper.follow.phase import Happening, Phase
from shipper.follow.resting import Resting
from shipper.follow.tracked import Tracked, holds
from shipper.follow.tree import Found, Pattern, Refused, is_away, is_below, open_regular, pattern, walk
from shipper.ledger import Chunk
from shipper.positions import GENERATIONS, FileRecord
from shipper.sources.base import Source
from shipper.stamp import SLOTS, unpacked
from shipper.streams import Stream

RESCAN_S = 10.0
QUIET_S = 10.0
"""A file without a path is finished when it has not grown for so long."""
MAX_UNPACKED_BYTES = 4 << 30
_SEARCHED_PER_DIRECTORY = 5000
_TOLD_NAMES = 10_000
_STATE_FILES = (*GENERATIONS, "dead-letters.jsonl")


class Covered(NamedTuple):
    """One pattern of one source."""

    source: Source
    pattern: Pattern


class Files:
    """Owns every descriptor. Single-threaded; calls back with what is worth telling.

    `tell(event, **fields)` logs and counts.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        tell: Callable[..., None],
        wall_s: Callable[[], float],
        *,
        max_open: int,
        watcher: Watcher | None = None,
        scratch: pathlib.Path | None = None,
        state_dir: pathlib.Path | None = None,
    ) -> None:
        self._covers = [Covered(s, pattern(text)) for s in sources for text in s.patterns]
        self._tell = tell
        self._wall_s = wall_s
        self._max_open = max_open
        self._watcher = watcher
        self.scratch = scratch
        self._state_dir = None if state_dir is None else os.path.realpath(state_dir)
        """Nothing below it is followed: each save would be something new to ship."""
        self._told_refused: set[str] = set()
        self.all: dict[int, Tracked] = {}
        self._by_path: dict[str, Tracked] = {}
        self._by_inode: dict[tuple[int, int], Tracked] = {}
        self._open: dict[int, Tracked] = {}
        self._nothing_idle = False
        """No descriptor could be freed; that is not tried again before the next turn."""
        self.ready: dict[int, Tracked] = {}
        """Files that have, or may have, something to read."""
        self.next_id = 1
        self.next_slot = 0
        self.rescans = 0
        self.truncations = 0
        self._rescan_at_s = 0.0
        self._draining: dict[int, Tracked] = {}
        self.resting = Resting()
        self.copies = Copies(self.all)
        self._streams: list[Stream] = []
        self._floored: dict[int, Tracked] = {}
        self._told_gone: set[str] = set()
        self._leaving: dict[int, Tracked] = {}
        """Files that no source covers any more, and of which lines are in memory."""
        self._uncovered: list[FileRecord] = []

    # ---- what the engine calls

    def restore(
        self,
        records: Iterable[FileRecord],
        streams: list[Stream],
        floored: dict[int, Tracked],
        now_s: float,
    ) -> None:
        """Find the files of an earlier run again: at their path, else by their hashes in their directory.

        Where unsettled lines of one have to be read again, it is noted in `floored`.
        """
        self._streams, self._floored = streams, floored
        self._tell_of_state_dir()
        for record in records:
            self._restore(record, now_s)
        self._forget()

    def reconfigure(self, sources: Iterable[Source], *, max_open: int) -> None:
        """Follow other sources from now on.

        Files that are still covered go on. The record of one that is not comes to rest as soon as nothing of
        it is in memory.
        """
        self._covers = [Covered(s, pattern(text)) for s in sources for text in s.patterns]
        self._max_open = max_open
        self._told_gone.clear()
        self._rescan_at_s = -math.inf
        for tracked in list(self.all.values()):
            covers = self._covering(tracked.record())
            if not covers:
                self._leave(tracked)
                continue
            tracked.serve(covers[0].source, covers[0].pattern.root)
            if self._leaving.pop(tracked.id, None) is not None:
                self._come_back(tracked)
        self._uncovered = self.resting.take_uncovered()

    def _leave(self, tracked: Tracked) -> None:
        self._leaving[tracked.id] = tracked
        self._unlist(tracked)
        self._draining.pop(tracked.id, None)

    def _come_back(self, tracked: Tracked) -> None:
        self._list_inode(tracked)
        self.ready[tracked.id] = tracked
        if tracked.account.floors:
            self._floored[tracked.id] = tracked
        if tracked.phase is Phase.FOLLOWING and tracked.path not in self._by_path:
            self._by_path[tracked.path] = tracked
        else:
            self._draining[tracked.id] = tracked

    def _let_leave(self, now_s: float) -> None:
        """Read nothing more of files that no source covers, and keep their records once they are quiet."""
        for tracked in list(self._leaving.values()):
            self.ready.pop(tracked.id, None)
            self._floored.pop(tracked.id, None)
            if not tracked.account.pending:
                del self._leaving[tracked.id]
                self.resting.put(tracked.record(), self._wall_s(), covered=False)
                tracked.account.floors.clear()
                self._forget_file(tracked)
        records, self._uncovered = self._uncovered, []
        for record in records:
            self._restore(record, now_s)

    def records(self) -> list[bytes]:
        """Return the records that must be saved, encoded."""
        return [
            *(t.encode() for t in self.all.values() if self._is_worth_a_record(t)),
            *self.resting.encoded(),
        ]

    def _is_worth_a_record(self, tracked: Tracked) -> bool:
        """Tell it of a file that is not gone and settled, and is judged: a copy that waits is found anew."""
        return (tracked.phase is not Phase.GONE or not tracked.account.clear) and tracked not in self.copies

    def poll(self, now_s: float, version: int) -> None:
        """Look at what has happened: inotify's hints, and every ten seconds everything."""
        self._nothing_idle = False
        self.copies.begin_turn()
        self._let_leave(now_s)
        if self._watcher is not None:
            self._heed(self._watcher.hints(), now_s, version)
        if now_s >= self._rescan_at_s:
            self.rescan(now_s, version)
        self._end_waits(now_s, version)
        self._drain(now_s)

    def _heed(self, hints: Hints, now_s: float, version: int) -> None:
        if hints.overflow:
            self._tell("inotify_overflow", level="warning", consequence="everything is scanned again")
            self._rescan_at_s = 0.0
        for path in hints.written:
            tracked = self._by_path.get(path)
            if tracked is None:
                self._look_at(path, now_s, version)
            else:
                self.ready[tracked.id] = tracked
        known = {journey[0] for journey in hints.journeys if journey[0] in self._by_path}
        for path in hints.moved:
            self._look_at(path, now_s, version)
        for journey in hints.journeys:
            if journey[0] in known:
                known.discard(journey[0])  # another file that leaves this name was not known
            else:
                self._follow_journey(journey, now_s, version)
        for directory in hints.directories:
            self._scan(directory, now_s, version)

    def _follow_journey(self, names: list[str | None], now_s: float, version: int) -> None:
        """Read a file that had a covered name for a moment, between two looks, where it is now."""
        *before, last = names
        passed = ((c, name) for name in before for c in self._covers if name and c.pattern.matches(name))
        covered, path = next(passed, (None, None))
        if covered is None or path is None or path.endswith(".gz") or is_below(path, self._state_dir):
            return
        if last is not None and any(c.pattern.matches(last) for c in self._covers):
            return
        try:
            if last is None:
                raise FileNotFoundError(path)
            fd = open_regular(last, covered.pattern.root)
        except (Refused, OSError):
            self._tell(
                "missed_file", level="warning", path=path, consequence="it left before it was looked at"
            )
            return
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) in self._by_inode:
            os.close(fd)
            return
        tracked = self._make(covered, path, version)
        self._adopt(tracked, fd)
        tracked.happened(Happening.LOST_PATH)
        tracked.lost_path_s = now_s
        self._draining[tracked.id] = tracked
        self.ready[tracked.id] = tracked

    def _end_waits(self, now_s: float, version: int) -> None:
        """Read the files that are no copies, and go on in those that are."""
        for file, original, whole in self.copies.review(now_s):
            if original is not None and whole:
                self._go_on_in(original, file, now_s, version)
            elif original is not None:
                _branch_off(original, file)
            if file.id in self.all:
                self.ready[file.id] = file

    def rescan(self, now_s: float, version: int) -> None:
        """Compare everything on disk with what is known."""
        self._rescan_at_s = now_s + RESCAN_S
        self.rescans += 1
        for directory in self.resting.directories():
            self._look_again(directory, now_s)
        self._forget()
        seen: set[str] = set()
        directories: set[str] = set()
        for covered in self._covers:
            found = walk(covered.pattern, outside=self._state_dir)
            directories.update(found.directories)
            for _ in range(3):
                fresh = self._watch(found)
                if not fresh:
                    break
                # What came to be between the scan and the watch is seen by a second scan.
                found = walk(covered.pattern, outside=self._state_dir)
            self._take(covered, found, now_s, version)
            seen.update(found.files)
            for path, why in found.problems:
                self._tell("unreadable_directory", level="warning", path=path, error=why)
            for path, why in found.refused:
                self._refuse(path, why)
        if self._watcher is not None:
            self._watcher.forget_all_but(directories)
        for path in self._by_path.keys() - seen:
            self._check_path(path, now_s)
        self._close_idle()

    def _refuse(self, path: str, why: str) -> None:
        """Tell of a name that is not followed, once."""
        if path not in self._told_refused and len(self._told_refused) < _TOLD_NAMES:
            self._told_refused.add(path)
            self._tell("refused_file", level="warning", path=path, error=why)

    def _tell_of_state_dir(self) -> None:
        """Warn where a source covers what the shipper itself writes."""
        state_dir = self._state_dir
        if state_dir is None:
            return
        for covered in self._covers:
            if any(covered.pattern.matches(f"{state_dir}/{name}") for name in _STATE_FILES):
                self._tell(
                    "state_directory_in_source",
                    level="warning",
                    source=covered.source.name,
                    path=state_dir,
                    consequence="nothing below it is followed",
                )

    def next_deadline_s(self) -> float:
        """Return the monotonic time at which `poll` must be called at the latest."""
        quiet_s = min(map(self._quiet_at, self._draining.values()), default=math.inf)
        return min(self._rescan_at_s, self.copies.next_deadline_s(), quiet_s)

    def ensure_open(self, tracked: Tracked, now_s: float, version: int) -> bool:  # noqa: PLR0911 - each return is one outcome
        """Open a file for reading.

        False when it cannot be now (no descriptor left, refused, or another file).
        """
        if tracked.unjudged and not tracked.read:
            self.copies.judge(tracked, now_s)
        if tracked in self.copies:
            return False
        if tracked.fd >= 0:
            return True
        if tracked.phase is not Phase.FOLLOWING:
            return False
        if not self._has_room(tracked):
            return False
        try:
            fd = open_regular(tracked.path, tracked.root)
        except Refused as refused:
            self._tell("refused_file", level="warning", path=tracked.path, error=str(refused))
            return False
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._tell("unreadable_file", level="warning", path=tracked.path, error=error.strerror)
            return False
        if not tracked.is_in(fd):
            os.close(fd)
            self.was_cut(tracked, now_s, version)
            return False
        self._adopt(tracked, fd)
        return True

    def _has_room(self, tracked: Tracked) -> bool:
        """Tell whether another descriptor may be taken, after closing what is idle if that is needed."""
        if self.crowded and not self._nothing_idle:
            self._close_idle(make_room=True)
            if self.crowded:
                self._nothing_idle = True
                self._tell(
                    "no_descriptor_left",
                    level="warning",
                    path=tracked.path,
                    open=self.open_count,
                    consequence="it waits for another to be settled; raise max_open_files if that lasts",
                )
        return not self.crowded

    @property
    def open_count(self) -> int:
        """How many descriptors of files are held."""
        return len(self._open)

    @property
    def crowded(self) -> bool:
        """True when no descriptor is left."""
        return self.open_count >= self._max_open

    def let_go(self, tracked: Tracked) -> None:
        """Close a file that stands at its path and is not being read."""
        if tracked.phase is Phase.FOLLOWING and tracked.account.clear and tracked.fd >= 0:
            tracked.close()
            self._open.pop(tracked.id, None)

    def was_cut(self, tracked: Tracked, now_s: float, version: int) -> None:
        """Note that the content that we were reading is gone from the inode.

        Look for a copy, else count what is lost.
        """
        self.truncations += 1
        old_fd, tracked.fd = tracked.fd, -1
        self._unlist(tracked)
        # Sought even if nothing is known to be unread: lines may have come between the last look and the cut.
        copy = self._seek(tracked.path, tracked.fingerprint, skip=(tracked.dev, tracked.ino))
        if old_fd >= 0 and tracked.phase is Phase.DRAINING:
            self._succeed(tracked, old_fd, now_s, version)
        elif old_fd >= 0:
            os.close(old_fd)
            self._open.pop(tracked.id, None)
        if copy is not None:
            self._tell("copy_found", path=tracked.path, offset=tracked.read)
            self._adopt(tracked, copy.fd)
            self._list_inode(tracked)
            tracked.happened(Happening.LOST_PATH)
            tracked.lost_path_s = now_s
            self._draining[tracked.id] = tracked
            self.ready[tracked.id] = tracked
        else:
            tracked.happened(Happening.CUT)
            self._draining[tracked.id] = tracked
            lost = tracked.unread_bytes
            self._tell(
                "truncated",
                level="warning" if lost else "info",
                path=tracked.path,
                offset=tracked.read,
                lost_bytes=lost,
            )
            self._lose(tracked, lost, "truncated")
        self._rescan_at_s = 0.0

    def _succeed(self, tracked: Tracked, fd: int, now_s: float, version: int) -> Tracked:
        """Return what goes on with what is written into a file without a path after its cut."""
        covered = Covered(tracked.source, Pattern(tracked.root, ()))
        heir = self._make(covered, tracked.path, version)
        self._open.pop(tracked.id, None)
        self._adopt(heir, fd)
        heir.info, heir.origin = tracked.info, tracked.origin
        heir.happened(Happening.LOST_PATH)
        heir.lost_path_s = now_s
        self._draining[heir.id] = heir
        self.ready[heir.id] = heir
        return heir

    def _go_on_in(self, original: Tracked, copy: Tracked, now_s: float, version: int) -> None:
        """Go on with a deleted file in its copy.

        Who still holds the deleted one open may write into it: what it gets from now on is a file of its own.
        """
        try:
            fd = open_regular(copy.path, copy.root)
        except (Refused, OSError):
            return
        self._forget_file(copy)
        old_fd, original.fd = original.fd, -1
        end = os.fstat(old_fd).st_size
        self._succeed(original, old_fd, now_s, version).advance(end, _tail(old_fd, end))
        self._adopt(original, fd)
        self._moved_here(original, copy.path, Covered(copy.source, Pattern(copy.root, ())))
        self._tell("copy_found", path=copy.path, offset=original.read)

    def lose_floors(self, tracked: Tracked) -> None:
        """Count what must be read again and cannot be."""
        floors = tracked.account.floors
        if floors:
            lost = max(0, tracked.read - min(floor.lowest for floor in floors.values()))
            self._lose(tracked, lost, "truncated")
            floors.clear()
            tracked.account.dirty = True

    # ---- finding

    def _take(self, covered: Covered, found: Found, now_s: float, version: int) -> None:
        for path, status in found.files.items():
            if self.resting:
                self._look_again(os.path.dirname(path), now_s)  # noqa: PTH120 - plain text, thousands of them
            known = self._by_path.get(path)
            if known is not None and (known.dev, known.ino) == (status.st_dev, status.st_ino):
                if status.st_size != max(known.read, known.scanned) or status.st_mtime_ns != known.mtime_ns:
                    self._changed(known, status)
                continue
            if known is not None:
                self._check_path(path, now_s)
            self._new_at(covered, path, status, now_s, version)

    def _changed(self, known: Tracked, status: os.stat_result) -> None:
        self.ready[known.id] = known
        if status.st_size <= known.size and status.st_mtime_ns == known.mtime_ns:
            return
        if not self._only_grew(known):
            return  # the reader notices as well, by the time of the change, and looks for a copy
        known.mtime_ns = status.st_mtime_ns
        if status.st_size > known.size:
            known.size = status.st_size
            known.account.dirty = True

    @staticmethod
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

    def _new_at(
        self,
        covered: Covered,
        path: str,
        status: os.stat_result,
        now_s: float,
        version: int,
    ) -> None:
        inode = self._by_inode.get((status.st_dev, status.st_ino))
        if (
            inode is not None
            and self._reopened(inode, path, covered)
            and self._moved_here(inode, path, covered)
        ):
            return
        if path.endswith(".gz"):
            self._packed(covered, path, status)
            return
        tracked = self._make(covered, path, version)
        tracked.dev, tracked.ino = status.st_dev, status.st_ino
        tracked.size, tracked.mtime_ns = status.st_size, status.st_mtime_ns
        self._by_path[path] = tracked
        self._list_inode(tracked)
        self.ready[tracked.id] = tracked
        if status.st_size:
            self.copies.judge(tracked, now_s)

    def _moved_here(self, tracked: Tracked, path: str, covered: Covered) -> bool:
        """Go on at another path with a file that we hold."""
        try:
            here = os.lstat(path)
            held = os.fstat(tracked.fd)
        except OSError:
            return False
        if (here.st_dev, here.st_ino) != (held.st_dev, held.st_ino) or tracked.phase is Phase.GONE:
            return False
        if tracked.path != path and self._by_path.get(tracked.path) is tracked:
            if self._stands_at(tracked, tracked.path):
                return True  # a hard link: one file, two names
            del self._by_path[tracked.path]
        tracked.path = path
        tracked.root = covered.pattern.root
        tracked.away = False
        tracked.happened(Happening.FOUND_PATH)
        tracked.lost_path_s = None
        self._draining.pop(tracked.id, None)
        self._by_path[path] = tracked
        self.ready[tracked.id] = tracked
        return True

    def _reopened(self, tracked: Tracked, path: str, covered: Covered) -> bool:
        """Hold a file that was let go while idle, and whose inode shows up at `path`.

        If it is still the same.
        """
        if tracked.fd >= 0:
            return True
        try:
            fd = open_regular(path, covered.pattern.root)
        except (Refused, OSError):
            return False
        if not tracked.is_in(fd):
            os.close(fd)
            return False
        self._adopt(tracked, fd)
        return True

    def _make(self, covered: Covered, path: str, version: int) -> Tracked:
        tracked = Tracked(
            self.next_id,
            self._slot(),
            covered.source,
            covered.source.describe(path),
            path,
            covered.pattern.root,
        )
        tracked.version = version
        self.next_id += 1
        self.all[tracked.id] = tracked
        return tracked

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

    def _look_at(self, path: str, now_s: float, version: int) -> None:
        """Something happened to the name `path`."""
        if path in self._by_path:
            self._check_path(path, now_s)
        for covered in self._covers:
            if is_below(path, self._state_dir):
                return
            if path not in self._by_path and covered.pattern.matches(path):
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    self._look_again(os.path.dirname(path), now_s)  # noqa: PTH120 - as above
                if stat.S_ISREG(status.st_mode) and path not in self._by_path:
                    self._new_at(covered, path, status, now_s, version)

    def _scan(self, directory: str, now_s: float, version: int) -> None:
        for covered in self._covers:
            root = covered.pattern.root
            if directory == root or directory.startswith(root + "/") or root.startswith(directory + "/"):
                found = walk(covered.pattern, directory, outside=self._state_dir)
                for _ in range(3):
                    if not self._watch(found):
                        break
                    found = walk(covered.pattern, directory, outside=self._state_dir)
                self._take(covered, found, now_s, version)
        for path in [p for p in self._by_path if p.startswith(directory + "/")]:
            self._check_path(path, now_s)

    def _watch(self, found: Found) -> bool:
        if self._watcher is None:
            return False
        fresh = [self._watcher.watch(directory) for directory in found.directories]
        return any(fresh)

    # ---- paths that change

    def _stands_at(self, tracked: Tracked, path: str) -> bool:
        try:
            status = os.lstat(path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (tracked.dev, tracked.ino)

    def _check_path(self, path: str, now_s: float) -> None:
        tracked = self._by_path.get(path)
        if tracked is None:
            return
        if self._stands_at(tracked, path):
            self.ready[tracked.id] = tracked
            return
        del self._by_path[path]
        self.ready[tracked.id] = tracked
        tracked.away = is_away(path, tracked.root, tracked.dev)
        if tracked.fd < 0 and not tracked.away and not self._regain(tracked):
            self._unlist(tracked)
            lost = tracked.unread_bytes
            if not tracked.account.clear or lost:
                self._lose(tracked, lost, "deleted")
            tracked.happened(Happening.LOST_PATH)
            tracked.happened(Happening.CUT)
            self._draining[tracked.id] = tracked
            return
        tracked.happened(Happening.LOST_PATH)
        tracked.lost_path_s = now_s
        self._draining[tracked.id] = tracked

    def _regain(self, tracked: Tracked) -> bool:
        """Find a file that was not held and has lost its path: it may have another name in its directory."""
        self._unlist_inode(tracked)
        found = self._seek(tracked.path, tracked.fingerprint, inode=(tracked.dev, tracked.ino))
        if found is None:
            return False
        self._adopt(tracked, found.fd)
        return True

    def _drain(self, now_s: float) -> None:
        for tracked in list(self._draining.values()):
            if tracked.phase is Phase.DRAINING and tracked.fd >= 0:
                size = os.fstat(tracked.fd).st_size
                if size > tracked.size:
                    tracked.size = size
                    tracked.lost_path_s = now_s
                    tracked.account.dirty = True
                if size != tracked.read:
                    self.ready[tracked.id] = tracked
            if tracked.away and tracked.phase is Phase.DRAINING:
                if now_s >= self._quiet_at(tracked) and self._may_rest(tracked):
                    self._rest(tracked)
                continue
            if not tracked.account.clear:
                continue
            ended = tracked.phase is Phase.GONE or (
                now_s >= self._quiet_at(tracked) and (tracked.read >= tracked.size or tracked.partial_done)
            )
            if ended:
                self._finish(tracked)

    @staticmethod
    def _may_rest(tracked: Tracked) -> bool:
        """Tell whether nothing can be done for a file as long as its place is away."""
        if tracked.fd < 0:
            return not tracked.account.pending
        return tracked.account.clear and max(tracked.read, tracked.scanned) >= tracked.size

    def _rest(self, tracked: Tracked) -> None:
        """Keep what is known of a file for when its place is back."""
        self.resting.put(tracked.record(), self._wall_s(), covered=True)
        tracked.account.floors.clear()
        self._forget_file(tracked)
        self._tell("file_away", path=tracked.path, offset=tracked.read)

    def is_quiet(self, tracked: Tracked, now_s: float) -> bool:
        """Tell whether a file without a path will not grow any more, as far as one can know."""
        return tracked.phase is Phase.DRAINING and not tracked.away and now_s >= self._quiet_at(tracked)

    def _quiet_at(self, tracked: Tracked) -> float:
        return (tracked.lost_path_s or 0.0) + QUIET_S

    def _finish(self, tracked: Tracked) -> None:
        tracked.happened(Happening.FINISHED)
        self._forget_file(tracked)
        self._tell("file_done", level="debug", path=tracked.path, offset=tracked.read)

    def _forget_file(self, tracked: Tracked) -> None:
        self._unlist(tracked)
        self._draining.pop(tracked.id, None)
        self.ready.pop(tracked.id, None)
        self.all.pop(tracked.id, None)
        if tracked.fd >= 0:
            tracked.close()
            self._open.pop(tracked.id, None)

    # ---- an earlier run's files

    def _restore(self, record: FileRecord, now_s: float) -> None:
        self.next_id = max(self.next_id, record.id + 1)
        covers = self._covering(record)
        if not covers:
            if record.source not in self._told_gone:
                self._told_gone.add(record.source)
                self._tell("source_gone", level="warning", source=record.source, path=record.path)
            self.resting.put(record, self._wall_s(), covered=False)
            return
        known = _fingerprint(record)
        found = self._at_path(record, covers, known) or self._seek(
            record.path, known, inode=(record.dev, record.ino)
        )
        if found is not None:
            self._restored(record, covers, found, now_s)
        elif is_away(record.path, covers[0].pattern.root, record.dev):
            self.resting.put(record, self._wall_s(), covered=True)
        else:
            self._lose_record(record)

    def _covering(self, record: FileRecord) -> list[Covered]:
        """Return the patterns of the record's kind that cover its path, best first.

        For a file that was renamed: its first path, or its directory.
        """
        kind = record.source.partition("=")[0]
        covers = [
            c for c in self._covers if c.source.kind == kind and not is_below(record.path, self._state_dir)
        ]
        found = [c for c in covers if c.pattern.matches(record.path)]
        if not found and record.origin:
            directory = os.path.dirname(record.path)  # noqa: PTH120 - plain text
            found = [c for c in covers if c.pattern.matches(record.origin)] or [
                c for c in covers if c.pattern.has_directory(directory)
            ]
        named = [c for c in covers if c.source.name == record.source]
        return sorted(found, key=lambda c: c.source.name != record.source) or named

    def _look_again(self, directory: str, now_s: float) -> None:
        """Try again to find the files whose records rest, where their directory may have come back."""
        if not self.resting.has(directory) or not os.path.isdir(directory):  # noqa: PTH112 - plain text
            return
        for record in self.resting.take(directory):
            self._restore(record, now_s)

    def _forget(self) -> None:
        gone = self.resting.forget(self._wall_s())
        if gone:
            self._tell("records_forgotten", level="warning", records=len(gone), path=gone[0].path)
        for record in gone:
            if self._covering(record):
                self._lose_record(record)

    def _lose_record(self, record: FileRecord) -> None:
        lowest = min((behind.lowest for behind in record.behind), default=record.read)
        lost = max(0, record.size - lowest)
        if lost:
            self._tell("lost", level="warning", path=record.path, lost_bytes=lost, reason="missing")

    def _restored(self, record: FileRecord, covers: list[Covered], found: Sought, now_s: float) -> None:
        """Go on with a file of an earlier run, or of before its place was away."""
        covered = next((c for c in covers if c.pattern.matches(found.path)), covers[0])
        tracked = Tracked(
            record.id,
            record.slot,
            covered.source,
            covered.source.describe(record.origin or record.path),
            found.path,
            covered.pattern.root,
        )
        _fill(tracked, record, self._streams)
        tracked.tail = found.tail
        self.all[tracked.id] = tracked
        self._adopt(tracked, found.fd)
        self._list_inode(tracked)
        if covered.pattern.matches(found.path) and not found.unpacked and found.path not in self._by_path:
            self._by_path[found.path] = tracked
        else:
            tracked.happened(Happening.LOST_PATH)
            tracked.lost_path_s = now_s
            self._draining[tracked.id] = tracked
        self.ready[tracked.id] = tracked
        if tracked.account.floors:
            self._floored[tracked.id] = tracked
        self._close_idle()

    def _at_path(
        self, record: FileRecord, covers: list[Covered], known: identity.Fingerprint
    ) -> Sought | None:
        covered = next((c for c in covers if c.pattern.matches(record.path)), None)
        if covered is None:
            return None
        try:
            fd = open_regular(record.path, covered.pattern.root)
        except (Refused, OSError):
            return None
        status = os.fstat(fd)
        inode = (status.st_dev, status.st_ino)
        unknown = known.head_bytes == 0 and inode != (record.dev, record.ino)
        if inode in self._by_inode or unknown or not holds(fd, known):
            os.close(fd)
            return None
        return Sought(fd, record.path, _tail(fd, known.position), unpacked=False)

    def _seek(
        self,
        path: str,
        known: identity.Fingerprint,
        *,
        inode: tuple[int, int] | None = None,
        skip: tuple[int, int] | None = None,
    ) -> Sought | None:
        """Look among the regular files of the directory for the known content; device and inode are hints."""
        directory = os.path.dirname(path)  # noqa: PTH120 - paths are plain text here, thousands of them
        try:
            with os.scandir(directory) as entries:
                names = [e for _, e in zip(range(_SEARCHED_PER_DIRECTORY), entries, strict=False)]
                names = [e for e in names if e.is_file(follow_symlinks=False)]
        except OSError:
            return None
        base = os.path.basename(path)  # noqa: PTH119 - as above
        names.sort(
            key=lambda e: (inode is None or e.inode() != inode[1], not e.name.startswith(base), e.name)
        )
        for entry in names:
            sought = self._is_it(entry.path, directory, known, inode, skip)
            if sought is not None:
                return sought
        return None

    def _is_it(
        self,
        path: str,
        root: str,
        known: identity.Fingerprint,
        inode: tuple[int, int] | None,
        skip: tuple[int, int] | None,
    ) -> Sought | None:
        try:
            fd = open_regular(path, os.path.realpath(root))
        except (Refused, OSError):
            return None
        status = os.fstat(fd)
        here = (status.st_dev, status.st_ino)
        owner = self._by_inode.get(here)
        try:
            if here == skip or (owner is not None and owner.read > 0):
                return None
            if path.endswith(".gz") and known.head_bytes:
                return self._unpacked(fd, path, known)
            if known.head_bytes == 0 and here != inode:
                return None
            if status.st_size < known.position or not holds(fd, known):
                return None
            if owner is not None:
                self._forget_file(owner)  # taken for a new one, is an old one, and was not read yet
            sought = Sought(fd, path, _tail(fd, known.position), unpacked=False)
            fd = -1
            return sought
        finally:
            if fd >= 0:
                os.close(fd)

    # ---- compressed rotations

    def _packed(self, covered: Covered, path: str, status: os.stat_result) -> None:
        """Leave a `.gz` that a pattern covers: what it continues is found by its content."""
        _ = covered, status
        self._tell("packed_file_ignored", level="debug", path=path)

    def _unpacked(self, fd: int, path: str, known: identity.Fingerprint) -> Sought | None:
        """Return the content of a `.gz` in an unnamed file, if it is the known one."""
        try:
            first = _gunzip_head(fd, known.head_bytes)
            if identity.digest(first) != known.head:
                return None
            with tempfile.TemporaryFile(dir=self.scratch) as plain:
                _gunzip(fd, plain.fileno())
                if not holds(plain.fileno(), known):
                    return None
                copy = os.dup(plain.fileno())
        except (OSError, zlib.error, ValueError) as error:
            self._tell("unreadable_file", level="warning", path=path, error=str(error))
            return None
        return Sought(copy, path, _tail(copy, known.position), unpacked=True)

    # ---- descriptors and tables

    def _adopt(self, tracked: Tracked, fd: int) -> None:
        status = os.fstat(fd)
        self._unlist_inode(tracked)
        tracked.fd = fd
        self._open[tracked.id] = tracked
        tracked.dev, tracked.ino = status.st_dev, status.st_ino
        tracked.size = max(tracked.size, status.st_size)
        tracked.mtime_ns = status.st_mtime_ns
        tracked.tail = _tail(fd, tracked.read)
        self._list_inode(tracked)

    def _close_idle(self, *, make_room: bool = False) -> None:
        limit = self._max_open - 1 if make_room else self._max_open
        if self.open_count <= limit:
            return
        at_path = [
            t for t in self._open.values() if t.phase is Phase.FOLLOWING and self._stands_at(t, t.path)
        ]
        at_path.sort(key=lambda t: t.mtime_ns)
        idle = [t for t in at_path if t.account.clear and max(t.read, t.scanned) >= t.size]
        # A few more than must be, so that a storm of new files does not sort the list for each of them.
        closed = idle[: self.open_count - limit + self._max_open // 8]
        if make_room and not closed:
            # One that has more to read, or unsettled lines: it is opened again when it is its turn.
            closed = sorted(at_path, key=lambda t: not t.account.clear)[: self.open_count - limit]
        for tracked in closed:
            tracked.close()
            self._open.pop(tracked.id, None)

    def _list_inode(self, tracked: Tracked) -> None:
        self._by_inode[tracked.dev, tracked.ino] = tracked

    def _unlist_inode(self, tracked: Tracked) -> None:
        if self._by_inode.get((tracked.dev, tracked.ino)) is tracked:
            del self._by_inode[tracked.dev, tracked.ino]

    def _unlist(self, tracked: Tracked) -> None:
        self._unlist_inode(tracked)
        if self._by_path.get(tracked.path) is tracked:
            del self._by_path[tracked.path]

    def _lose(self, tracked: Tracked, lost: int, reason: str) -> None:
        if lost:
            tracked.account.lost_bytes += lost
            tracked.account.dirty = True
            self._tell("lost", level="warning", path=tracked.path, lost_bytes=lost, reason=reason)


class Sought(NamedTuple):
    """A file that was found by its content."""

    fd: int
    path: str
    tail: bytes
    unpacked: bool


def _fingerprint(record: FileRecord) -> identity.Fingerprint:
    return identity.Fingerprint(record.head_bytes, record.head, record.read, record.tail)


def _tail(fd: int, position: int) -> bytes:
    start = identity.tail_start(position)
    return os.pread(fd, position - start, start) if position > start else b""


def _fill(tracked: Tracked, record: FileRecord, streams: list[Stream]) -> None:
    tracked.dev, tracked.ino = record.dev, record.ino
    tracked.head_bytes, tracked.head = record.head_bytes, record.head
    tracked.read = tracked.scanned = record.read
    tracked.own_state, tracked.clock_state = unpacked(record.state)
    tracked.context = record.context
    tracked.origin = record.origin or record.path
    tracked.size = record.size
    tracked.answer_last = record.answer_last
    tracked.clocks = list(record.clocks)
    tracked.moved = list(record.moved)
    tracked.eras = list(record.labels)
    if tracked.eras and tracked.eras[-1].labels == tracked.info.labels:
        tracked.eras.pop()
    account = tracked.account
    account.lines_acked = record.counts.get("acked", 0)
    account.lines_dead = record.counts.get("dead", 0)
    account.lost_bytes = record.counts.get("lost_bytes", 0)
    account.lines_read = account.lines_acked + account.lines_dead
    for behind in record.behind:
        own, clock = unpacked(behind.state)
        chunk = Chunk(behind.chunk, record.read, own, clock, behind.context)
        account.lower_floor(streams[behind.stream], chunk, behind.lowest, exact=behind.exact)


def _branch_off(original: Tracked, copy: Tracked) -> None:
    """Read a copy from where the deleted original is; what is unread of that is another's."""
    copy.info, copy.origin, copy.context = original.info, original.origin, original.context
    copy.own_state, copy.clock_state = original.own_state, original.clock_state
    copy.head_bytes, copy.head = original.head_bytes, original.head
    copy.advance(original.read, original.tail)


def _gunzip_head(fd: int, limit_bytes: int) -> bytes:
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(os.pread(fd, 1 << 16, 0), max(1, limit_bytes))


def _gunzip(source: int, target: int) -> None:
    """Unpack all members; raises `ValueError` above the limit, `zlib.error` for anything that is no gzip."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    offset = written = 0
    data = b""
    while True:
        if not data:
            data = os.pread(source, 1 << 20, offset)
            offset += len(data)
            if not data:
                return
        piece = unpacker.decompress(data, 1 << 20)
        data = unpacker.unconsumed_tail
        written += os.write(target, piece)
        if written > MAX_UNPACKED_BYTES:
            raise ValueError(f"more than {MAX_UNPACKED_BYTES} bytes unpacked")
        if unpacker.eof:
            data = unpacker.unused_data + data
            unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
