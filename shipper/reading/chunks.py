"""A piece of a file with whole lines: read, framed, masked and sorted into the segments of streams."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from shipper.entries.grouping import File
from shipper.entries.parts import text_sizes
from shipper.entries.segment import Chunk
from shipper.entries.sorting import Policy, Sorted, sort_lines
from shipper.entries.streams import Stream
from shipper.follow.content import scan_for_newline
from shipper.follow.framing import Framed, frame
from shipper.follow.lines import Lines
from shipper.follow.tracked import Tracked
from shipper.redact.redactor import Hit, Redactor
from shipper.sources.base import FileInfo
from shipper.state import Common

CHUNK_BYTES = 224 * 1024
"""Of five streams, each fills a quarter of a push with it, with what JSON adds."""
PEEK_BYTES = 4096


class TooLong(NamedTuple):
    """A line above the limit of memory: where it ends."""

    end: int


class Chunks:
    """Makes segments of pieces of files; knows nothing of queues."""

    def __init__(self, common: Common) -> None:
        self._common = common

    def piece(self, tracked: Tracked, offset: int, end: int, *, finished: bool) -> bytes | TooLong | None:
        """Return bytes from `offset` with a whole line, if there is one; None when the file was cut.

        At the cursor the bytes before it are read along and compared: a file that was cut and grew past the
        position again is noticed in the same call that reads it.
        """
        before = len(tracked.tail) if offset == tracked.read else 0
        data = os.pread(tracked.fd, before + min(CHUNK_BYTES, end - offset), offset - before)
        if before:
            if data[:before] != tracked.tail:
                return None
            data = data[before:]
        if b"\n" in data or offset + len(data) >= end:
            return data
        at_cursor = offset == tracked.read
        known = max(offset + len(data), tracked.scanned if at_cursor else 0)
        found = scan_for_newline(tracked.fd, known, end)
        if found is None:
            if not finished:
                tracked.scanned = end if at_cursor else tracked.scanned
                return b""
            found = end
        if found - offset > self._common.options.max_line_bytes:
            return TooLong(found)
        return os.pread(tracked.fd, found - offset, offset)

    def masked(self, framed: Framed) -> tuple[Framed, Sequence[Hit]]:
        """Return the lines without their secrets: nothing after this sees one."""
        redactor = self._common.redactor
        return masked(framed, redactor) if redactor is not None else (framed, ())

    def sort(  # noqa: PLR0917 - what a chunk's decisions hang on
        self,
        tracked: Tracked,
        framed: Framed,
        chunk: Chunk,
        now_ns: int,
        policy: Policy,
        until_ns: float,
        info: FileInfo | None = None,
    ) -> Sorted:
        """Return what becomes of the lines."""
        return sort_lines(
            framed,
            File(
                tracked.source,
                info or tracked.info,
                tracked.slot,
                tracked.account,
                tracked.course.moved,
                tracked.origin,
            ),
            chunk,
            now_ns,
            policy,
            self._stream,
            until_ns=until_ns,
            entry_bytes=self._common.entry_limit.bytes,
        )

    def _stream(self, labels: dict[str, str]) -> Stream:
        return self._common.registry.stream(labels, self._common.saves.next)


def masked(framed: Framed, redactor: Redactor) -> tuple[Framed, Sequence[Hit]]:
    """Return lines without their secrets, and how large they were: whatever is masked moves no stamp."""
    found = redactor.block(framed.lines.piece, framed.lines)
    if not found.hits:
        return framed, ()
    sizes, _ = text_sizes(framed.lines)
    return framed._replace(lines=Lines(list(found.lines)), sizes=sizes), found.hits


def peek_ns(tracked: Tracked, offset: int) -> int:
    """Return the time of the line at an offset, 0 where it has none."""
    piece = os.pread(tracked.fd, PEEK_BYTES, offset)
    framed = frame(piece, offset, finished=b"\n" not in piece)
    owns = tracked.source.parse(framed.lines[:1], tracked.info, tracked.course.context).owns
    return owns[0] if owns and owns[0] is not None else 0
