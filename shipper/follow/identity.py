"""Is this the file whose position we have? Hashes of its head and of the bytes before the position."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

HEAD_BYTES = 1024
TAIL_BYTES = 512


class Fingerprint(NamedTuple):
    """What is remembered of a file's content; grows with the file until the head is full."""

    head_bytes: int = 0
    head: str = ""
    position: int = 0
    tail: str = ""
    """Hash of the up to 512 bytes that end at `position`."""


def digest(data: bytes) -> str:
    """Return a short hash; it guards against accidents, not against somebody who forges a log file."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def fingerprint(head: bytes, position: int, tail: bytes) -> Fingerprint:
    """Return the fingerprint of a file with these first bytes and these bytes before `position`."""
    return Fingerprint(min(len(head), HEAD_BYTES), digest(head[:HEAD_BYTES]), position, digest(tail))


def tail_start(position: int) -> int:
    """Return the offset from which the bytes before `position` are remembered."""
    return max(0, position - TAIL_BYTES)


def same(known: Fingerprint, head: bytes, tail: bytes) -> bool:
    """Tell whether a file with these bytes in these places is the known one, grown or not.

    `head` are its first bytes, at least `known.head_bytes` of them if it has so many; `tail` are its
    bytes from `tail_start(known.position)` to `known.position`. A file of which nothing was ever seen
    has no likeness.
    """
    if len(head) < known.head_bytes or digest(head[: known.head_bytes]) != known.head:
        return False
    return len(tail) == known.position - tail_start(known.position) and digest(tail) == known.tail
