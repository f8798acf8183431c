"""All files that are followed: what the engine and the reader ask for, and the order of a turn."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable, Iterable

from shipper.entries.streams import Stream
from shipper.follow.copies import Copies
from shipper.follow.covers import Covers
from shipper.follow.descriptors import Descriptors
from shipper.follow.discovery import Discovery
from shipper.follow.inotify import Watcher
from shipper.follow.known import Known
from shipper.follow.phase import Phase
from shipper.follow.resting import Resting
from shipper.follow.restoring import Restoring
from shipper.follow.rotation import Rotation
from shipper.follow.search import Search
from shipper.follow.tracked import Tracked
from shipper.keeping.record import FileRecord
from shipper.sources.base import Source

RESCAN_S = 10.0


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
        self._tell = tell
        self._watcher = watcher
        self._known = Known()
        self.copies = Copies(self._known.all)
        self._covers = Covers(sources, state_dir)
        self._search = Search(self._known, tell, scratch)
        self._descriptors = Descriptors(self._known, tell, max_open)
        self._restoring = Restoring(self._known, self._covers, self._search, self._descriptors, tell, wall_s)
        self._rotation = Rotation(self._known, self._search, self._descriptors, self._restoring, tell)
        self._discovery = Discovery(
            self._known, self._covers, self.copies, self._restoring, self._rotation, watcher, tell
        )
        self.rescans = 0
        self._rescan_at_s = -math.inf

    # ---- what there is

    @property
    def all(self) -> dict[int, Tracked]:
        """All files, by id."""
        return self._known.all

    @property
    def ready(self) -> dict[int, Tracked]:
        """Files that have, or may have, something to read."""
        return self._known.ready

    @property
    def resting(self) -> Resting:
        """Records of files that are away, or that no source covers."""
        return self._known.resting

    @property
    def missing(self) -> bool:
        """True while a file is sought everywhere: the next look finds it, or counts its bytes as lost."""
        return self._known.resting.has_missing

    @property
    def unfinished(self) -> bool:
        """True while the last line of a file without a path waits for its newline, or to be sent without."""
        draining = (t for t in self._known.draining.values() if t.phase is Phase.DRAINING and not t.away)
        return any(t.fd >= 0 and t.unread_bytes and os.fstat(t.fd).st_size > t.read for t in draining)

    @property
    def open_count(self) -> int:
        """How many descriptors of files are held."""
        return self._descriptors.count

    @property
    def unreadable(self) -> dict[str, str]:
        """What cannot be read now, and why."""
        return self._known.unreadable

    @property
    def crowded(self) -> bool:
        """True when no descriptor is left."""
        return self._descriptors.crowded

    @property
    def truncations(self) -> int:
        """How many files were found cut or replaced in place."""
        return self._rotation.truncations

    @property
    def next_numbers(self) -> tuple[int, int]:
        """The id and the slot that the next new file gets."""
        return self._known.next_id, self._known.next_slot

    def records(self) -> list[bytes]:
        """Return the records that must be saved, encoded."""
        found = []
        for tracked in self.all.values():
            if self._is_worth_a_record(tracked):
                if tracked.account.dirty and tracked.fd < 0:
                    tracked.fold()
                found.append(tracked.encode())
        found.extend(self.resting.encoded())
        return found

    def _is_worth_a_record(self, tracked: Tracked) -> bool:
        """Tell it of a file that is not gone and settled, and is judged: a copy that waits is found anew."""
        if tracked.unfindable:
            return False
        return (tracked.phase is not Phase.GONE or not tracked.account.clear) and tracked not in self.copies

    # ---- the start, and another configuration

    def look_only(self) -> None:
        """Write nothing, not even an unnamed file, into the state directory."""
        self._search.scratch = None

    def restore(
        self,
        records: Iterable[FileRecord],
        streams: list[Stream],
        floored: dict[int, Tracked],
        now_s: float,
        next_numbers: tuple[int, int],
    ) -> None:
        """Find the files of an earlier run again: at their path, else by their hashes in their directory.

        Where unsettled lines of one have to be read again, it is noted in `floored`.
        """
        self._known.next_id, self._known.next_slot = next_numbers
        self._tell_of_state_dir()
        self._restoring.start(records, streams, floored, now_s)

    def reconfigure(self, sources: Iterable[Source], *, max_open: int) -> None:
        """Follow other sources from now on.

        Files that are still covered go on. The record of one that is not comes to rest as soon as nothing of
        it is in memory.
        """
        self._covers.set(sources)
        self._descriptors.limit = max_open
        self._rescan_at_s = -math.inf
        self._restoring.cover_anew()
        self._tell_of_state_dir()

    def _tell_of_state_dir(self) -> None:
        for name in self._covers.over_state_dir():
            self._tell(
                "state_directory_in_source",
                level="warning",
                source=name,
                path=self._covers.state_dir,
                consequence="nothing below it is followed",
            )

    # ---- a turn

    def poll(self, now_s: float, version: int) -> None:
        """Look at what has happened: inotify's hints, and every ten seconds everything."""
        self._descriptors.begin_turn(now_s)
        self.copies.begin_turn()
        self._search.begin_turn()
        self._restoring.let_leave(now_s)
        if self._watcher is not None:
            hints = self._watcher.hints()
            if hints.overflow:
                self._tell("inotify_overflow", level="warning", consequence="everything is scanned again")
                self._rescan_at_s = -math.inf
            self._discovery.heed(hints, now_s, version)
        if now_s >= self._rescan_at_s:
            self.rescan(now_s, version)
        self._end_waits(now_s, version)
        self._rotation.drain(now_s, version)

    def rescan(self, now_s: float, version: int) -> None:
        """Compare everything on disk with what is known."""
        self._rescan_at_s = now_s + RESCAN_S
        self.rescans += 1
        self._discovery.scan_all(now_s, version)
        self._descriptors.close_idle()

    def next_deadline_s(self) -> float:
        """Return the monotonic time at which `poll` must be called at the latest."""
        return min(self._rescan_at_s, self.copies.next_deadline_s(), self._rotation.next_deadline_s())

    def _end_waits(self, now_s: float, version: int) -> None:
        """Read the files that are no copies, and go on in those that are."""
        for file, original, whole in self.copies.review(now_s):
            if original is not None and whole:
                self._rotation.go_on_in(original, file, now_s, version)
            elif original is not None:
                file.branch_off(original)
            if file.id in self.all:
                self.ready[file.id] = file

    # ---- reading

    def ensure_open(self, tracked: Tracked, now_s: float, version: int) -> bool:
        """Open a file for reading.

        False when it cannot be now (it may be a copy, no descriptor is left, refused, or another file).
        """
        if tracked.unjudged and not tracked.read:
            self.copies.judge(tracked, now_s)
        if tracked in self.copies:
            return False
        if tracked.fd >= 0:
            return True
        if tracked.phase is not Phase.FOLLOWING or not self._descriptors.has_room(tracked):
            return False
        fd = self._descriptors.open(tracked)
        if fd is None:
            return False
        if not tracked.is_in(fd):
            os.close(fd)
            self.was_cut(tracked, now_s, version)
            return False
        self._known.adopt(tracked, fd)
        return True

    def let_go(self, tracked: Tracked) -> None:
        """Close a file that stands at its path and is not being read."""
        self._descriptors.let_go(tracked)

    def was_cut(self, tracked: Tracked, now_s: float, version: int) -> None:
        """Note that the content that was being read is gone: a copy is sought, or the loss counted."""
        self._rotation.was_cut(tracked, now_s, version)
        self._rescan_at_s = -math.inf

    def shrank(self, tracked: Tracked, size: int) -> None:
        """Count what was cut off a file before it was read."""
        self._rotation.shrank(tracked, size)

    def lose_floors(self, tracked: Tracked) -> None:
        """Count what must be read again and cannot be."""
        self._rotation.lose_floors(tracked)
