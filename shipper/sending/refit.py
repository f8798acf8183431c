"""Lines in memory are split anew when Loki turns out to take less than was thought. Pure."""

from __future__ import annotations

from shipper.entries import parts
from shipper.entries.segment import Segment
from shipper.entries.stamp import STEP_NS
from shipper.sources.base import Meta


def refitted(segment: Segment, limit_bytes: int, origin: str) -> Segment | None:
    """Return the unsettled lines of a segment with no entry above the limit; None where there is none now.

    Of a line of which some parts are settled all parts are made: by another limit they are others. A line
    that is not there as a whole (its other parts are in another stream) stays as it is.
    """
    if segment.weight() <= limit_bytes:
        return None
    sizes = segment.sizes
    if not any(size > limit_bytes and not segment.is_settled(i) for i, size in enumerate(sizes)):
        return None
    new = _Lists()
    last = 0
    while last < len(segment.starts):
        first, last = segment.line_of(last)
        unsettled = [i for i in range(first, last) if not segment.is_settled(i)]
        if any(sizes[i] > limit_bytes for i in unsettled) and _is_whole(segment, first, last):
            new.add_split(segment, first, last, limit_bytes, origin)
        else:
            new.add(segment, unsettled)
    return Segment(
        segment.account,
        segment.chunk,
        segment.stream,
        new.starts,
        new.stamps,
        new.texts,
        new.metas,
        segment.version,
        since_s=segment.since_s,
        parts=new.parts,
    )


def _is_whole(segment: Segment, first: int, last: int) -> bool:
    if segment.parts is None or not segment.is_part(first):
        return True
    return not segment.parts[first] and (segment.metas[first] or {}).get("parts") == str(last - first)


class _Lists:
    """The lists of a segment that grows."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stamps: list[int] = []
        self.texts: list[str] = []
        self.metas: list[Meta | None] = []
        self.parts: list[int] = []

    def add(self, segment: Segment, indexes: list[int]) -> None:
        """Take entries as they are."""
        for index in indexes:
            self.starts.append(segment.starts[index])
            self.stamps.append(segment.stamps[index])
            self.texts.append(segment.texts[index])
            self.metas.append(segment.metas[index])
            self.parts.append(segment.parts[index] if segment.parts is not None else 0)

    def add_split(self, segment: Segment, first: int, last: int, limit_bytes: int, origin: str) -> None:
        """Take a line in parts of at most `limit_bytes`."""
        found = parts.split("".join(segment.texts[first:last]).encode(), limit_bytes)
        meta, start = segment.metas[first], segment.starts[first]
        name = parts.line_id(origin, start, found)
        if segment.is_part(first):
            meta = parts.without_part(meta)
        count = len(found)
        self.starts += range(start, start + count)
        self.stamps += [segment.stamps[first] + STEP_NS * part for part in range(count)]
        self.texts += found
        self.metas += parts.metas(meta, name, count)
        self.parts += range(count)
