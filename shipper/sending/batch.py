"""What one push carries: lines of one stream and where they came from; and the limits of a push. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shipper.entries.ledger import Meta, Segment
from shipper.entries.streams import Stream
from shipper.push import encode

SPAN_NS = 30 * 60 * 10**9
"""No push spans more, and none is further past an ack that is not yet durable."""


@dataclass(slots=True)
class Limits:
    """Of a push."""

    entries: int = 1000
    body_bytes: int = 256 * 1024
    span_ns: int = SPAN_NS


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

    def line_bytes(self) -> int:
        """Return the bytes of the lines alone."""
        return sum(sum(segment.sizes[first:last]) for segment, first, last in self.slices)

    def encode(self, *, metadata: bool) -> None:
        """Make the body."""
        stamps: list[int] = []
        texts: list[str] = []
        metas: list[Meta | None] = []
        for segment, first, last in self.slices:
            stamps += segment.stamps[first:last]
            texts += segment.texts[first:last]
            metas += segment.metas[first:last]
        self.body = encode.body(self.stream.labels, stamps, texts, metas if metadata else None)

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
