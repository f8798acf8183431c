"""What is on disk and should be in Loki: the files of the positions, read again by the shipper's own code."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from shipper.entries.grouping import File
from shipper.entries.ledger import Account
from shipper.entries.segment import Chunk, Segment
from shipper.entries.sorting import BY_OWN_TIME, sort_lines
from shipper.entries.stamp import FRESH
from shipper.entries.streams import Registry, Stream
from shipper.follow import identity
from shipper.follow.content import holds, scan_for_newline
from shipper.follow.covers import Covers
from shipper.follow.framing import Framed, frame
from shipper.follow.tree import walk
from shipper.keeping.positions import Positions
from shipper.keeping.record import FileRecord
from shipper.proof.selectors import Family, family
from shipper.reading.chunks import masked
from shipper.redact.redactor import Redactor
from shipper.sources.base import FileInfo, Source

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """A file of the positions, found again on disk."""

    record: FileRecord
    path: str
    source: Source
    info: FileInfo
    mtime_ns: int


class Found(NamedTuple):
    """The files there are."""

    known: list[Known]
    uncovered: list[FileRecord]
    """In the positions, and none of the sources is about them."""
    gone: list[FileRecord]
    """In the positions, but their content stands nowhere any more: nothing to compare with."""
    unread_bytes: int
    """Bytes that the shipper has not read yet."""
    unknown_files: int
    """Files that the sources cover and the positions do not know."""


class Reading:
    """Reads files as the shipper read them. Streams come from its own registry, so that caps agree."""

    def __init__(
        self, found: Positions, redactor: Redactor | None, max_line_bytes: int, entry_bytes: int, now_ns: int
    ) -> None:
        self._registry = Registry()
        self._registry.restore(found.labels, found.streams)
        self.streams = list(self._registry.streams)
        """The streams that the positions know."""
        self._redactor = redactor
        self._max_line_bytes = max_line_bytes
        self._entry_bytes = entry_bytes
        self._now_ns = now_ns

    def segments(self, file: Known) -> Iterator[list[Segment]]:
        """Yield the lines that were read, a chunk at a time, each with the stream and stamp of its own time.

        A line without a usable time stands in a stream with the label `restamped`; its stamp says nothing.
        """
        fd = open_known(file.record, file.path)
        if fd is None:
            return
        try:
            yield from self._segments(file, fd)
        finally:
            os.close(fd)

    def _segments(self, file: Known, fd: int) -> Iterator[list[Segment]]:
        account = Account()
        chunk = Chunk(0, 0, FRESH, FRESH, "")
        end = file.record.read
        while chunk.start < end:
            piece = self._piece(fd, chunk.start, end)
            framed = frame(piece, chunk.start, finished=chunk.start + len(piece) >= end)
            if framed.end == chunk.start:
                # Longer than memory allows: its head is in the dead-letter file.
                start = scan_for_newline(fd, chunk.start, end) or end
                chunk = chunk_at(start, chunk)
                continue
            framed = self._masked(framed)
            origin = file.record.origin or file.record.path
            sorting = File(file.source, file.info, file.record.slot, account, (), origin)
            done = sort_lines(
                framed,
                sorting,
                chunk,
                self._now_ns,
                BY_OWN_TIME,
                self._stream,
                entry_bytes=self._entry_bytes,
            )
            yield done.segments
            chunk = Chunk(framed.end, framed.end, done.own_state, done.clock_state, done.context)

    def _piece(self, fd: int, start: int, end: int) -> bytes:
        """Return bytes with a whole line, or none where the line is too long."""
        piece = os.pread(fd, min(BLOCK_BYTES, end - start), start)
        if b"\n" in piece or start + len(piece) >= end or not piece:
            return piece
        line_end = scan_for_newline(fd, start + len(piece), end) or end
        return os.pread(fd, line_end - start, start) if line_end - start <= self._max_line_bytes else b""

    def _masked(self, framed: Framed) -> Framed:
        return masked(framed, self._redactor)[0] if self._redactor is not None else framed

    def _stream(self, labels: dict[str, str]) -> Stream:
        return self._registry.stream(labels, 0)


def find(positions: Positions, sources: Iterable[Source]) -> Found:
    """Return the files of the positions that these sources are about, and what else they cover."""
    covers = Covers(sources, None)
    known, uncovered, gone, seen, unread = [], [], [], set(), 0
    for record in positions.files:
        # As `run` does: sources may be spelt in another way since.
        covered = covers.of_record(record)
        if not covered:
            uncovered.append(record)
            continue
        source = covered[0].source
        path = _path_of(record)
        if path is None:
            if record.read:
                gone.append(record)
            continue
        status = os.lstat(path)
        seen.add((status.st_dev, status.st_ino))
        unread += max(0, status.st_size - record.read)
        info = source.describe(record.origin or record.path)
        known.append(Known(record, path, source, info, status.st_mtime_ns))
    others = {}
    for one in covers:
        for path, status in walk(one.pattern).files.items():
            if (status.st_dev, status.st_ino) not in seen and not path.endswith(".gz"):
                others[path] = status.st_size
    return Found(known, uncovered, gone, unread + sum(others.values()), len(others))


def open_known(record: FileRecord, path: str) -> int | None:
    """Return a descriptor of the file if it still holds what was read of it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode) and holds(fd, _fingerprint(record)):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def under_way(record: FileRecord, streams: list[Stream]) -> dict[Family, int]:
    """Return from which offset on lines of each family of streams are not settled yet."""
    lowest: dict[Family, int] = {}
    for behind in record.behind:
        name = family(streams[behind.stream].labels)
        lowest[name] = min(behind.lowest, lowest.get(name, behind.lowest))
    return lowest


def chunk_at(start: int, before: Chunk) -> Chunk:
    """Return the place after a line that was passed over."""
    return Chunk(start, start, before.own_state, before.clock_state, before.context)


def _path_of(record: FileRecord) -> str | None:
    """Return where the file stands now: at its path, or renamed within its directory."""
    if _is_at(record, record.path):
        return record.path
    try:
        with os.scandir(os.path.dirname(record.path)) as entries:  # noqa: PTH120 - paths are plain text here
            paths = [entry.path for entry in entries if entry.inode() == record.ino]
    except OSError:
        return None
    return next((path for path in paths if _is_at(record, path)), None)


def _is_at(record: FileRecord, path: str) -> bool:
    fd = open_known(record, path)
    if fd is None:
        return False
    os.close(fd)
    return True


def _fingerprint(record: FileRecord) -> identity.Fingerprint:
    return identity.Fingerprint(record.head_bytes, record.head, record.read, record.tail)
