"""What left memory is read again, with the same result, when its stream takes lines."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from shipper.entries.beside import is_restamped
from shipper.entries.ledger import Floor
from shipper.entries.merge import SLACK_NS
from shipper.entries.segment import Chunk, Segment, picked
from shipper.entries.sorting import BY_OWN_TIME, Policy, Sorted
from shipper.entries.streams import Stream
from shipper.follow.files import Files
from shipper.follow.framing import frame
from shipper.follow.tracked import Tracked
from shipper.reading.chunks import Chunks, TooLong, peek_ns
from shipper.sending.batch import parcels
from shipper.sending.sender import Sender
from shipper.sources.base import FileInfo
from shipper.state import Common


class Again:
    """Reads chunks before a file's cursor, and says what may enter a stream before or after them."""

    def __init__(self, common: Common, chunks: Chunks, files: Files, sender: Sender) -> None:
        self._common = common
        self._chunks = chunks
        self._files = files
        self._sender = sender

    def wake(self) -> None:
        """Have files read of which a stream takes lines again."""
        floored = self._sender.floored
        for tracked in list(floored.values()):
            if not tracked.account.floors:
                del floored[tracked.id]
            elif any(map(self._sender.accepts, tracked.account.floors)):
                self._files.ready[tracked.id] = tracked

    def next_ns(self, tracked: Tracked) -> int | None:
        """Return the stamp of the first line that is to be read again now; None: there is none."""
        wanted = self._wanted(tracked) if tracked.account.floors and tracked.fd >= 0 else {}
        if not wanted:
            return None
        return min(
            self._restamped_ns(tracked, lowest) if restamped else peek_ns(tracked, lowest)
            for lowest, restamped in {(f.lowest, is_restamped(s)) for s, f in wanted.items()}
        )

    def catch_up(self, tracked: Tracked, until_ns: float) -> bool:
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
        end, is_cut = _cut_at(tracked, first.start, end)
        piece = self._chunks.piece(tracked, first.start, end, finished=is_cut)
        if isinstance(piece, TooLong):
            self._lower(
                tracked,
                wanted,
                Chunk(piece.end, piece.end, first.own_state, first.clock_state, first.context),
            )
            return True
        if not piece:
            self._files.lose_floors(tracked)
            return False
        framed = frame(piece, first.start, finished=is_cut and first.start + len(piece) >= end)
        if framed.end == first.start:
            self._files.lose_floors(tracked)
            return False
        framed, _ = self._chunks.masked(framed)
        chunk = Chunk(first.start, framed.end, first.own_state, first.clock_state, first.context)
        done = self._chunks.sort(tracked, framed, chunk, now_ns, policy or BY_OWN_TIME, until_ns, info)
        end = framed.starts[done.taken] if done.taken < len(framed.lines) else framed.end
        # Without a remembered clock every line had been decided by its own time, and still is. One that is
        # no time any more (another version of us parses) gets a clock now.
        hung = policy is None and done.clock_state != first.clock_state
        if hung:
            tracked.course.clocks.append(clock_entry(chunk.start, end, now_ns, self._common.options.policy))
        version = max(tracked.version, self._common.saves.next if hung else 0)
        self._fetch_strays(tracked, wanted, chunk, end, done)
        rest = Chunk(end, end, done.own_state, done.clock_state, done.context)
        missing = dict(wanted)
        self._lower(tracked, wanted, rest)
        for segment in done.segments:
            floor = missing.get(segment.stream)
            part = _missing(segment, floor) if floor is not None else None
            if floor is not None and part is not None:
                part.since_s = floor.since_s
                self.offer(tracked, part, version, again=True)
        self._common.saves.dirty = True
        return True

    def offer(self, tracked: Tracked, segment: Segment, version: int, *, again: bool = False) -> None:
        """Queue lines that were read, or leave them to be read again in their turn."""
        segment.version = max(version, segment.stream.version, self._common.entry_limit.version)
        stream = segment.stream
        in_turn = again or (
            stream not in tracked.account.floors
            and not self._is_overtaking(tracked, stream, segment.stamps[0])
        )
        if in_turn and self._sender.accepts(stream):
            for parcel in parcels(segment, self._common.options.limits):
                tracked.account.add(parcel)
                self._sender.put(tracked, parcel)
        else:
            tracked.account.lower_floor(
                stream, segment.chunk, segment.starts[0], since_s=self._common.clock.monotonic()
            )
            self._sender.floored[tracked.id] = tracked

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
            self._common.meter.add("internal_errors")
            self._common.tell(
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

    def _restamped_ns(self, tracked: Tracked, lowest: int) -> int:
        """Return the oldest stamp of lines from an offset on that are read again and lack their own time.

        The line at the offset may be none of them: the chunk before it was read again, and what follows has
        its own time. Those after it count all the same.
        """
        stamps = [ns for _, stop, ns, *_ in tracked.course.clocks if stop > lowest]
        moved = tracked.course.moved
        stamps += [entry.stamp for entry in moved if entry.to == "restamped" and entry.first >= lowest]
        return min(stamps, default=self._common.clock.time_ns())

    def _clock_at(self, tracked: Tracked, offset: int) -> tuple[int, int, Policy | None]:
        """Return how far a chunk at `offset` may go, its time of reading and the policy of that time.

        No policy: none is remembered, because no decision hung on it.
        """
        end = tracked.read
        for start, stop, ns, *policy in tracked.course.clocks:
            if start <= offset < stop:
                return stop, ns, _policy(policy) if policy else self._common.options.policy
            if start > offset:
                end = min(end, start)
        return end, self._common.clock.time_ns(), None


def clock_entry(start: int, end: int, now_ns: int, policy: Policy) -> tuple[int, ...]:
    """Return the time of reading of a part of a file, and the policy of that time, as they are kept."""
    return start, end, now_ns, policy.max_age_ns, int(policy.old_lines == "dead-letter")


def _policy(numbers: list[int]) -> Policy:
    max_age_ns, buried = numbers
    return Policy(max_age_ns, "dead-letter" if buried else "restamp")


def _info_at(tracked: Tracked, offset: int, end: int) -> tuple[FileInfo, int]:
    """Return the labels by which the lines at `offset` were sorted first, and up to where, `end` at most."""
    for era in tracked.course.eras:
        if offset < era.until:
            return replace(tracked.info, labels=era.labels), min(end, era.until)
    return tracked.info, end


def _cut_at(tracked: Tracked, offset: int, end: int) -> tuple[int, bool]:
    """Return up to where a chunk may go, and whether a line ends there without a newline."""
    cut = min((cut for cut in tracked.course.cuts if cut > offset), default=end + 1)
    return min(end, cut), cut <= end


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
