"""What an open file holds: whether it is the known one, what stands before a place, where a line ends."""

from __future__ import annotations

import os

from shipper.follow import identity

LINE_SCAN_BYTES = 1 << 20


def holds(fd: int, known: identity.Fingerprint) -> bool:
    """Tell whether the file behind `fd` has the known head, and the known bytes before the position."""
    head = os.pread(fd, max(known.head_bytes, 1), 0)
    return identity.same(known, head[: known.head_bytes], tail_of(fd, known.position))


def tail_of(fd: int, position: int) -> bytes:
    """Return the bytes before the position, as many as are remembered."""
    start = identity.tail_start(position)
    return os.pread(fd, position - start, start) if position > start else b""


def scan_for_newline(fd: int, offset: int, end: int) -> int | None:
    """Return the offset after the next newline at or after `offset`.

    Or None when there is none before `end`.
    """
    while offset < end:
        piece = os.pread(fd, min(LINE_SCAN_BYTES, end - offset), offset)
        if not piece:
            return None
        found = piece.find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += len(piece)
    return None
