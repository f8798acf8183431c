"""From a record to a followed file and back: at the start, and when a place or a source goes or comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from shipper.entries.segment import Chunk
from shipper.entries.stamp import unpacked
from shipper.entries.streams import Stream
from shipper.follow.covers import Covered, Covers
from shipper.follow.descriptors import Descriptors
from shipper.follow.known import Known
from shipper.follow.phase import Phase
from shipper.follow.search import Search, Sought
from shipper.follow.tracked import Tracked
from shipper.follow.tree import is_away
from shipper.keeping.record import FileRecord


class Restoring:
    """Restores what can be found; what cannot be looked at now, or is not covered, rests."""

    def __init__(  # noqa: PLR0917 - the wiring comes in as arguments
        self,
        known: Known,
        covers: Covers,
        search: Search,
        descriptors: Descriptors,
        tell: Callable[..., None],
        wall_s: Callable[[], float],
    ) -> None:
        self._known = known
        self._covers = covers
        self._search = search
        self._descriptors = descriptors
        self._tell = tell
        self._wall_s = wall_s
        self._streams: list[Stream] = []
        self._floored: dict[int, Tracked] = {}
        self._told_gone: set[str] = set()
        self._leaving: dict[int, Tracked] = {}
        """Files that no source covers any more, and of which lines are in memory."""
        self._uncovered: list[FileRecord] = []

    def start(
        self,
        records: Iterable[FileRecord],
        streams: list[Stream],
        floored: dict[int, Tracked],
        now_s: float,
    ) -> None:
        """Find the files of an earlier run. Where lines have to be read again, it is noted in `floored`."""
        self._streams, self._floored = streams, floored
        for record in records:
            self._restore(record, now_s)
        self.forget_old()

    # ---- places that come back

    def rest(self, tracked: Tracked, *, covered: bool) -> None:
        """Keep what is known of a file for when its place, or its source, is back."""
        self._known.resting.put(tracked.record(), self._wall_s(), covered=covered)
        tracked.account.floors.clear()
        self._known.forget(tracked)

    def look_again(self, directory: str, now_s: float) -> None:
        """Try again to find the files whose records rest, where their directory may have come back."""
        resting = self._known.resting
        if not resting.has(directory) or not os.path.isdir(directory):  # noqa: PTH112 - paths are plain text
            return
        for record in resting.take(directory):
            self._restore(record, now_s)

    def found_at(self, covered: Covered, path: str, status: os.stat_result, now_s: float) -> bool:
        """Go on with a file that is sought, if it is what stands at this path, new to us and covered."""
        if not self._known.resting:
            return False
        for record in self._search.like(path, covered.pattern.root, status):
            covers = self._covers.of_kind(record.source, path)
            found = self._search.at(path, covers[0].pattern.root, record) if covers else None
            if found is not None:
                self._known.resting.remove(record)
                self._tell("file_moved", path=record.path, to=path, offset=record.read)
                self._go_on(record, covers, found, now_s)
                return True
        return False

    def miss(self, tracked: Tracked) -> None:
        """Keep what is known of a file that has lost its path, was not held, and may have been moved."""
        self._known.resting.put_missing(tracked.record())
        tracked.account.floors.clear()
        self._known.forget(tracked)

    def lose(self, missing: Iterable[FileRecord]) -> None:
        """Count what of the missing was found nowhere, while everything was looked at."""
        resting = self._known.resting
        for record in missing:
            if resting.is_missing(record):
                resting.remove(record)
                self._lose(record)

    def forget_old(self) -> None:
        """Let go of records that have rested for too long; what was unread of them is lost only now."""
        gone = self._known.resting.forget(self._wall_s())
        if gone:
            self._tell("records_forgotten", level="warning", records=len(gone), path=gone[0].path)
        for record in gone:
            if self._covers.of_record(record):
                self._lose(record)

    # ---- sources that go and come

    def cover_anew(self) -> None:
        """Go on with what the sources that were just set cover; the others leave, or rest."""
        self._told_gone.clear()
        for tracked in list(self._known.all.values()):
            covers = self._covers.of_record(tracked.record())
            if not covers:
                self._leave(tracked)
                continue
            tracked.serve(covers[0].source, covers[0].pattern.root)
            if self._leaving.pop(tracked.id, None) is not None:
                self._come_back(tracked)
        self._uncovered = self._known.resting.take_uncovered()

    def let_leave(self, now_s: float) -> None:
        """Read nothing more of files that no source covers, and keep their records once they are quiet."""
        for tracked in list(self._leaving.values()):
            self._known.ready.pop(tracked.id, None)
            self._floored.pop(tracked.id, None)
            if not tracked.account.pending:
                del self._leaving[tracked.id]
                self.rest(tracked, covered=False)
        records, self._uncovered = self._uncovered, []
        for record in records:
            self._restore(record, now_s)

    def _leave(self, tracked: Tracked) -> None:
        self._leaving[tracked.id] = tracked
        self._known.unlist(tracked)
        self._known.draining.pop(tracked.id, None)

    def _come_back(self, tracked: Tracked) -> None:
        known = self._known
        known.list_inode(tracked)
        known.ready[tracked.id] = tracked
        if tracked.account.floors:
            self._floored[tracked.id] = tracked
        if tracked.phase is Phase.FOLLOWING and tracked.path not in known.by_path:
            known.by_path[tracked.path] = tracked
        else:
            known.draining[tracked.id] = tracked

    # ---- one record

    def _restore(self, record: FileRecord, now_s: float) -> None:
        self._known.next_id = max(self._known.next_id, record.id + 1)
        covers = self._covers.of_record(record)
        if not covers:
            if record.source not in self._told_gone:
                self._told_gone.add(record.source)
                self._tell("source_gone", level="warning", source=record.source, path=record.path)
            self._known.resting.put(record, self._wall_s(), covered=False)
            return
        at = next((covered.pattern.root for covered in covers if covered.pattern.matches(record.path)), None)
        found = self._search.record(record, at)
        if found is not None:
            self._go_on(record, covers, found, now_s)
        elif is_away(record.path, covers[0].pattern.root, record.dev):
            self._known.resting.put(record, self._wall_s(), covered=True)
        else:
            self._known.resting.put_missing(record)

    def _go_on(self, record: FileRecord, covers: list[Covered], found: Sought, now_s: float) -> None:
        known = self._known
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
        tracked.grows = not found.unpacked
        known.all[tracked.id] = tracked
        known.adopt(tracked, found.fd)
        if covered.pattern.matches(found.path) and not found.unpacked and found.path not in known.by_path:
            known.by_path[found.path] = tracked
            known.ready[tracked.id] = tracked
        else:
            known.lost_path(tracked, now_s)
        if tracked.account.floors:
            self._floored[tracked.id] = tracked
        self._descriptors.close_idle()

    def _lose(self, record: FileRecord) -> None:
        lowest = min((behind.lowest for behind in record.behind), default=record.read)
        lost = max(0, record.size - lowest)
        if lost:
            self._tell("lost", level="warning", path=record.path, lost_bytes=lost, reason="missing")


def _fill(tracked: Tracked, record: FileRecord, streams: list[Stream]) -> None:
    tracked.dev, tracked.ino = record.dev, record.ino
    tracked.head_bytes, tracked.head = record.head_bytes, record.head
    tracked.read = tracked.scanned = record.read
    tracked.course.take(record)
    tracked.origin = record.origin or record.path
    tracked.size = record.size
    tracked.answer_last = record.answer_last
    eras = tracked.course.eras
    if eras and eras[-1].labels == tracked.info.labels:
        eras.pop()
    account = tracked.account
    account.lines_acked = record.counts.get("acked", 0)
    account.lines_dead = record.counts.get("dead", 0)
    account.lost_bytes = record.counts.get("lost_bytes", 0)
    account.acked_at_s = record.counts.get("acked_at_s", 0)
    account.lines_read = account.lines_acked + account.lines_dead
    for behind in record.behind:
        own, clock = unpacked(behind.state)
        chunk = Chunk(behind.chunk, record.read, own, clock, behind.context)
        account.lower_floor(streams[behind.stream], chunk, behind.lowest, exact=behind.exact)
