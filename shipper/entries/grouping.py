"""The lists of a chunk's lines to one segment for each stream; long lines in parts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from shipper.entries import parts
from shipper.entries.ledger import Account
from shipper.entries.picking import Pick, every, offsets_of, picker
from shipper.entries.segment import Chunk, Segment
from shipper.entries.stamp import STEP_BYTES, STEP_NS
from shipper.entries.streams import Stream
from shipper.follow.framing import Framed
from shipper.keeping.record import Moved
from shipper.sources.base import FileInfo, Key, Meta, Parsed, Source

StreamOf = Callable[[dict[str, str]], Stream]


class File(NamedTuple):
    """What becomes of lines hangs on this of their file."""

    source: Source
    info: FileInfo
    slot: int
    account: Account
    moved: Sequence[Moved]
    origin: str = ""
    """The path by which its lines are named."""


class Grouping:
    """The lists of one chunk, which run in step: an item for each line, and after `split` for each entry."""

    def __init__(
        self,
        file: File,
        chunk: Chunk,
        framed: Framed,
        parsed: Parsed,
        stream_of: StreamOf,
        *,
        entry_bytes: int,
    ) -> None:
        self.file = file
        self.chunk = chunk
        self.stream_of = stream_of
        self._entry_bytes = entry_bytes
        self.lines = framed.lines
        self._longest = parts.longest_text(framed.lines)
        self._written = framed.sizes
        self._labels: dict[Key, dict[str, str]] = {}
        self.starts = framed.starts
        self.texts: list[str] = []
        self.keys = parsed.keys
        self.metas = parsed.metas
        self.parts: list[int] | None = None

    def by_key(self, line_stamps: list[int]) -> list[Segment]:
        """Group lines that all go to their own streams; a few C calls a line."""
        stamps, _ = self.split(line_stamps)
        if self.keys and self.keys.count(self.keys[0]) == len(self.keys):
            stream = self.stream_of(self.labels_of(self.keys[0]))
            return [self._segment(stream, None, stamps, self.metas)]
        groups: dict[Key, list[int]] = {}
        for index, key in enumerate(self.keys):
            try:
                groups[key].append(index)
            except KeyError:
                groups[key] = [index]
        streams: dict[Stream, list[int]] = {}
        for key, indexes in groups.items():
            stream = self.stream_of(self.labels_of(key))
            # Two keys can share a stream, where a cap made `other` of them; the file's order holds all the
            # same.
            streams[stream] = sorted(streams[stream] + indexes) if stream in streams else indexes
        return self.segments(streams, stamps, self.metas)

    def split(self, stamps: list[int]) -> tuple[list[int], Sequence[int]]:
        """Put parts in the place of long lines; return the stamps of all entries, and the line of each."""
        if self._longest <= self._entry_bytes:
            self.texts = self.lines.texts
            return stamps, range(len(stamps))
        metas: list[Meta | None] = []
        of: list[int] = []
        before: list[int] = []
        for index, line in enumerate(self.lines):
            found = parts.split(line, self._entry_bytes)
            self.texts += found
            of += [index] * len(found)
            before += range(len(found))
            if len(found) > 1:
                name = parts.line_id(self.file.origin, self.starts[index], found)
                metas += parts.metas(self.metas[index], name, len(found))
            else:
                metas.append(self.metas[index])
        self.metas, self.parts = metas, before
        self.keys = [self.keys[index] for index in of]
        self.starts = [self.starts[index] + part for index, part in zip(of, before, strict=True)]
        return [stamps[index] + STEP_NS * part for index, part in zip(of, before, strict=True)], of

    def segments(
        self, groups: dict[Stream, list[int]], stamps: list[int], metas: Sequence[Meta | None]
    ) -> list[Segment]:
        """Return a segment for each stream, of these of the entries."""
        return [self._segment(stream, indexes, stamps, metas) for stream, indexes in groups.items()]

    def sizes(self) -> list[int]:
        """Return the bytes by which stamps are reserved, of each line: as written, whatever was masked."""
        return parts.text_sizes(self.lines)[0] if self._written is None else self._written

    def long_sizes(self) -> list[int] | None:
        """Return them where a line is as long as a step."""
        longest = self._longest if self._written is None else max(self._written, default=0)
        return self.sizes() if longest >= STEP_BYTES else None

    def labels_of(self, key: Key) -> dict[str, str]:
        """Return the labels of a key; the same dict each time."""
        found = self._labels.get(key)
        if found is None:
            found = self._labels[key] = self.file.source.labels(self.file.info, key)
        return found

    def _segment(
        self, stream: Stream, indexes: list[int] | None, stamps: list[int], metas: Sequence[Meta | None]
    ) -> Segment:
        if indexes is None or len(indexes) == len(self.texts):
            pick: Pick = every
            starts = self.starts
        else:
            pick, starts = picker(indexes), offsets_of(self.starts, indexes)
        return Segment(
            self.file.account,
            self.chunk,
            stream,
            starts,
            pick(stamps),
            pick(self.texts),
            pick(metas),
            parts=None if self.parts is None else pick(self.parts),
        )
