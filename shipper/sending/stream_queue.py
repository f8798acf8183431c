"""One stream's way out: what waits, what is in flight, and what may be pushed together now. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from shipper.entries.segment import Segment
from shipper.entries.streams import Stream
from shipper.push import encode
from shipper.push.retry import Rounds
from shipper.sending.batch import SPAN_NS, Batch, Limits


@dataclass(slots=True, eq=False)
class Queue:
    """One stream's way out: lines waiting, the batch in flight, and when the next may go.

    One in flight at most.
    """

    stream: Stream
    rounds: Rounds
    segments: deque[Segment] = field(default_factory=deque)
    entries: int = 0
    bytes: int = 0
    oldest_s: float = math.inf
    """Since when the first waiting line has waited (monotonic)."""
    work: list[Batch] = field(default_factory=list)
    """Batches to be pushed before new ones are made, the next one last."""
    in_flight: Batch | None = None
    in_flight_since_s: float = 0.0
    """When the batch in flight, or the one that is tried again, was first pushed (monotonic)."""
    not_before_s: float = 0.0
    """Back-off."""
    paced_until_s: float = 0.0
    waits_for_save: bool = False
    """Something to push rests on a decision that is not durable yet."""
    waits_for_turn: bool = False
    """It struggles, and so do those that are under way: one of them must end first."""
    parked: bool = False
    """Its lines have left memory, and are skipped in reading until it is taken again."""
    probing: bool = False
    """It was parked, and takes a few lines to find out whether they are taken now."""
    shed: bool = False
    """Lines of it have left memory since the last answer, because there was no room for others."""
    limit_bytes: int | None = None
    """A limit that Loki's answer stated."""
    fitted_bytes: int = 0
    """No line in memory is longer, that can be split."""
    first_failure_s: float | None = None
    reason: str = ""
    """Why the last push was not taken."""
    pushed_oldest: int | None = None
    """Oldest stamp of the batch that was pushed and is not acked: Loki may hold it."""
    acked: deque[tuple[int, int]] = field(default_factory=deque)
    """(oldest stamp, save that will hold the ack) of what is acked, but not durably so yet."""

    @property
    def busy(self) -> bool:
        """True while anything waits or is in flight."""
        return bool(self.segments or self.work or self.in_flight)

    @property
    def struggles(self) -> bool:
        """True while it is not known whether its lines are taken at all."""
        return self.first_failure_s is not None or self.shed

    def under_way(self) -> list[Batch]:
        """Return what was pushed, or will be before anything new."""
        return [*self.work, *([self.in_flight] if self.in_flight else [])]

    def is_spent(self, now_s: float, durable: int) -> bool:
        """Tell whether nothing would be different with a new one."""
        self.newest_allowed_ns(durable)
        idle = not (self.busy or self.parked or self.acked or self.rounds.open)
        return idle and now_s >= max(self.not_before_s, self.paced_until_s)

    def put(self, segment: Segment, now_s: float) -> None:
        """Append lines."""
        if not self.segments:
            self.oldest_s = now_s
        self.segments.append(segment)
        self.entries += len(segment) - segment.taken
        self.bytes += segment.weight(segment.taken)

    def replace(self, segments: dict[Segment, Segment], now_s: float) -> None:
        """Put segments in the place of others, before all that wait where those were taken in part."""
        for batch in self.work:
            batch.slices = [part for part in batch.slices if part[0] not in segments]
            batch.body = b""
        self.work = [batch for batch in self.work if batch.slices]
        waiting = [segments.get(segment, segment) for segment in self.segments]
        if not waiting:
            self.oldest_s = now_s
        self.wait_for([*(new for new in segments.values() if new not in waiting), *waiting])

    def wait_for(self, segments: Iterable[Segment]) -> None:
        """Let these wait, and nothing else."""
        self.segments = deque(segments)
        self.entries = sum(len(segment) - segment.taken for segment in self.segments)
        self.bytes = sum(segment.weight(segment.taken) for segment in self.segments)
        if not self.segments:
            self.oldest_s = math.inf

    def repack(self, *, metadata: bool) -> int:
        """Make what waits anew, with metadata or without; return by how many bytes it has grown."""
        grown = 0
        for batch in self.work:
            batch.body = b""
        waiting = [segment for batch in self.under_way() for segment, _, _ in batch.slices]
        for segment in dict.fromkeys([*waiting, *self.segments]):
            before = segment.unsettled_weight
            segment.pack(metadata=metadata)
            grown += segment.unsettled_weight - before
        self.bytes = sum(segment.weight(segment.taken) for segment in self.segments)
        return grown

    def newest_allowed_ns(self, durable: int) -> float:
        """Return the newest stamp that may be pushed now: 30 minutes past the oldest ack not yet durable."""
        acked = self.acked
        while acked and acked[0][1] <= durable:
            acked.popleft()
        oldest = min((stamp for stamp, _version in acked), default=math.inf)
        if self.pushed_oldest is not None:
            oldest = min(oldest, self.pushed_oldest)
        return oldest + SPAN_NS

    def was_acked(self, version: int) -> None:
        """Note that the batch in flight was taken, which save `version` will hold."""
        if self.pushed_oldest is None:
            return
        if self.acked and self.acked[-1][1] == version:
            oldest, _ = self.acked.pop()
            self.acked.append((min(oldest, self.pushed_oldest), version))
        else:
            self.acked.append((self.pushed_oldest, version))
        self.pushed_oldest = None

    def take(
        self, limits: Limits, durable: int, *, metadata: bool, proven_bytes: float = math.inf
    ) -> Batch | None:
        """Return the next batch, encoded, or None when nothing may go yet; its lines leave the queue.

        Whole segments, as many as fit; one that does not fit is cut only where it would be the first.
        A part of a split line that is longer than any that was taken goes alone: where Loki refuses it, no
        other part of its line stands there yet, and the line can be split anew.
        """
        newest_ns = self.newest_allowed_ns(durable)
        body_limit = min(limits.body_bytes, self.limit_bytes or limits.body_bytes)
        room_bytes = body_limit - encode.overhead_bytes(self.stream.labels)
        room = limits.entries
        oldest: float = math.inf
        latest: float = -math.inf
        slices: list[tuple[Segment, int, int]] = []
        for segment in self.segments:
            if segment.version > durable:
                break
            first, last = segment.taken, len(segment)
            weight = segment.weight(first) + 1
            if last - first > room or weight > room_bytes:
                if slices:
                    break
                last = segment.fitting(first, min(last, first + room), room_bytes)
            last = _before_unproven(segment, first, last, proven_bytes, alone=not slices)
            oldest, latest, last = _within_time(segment, first, last, oldest, latest, newest_ns)
            if last == first:
                break
            slices.append((segment, first, last))
            room -= last - first
            room_bytes -= weight
            if last < len(segment) or _is_unproven(segment, first, proven_bytes):
                break
        if not slices:
            return None
        batch = Batch(self.stream, slices)
        batch.encode(metadata=metadata)
        while len(batch.body) > body_limit and batch.entries > 1:
            fit = int(batch.entries * body_limit / len(batch.body) * 0.97)
            batch, _ = batch.parted(max(1, min(fit, batch.entries - 1)))
            batch.encode(metadata=metadata)
        self._took(batch)
        return batch

    def _took(self, batch: Batch) -> None:
        for segment, first, last in batch.slices:
            segment.taken = last
            self.entries -= last - first
            self.bytes -= segment.weight(first, last)
        while self.segments and self.segments[0].taken >= len(self.segments[0]):
            self.segments.popleft()


def _before_unproven(segment: Segment, first: int, last: int, proven_bytes: float, *, alone: bool) -> int:
    if segment.parts is None:
        return last
    for index in range(first, last):
        if _is_unproven(segment, index, proven_bytes):
            return index + 1 if alone and index == first else index
    return last


def _is_unproven(segment: Segment, index: int, proven_bytes: float) -> bool:
    return segment.is_part(index) and segment.sizes[index] > proven_bytes


def _within_time(  # noqa: PLR0917 - a part of a segment, and the times of what is taken before it
    segment: Segment, first: int, last: int, oldest: float, latest: float, newest_ns: float
) -> tuple[float, float, int]:
    if first == last:
        return oldest, latest, last
    low, high = min(oldest, segment.oldest), max(latest, segment.newest)
    if high - low <= SPAN_NS and high <= newest_ns:
        return low, high, last
    for index, stamp in enumerate(segment.stamps[first:last], first):
        low, high = min(oldest, stamp), max(latest, stamp)
        if high - low > SPAN_NS or high > newest_ns:
            return oldest, latest, index
        oldest, latest = low, high
    return oldest, latest, last
