"""One file that is followed: its descriptor, its place, and what it takes to find it again."""

from __future__ import annotations

import os

from shipper.entries.ledger import Account
from shipper.entries.stamp import packed
from shipper.follow import identity
from shipper.follow.content import holds
from shipper.follow.course import Course, behind_of
from shipper.follow.phase import Happening, Phase, after
from shipper.keeping.record import Era, FileRecord, decode_file, encode_file
from shipper.sources.base import FileInfo, Source


class Tracked:
    """A file generation. Content that replaces it, at the same path or in the same inode, is another one."""

    __slots__ = (
        "_course",
        "_info",
        "_tail",
        "account",
        "answer_last",
        "away",
        "borrowed",
        "dev",
        "encoded",
        "fd",
        "grows",
        "head",
        "head_bytes",
        "head_ns",
        "id",
        "ino",
        "lost_path_s",
        "mtime_ns",
        "origin",
        "path",
        "phase",
        "read",
        "root",
        "scanned",
        "size",
        "slot",
        "source",
        "unfindable",
        "unjudged",
        "version",
    )

    def __init__(self, id_: int, slot: int, source: Source, info: FileInfo, path: str, root: str) -> None:  # noqa: PLR0917 - the engine's wiring comes in as arguments
        self.id = id_
        self.slot = slot
        self.source = source
        self._info: FileInfo | None = info
        self.path = path
        self.origin = path
        """Where it was first seen. Its labels come from there: a line that Loki may hold never changes its
        stream."""
        self.root = root
        self.fd = -1
        self.dev = self.ino = 0
        self.phase = Phase.FOLLOWING
        self.read = 0
        """The cursor: offset of the first byte that has not been looked at as part of a whole line."""
        self._course: Course | None = None
        self.head_bytes = 0
        self.head = identity.digest(b"")
        self._tail: bytes | None = b""
        self.size = self.mtime_ns = self.scanned = 0
        """There is no newline between `read` and this offset."""
        self.lost_path_s: float | None = None
        """Monotonic time at which it was last seen to change, since it has no path."""
        self.away = False
        """Its place cannot be looked at (an unmounted disk, a change of rights): it may come back there."""
        self.borrowed = False
        """`info` is that of another file, which this one goes on for."""
        self.unjudged = True
        """It was not looked at whether it is a copy of another; nothing of it was read."""
        self.grows = True
        """False for what was unpacked: nobody writes into that."""
        self.unfindable = False
        """No name is left of it and all that it had is settled: a restart has no use for its record."""
        self.answer_last = 0
        self.account = Account()
        self.version = 0
        """The save that must be durable before any of its lines is pushed: it holds the slot."""
        self.head_ns: int | None = None
        """Time of the next line, as far as it has been looked at."""
        self.encoded = b""

    def fold(self) -> None:
        """Keep little more of a closed and settled file than its record's bytes: there may be thousands.

        What was folded away is made anew from them when it is asked for.
        """
        unread = max(self.read, self.scanned) < self.size
        if self.fd >= 0 or self.phase is not Phase.FOLLOWING or not self.account.clear or unread:
            return
        self.encode()
        self._tail = None
        if not self.borrowed:
            self._info = None
        if self._course is not None and self._course.is_plain:
            self._course = None

    @property
    def info(self) -> FileInfo:
        """What the path under which it was first seen says of it."""
        if self._info is None:
            self._info = self.source.describe(self.origin)
        return self._info

    @property
    def course(self) -> Course:
        """How far its stamps have come, and what was decided of its lines."""
        if self._course is None:
            self._course = Course()
            if self.encoded:
                self._course.take(decode_file(self.encoded))
        return self._course

    @property
    def tail(self) -> bytes:
        """The bytes before the cursor, as many as are remembered; of a file at rest only their hash is."""
        if self._tail is None:
            raise RuntimeError(f"{self.path} is at rest")
        return self._tail

    @tail.setter
    def tail(self, tail: bytes) -> None:
        self._tail = tail

    @property
    def tail_digest(self) -> str:
        """The hash of those bytes."""
        return decode_file(self.encoded).tail if self._tail is None else identity.digest(self._tail)

    def serve(self, source: Source, root: str) -> None:
        """Go on for another source; what is unsettled keeps the labels by which it was sorted."""
        info = source.describe(self.origin)
        if info.labels != self.info.labels and not self.account.clear:
            self.course.eras = [*self.course.eras, Era(self.read, self.info.labels)]
        self.source, self._info, self.root, self.borrowed = source, info, root, False
        self.head_ns = None
        self.account.dirty = True

    def happened(self, happening: Happening) -> None:
        """Go on in the table."""
        self.phase = after(self.phase, happening)
        self.account.dirty = True

    @property
    def fingerprint(self) -> identity.Fingerprint:
        """What is remembered of its content."""
        return identity.Fingerprint(self.head_bytes, self.head, self.read, self.tail_digest)

    @property
    def unread_bytes(self) -> int:
        """How much of what was seen has not been read."""
        return max(0, self.size - self.read)

    def record(self) -> FileRecord:
        """Return what must be saved."""
        account, course = self.account, self.course
        behind = account.behind()
        lowest = min((floor.chunk.start for floor in behind.values()), default=self.read)
        course.forget_before(lowest, settled=not behind)
        return FileRecord(
            id=self.id,
            source=self.source.name,
            path=self.path,
            dev=self.dev,
            ino=self.ino,
            slot=self.slot,
            head_bytes=self.head_bytes,
            head=self.head,
            read=self.read,
            tail=self.tail_digest,
            state=packed(course.own_state, course.clock_state),
            context=course.context,
            size=self.size,
            origin="" if self.origin == self.path else self.origin,
            answer_last=self.answer_last,
            behind=behind_of(behind.items()),
            clocks=course.clocks,
            moved=course.moved,
            cuts=course.cuts,
            counts={
                "acked": account.lines_acked,
                "dead": account.lines_dead,
                "lost_bytes": account.lost_bytes,
                "acked_at_s": account.acked_at_s,
            },
            labels=[*course.eras, Era(self.read, self.info.labels)] if behind else [],
        )

    def encode(self) -> bytes:
        """Return the record's bytes, made anew only where something changed."""
        if self.account.dirty or not self.encoded:
            self.encoded = encode_file(self.record())
            self.account.dirty = False
        return self.encoded

    def advance(self, end: int, tail: bytes) -> None:
        """Move the cursor to `end`; `tail` are the bytes before it."""
        self.read = self.scanned = end
        self.tail = tail[-identity.TAIL_BYTES :]
        self.head_ns = None
        self.account.dirty = True

    def grow_head(self) -> None:
        """Take more of the file's first bytes into its fingerprint, until it is full."""
        if self.head_bytes < identity.HEAD_BYTES and self.fd >= 0:
            head = os.pread(self.fd, identity.HEAD_BYTES, 0)
            if len(head) > self.head_bytes:
                self.head_bytes = len(head)
                self.head = identity.digest(head)
                self.account.dirty = True

    def is_in(self, fd: int) -> bool:
        """Tell whether what `fd` holds is this file, grown or not."""
        return holds(fd, self.fingerprint)

    def stands_at_path(self) -> bool:
        """Tell whether its path still leads to it."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (self.dev, self.ino)

    def branch_off(self, original: Tracked) -> None:
        """Read this copy from where its deleted original is; what is unread of that is the original's."""
        self.go_on_for(original)
        self.course.go_on_from(original.course)
        self.head_bytes, self.head = original.head_bytes, original.head
        self.advance(original.read, original.tail)

    def go_on_for(self, other: Tracked) -> None:
        """Take the labels of another file, for which this one goes on."""
        self._info, self.origin, self.borrowed = other.info, other.origin, True

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
