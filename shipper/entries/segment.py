"""Lines of one chunk that go to one stream: what is known of each, and which of them are settled. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import TYPE_CHECKING

from shipper.entries.picking import extremes, offsets_of, picker
from shipper.entries.stamp import StampState, steps_for
from shipper.entries.wire import from_json, to_json
from shipper.follow.offsets import Offsets
from shipper.sources.base import Meta

if TYPE_CHECKING:
    from shipper.entries.ledger import Account
    from shipper.entries.streams import Stream


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


_NONE: set[int] = set()
"""For each of ten thousand segments of a line each; never changed."""


class Segment:
    """Lines of one chunk that go to one stream, in file order, as parallel sequences.

    Once packed, stamps, texts and metadata are kept as the JSON that a push carries, and made of it again
    where they are asked for: an answer of Loki that asks for less than all, a dead letter.
    """

    __slots__ = (
        "_count",
        "_json",
        "_metas",
        "_out",
        "_pieces",
        "_sizes",
        "_stamps",
        "_starts",
        "_texts",
        "account",
        "chunk",
        "done",
        "newest",
        "oldest",
        "parts",
        "since_s",
        "stream",
        "taken",
        "version",
    )

    def __init__(  # noqa: PLR0917 - the lists run in step
        self,
        account: Account,
        chunk: Chunk,
        stream: Stream,
        starts: Sequence[int],
        stamps: Sequence[int],
        texts: Sequence[str],
        metas: Sequence[Meta | None],
        version: int = 0,
        *,
        since_s: float = math.inf,
        parts: Sequence[int] | None = None,
    ) -> None:
        self.account = account
        self.chunk = chunk
        self.stream = stream
        self._starts = starts
        self._count = len(stamps)
        self._stamps: Sequence[int] | None = stamps
        self._texts: Sequence[str] | None = texts
        self._metas: Sequence[Meta | None] | None = metas
        self._sizes: list[int] | None = None
        self._json: bytes | None = None
        self._pieces: list[bytes] | None = None
        self.oldest, self.newest = extremes(stamps) if stamps else (0, 0)
        self.version = version
        """The save that must be durable before any of it is pushed."""
        self.taken = 0
        """How many have been put into a batch."""
        self.done = 0
        """How many of the first are settled."""
        self.since_s = since_s
        """Since when the oldest of its lines waits (monotonic)."""
        self.parts = parts
        """Where a line of it is split: for each entry, how many entries of its line come before it.

        That is also how far `starts` is past the line's offset.
        """
        self._out = _NONE

    def __len__(self) -> int:
        return self._count

    @property
    def starts(self) -> Sequence[int]:
        """The offset of each entry in the file."""
        if isinstance(self._starts, Offsets):
            self._starts = self._starts.each
        return self._starts

    @property
    def stamps(self) -> Sequence[int]:
        """The time of each entry, in ns since 1970."""
        if self._stamps is None:
            self._unpack()
        return self._stamps or ()

    @property
    def texts(self) -> Sequence[str]:
        """The text of each entry."""
        if self._texts is None:
            self._unpack()
        return self._texts or ()

    @property
    def metas(self) -> Sequence[Meta | None]:
        """The structured metadata of each entry."""
        if self._metas is None:
            self._unpack()
        return self._metas or ()

    @property
    def sizes(self) -> list[int]:
        """The bytes of each entry's text in UTF-8."""
        if self._sizes is None:
            self._sizes = [len(text) if text.isascii() else len(text.encode()) for text in self.texts]
        return self._sizes

    def pack(self, *, metadata: bool) -> None:
        """Keep the entries as JSON; `metadata` False: pushes carry none."""
        metas = self.metas if metadata else None
        if self.parts is None:
            self._json = to_json(self.stamps, self.texts, metas)
            self._metas = None if metadata else self.metas
        else:
            # Long ones, and pushed in twos and threes: each for itself, so that none is made again.
            _ = self.sizes
            alone = zip(self.stamps, self.texts, metas or repeat(None), strict=False)
            self._pieces = [to_json([stamp], [text], [meta]) for stamp, text, meta in alone]
        self._texts = None
        self._stamps = self.stamps if self.parts else None

    def json(self, first: int, last: int, *, metadata: bool) -> bytes:
        """Return entries `first` to before `last` as a push carries them."""
        if self._pieces is not None:
            return b",".join(self._pieces[first:last])
        if self._json is not None and last - first == self._count:
            return self._json
        metas = self.metas[first:last] if metadata else None
        return to_json(self.stamps[first:last], self.texts[first:last], metas)

    def weight(self, first: int = 0, last: int | None = None) -> int:
        """Return the bytes of entries as JSON: to the byte for all of them, else their share of that."""
        if self._pieces is not None:
            return sum(map(len, self._pieces[first:last]))
        count = self._count
        total = len(self.json(0, count, metadata=True))
        return total * (count if last is None else last) // count - total * first // count if count else 0

    def fitting(self, first: int, last: int, room_bytes: int) -> int:
        """Return up to where entries from `first` on fit as JSON, as far as can be told: at least one."""
        if self._pieces is not None:
            sizes = [len(piece) + 1 for piece in self._pieces[first:last]]
            room: float = room_bytes
        else:
            sizes = self.sizes[first:last]
            room = room_bytes * max(1, sum(self.sizes)) / self.weight()
        return first + max(1, bisect_right(list(accumulate(sizes)), room))

    def settle(self, first: int, last: int) -> None:
        """Note that lines `first` to before `last` are acked, dead-lettered or moved to another stream."""
        if first == self.done:
            self.done = last
        else:
            self._out = self._out or set()
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
        return self._count - self.done - len(self._out)

    @property
    def unsettled_weight(self) -> int:
        """Their bytes."""
        settled = sum(self.weight(index, index + 1) for index in self._out)
        return self.weight(self.done) - settled

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
        return self.done >= self._count

    def _unpack(self) -> None:
        packed = b",".join(self._pieces) if self._pieces is not None else self._json
        stamps, texts, metas = from_json(packed or b"")
        self._stamps, self._texts = stamps, texts
        if self._metas is None:
            self._metas = metas


def picked(
    segment: Segment,
    indexes: Sequence[int],
    stamps: Sequence[int] | None = None,
    metas: Sequence[Meta | None] | None = None,
) -> Segment:
    """Return these entries of a segment as one of its own, with nothing settled or taken.

    `stamps`, `metas`: what they have in the place of their own.
    """
    pick = picker(indexes)
    return Segment(
        segment.account,
        segment.chunk,
        segment.stream,
        offsets_of(segment._starts, indexes),  # noqa: SLF001 - its own kind
        pick(segment.stamps) if stamps is None else stamps,
        pick(segment.texts),
        pick(segment.metas) if metas is None else metas,
        segment.version,
        since_s=segment.since_s,
        parts=None if segment.parts is None else pick(segment.parts),
    )
