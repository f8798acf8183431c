"""What of a file is read, in flight and settled, per stream: the position that may be saved. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shipper.entries.segment import Chunk, Segment
from shipper.entries.stamp import FRESH

if TYPE_CHECKING:
    from shipper.entries.streams import Stream


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
            self.lines_read += len(segment)
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
        self.lines_read += len(new) - count
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
        if not self.pending:
            self.pending = {}  # one that was emptied keeps its table, and there are thousands of files


NOWHERE = Chunk(0, 0, FRESH, FRESH, "")
