"""One file that is followed: its descriptor, its place, and what it takes to find it again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shipper.entries.ledger import Account
from shipper.entries.stamp import FRESH, StampState, packed, unpacked
from shipper.follow import identity
from shipper.follow.phase import Happening, Phase, after
from shipper.keeping.positions import Behind, Era, FileRecord, Moved, decode_file, encode_file
from shipper.sources.base import FileInfo, Source

LINE_SCAN_BYTES = 1 << 20
QUIET_S = 10.0
"""After so long without growth the unfinished last line of a file without a path is sent as it is."""
HOLD_S = 3600.0
"""After so long it is let go. Until then whoever has it open may write into it, and is read."""

_FOLDED = ("clock_state", "clocks", "context", "cuts", "eras", "moved", "own_state")


class Tracked:
    """A file generation. Content that replaces it, at the same path or in the same inode, is another one."""

    __slots__ = (
        "_tail",
        "account",
        "answer_last",
        "away",
        "borrowed",
        "clock_state",
        "clocks",
        "context",
        "cuts",
        "dev",
        "encoded",
        "eras",
        "fd",
        "grows",
        "head",
        "head_bytes",
        "head_ns",
        "id",
        "info",
        "ino",
        "lost_path_s",
        "moved",
        "mtime_ns",
        "origin",
        "own_state",
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
        self.info = info
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
        self.own_state: StampState = FRESH
        self.clock_state: StampState = FRESH
        self.context = ""
        self.head_bytes = 0
        self.head = identity.digest(b"")
        self._tail: bytes | None = b""
        self.size = 0
        self.mtime_ns = 0
        self.scanned = 0
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
        self.cuts: list[int] = []
        """Where a line was ended without a newline, because nothing came after it for a while."""
        self.clocks: list[tuple[int, ...]] = []
        self.moved: list[Moved] = []
        self.eras: list[Era] = []
        """Parts of the file whose lines were sorted by other labels, before a change of the configuration."""
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
        if self.fd >= 0 or self.phase is not Phase.FOLLOWING or not self.account.clear or self.unread_bytes:
            return
        self.encode()
        self._tail = None
        if not self.borrowed and self._has("info"):
            del self.info
        if self._has("own_state") and not (self.clocks or self.moved or self.cuts or self.eras):
            for name in filter(self._has, _FOLDED):
                delattr(self, name)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Return what was folded away: only what is missing is looked up here."""
            if name == "info":
                self.info = self.source.describe(self.origin)
            elif name in _FOLDED:
                self._unfold()
            else:
                raise AttributeError(name)
            return getattr(self, name)

    def _unfold(self) -> None:
        record = decode_file(self.encoded)
        own, clock = (FRESH if state == FRESH else state for state in unpacked(record.state))
        folded: tuple[object, ...] = (clock, [], record.context, [], [], [], own)
        for name, value in zip(_FOLDED, folded, strict=True):
            if not self._has(name):  # else it was set since
                setattr(self, name, value)

    def _has(self, name: str) -> bool:
        try:
            object.__getattribute__(self, name)
        except AttributeError:
            return False
        return True

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
            self.eras = [*self.eras, Era(self.read, self.info.labels)]
        self.source, self.info, self.root, self.borrowed = source, info, root, False
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
    def quiet_at_s(self) -> float:
        """When a file without a path has not grown for a while."""
        return (self.lost_path_s or 0.0) + QUIET_S

    @property
    def let_go_at_s(self) -> float:
        """When a file without a path need not be held any more."""
        return (self.lost_path_s or 0.0) + (HOLD_S if self.grows else QUIET_S)

    def is_spent(self, now_s: float) -> bool:
        """Tell whether a file without a path is quiet, and nothing of it is left to do."""
        return (
            self.phase is Phase.DRAINING
            and now_s >= self.quiet_at_s
            and self.account.clear
            and self.read >= self.size
        )

    @property
    def unread_bytes(self) -> int:
        """How much of what was seen has not been read."""
        return max(0, self.size - self.read)

    def record(self) -> FileRecord:
        """Return what must be saved."""
        account = self.account
        behind = account.behind()
        lines = [
            Behind(
                stream.index,
                floor.chunk.start,
                packed(floor.chunk.own_state, floor.chunk.clock_state),
                floor.chunk.context,
                floor.lowest,
                floor.exact,
            )
            for stream, floor in behind.items()
        ]
        lowest = min((floor.chunk.start for floor in behind.values()), default=self.read)
        if self.clocks and self.clocks[0][1] <= lowest:
            self.clocks = [clock for clock in self.clocks if clock[1] > lowest]
        if self.moved:
            self.moved = [moved for moved in self.moved if moved.last >= lowest and behind]
        if self.cuts:
            self.cuts = [cut for cut in self.cuts if cut > lowest]
        if self.eras:
            self.eras = [era for era in self.eras if era.until > lowest]
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
            state=packed(self.own_state, self.clock_state),
            context=self.context,
            size=self.size,
            origin="" if self.origin == self.path else self.origin,
            answer_last=self.answer_last,
            behind=lines,
            clocks=self.clocks,
            moved=self.moved,
            cuts=self.cuts,
            counts={
                "acked": account.lines_acked,
                "dead": account.lines_dead,
                "lost_bytes": account.lost_bytes,
                "acked_at_s": account.acked_at_s,
            },
            labels=[*self.eras, Era(self.read, self.info.labels)] if behind else [],
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
        self.context = original.context
        self.own_state, self.clock_state = original.own_state, original.clock_state
        self.head_bytes, self.head = original.head_bytes, original.head
        self.advance(original.read, original.tail)

    def go_on_for(self, other: Tracked) -> None:
        """Take the labels of another file, for which this one goes on."""
        self.info, self.origin, self.borrowed = other.info, other.origin, True

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def holds(fd: int, known: identity.Fingerprint) -> bool:
    """Tell whether the file behind `fd` has the known head, and the known bytes before the position."""
    head = os.pread(fd, max(known.head_bytes, 1), 0)
    return identity.same(known, head[: known.head_bytes], tail_of(fd, known.position))


def tail_of(fd: int, position: int) -> bytes:
    """Return the bytes before the position, as many as are remembered."""
    start = identity.tail_start(position)
    return os.pread(fd, position - start, start) if position > start else b""


def scan_for_newline(fd: int, offset: int, end: int) -> int | None:
    """Return the offset after the next newline at or after `offset`.

    Or None when there is none before `end`.
    """
    while offset < end:
        piece = os.pread(fd, min(LINE_SCAN_BYTES, end - offset), offset)
        if not piece:
            return None
        found = piece.find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += len(piece)
    return None
