"""From files to queues: whose turn it is, a chunk at a time, as much as the window holds."""

from __future__ import annotations

import hashlib
import heapq
import os

from shipper.entries.merge import SLACK_NS
from shipper.entries.segment import Chunk
from shipper.entries.sorting import Sorted
from shipper.follow import identity
from shipper.follow.content import LINE_SCAN_BYTES, holds
from shipper.follow.files import Files
from shipper.follow.framing import frame
from shipper.follow.held import is_quiet
from shipper.follow.phase import Phase
from shipper.follow.tracked import Tracked
from shipper.reading.again import Again, clock_entry
from shipper.reading.chunks import Chunks, TooLong, peek_ns
from shipper.sending.sender import Sender
from shipper.state import Common

AWAY_BYTES = 4 << 20
"""While nothing is taken by Loki, a file is searched this far for lines of streams that may fare better."""
_TURNS = 4
"""Chunks between looks at the queues: what was just read is pushed while it is still in the processor's
caches."""
_TURNS_OF_MANY = 1000
"""The same where as many files share streams: as many chunks are worth a look at the head of each."""
_LONG_HEAD_BYTES = 4096


class Reader:
    """Reads what is ready. Owns no state of its own but the order of groups."""

    def __init__(self, common: Common, files: Files, sender: Sender) -> None:
        self._common = common
        self._files = files
        self._sender = sender
        self._chunks = Chunks(common)
        self._again = Again(common, self._chunks, files, sender)

    def read(self, now_s: float) -> bool:
        """Read until the window is full or nothing is ready; return True when more could be read at once."""
        self._again.wake()
        groups: dict[tuple[str, ...], list[Tracked]] = {}
        for tracked in self._files.ready.values():
            groups.setdefault(tracked.info.group, []).append(tracked)
        more = False
        for members in groups.values():
            more |= self._read_group(members, now_s, max(1, _TURNS // len(groups)))
        return more and not self._common.window.full

    def _read_group(self, members: list[Tracked], now_s: float, turns: int) -> bool:
        if len(members) == 1:
            tracked = members[0]
            for _ in range(turns):
                if self._common.window.full:
                    return True
                if not self._step(tracked, float("inf"), now_s):
                    return False
            return True
        heap = [(self._head_ns(tracked), tracked.id, tracked) for tracked in members]
        heapq.heapify(heap)
        left = max(turns, min(len(heap), _TURNS_OF_MANY))
        while heap and left and not self._common.window.full:
            _, _, tracked = heapq.heappop(heap)
            until_ns = heap[0][0] + SLACK_NS if heap else float("inf")
            read = tracked.read
            more = self._step(tracked, until_ns, now_s)
            if more:
                heapq.heappush(heap, (self._head_ns(tracked), tracked.id, tracked))
            # Those that cannot go on now, be it a thousand, take no turn from the others.
            left -= more or tracked.read != read
        return bool(heap)

    def _head_ns(self, tracked: Tracked) -> int:
        """Return the time of the file's next line, 0 where it is to be looked at at once.

        That is where it has no time, or one that has not come: the line will get the time of reading.
        """
        head_ns = self._next_ns(tracked)
        future_ns = self._common.options.policy.future_ns
        return 0 if head_ns > self._common.clock.time_ns() + future_ns else head_ns

    def _next_ns(self, tracked: Tracked) -> int:
        if tracked.phase is Phase.GONE:
            return 0
        again_ns = self._again.next_ns(tracked)
        if again_ns is not None:
            return again_ns
        if not tracked.head_ns:
            # A line without time is looked at each time: it may be half of one that is being written.
            was_open = tracked.fd >= 0
            if not self._files.ensure_open(tracked, self._common.clock.monotonic(), self._common.saves.next):
                return 0
            tracked.head_ns = peek_ns(tracked, tracked.read)
            if not was_open and self._files.crowded:
                self._files.let_go(tracked)
        return tracked.head_ns

    def _step(self, tracked: Tracked, until_ns: float, now_s: float) -> bool:
        """Read one chunk of a file; return True when there is more."""
        files = self._files
        if tracked.phase is Phase.GONE or tracked.phase is Phase.DONE:
            files.lose_floors(tracked)
            files.ready.pop(tracked.id, None)
            return False
        if not files.ensure_open(tracked, now_s, self._common.saves.next):
            if not files.crowded:
                files.ready.pop(tracked.id, None)
            return False
        status = os.fstat(tracked.fd)
        if status.st_size < tracked.read or (
            status.st_mtime_ns != tracked.mtime_ns and not holds(tracked.fd, tracked.fingerprint)
        ):
            files.was_cut(tracked, now_s, self._common.saves.next)
            return False
        tracked.mtime_ns = status.st_mtime_ns
        if status.st_size > tracked.size:
            tracked.size = status.st_size
            tracked.account.dirty = True
        elif status.st_size < tracked.size and tracked.phase is Phase.FOLLOWING:
            files.shrank(tracked, status.st_size)
        if tracked.account.floors and self._again.catch_up(tracked, until_ns):
            return True
        # A copy that is still being made is shorter than what was seen of the original.
        return self._go_on(tracked, min(tracked.size, status.st_size), until_ns, now_s)

    def _go_on(self, tracked: Tracked, size: int, until_ns: float, now_s: float) -> bool:  # noqa: C901, PLR0911 - each return is one outcome
        """Read the next chunk at the file's cursor."""
        files = self._files
        finished = is_quiet(tracked, now_s)
        floors = tracked.account.floors
        if (
            floors
            and self._sender.away
            and tracked.read - min(f.lowest for f in floors.values()) > AWAY_BYTES
        ):
            return False
        piece = self._chunks.piece(tracked, tracked.read, size, finished=finished)
        if piece is None:
            files.was_cut(tracked, now_s, self._common.saves.next)
            return False
        if isinstance(piece, TooLong):
            return self._pass_over(tracked, piece.end)
        framed = frame(piece, tracked.read, finished=finished and tracked.read + len(piece) >= size)
        if framed.end == tracked.read:
            tracked.scanned = max(tracked.scanned, tracked.read + len(piece))
            files.ready.pop(tracked.id, None)
            return False
        framed, hits = self._chunks.masked(framed)
        now_ns = self._common.clock.time_ns()
        course = tracked.course
        chunk = Chunk(tracked.read, framed.end, course.own_state, course.clock_state, course.context)
        policy = self._common.options.policy
        done = self._chunks.sort(tracked, framed, chunk, now_ns, policy, until_ns)
        if not self._bury(tracked, done):
            return False
        end = framed.end
        if done.taken < len(framed.lines):
            end = chunk.end = framed.starts[done.taken]
        is_cut = finished and piece[end - tracked.read - 1 : end - tracked.read] != b"\n"
        if is_cut:
            course.cuts.append(end)
        if done.hung_on_clock:
            course.clocks.append(clock_entry(chunk.start, end, now_ns, policy))
        course.own_state, course.clock_state = done.own_state, done.clock_state
        course.context = done.context
        used = end - tracked.read
        tail = (
            tracked.tail + piece[:used]
            if used < identity.TAIL_BYTES
            else piece[:used][-identity.TAIL_BYTES :]
        )
        tracked.advance(end, tail)
        tracked.grow_head()
        self._common.saves.dirty = True
        self._common.meter.add("read_bytes", used)
        self._common.meter.add("malformed_lines", done.malformed)
        for index, rule in hits:
            if index < done.taken:
                self._common.meter.add("redactions", 1, rule)
        version = max(tracked.version, self._common.saves.next if done.hung_on_clock or is_cut else 0)
        for segment in done.segments:
            self._again.offer(tracked, segment, version)
        if tracked.read >= tracked.size:
            files.ready.pop(tracked.id, None)
            return False
        return True

    def _pass_over(self, tracked: Tracked, end: int) -> bool:
        """Bury a line above the limit of memory, by its head and the hash of its bytes."""
        head = os.pread(tracked.fd, _LONG_HEAD_BYTES, tracked.read)
        redactor = self._common.redactor
        if redactor is not None:
            head = redactor.head(head)
        record = self._sender.burial.dead_record(tracked, tracked.read, None, "line_too_long", 0, head)
        size, digest = _measured(tracked.fd, tracked.read, end)
        if not self._sender.burial.bury([{**record, "bytes": size, "sha256": digest, "truncated": True}]):
            return False
        self._sender.burial.dropped += 1
        self._common.meter.add("dead_lettered", 1, "line_too_long")
        tracked.account.lines_read += 1
        tracked.account.lines_dead += 1
        start = max(tracked.read, identity.tail_start(end))
        tracked.advance(end, os.pread(tracked.fd, end - start, start))
        tracked.grow_head()
        self._common.saves.dirty = True
        return True

    def _bury(self, tracked: Tracked, done: Sorted) -> bool:
        if not done.too_old:
            return True
        records = [
            self._sender.burial.dead_record(tracked, offset, stream, "too_old", 0, line)
            for offset, stream, line in done.too_old
        ]
        if not self._sender.burial.bury(records):
            return False
        self._sender.burial.dropped += len(records)
        self._common.meter.add("dead_lettered", len(records), "too_old")
        tracked.account.lines_read += len(records)
        tracked.account.lines_dead += len(records)
        return True


def _measured(fd: int, start: int, end: int) -> tuple[int, str]:
    """Return size and SHA-256 of the line between two offsets, without its newline; a piece at a time."""
    digest = hashlib.sha256()
    size = 0
    while start < end and (piece := os.pread(fd, min(LINE_SCAN_BYTES, end - start), start)):
        start += len(piece)
        if start == end and piece.endswith(b"\n"):
            piece = piece[:-1]
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()
