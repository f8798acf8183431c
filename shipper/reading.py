"""From files to queues: whose turn it is, a chunk at a time, as much as the window holds."""

from __future__ import annotations

import hashlib
import heapq
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from shipper.follow import identity
from shipper.follow.files import Files
from shipper.follow.framing import Framed, frame
from shipper.follow.lines import Lines
from shipper.follow.phase import Phase
from shipper.follow.tracked import LINE_SCAN_BYTES, Tracked, holds, scan_for_newline
from shipper.ledger import Chunk, Floor, Segment, picked
from shipper.merge import SLACK_NS
from shipper.redact.redactor import Hit, Redactor
from shipper.sending import Sender
from shipper.sorting import BY_OWN_TIME, File, Policy, Sorted, is_restamped, sort_lines
from shipper.sources.base import FileInfo
from shipper.state import Clock, EntryLimit, Meter, Options, Saves, Tell, Window
from shipper.streams import Registry, Stream

CHUNK_BYTES = 256 * 1024
PEEK_BYTES = 4096
AWAY_BYTES = 4 << 20
"""While nothing is taken by Loki, a file is searched this far for lines of streams that may fare better."""
_TURNS = 4
"""Chunks between looks at the queues: what was just read is pushed while it is still in the processor's
caches."""
_LONG_HEAD_BYTES = 4096


class _TooLong(NamedTuple):
    """A line above the limit: where it ends."""

    end: int


class Reader:
    """Reads what is ready. Owns no state of its own but the order of groups."""

    def __init__(  # noqa: PLR0917 - the engine's wiring comes in as arguments
        self,
        options: Options,
        files: Files,
        registry: Registry,
        sender: Sender,
        window: Window,
        saves: Saves,
        entry_limit: EntryLimit,
        clock: Clock,
        tell: Tell,
        meter: Meter,
        redactor: Redactor | None = None,
    ) -> None:
        self._options = options
        self._redactor = redactor
        self._files = files
        self._registry = registry
        self._sender = sender
        self._window = window
        self._saves = saves
        self._entry_limit = entry_limit
        self._clock = clock
        self._tell = tell
        self._meter = meter

    def reconfigure(self, options: Options, redactor: Redactor | None) -> None:
        """Go on in another way with what is read from now on."""
        self._options = options
        self._redactor = redactor

    def read(self, now_s: float) -> bool:
        """Read until the window is full or nothing is ready; return True when more could be read at once."""
        self._wake_floored()
        groups: dict[str, list[Tracked]] = {}
        for tracked in self._files.ready.values():
            groups.setdefault(tracked.info.group, []).append(tracked)
        more = False
        for members in groups.values():
            more |= self._read_group(members, now_s, max(1, _TURNS // len(groups)))
        return more and not self._window.full

    def _wake_floored(self) -> None:
        floored = self._sender.floored
        for tracked in list(floored.values()):
            if not tracked.account.floors:
                del floored[tracked.id]
            elif any(map(self._sender.accepts, tracked.account.floors)):
                self._files.ready[tracked.id] = tracked

    def _read_group(self, members: list[Tracked], now_s: float, turns: int) -> bool:
        if len(members) == 1:
            tracked = members[0]
            for _ in range(turns):
                if self._window.full:
                    return True
                if not self._step(tracked, float("inf"), now_s):
                    return False
            return True
        heap = [(self._head_ns(tracked), tracked.id, tracked) for tracked in members]
        heapq.heapify(heap)
        for _ in range(max(len(heap), turns)):
            if self._window.full or not heap:
                break
            _, _, tracked = heapq.heappop(heap)
            until_ns = heap[0][0] + SLACK_NS if heap else float("inf")
            if self._step(tracked, until_ns, now_s):
                heapq.heappush(heap, (self._head_ns(tracked), tracked.id, tracked))
        return bool(heap)

    def _head_ns(self, tracked: Tracked) -> int:
        """Return the time of the file's next line, 0 where it is to be looked at at once.

        That is where it has no time, or one that has not come: the line will get the time of reading.
        """
        head_ns = self._next_ns(tracked)
        return 0 if head_ns > self._clock.time_ns() + self._options.policy.future_ns else head_ns

    def _next_ns(self, tracked: Tracked) -> int:
        if tracked.phase is Phase.GONE:
            return 0
        wanted = self._wanted(tracked) if tracked.fd >= 0 else {}
        if wanted:
            return min(
                self._restamped_ns(tracked, lowest) if restamped else self._peek_ns(tracked, lowest)
                for lowest, restamped in {(f.lowest, is_restamped(s)) for s, f in wanted.items()}
            )
        if not tracked.head_ns:
            # A line without time is looked at each time: it may be half of one that is being written.
            was_open = tracked.fd >= 0
            if not self._files.ensure_open(tracked, self._clock.monotonic(), self._saves.next):
                return 0
            tracked.head_ns = self._peek_ns(tracked, tracked.read)
            if not was_open and self._files.crowded:
                self._files.let_go(tracked)
        return tracked.head_ns

    def _restamped_ns(self, tracked: Tracked, lowest: int) -> int:
        """Return the stamp of a line that is read again and does not have its own time."""
        for moved in tracked.moved:
            if moved.to == "restamped" and moved.first == lowest and moved.stamp:
                return moved.stamp
        return self._clock_at(tracked, lowest)[1]

    @staticmethod
    def _peek_ns(tracked: Tracked, offset: int) -> int:
        piece = os.pread(tracked.fd, PEEK_BYTES, offset)
        framed = frame(piece, offset, finished=b"\n" not in piece)
        owns = tracked.source.parse(framed.lines[:1], tracked.info, tracked.context).owns
        return owns[0] if owns and owns[0] is not None else 0

    def _step(self, tracked: Tracked, until_ns: float, now_s: float) -> bool:
        """Read one chunk of a file; return True when there is more."""
        files = self._files
        if tracked.phase is Phase.GONE or tracked.phase is Phase.DONE:
            files.lose_floors(tracked)
            files.ready.pop(tracked.id, None)
            return False
        if not files.ensure_open(tracked, now_s, self._saves.next):
            if not files.crowded:
                files.ready.pop(tracked.id, None)
            return False
        status = os.fstat(tracked.fd)
        if status.st_size < tracked.read or (
            status.st_mtime_ns != tracked.mtime_ns and not holds(tracked.fd, tracked.fingerprint)
        ):
            files.was_cut(tracked, now_s, self._saves.next)
            return False
        tracked.mtime_ns = status.st_mtime_ns
        if status.st_size > tracked.size:
            tracked.size = status.st_size
            tracked.account.dirty = True
        if tracked.account.floors and self._catch_up(tracked, until_ns):
            return True
        return self._go_on(tracked, until_ns, now_s)

    def _go_on(self, tracked: Tracked, until_ns: float, now_s: float) -> bool:  # noqa: C901, PLR0911 - each return is one outcome
        """Read the next chunk at the file's cursor."""
        files = self._files
        finished = files.is_quiet(tracked, now_s)
        floors = tracked.account.floors
        if (
            floors
            and self._sender.away
            and tracked.read - min(f.lowest for f in floors.values()) > AWAY_BYTES
        ):
            return False
        piece = self._piece(tracked, tracked.read, tracked.size, finished=finished)
        if piece is None:
            files.was_cut(tracked, now_s, self._saves.next)
            return False
        if isinstance(piece, _TooLong):
            return self._pass_over(tracked, piece.end)
        framed = frame(piece, tracked.read, finished=finished and tracked.read + len(piece) >= tracked.size)
        if framed.end == tracked.read:
            tracked.scanned = max(tracked.scanned, tracked.read + len(piece))
            files.ready.pop(tracked.id, None)
            return False
        framed, hits = self._masked(framed)
        now_ns = self._clock.time_ns()
        chunk = Chunk(tracked.read, framed.end, tracked.own_state, tracked.clock_state, tracked.context)
        policy = self._options.policy
        done = self._sort(tracked, framed, chunk, now_ns, policy, until_ns)
        if not self._bury(tracked, done, now_ns):
            return False
        end = framed.end
        if done.taken < len(framed.lines):
            end = chunk.end = framed.starts[done.taken]
        elif finished:
            tracked.partial_done = end >= tracked.size
        if done.hung_on_clock:
            tracked.clocks.append(_clock(chunk.start, end, now_ns, policy))
        tracked.own_state, tracked.clock_state = done.own_state, done.clock_state
        tracked.context = done.context
        used = end - tracked.read
        tail = (
            tracked.tail + piece[:used]
            if used < identity.TAIL_BYTES
            else piece[:used][-identity.TAIL_BYTES :]
        )
        tracked.advance(end, tail)
        tracked.grow_head()
        self._saves.dirty = True
        self._meter.add("read_bytes", used)
        self._meter.add("malformed_lines", done.malformed)
        for index, rule in hits:
            if index < done.taken:
                self._meter.add("redactions", 1, rule)
        version = max(tracked.version, self._saves.next if done.hung_on_clock else 0)
        for segment in done.segments:
            self._offer(tracked, segment, version)
        if tracked.read >= tracked.size:
            files.ready.pop(tracked.id, None)
            return False
        return True

    def _catch_up(self, tracked: Tracked, until_ns: float) -> bool:
        """Read again what left memory, for streams that take lines now; return True when a chunk was read."""
        account = tracked.account
        wanted = self._wanted(tracked)
        if not wanted:
            return False
        first = min(wanted.values(), key=lambda floor: floor.chunk.start).chunk
        if first.start >= tracked.read:
            for stream in wanted:
                del account.floors[stream]
            return True
        end, now_ns, policy = self._clock_at(tracked, first.start)
        info, end = _info_at(tracked, first.start, end)
        piece = self._piece(tracked, first.start, end, finished=tracked.partial_done)
        if isinstance(piece, _TooLong):
            self._lower(
                tracked,
                wanted,
                Chunk(piece.end, piece.end, first.own_state, first.clock_state, first.context),
            )
            return True
        if not piece:
            self._files.lose_floors(tracked)
            return False
        framed = frame(
            piece, first.start, finished=tracked.partial_done and first.start + len(piece) >= tracked.read
        )
        if framed.end == first.start:
            self._files.lose_floors(tracked)
            return False
        framed, _ = self._masked(framed)
        chunk = Chunk(first.start, framed.end, first.own_state, first.clock_state, first.context)
        done = self._sort(tracked, framed, chunk, now_ns, policy or BY_OWN_TIME, until_ns, info)
        end = framed.starts[done.taken] if done.taken < len(framed.lines) else framed.end
        # Without a remembered clock every line had been decided by its own time, and still is. One that is
        # no time any more (another version of us parses) gets a clock now.
        hung = policy is None and done.clock_state != first.clock_state
        if hung:
            tracked.clocks.append(_clock(chunk.start, end, now_ns, self._options.policy))
        version = max(tracked.version, self._saves.next if hung else 0)
        self._fetch_strays(tracked, wanted, chunk, end, done)
        rest = Chunk(end, end, done.own_state, done.clock_state, done.context)
        missing = dict(wanted)
        self._lower(tracked, wanted, rest)
        for segment in done.segments:
            floor = missing.get(segment.stream)
            part = _missing(segment, floor) if floor is not None else None
            if floor is not None and part is not None:
                part.since_s = floor.since_s
                self._offer(tracked, part, version, again=True)
        self._saves.dirty = True
        return True

    def _fetch_strays(
        self, tracked: Tracked, wanted: dict[Stream, Floor], chunk: Chunk, end: int, done: Sorted
    ) -> None:
        """Note lines that were expected in one stream and are in another now: they go there.

        Nothing should make that happen, and it is counted as an error of ours. From such a line on the
        other stream is read again whole: rather a repeat than a loss.
        """
        account = tracked.account
        for stream, floor in list(wanted.items()):
            lowest = floor.lowest
            if not floor.exact or not chunk.start <= lowest < end:
                continue
            home = next((s.stream for s in done.segments if s.index_at(lowest) is not None), None)
            if home is stream:
                continue
            floor.exact = False
            self._meter.add("internal_errors")
            self._tell(
                "line_changed_stream",
                level="error",
                path=tracked.path,
                offset=lowest,
                stream=repr(stream),
                now=repr(home),
                consequence="it is sent to the other stream, with what follows it there"
                if home is not None
                else "it belongs to no stream any more, and is not sent",
            )
            if home is not None:
                account.lower_floor(home, chunk, lowest)
                if self._sender.accepts(home):
                    wanted[home] = account.floors[home]

    @staticmethod
    def _lower(tracked: Tracked, wanted: dict[Stream, Floor], rest: Chunk) -> None:
        """Note that the chunk before `rest` has been read again for these streams."""
        floors = tracked.account.floors
        tracked.account.dirty = True
        for stream, floor in wanted.items():
            if rest.start >= tracked.read:
                del floors[stream]
            elif floor.chunk.start < rest.start:
                floors[stream] = Floor(
                    rest,
                    max(floor.lowest, rest.start),
                    floor.exact and floor.lowest >= rest.start,
                    floor.since_s,
                    floor.settled,
                )

    def _clock_at(self, tracked: Tracked, offset: int) -> tuple[int, int, Policy | None]:
        """Return how far a chunk at `offset` may go, its time of reading and the policy of that time.

        No policy: none is remembered, because no decision hung on it.
        """
        end = tracked.read
        for start, stop, ns, *policy in tracked.clocks:
            if start <= offset < stop:
                return stop, ns, _policy(policy) if policy else self._options.policy
            if start > offset:
                end = min(end, start)
        return end, self._clock.time_ns(), None

    def _masked(self, framed: Framed) -> tuple[Framed, Sequence[Hit]]:
        """Return the lines without their secrets: nothing after this sees one."""
        if self._redactor is None:
            return framed, ()
        masked = self._redactor.block(framed.lines.piece, framed.lines)
        if not masked.hits:
            return framed, ()
        return framed._replace(lines=Lines(list(masked.lines))), masked.hits

    def _sort(  # noqa: PLR0917 - what a chunk's decisions hang on
        self,
        tracked: Tracked,
        framed: Framed,
        chunk: Chunk,
        now_ns: int,
        policy: Policy,
        until_ns: float,
        info: FileInfo | None = None,
    ) -> Sorted:
        return sort_lines(
            framed,
            File(
                tracked.source,
                info or tracked.info,
                tracked.slot,
                tracked.account,
                tracked.moved,
                tracked.origin,
            ),
            chunk,
            now_ns,
            policy,
            self._stream,
            until_ns=until_ns,
            entry_bytes=self._entry_limit.bytes,
        )

    def _stream(self, labels: dict[str, str]) -> Stream:
        return self._registry.stream(labels, self._saves.next)

    def _offer(self, tracked: Tracked, segment: Segment, version: int, *, again: bool = False) -> None:
        segment.version = max(version, segment.stream.version, self._entry_limit.version)
        stream = segment.stream
        in_turn = again or (
            stream not in tracked.account.floors
            and not self._is_overtaking(tracked, stream, segment.stamps[0])
        )
        if in_turn and self._sender.accepts(stream):
            tracked.account.add(segment)
            self._sender.put(tracked, segment)
        else:
            tracked.account.lower_floor(
                stream, segment.chunk, segment.starts[0], since_s=self._clock.monotonic()
            )
            self._sender.floored[tracked.id] = tracked

    def _wanted(self, tracked: Tracked) -> dict[Stream, Floor]:
        """Return what of the file must be read again, and may be now."""
        return {
            stream: floor
            for stream, floor in tracked.account.floors.items()
            if self._sender.accepts(stream)
            and not (
                is_restamped(stream)
                and self._is_overtaking(tracked, stream, self._restamped_ns(tracked, floor.lowest))
            )
        }

    def _is_overtaking(self, tracked: Tracked, stream: Stream, stamp: int) -> bool:
        """Tell whether lines with the time of reading would enter their stream before much older ones.

        Those must be read again, from another file, and it was not that file's turn: its own times decide
        that. Behind newer ones Loki would take its repeats for too old.
        """
        return is_restamped(stream) and any(
            other is not tracked
            and stream in other.account.floors
            and self._restamped_ns(other, other.account.floors[stream].lowest) + SLACK_NS < stamp
            for other in self._sender.floored.values()
        )

    def _piece(self, tracked: Tracked, offset: int, end: int, *, finished: bool) -> bytes | _TooLong | None:
        """Return bytes from `offset` with a whole line, if there is one; None when the file was cut.

        At the cursor the bytes before it are read along and compared: a file that was cut and grew past the
        position again is noticed in the same call that reads it.
        """
        before = len(tracked.tail) if offset == tracked.read else 0
        data = os.pread(tracked.fd, before + min(CHUNK_BYTES, end - offset), offset - before)
        if before:
            if data[:before] != tracked.tail:
                return None
            data = data[before:]
        if b"\n" in data or offset + len(data) >= end:
            return data
        at_cursor = offset == tracked.read
        known = max(offset + len(data), tracked.scanned if at_cursor else 0)
        found = scan_for_newline(tracked.fd, known, end)
        if found is None:
            if not finished:
                tracked.scanned = end if at_cursor else tracked.scanned
                return b""
            found = end
        if found - offset > self._options.max_line_bytes:
            return _TooLong(found)
        return os.pread(tracked.fd, found - offset, offset)

    def _pass_over(self, tracked: Tracked, end: int) -> bool:
        """Bury a line above the limit of memory, by its head and the hash of its bytes."""
        head = os.pread(tracked.fd, _LONG_HEAD_BYTES, tracked.read)
        if self._redactor is not None:
            head = self._redactor.head(head)
        record = self._sender.burial.dead_record(tracked, tracked.read, None, "line_too_long", 0, head)
        size, digest = _measured(tracked.fd, tracked.read, end)
        if not self._sender.burial.bury([{**record, "bytes": size, "sha256": digest, "truncated": True}]):
            return False
        self._sender.burial.dropped += 1
        self._meter.add("dead_lettered", 1, "line_too_long")
        tracked.account.lines_read += 1
        tracked.account.lines_dead += 1
        start = max(tracked.read, identity.tail_start(end))
        tracked.advance(end, os.pread(tracked.fd, end - start, start))
        tracked.grow_head()
        self._saves.dirty = True
        return True

    def _bury(self, tracked: Tracked, done: Sorted, now_ns: int) -> bool:
        if not done.too_old:
            return True
        _ = now_ns
        records = [
            self._sender.burial.dead_record(tracked, offset, stream, "too_old", 0, line)
            for offset, stream, line in done.too_old
        ]
        if not self._sender.burial.bury(records):
            return False
        self._sender.burial.dropped += len(records)
        self._meter.add("dead_lettered", len(records), "too_old")
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


def _info_at(tracked: Tracked, offset: int, end: int) -> tuple[FileInfo, int]:
    """Return the labels by which the lines at `offset` were sorted first, and up to where, `end` at most."""
    for era in tracked.eras:
        if offset < era.until:
            return replace(tracked.info, labels=era.labels), min(end, era.until)
    return tracked.info, end


def _clock(start: int, end: int, now_ns: int, policy: Policy) -> tuple[int, ...]:
    return start, end, now_ns, policy.max_age_ns, int(policy.old_lines == "dead-letter")


def _policy(numbers: list[int]) -> Policy:
    max_age_ns, buried = numbers
    return Policy(max_age_ns, "dead-letter" if buried else "restamp")


def _missing(segment: Segment, floor: Floor) -> Segment | None:
    """Return what is missing of a segment that was read again: from `lowest` on, what is not settled.

    Of a split line all parts: the limit may be another one now.
    """
    index = segment.index_at(floor.lowest)
    first = bisect_left(segment.starts, floor.lowest) if index is None else index
    if not first and not floor.settled:
        return segment
    starts = segment.starts
    wanted = [i for i in range(first, len(starts)) if starts[i] not in floor.settled]
    return picked(segment, wanted) if wanted else None
