"""Reads an append-only file of lines from where the last reading ended, through rotation and truncation.

What is promised: each complete line is handed out once, in order, as long as the process lives, also across a
rename (the old file is drained through the descriptor that is kept open), a truncation and a replacement.
What is not: a line that was appended and truncated away between two readings was never seen; and a
replacement that keeps the first and the last 4 KiB before the position, byte for byte, looks like no change.

Identity is device, inode (which cannot be reused while the descriptor is open) and a hash of the bytes at the
head and before the position. A new inode with the same bytes up to the position is the same log, copied.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from math import inf

from exporter.files.tree import Reason, Refused, Signature, Tree, signature

BLOCK_BYTES = 128 << 10
"""With 256 KiB malloc gives the memory back after each block: 20 times the page faults, a third more CPU."""

MAX_LINE_BYTES = 1 << 20
_GUARD_BYTES = 4096
_TICK_S = 0.05
"""Two changes within one tick of the file system's clock can leave the same signature: a file changed this
recently is compared by its bytes next time. (A tick is 4 ms on most kernels.)"""


class LineSink:
    """Takes what the file holds; the tally of one source implements it."""

    def lines(self, block: bytes) -> None:
        """Take a block of complete lines; it ends with a newline."""
        raise NotImplementedError

    def overlong_line(self, *, blank: bool) -> None:
        """Take note of a line of more than `MAX_LINE_BYTES`, whose content was passed over."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a reading ended: bytes still unread, and a problem that was met for the first time.

    `is_readable`: nothing kept us from what is at the path (a file that is not there keeps nobody).
    """

    unread_bytes: int
    problem: Refused | None = None
    is_readable: bool = True

    @property
    def caught_up(self) -> bool:
        """Whether everything that was there has been read."""
        return self.unread_bytes == 0


@dataclass(slots=True)
class _Open:
    """The file being read and how far."""

    fd: int
    offset: int = 0
    head: bytes = b""
    before: bytes = b""
    seen: Signature | None = None
    mtime_s: float | None = None
    skipping: bool = False  # within a line that is too long to keep
    skipped_blank: bool = True


@dataclass(frozen=True, slots=True)
class _Budget:
    """How much may be read, and until when by the monotonic clock."""

    bytes: int
    until_s: float
    monotonic: Callable[[], float]


class GrowingFile:
    """The file at `path` of a tree, feeding `sink`. Not thread-safe; keeps one descriptor open.

    `clock` gives Unix seconds, as the file system's stamps. `generations` counts how often the content began
    anew (rotation, truncation, replacement).
    """

    def __init__(
        self,
        path: str,
        sink: LineSink,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._clock = clock
        self._monotonic = monotonic
        self.generations = 0
        self._sink = sink
        self._open: _Open | None = None
        self._reported: Reason | None = None

    @property
    def was_there(self) -> bool:
        """Whether there has ever been a file to read."""
        return self._open is not None

    @property
    def mtime_s(self) -> float | None:
        """The mtime of what was last read, in Unix seconds; None before the first reading."""
        return None if self._open is None else self._open.mtime_s

    def advance(self, tree: Tree, budget_bytes: int, budget_s: float = inf) -> Progress:
        """Read on, at most about `budget_bytes` and `budget_s` seconds, and say how much is left.

        Lines can be of one byte each, so bytes alone do not bound the time. One block is always read.
        """
        budget = _Budget(budget_bytes, self._monotonic() + budget_s, self._monotonic)
        found = tree.stat(self.path)
        try:
            if isinstance(found, Refused):
                unread_bytes = self._leave(budget, found)
                return Progress(unread_bytes, self._first(found), found.reason is Reason.MISSING)
            progress = self._advance_to(found, tree, budget)
        except OSError as error:  # the device fails; what was read stays read
            problem = self._first(Refused(Reason.IO, f"{self.path}: {error.strerror}"))
            return Progress(0, problem, is_readable=False)
        if progress.is_readable:
            self._reported = None  # what goes wrong after this is another damage
        return progress

    def close(self) -> None:
        """Give the descriptor back; the position is kept."""
        if self._open is not None and self._open.fd >= 0:
            os.close(self._open.fd)
            self._open.fd = -1

    def _first(self, problem: Refused) -> Refused | None:
        """Return the problem when it is new; a file that is not there yet is none."""
        if problem.reason is Reason.MISSING or problem.reason is self._reported:
            return None
        self._reported = problem.reason
        return problem

    def _leave(self, budget: _Budget, why: Refused) -> int:
        """Drain the file that is no longer at the path; return its unread bytes."""
        current = self._open
        if current is None or current.fd < 0:
            return 0
        unread = 0
        if _is_continued(current, current.fd):
            unread = _read_on(current, self._sink, budget, self._clock())
        if unread == 0 and why.reason is Reason.MISSING:
            self.close()  # so that a deleted file gives its space back
        return unread

    def _advance_to(self, found: os.stat_result, tree: Tree, budget: _Budget) -> Progress:
        current = self._open
        if current is None or current.fd < 0 or not os.path.samestat(os.fstat(current.fd), found):
            unread = self._leave(budget, _REPLACED)
            if unread:
                return Progress(unread + found.st_size)
            refused = self._switch(tree)
            if refused is not None:
                return Progress(0, self._first(refused), refused.reason is Reason.MISSING)
        elif signature(found) == current.seen:
            return Progress(0)
        elif not _is_continued(current, current.fd):
            self._open = _Open(current.fd)
            self.generations += 1
        assert self._open is not None  # noqa: S101 (for the type checker: _switch opened it)
        return Progress(_read_on(self._open, self._sink, budget, self._clock()))

    def _switch(self, tree: Tree) -> Refused | None:
        """Leave the old file, which is drained, for the one that is now at the path."""
        fd = tree.open_file(self.path)
        if isinstance(fd, Refused):
            return fd
        old = self._open
        self.close()
        if old is None:
            self._open = _Open(fd)
        elif _is_continued(old, fd):
            # The same log in a new inode (restored, synchronised, saved by an editor): go on in it.
            old.fd, old.seen = fd, None
        else:
            self._open = _Open(fd)
            self.generations += 1
        return None


_REPLACED = Refused(Reason.IO, "another file lies at the path")


def _is_continued(current: _Open, fd: int) -> bool:
    """Whether the bytes that were read are still where they were."""
    if current.offset == 0:
        return True
    if os.fstat(fd).st_size < current.offset:
        return False
    return _guards(fd, current.offset) == (current.head, current.before)


def _guards(fd: int, offset: int) -> tuple[bytes, bytes]:
    """Return hashes of the first and of the last bytes before the offset."""
    length = min(_GUARD_BYTES, offset)
    return (
        blake2b(os.pread(fd, length, 0), digest_size=16).digest(),
        blake2b(os.pread(fd, length, offset - length), digest_size=16).digest(),
    )


def _read_on(current: _Open, sink: LineSink, budget: _Budget, now_s: float) -> int:
    """Read within the budget and return how many bytes are left for another time."""
    before = os.fstat(current.fd)
    if _read_lines(current, sink, budget):
        is_settled = abs(now_s - before.st_ctime) > _TICK_S
        current.seen = signature(before) if is_settled else None
        current.mtime_s = before.st_mtime
        return 0
    current.seen = None
    return max(0, before.st_size - current.offset)


def _read_lines(current: _Open, sink: LineSink, budget: _Budget) -> bool:
    """Hand out complete lines from the offset on; return whether the end was reached.

    The offset only ever stands at the beginning of a line, or within an overlong one that is passed over, so
    an unfinished last line is read again next time: no bytes are kept between readings.
    """
    end_bytes = current.offset + budget.bytes
    length = BLOCK_BYTES
    reached_end, is_first = False, True
    while current.offset < end_bytes and (is_first or budget.monotonic() < budget.until_s):
        is_first = False
        block = os.pread(current.fd, length, current.offset)
        if not block:
            reached_end = True
            break
        if current.skipping:
            _skip(current, sink, block)
            continue
        newline = block.rfind(b"\n")
        if newline >= 0:
            sink.lines(block[: newline + 1])
            current.offset += newline + 1
            length = BLOCK_BYTES
        elif len(block) < length:
            reached_end = True  # an unfinished last line
            break
        elif length < MAX_LINE_BYTES:
            length = MAX_LINE_BYTES
        else:
            current.skipping, current.skipped_blank = True, True
    current.head, current.before = _guards(current.fd, current.offset)
    return reached_end


def _skip(current: _Open, sink: LineSink, block: bytes) -> None:
    newline = block.find(b"\n")
    passed = block if newline < 0 else block[:newline]
    current.skipped_blank = current.skipped_blank and not passed.strip(BLANKS)
    current.offset += len(passed)
    if newline >= 0:
        current.offset += 1
        current.skipping = False
        sink.overlong_line(blank=current.skipped_blank)


BLANKS = b" \t\r\n\x0b\x0c\x00"
"""What a blank line may consist of. NULs are what a power cut leaves of a write: no line, no harm."""
