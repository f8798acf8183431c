r"""Lines with so much that looks like a secret that judging all of it would stop the shipper.

Whoever can make a proxy write a line can make such a one. It is masked with a broad brush: too much goes,
nothing stays that should not.
"""

from __future__ import annotations

import re

RULE = "crowded"
MOST_SUSPECTS = 20_000
"""Judging as many takes a quarter of a second."""
_LONG_BYTES = 4096
_MOST_STRINGS = 100_000
_STRING = re.compile(rb'\\.|"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_MASK = b"[REDACTED:crowded]"


class Suspects:
    """How many of a line may still be judged; below zero when there were more."""

    def __init__(self) -> None:
        self.left = MOST_SUSPECTS


def without_long_texts(line: bytes) -> bytes:
    """Return JSON with a mask for each long text: what a record says of itself is short, and stays."""
    pieces: list[bytes] = []
    done = 0
    for number, found in enumerate(_STRING.finditer(line)):
        if number == _MOST_STRINGS:
            return nothing_of(line)
        # In what is no JSON an escape stands outside texts too; its quote begins none.
        start, end = found.span(1)
        if end - start > _LONG_BYTES:
            pieces += (line[done:start], _MASK)
            done = end
    return b"".join((*pieces, line[done:]))


def nothing_of(line: bytes) -> bytes:
    """Return a mask for all of a line; where that may be JSON, a text in JSON."""
    return b'"%s"' % _MASK if line.lstrip()[:1] in {b"{", b"[", b'"'} else _MASK
