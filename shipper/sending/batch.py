"""What one push carries: lines of one stream and where they came from; and the limits of a push. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shipper.entries.segment import Segment, picked
from shipper.entries.streams import Stream
from shipper.push import encode

SPAN_NS = 30 * 60 * 10**9
"""No push spans more, and none is further past an ack that is not yet durable."""


_PARCELS = 4
_ENTRY_BYTES = 50
_EXPANSION = 1.15
"""Bytes of JSON for a byte of an agent's line, about: its quotes are escaped."""


@dataclass(slots=True)
class Limits:
    """Of a push."""

    entries: int = 1000
    body_bytes: int = 256 * 1024
    span_ns: int = SPAN_NS


def parcels(segment: Segment, limits: Limits) -> list[Segment]:
    """Return a segment in pieces, four to a push or more, so that whole ones nearly fill each.

    A line that is split stays in one.
    """
    count = len(segment)
    entries = max(1, limits.entries // _PARCELS)
    if count > 1:
        sizes = map(len, segment.texts) if all(map(str.isascii, segment.texts)) else segment.sizes
        bytes_ = int(_EXPANSION * sum(sizes)) + count * _ENTRY_BYTES
        entries = max(1, min(entries, count * (limits.body_bytes // _PARCELS) // bytes_))
    if count <= entries:
        return [segment]
    found: list[Segment] = []
    last = 0
    while last < count:
        first = last
        last = min(count, first + entries)
        if last < count and segment.parts is not None:
            line, after = segment.line_of(last)
            last = line if line > first else after
        found.append(picked(segment, range(first, last)))
    return found


@dataclass(slots=True, eq=False)
class Batch:
    """Lines of one stream that are pushed together, and where they came from."""

    stream: Stream
    slices: list[tuple[Segment, int, int]]
    body: bytes = b""
    tries: int = 0

    @property
    def entries(self) -> int:
        """How many lines."""
        return sum(last - first for _segment, first, last in self.slices)

    def stamps(self) -> list[int]:
        """Return the stamps of the lines."""
        return [stamp for segment, first, last in self.slices for stamp in segment.stamps[first:last]]

    @property
    def oldest(self) -> int:
        """The oldest stamp."""
        return min(
            segment.oldest if last - first == len(segment) else min(segment.stamps[first:last])
            for segment, first, last in self.slices
        )

    def line_bytes(self) -> int:
        """Return the bytes of the lines alone."""
        return sum(sum(segment.sizes[first:last]) for segment, first, last in self.slices)

    def encode(self, *, metadata: bool) -> None:
        """Make the body."""
        pieces = [segment.json(first, last, metadata=metadata) for segment, first, last in self.slices]
        self.body = encode.joined(self.stream.labels, pieces)

    def parted(self, at: int) -> tuple[Batch, Batch]:
        """Return the first `at` lines and the others as two batches."""
        left: list[tuple[Segment, int, int]] = []
        right: list[tuple[Segment, int, int]] = []
        for segment, first, last in self.slices:
            middle = min(max(first, first + at), last)
            if middle > first:
                left.append((segment, first, middle))
            if middle < last:
                right.append((segment, middle, last))
            at -= middle - first
        return Batch(self.stream, left), Batch(self.stream, right)

    def chosen(self, wanted: Sequence[bool]) -> Batch:
        """Return the lines for which `wanted` is true."""
        slices: list[tuple[Segment, int, int]] = []
        position = 0
        for segment, first, last in self.slices:
            for index in range(first, last):
                if wanted[position]:
                    if slices and slices[-1][0] is segment and slices[-1][2] == index:
                        slices[-1] = (segment, slices[-1][1], index + 1)
                    else:
                        slices.append((segment, index, index + 1))
                position += 1
        return Batch(self.stream, slices)
