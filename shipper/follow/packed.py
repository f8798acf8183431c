"""Unpacking a rotated `.gz`, all members of it, up to a limit."""

from __future__ import annotations

import os
import zlib

MAX_UNPACKED_BYTES = 4 << 30


def head(fd: int, limit_bytes: int) -> bytes:
    """Return the first bytes of the content; raises `zlib.error` for what is no gzip."""
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(os.pread(fd, 1 << 16, 0), max(1, limit_bytes))


def unpack(source: int, target: int) -> None:
    """Write the content to `target`; raises `ValueError` above the limit, `zlib.error` for no gzip."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    offset = written = 0
    data = b""
    while True:
        if not data:
            data = os.pread(source, 1 << 20, offset)
            offset += len(data)
            if not data:
                return
        piece = unpacker.decompress(data, 1 << 20)
        data = unpacker.unconsumed_tail
        written += os.write(target, piece)
        if written > MAX_UNPACKED_BYTES:
            raise ValueError(f"more than {MAX_UNPACKED_BYTES} bytes unpacked")
        if unpacker.eof:
            data = unpacker.unused_data + data
            unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
