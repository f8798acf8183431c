"""The queues of all streams, and the lines in memory: what enters, moves, is settled or has to leave."""

from __future__ import annotations

import math
from collections.abc import Callable

from shipper.entries.beside import is_restamped
from shipper.entries.segment import Segment, picked
from shipper.entries.streams import Stream
from shipper.follow.tracked import Tracked
from shipper.push.retry import RetryPolicy, Rounds
from shipper.sending.batch import Batch
from shipper.sending.refit import refitted
from shipper.sending.stream_queue import Queue
from shipper.sources.base import Meta
from shipper.state import Common

_MANY_QUEUES = 100
_MANY_FILES = 1000


class Lanes:
    """One queue a stream, and one window and one ledger for all of them."""

    def __init__(
        self, common: Common, policy: RetryPolicy, chance: Callable[[], float], paced_from_s: float
    ) -> None:
        self._common = common
        self._window = common.window
        self._policy = policy
        self._metadata = common.options.structured_metadata
        """As what is in memory was made."""
        self._chance = chance
        self._started_s = common.clock.monotonic()
        self._paced_from_s = paced_from_s
        self.queues: dict[Stream, Queue] = {}
        self.busy: dict[Stream, Queue] = {}
        self._files: dict[int, Tracked] = {}
        """Of all lines in memory, by account."""
        self._forget_at = _MANY_FILES
        self.floored: dict[int, Tracked] = {}
        """Files of which lines have left memory, to be read again when their stream takes lines."""

    def reconfigure(self, policy: RetryPolicy) -> None:
        """Go on by the options of now. What waits is tried at once: its cause may be what was mended."""
        self._policy = policy
        metadata = self._common.options.structured_metadata
        self.forget_parts()
        for queue in self.queues.values():
            queue.rounds.policy = policy
            queue.not_before_s = -math.inf
            if metadata != self._metadata:
                self._window.bytes += queue.repack(metadata=metadata)
        self._metadata = metadata

    def accepts(self, stream: Stream) -> bool:
        """Tell whether lines of the stream may enter memory now."""
        queue = self.queues.get(stream)
        if queue is None:
            return True
        if queue.parked or ((queue.rounds.open or queue.probing) and queue.busy):
            return False
        if queue.struggles and queue.busy:
            # Its lines could fill the memory, and no other stream would ever be read.
            return not queue.segments and not self._window.half_full
        return True

    def misses(self, stream: Stream) -> bool:
        """Tell whether lines of the stream have left memory, of whatever file."""
        return any(stream in tracked.account.floors for tracked in self.floored.values())

    def put(self, tracked: Tracked, segment: Segment) -> None:
        """Queue lines that were read."""
        queue = self._queue(segment.stream)
        if len(self._files) >= self._forget_at:
            self._forget_files()
        self._files[id(segment.account)] = tracked
        now_s = self._common.clock.monotonic()
        if segment.since_s == math.inf:
            segment.since_s = now_s
        segment.pack(metadata=self._metadata)
        queue.put(segment, now_s)
        self._window.entries += len(segment)
        self._window.bytes += segment.weight()
        self.busy[segment.stream] = queue

    def oldest_since_s(self) -> float | None:
        """Return since when the oldest line waits that is neither acked nor dead-lettered; None: none does.

        Also one that has left memory; one that an earlier run read waits since the start of this one.
        """
        oldest_s = math.inf
        found = False
        for queue in self.busy.values():
            for segment in [*queue.segments, *(part[0] for b in queue.under_way() for part in b.slices)]:
                oldest_s = min(oldest_s, segment.since_s)
                found = True
        for tracked in self.floored.values():
            for floor in tracked.account.floors.values():
                oldest_s = min(oldest_s, self._started_s if floor.since_s == math.inf else floor.since_s)
                found = True
        return oldest_s if found else None

    def file_of(self, segment: Segment) -> Tracked:
        """Return the file of which lines are in memory."""
        return self._files[id(segment.account)]

    def settle(self, batch: Batch) -> None:
        """Note that the lines of a batch are acked, or dead letters."""
        for segment, first, last in batch.slices:
            segment.account.settle(segment, first, last)
            self._window.entries -= last - first
            self._window.bytes -= segment.weight(first, last)
        self._common.saves.dirty = True

    def move(  # noqa: PLR0917 - what differs of the lines moved
        self,
        segment: Segment,
        stream: Stream,
        indexes: list[int],
        version: int,
        stamps: list[int] | None = None,
        metas: list[Meta | None] | None = None,
    ) -> None:
        """Put lines of a segment into the queue of another stream; the caller settles them here."""
        moved = picked(segment, indexes, stamps, metas)
        moved.stream, moved.version = stream, version
        moved.pack(metadata=self._metadata)
        segment.account.add(moved, fresh=False)
        queue = self._queue(stream)
        if queue.parked or (is_restamped(stream) and self.misses(stream)):
            self._wake_file(moved)
            self._window.entries -= segment.account.drop(moved)
            return
        queue.put(moved, self._common.clock.monotonic())
        self._window.bytes += moved.weight()
        self.busy[stream] = queue

    def moved_away(self, segment: Segment, first: int, last: int) -> None:
        """Note that lines stand in other queues now."""
        segment.account.settle(segment, first, last)
        self._window.bytes -= segment.weight(first, last)

    def park(self, queue: Queue) -> None:
        """Let the lines of a queue leave memory."""
        segments = list(queue.segments)
        segments += [segment for batch in queue.work for segment, _, _ in batch.slices]
        for segment in dict.fromkeys(segments):
            if not segment.settled:
                self._drop(segment)
        queue.segments.clear()
        queue.work.clear()
        queue.entries = queue.bytes = 0
        queue.oldest_s = math.inf
        queue.parked = True
        queue.pushed_oldest = None

    def forget_parts(self) -> None:
        """Let all parts of a line that is read again be sent: by another limit they are others."""
        for tracked in self.floored.values():
            for floor in tracked.account.floors.values():
                floor.settled = frozenset()

    def shed(self, queue: Queue) -> None:
        """Let lines that were never pushed leave memory; what is under way stays, and what is before it.

        Where nothing is, the first stay: they are the next try.
        """
        last: dict[int, int] = {}
        under_way = [(segment, end) for batch in queue.under_way() for segment, _, end in batch.slices]
        for segment, end in [*under_way, *((s, len(s)) for s in queue.segments if s.taken)]:
            account = id(segment.account)
            last[account] = max(last.get(account, -1), segment.starts[end - 1])
        kept: list[Segment] = []
        for segment in queue.segments:
            next_try = not (under_way or kept)
            if next_try or segment.taken or segment.starts[0] <= last.get(id(segment.account), -1):
                kept.append(segment)
            else:
                self._drop(segment)
        queue.wait_for(kept)
        queue.shed = True

    def _drop(self, segment: Segment) -> None:
        self._window.bytes -= segment.unsettled_weight
        self._window.entries -= segment.account.drop(segment)
        self._wake_file(segment)

    def refit(self, queue: Queue, now_s: float) -> bool:
        """Split lines in memory that are longer than Loki takes; return True where there was one."""
        limit = self._common.entry_limit
        queue.fitted_bytes = limit.bytes
        replaced: dict[Segment, Segment] = {}
        waiting = [segment for batch in reversed(queue.work) for segment, _, _ in batch.slices]
        for old in dict.fromkeys([*waiting, *queue.segments]):
            if old.settled:
                continue
            new = refitted(old, limit.bytes, self.file_of(old).origin)
            if new is not None:
                replaced[old] = new
                new.version = max(new.version, limit.version)
                new.pack(metadata=self._metadata)
                self._window.bytes += new.weight() - old.unsettled_weight
                self._window.entries += len(new) - old.account.replace(old, new)
        if replaced:
            queue.replace(replaced, now_s)
        return bool(replaced)

    def forget_backfill(self, now_s: float) -> None:
        """Let go of the queues of hours past: there is one for each hour that was ever too far behind."""
        for stream, queue in list(self.queues.items()) if len(self.queues) > _MANY_QUEUES else ():
            if "backfill" in stream.labels and queue.is_spent(now_s, self._common.saves.durable):
                del self.queues[stream]

    def _forget_files(self) -> None:
        """Let go of the files of which nothing is unsettled: one that is gone would be kept for ever."""
        self._files = {key: tracked for key, tracked in self._files.items() if not tracked.account.clear}
        self._forget_at = max(_MANY_FILES, 2 * len(self._files))

    def _wake_file(self, segment: Segment) -> None:
        tracked = self.file_of(segment)
        self.floored[tracked.id] = tracked

    def _queue(self, stream: Stream) -> Queue:
        queue = self.queues.get(stream)
        if queue is None:
            queue = self.queues[stream] = Queue(stream, Rounds(self._policy, self._chance))
            queue.paced_until_s = self._paced_from_s
            queue.fitted_bytes = self._common.entry_limit.bytes
        return queue
