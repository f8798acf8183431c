"""Unpacking a rotated `.gz`, all members of it, up to a limit."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

MAX_UNPACKED_BYTES = 4 << 30
_READ_BYTES = 1 << 16
"""What follows a member is copied for each member: small pieces keep many small members cheap."""
_PIECE_BYTES = 1 << 20


def head(fd: int, limit_bytes: int) -> bytes:
    """Return the first bytes of the content; raises `zlib.error` for what is no gzip."""
    found = b""
    for piece in _pieces(fd, max(1, limit_bytes)):
        found += piece
        if len(found) >= limit_bytes:
            break
    return found[:limit_bytes]


def unpack(source: int, target: int) -> None:
    """Write the content to `target`; raises `ValueError` above the limit, `zlib.error` for no gzip."""
    written = 0
    for piece in _pieces(source, _PIECE_BYTES):
        written += os.write(target, piece)
        if written > MAX_UNPACKED_BYTES:
            raise ValueError(f"more than {MAX_UNPACKED_BYTES} bytes unpacked")


def _pieces(fd: int, piece_bytes: int) -> Iterator[bytes]:
    """Return the content of all members, in pieces of at most so many bytes."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    offset = 0
    data = b""
    while True:
        if not data:
            data = os.pread(fd, _READ_BYTES, offset)
            offset += len(data)
            if not data:
                return
        yield unpacker.decompress(data, piece_bytes)
        data = unpacker.unconsumed_tail
        if unpacker.eof:
            data = unpacker.unused_data + data
            unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
