"""Lines that `verify` or `replay` sent lately: old ones are not shown before they are flushed once more."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterable

import orjson

from shipper.keeping import deadletter
from shipper.proof.visible import FLUSHED_AFTER_NS

NAME = "resent.jsonl"
Place = tuple[int, int]
"""A file's id and an offset."""


class Resent:
    """A file in the state directory; what is too old to matter leaves it at the next look."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def recall(self, now_ns: int) -> dict[Place, int]:
        """Return when each line was sent, of those that may not be flushed yet."""
        found: dict[Place, int] = {}
        with contextlib.suppress(FileNotFoundError):
            for raw in self._path.read_bytes().splitlines():
                with contextlib.suppress(TypeError, ValueError, OverflowError):
                    sent_ns, file, offset = map(int, orjson.loads(raw))
                    if sent_ns >= now_ns - FLUSHED_AFTER_NS:
                        found[file, offset] = sent_ns
        return found

    def note(self, places: Iterable[Place], now_ns: int) -> None:
        """Write down what is about to be sent; raises `OSError`."""
        lines = b"".join(orjson.dumps((now_ns, *place)) + b"\n" for place in places)
        fd = deadletter.held(self._path)
        try:
            if os.fstat(fd).st_mtime_ns < now_ns - FLUSHED_AFTER_NS:
                os.ftruncate(fd, 0)
            os.write(fd, lines)
        finally:
            os.close(fd)
