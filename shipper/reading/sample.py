"""A few lines of a source, for `dry-run --explain`: the first whole ones of the file written last."""

from __future__ import annotations

import os

from shipper.follow.framing import frame
from shipper.follow.tree import Refused, open_regular, patterns, walk
from shipper.sources.base import Source

SAMPLE_BYTES = 1 << 20


def sample(source: Source, lines: int) -> tuple[str, list[bytes]] | None:
    """Return a file's path and its first lines, or None where no file of the source has a whole line."""
    found = [
        (status.st_mtime_ns, path, pattern.root)
        for pattern in patterns(source.patterns)
        for path, status in walk(pattern).files.items()
    ]
    for _, path, root in sorted(found, reverse=True):
        first = _first_lines(path, root)[:lines]
        if first:
            return path, first
    return None


def _first_lines(path: str, root: str) -> list[bytes]:
    try:
        fd = open_regular(path, root)
    except (OSError, Refused):
        return []
    try:
        piece = os.pread(fd, SAMPLE_BYTES, 0)
    except OSError:
        return []
    finally:
        os.close(fd)
    return list(frame(piece, 0).lines)
