"""A long line to parts that Loki takes, and what tells that they belong together. Pure.

Joined in order the parts are the line as it is sent: what is not UTF-8 is U+FFFD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from shipper.follow.lines import Lines
from shipper.sources.base import Meta

MIN_ENTRY_BYTES = 8192
"""A lower limit is not supported: a line reserves stamps for parts of this size."""
_GROWTH = 3
"""A byte that is not UTF-8 becomes U+FFFD, which takes three."""
KEYS = ("line_id", "part", "parts")
_CONTINUES = 0b1000_0000
_CONTINUES_MASK = 0b1100_0000


def text_sizes(lines: Lines) -> tuple[list[int], int]:
    """Return the sizes of lines as text in UTF-8, to the byte where that matters, and the largest of them."""
    sizes, longest = lines.sizes, lines.longest
    if longest * _GROWTH < MIN_ENTRY_BYTES or lines.ascii:
        return sizes, longest
    exact = [
        size if size * _GROWTH < MIN_ENTRY_BYTES else text_bytes(lines[index])
        for index, size in enumerate(sizes)
    ]
    return exact, max(exact)


def longest_text(lines: Lines) -> int:
    """Return the size of the longest line as text in UTF-8, to the byte where that matters."""
    longest = lines.longest
    return longest if longest * _GROWTH < MIN_ENTRY_BYTES or lines.ascii else text_sizes(lines)[1]


def text_bytes(line: bytes) -> int:
    """Return the size of a line's text in UTF-8."""
    if line.isascii():
        return len(line)
    try:
        line.decode()
    except UnicodeDecodeError:
        return len(str(line, "utf-8", "replace").encode())
    return len(line)


def split(line: bytes, limit_bytes: int) -> list[str]:
    """Return the text of a line in parts of at most `limit_bytes` of UTF-8 each, cut between characters.

    Never the whole as text: one emoji would make it four times as large as its bytes.
    """
    if len(line) <= limit_bytes and line.isascii():
        return [line.decode()]
    try:
        return _split_valid(line, limit_bytes)
    except UnicodeDecodeError:
        return _split_valid(line.decode(errors="replace").encode(), limit_bytes)


def _split_valid(line: bytes, limit_bytes: int) -> list[str]:
    parts: list[str] = []
    start = 0
    while start < len(line) or not parts:
        end = start + limit_bytes
        if end < len(line):
            while end > start + 1 and line[end] & _CONTINUES_MASK == _CONTINUES:
                end -= 1
        parts.append(line[start:end].decode())
        start = end
    return parts


def line_id(origin: str, offset: int, parts: Sequence[str]) -> str:
    """Return the name of a line: the same at each repeat, and by whatever limit it is split."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(origin.encode(errors="surrogateescape"))
    digest.update(b"\0%d\0" % offset)
    for part in parts:
        digest.update(part.encode())
    return digest.hexdigest()


def metas(meta: Meta | None, name: str, count: int) -> list[Meta | None]:
    """Return the metadata of each part: the line's, its name, and which of how many parts it is."""
    return [
        {**(meta or {}), "line_id": name, "part": str(number), "parts": str(count)}
        for number in range(1, count + 1)
    ]


def without_part(meta: Meta | None) -> Meta | None:
    """Return the metadata that the line itself has."""
    return {key: value for key, value in (meta or {}).items() if key not in KEYS} or None
