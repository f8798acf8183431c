"""A small file that is read whole: again only when it was touched, and remembered while it is torn."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from exporter.files.jsonvalue import TornJsonError
from exporter.files.tree import Reason, Refused, Signature, Tree, signature

T = TypeVar("T")

_GROWTH_BYTES = 4096
_TICK_S = 0.05
"""Two writes within one tick of the file system's clock can leave the same mtime: a file touched this
recently is read again next time. (A tick is 4 ms on most kernels.)"""


class Standing(Enum):
    """How a document stands at this reading."""

    GOOD = auto()
    HELD = auto()  # unreadable just now, the last good value is young enough to stand for it
    MISSING = auto()  # no such file
    BROKEN = auto()  # there, but unreadable, and nothing to hold on to


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A document's value at one reading.

    `value` is set when GOOD or HELD. `mtime_s` belongs to the value, so that a broken file never looks fresh.
    `problem` is set only on the reading that met it first: one damage, one count, one log line.
    """

    standing: Standing
    value: T | None = None
    mtime_s: float | None = None
    problem: Refused | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a file, readable or not."""
        return self.standing is not Standing.MISSING


class ShapeError(ValueError):
    """The JSON is whole, but not of the form that this file has."""


class Document(Generic[T]):
    """The file at `path` of a tree, parsed by `parse` (bytes to value, raising `TornJsonError`/`ShapeError`).

    A value that cannot be read again stays for `keep_s` seconds after it was last known good: most of Loki
    Mode's files are truncated and then written, so a reader meets them empty. Not thread-safe.
    """

    def __init__(self, path: str, parse: Callable[[bytes], T], *, keep_s: float, limit_bytes: int) -> None:
        self.path = path
        self._parse = parse
        self._keep_s = keep_s
        self._limit_bytes = limit_bytes
        self._seen: Signature | None = None
        self._looked_at: Signature | None = None
        self._reported: Reason | None = None
        self._broken = False
        self._value: T | None = None
        self._mtime_s: float | None = None
        self._good_at_s = float("-inf")

    def read(self, tree: Tree, now_s: float) -> Reading[T]:
        """Return the document as it stands in `tree` now."""
        found = tree.stat(self.path)
        if isinstance(found, Refused):
            if found.reason is Reason.MISSING:
                self._forget()
                return Reading(Standing.MISSING)
            self._seen = None
            return self._failed(found, now_s)
        touched = signature(found)
        if touched == self._seen:
            return self._again(now_s)
        return self._fresh(tree, found, touched, now_s)

    def _fresh(self, tree: Tree, found: os.stat_result, touched: Signature, now_s: float) -> Reading[T]:
        text = read_text(tree, self.path, self._limit_bytes)
        self._seen = None if abs(now_s - found.st_mtime) < _TICK_S else touched
        if touched != self._looked_at:
            # A new signature is new damage if it is damage: count it again.
            self._looked_at, self._reported = touched, None
        if isinstance(text, Refused):
            if text.reason is Reason.MISSING:  # gone since the stat
                self._forget()
                return Reading(Standing.MISSING)
            return self._failed(text, now_s)
        try:
            self._value = self._parse(text)
        except TornJsonError as error:
            return self._failed(Refused(Reason.TORN, f"{self.path}: {error}"), now_s)
        except ShapeError as error:
            return self._failed(Refused(Reason.SHAPE, f"{self.path}: {error}"), now_s)
        self._broken = False
        self._mtime_s = found.st_mtime
        self._good_at_s = now_s
        return Reading(Standing.GOOD, self._value, self._mtime_s)

    def _again(self, now_s: float) -> Reading[T]:
        if self._broken:
            return self._held(None, now_s)
        self._good_at_s = now_s
        return Reading(Standing.GOOD, self._value, self._mtime_s)

    def _failed(self, problem: Refused, now_s: float) -> Reading[T]:
        self._broken = True
        first = self._reported is not problem.reason
        self._reported = problem.reason
        return self._held(problem if first else None, now_s)

    def _held(self, problem: Refused | None, now_s: float) -> Reading[T]:
        if now_s - self._good_at_s <= self._keep_s:
            return Reading(Standing.HELD, self._value, self._mtime_s, problem)
        self._value = None
        return Reading(Standing.BROKEN, problem=problem)

    def _forget(self) -> None:
        self._seen = None
        self._reported = None
        self._broken = False
        self._value = None
        self._good_at_s = float("-inf")


def read_tail(tree: Tree, path: str, limit_bytes: int) -> bytes:
    """Return the complete lines in the last `limit_bytes` of the file at `path`; b"" where there is none."""
    fd = tree.open_file(path)
    if isinstance(fd, Refused):
        return b""
    try:
        start = max(0, os.fstat(fd).st_size - limit_bytes)
        tail = os.pread(fd, limit_bytes, start)
    except OSError:
        return b""  # it was only a help
    finally:
        os.close(fd)
    first = tail.find(b"\n") + 1 if start else 0
    return tail[first : tail.rfind(b"\n") + 1]


def read_text(tree: Tree, path: str, limit_bytes: int) -> bytes | Refused:
    """Return the bytes of the regular file at `path`, refused when there are more than `limit_bytes`."""
    fd = tree.open_file(path)
    if isinstance(fd, Refused):
        return fd
    try:
        size = os.fstat(fd).st_size
        # A little more than it had a moment ago: it may be growing, and a short read would look torn.
        text = os.read(fd, size + _GROWTH_BYTES) if size <= limit_bytes else None
    except OSError as error:
        return Refused(Reason.IO, f"{path}: {error.strerror}")
    finally:
        os.close(fd)
    if text is None or len(text) > limit_bytes:
        return Refused(Reason.TOO_LARGE, f"{path} is larger than {limit_bytes} bytes")
    return text
