"""What of a file is read, in flight and settled, per stream: the position that may be saved. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from shipper.entries.stamp import FRESH, StampState, steps_for

if TYPE_CHECKING:
    from shipper.entries.streams import Stream

Meta = dict[str, str]


@dataclass(slots=True, eq=False)
class Chunk:
    """A piece of a file that was read at once.

    And all that is needed to read it again with the same result.
    """

    start: int
    end: int
    own_state: StampState
    """State of the own-time stamps before the chunk."""
    clock_state: StampState
    """The same for lines with the time of reading."""
    context: str


@dataclass(slots=True, eq=False)
class Segment:
    """Lines of one chunk that go to one stream, in file order, as parallel lists."""

    account: Account
    chunk: Chunk
    stream: Stream
    starts: Sequence[int]
    stamps: Sequence[int]
    texts: Sequence[str]
    metas: Sequence[Meta | None]
    sizes: Sequence[int]
    """Bytes of each line in UTF-8."""
    version: int = 0
    """The save that must be durable before any of it is pushed."""
    taken: int = 0
    """How many have been put into a batch."""
    done: int = 0
    """How many of the first are settled."""
    since_s: float = math.inf
    """Since when the oldest of its lines waits (monotonic)."""
    parts: Sequence[int] | None = None
    """Where a line of it is split: for each entry, how many entries of its line come before it.

    That is also how far `starts` is past the line's offset.
    """
    _out: set[int] = field(default_factory=set)

    def settle(self, first: int, last: int) -> None:
        """Note that lines `first` to before `last` are acked, dead-lettered or moved to another stream."""
        if first == self.done:
            self.done = last
        else:
            self._out.update(range(first, last))
        while self.done in self._out:
            self._out.discard(self.done)
            self.done += 1

    @property
    def lowest(self) -> int:
        """Offset of the first unsettled line."""
        return self.starts[self.done]

    @property
    def unsettled(self) -> int:
        """How many are not settled."""
        return len(self.starts) - self.done - len(self._out)

    @property
    def unsettled_bytes(self) -> int:
        """Their bytes."""
        return sum(size for index, size in enumerate(self.sizes) if not self.is_settled(index))

    def is_settled(self, index: int) -> bool:
        """Tell whether one line is settled."""
        return index < self.done or index in self._out

    def line_of(self, index: int) -> tuple[int, int]:
        """Return the first entry of the line to which an entry belongs, and the one after its last."""
        parts, starts = self.parts, self.starts
        if parts is None:
            return index, index + 1
        first, last = index, index + 1
        while first and parts[first] and starts[first - 1] == starts[first] - 1:
            first -= 1
        while last < len(parts) and parts[last] and starts[last - 1] == starts[last] - 1:
            last += 1
        return first, last

    def is_part(self, index: int) -> bool:
        """Tell whether an entry is a part of a split line."""
        return self.parts is not None and "line_id" in (self.metas[index] or ())

    def index_at(self, offset: int) -> int | None:
        """Return the first entry of the line that has this offset, or that has a part of this offset.

        By whatever limit the line was split when the offset was noted.
        """
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        first, last = self.line_of(index)
        size = sum(self.sizes[first:last])
        return first if offset - self.starts[first] < steps_for(size) else None

    @property
    def settled(self) -> bool:
        """True when nothing of it is left."""
        return self.done >= len(self.starts)


def picked(segment: Segment, indexes: Sequence[int]) -> Segment:
    """Return these entries of a segment as one of its own, with nothing settled or taken."""
    pick: Callable[[Sequence[Any]], Sequence[Any]] = (
        itemgetter(*indexes) if len(indexes) > 1 else itemgetter(slice(indexes[0], indexes[0] + 1))
    )
    return Segment(
        segment.account,
        segment.chunk,
        segment.stream,
        pick(segment.starts),
        pick(segment.stamps),
        pick(segment.texts),
        pick(segment.metas),
        pick(segment.sizes),
        segment.version,
        since_s=segment.since_s,
        parts=None if segment.parts is None else pick(segment.parts),
    )


@dataclass(slots=True, eq=False)
class Floor:
    """Lines of a stream are missing from memory.

    They must be read again from `chunk`, if not before `lowest`.
    """

    chunk: Chunk
    lowest: int
    exact: bool = True
    """A line of the stream starts at `lowest`; False where only the chunk before it has been read again."""
    since_s: float = math.inf
    """Since when its first line waits (monotonic), as far as that was since the start."""
    settled: frozenset[int] = frozenset()
    """Lines after `lowest` that are settled all the same."""


@dataclass(slots=True, eq=False)
class Account:
    """The ledger of one file generation."""

    pending: dict[Stream, list[Segment]] = field(default_factory=dict)
    floors: dict[Stream, Floor] = field(default_factory=dict)
    lines_read: int = 0
    lines_acked: int = 0
    lines_dead: int = 0
    lost_bytes: int = 0
    acked_at_s: int = 0
    """When lines of it were taken last, in seconds since 1970: what was taken long ago, Loki shows."""
    dirty: bool = True
    """Something changed since it was last encoded."""

    @property
    def in_flight(self) -> int:
        """Lines that were read and are neither acked nor dead-lettered. `read = acked + dead + in flight`."""
        return self.lines_read - self.lines_acked - self.lines_dead

    def add(self, segment: Segment, *, fresh: bool = True) -> None:
        """Take in lines just read; `fresh` False: moved here from another stream, so counted already."""
        self.pending.setdefault(segment.stream, []).append(segment)
        if fresh:
            self.lines_read += len(segment.starts)
        self.dirty = True

    def settle(self, segment: Segment, first: int, last: int) -> None:
        """Settle lines of a segment, and forget it once all of it is."""
        segment.settle(first, last)
        self.dirty = True
        if segment.settled:
            self._forget(segment)

    def replace(self, segment: Segment, new: Segment) -> int:
        """Put other entries in the place of a segment's unsettled ones; return how many those were."""
        count = segment.unsettled
        self._forget(segment)
        self.pending.setdefault(new.stream, []).append(new)
        self.lines_read += len(new.starts) - count
        self.dirty = True
        return count

    def drop(self, segment: Segment) -> int:
        """Let the unsettled lines of a segment leave memory; return how many. They will be read again."""
        count = segment.unsettled
        if not segment.settled:
            settled = frozenset(segment.starts[index] for index in segment._out)  # noqa: SLF001 - the ledger is one idea
            self.lower_floor(
                segment.stream, segment.chunk, segment.lowest, since_s=segment.since_s, settled=settled
            )
        self.lines_read -= count
        self._forget(segment)
        self.dirty = True
        return count

    def lower_floor(
        self,
        stream: Stream,
        chunk: Chunk,
        lowest: int,
        *,
        exact: bool = True,
        since_s: float = math.inf,
        settled: frozenset[int] = frozenset(),
    ) -> None:
        """Note that lines of the stream from `lowest` on must be read again from the chunk's start."""
        known = self.floors.get(stream)
        if known is None:
            self.floors[stream] = Floor(chunk, lowest, exact, since_s, settled)
        elif lowest < known.lowest:
            since_s = min(since_s, known.since_s)
            self.floors[stream] = Floor(chunk, lowest, exact, since_s, settled | known.settled)
        else:
            known.settled |= settled
        self.dirty = True

    def behind(self) -> dict[Stream, Floor]:
        """Return for each stream with unsettled lines where reading would have to begin again."""
        found = dict(self.floors)
        for stream, segments in self.pending.items():
            for segment in segments:
                lowest = segment.lowest
                known = found.get(stream)
                if known is None or lowest < known.lowest:
                    found[stream] = Floor(segment.chunk, lowest)
        return found

    @property
    def clear(self) -> bool:
        """True when everything that was read is settled."""
        return not self.pending and not self.floors

    def _forget(self, segment: Segment) -> None:
        segments = self.pending[segment.stream]
        segments.remove(segment)
        if not segments:
            del self.pending[segment.stream]


NOWHERE = Chunk(0, 0, FRESH, FRESH, "")
