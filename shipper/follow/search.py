"""Finding a known content again: at its path, or in its directory, renamed, copied or packed."""

from __future__ import annotations

import os
import pathlib
import zlib
from collections.abc import Callable
from typing import NamedTuple

from shipper.follow import identity, packed
from shipper.follow.content import holds, tail_of
from shipper.follow.known import Known
from shipper.follow.listing import Listing
from shipper.follow.tracked import Tracked
from shipper.follow.tree import Refused, open_regular
from shipper.keeping.record import FileRecord

_MOST_LISTED = 20_000
"""So many first KiB are kept within a turn."""


class Sought(NamedTuple):
    """A file that was found by its content."""

    fd: int
    path: str
    tail: bytes
    unpacked: bool
    overwritten: Tracked | None = None
    """A known file that stood there, until this content took its place."""


class Search:
    """Looks in directories; what belongs to another known file already is not found."""

    def __init__(self, known: Known, tell: Callable[..., None], scratch: pathlib.Path | None) -> None:
        self._known = known
        self._tell = tell
        self.scratch = scratch
        self._listings: dict[str, Listing] = {}

    def begin_turn(self) -> None:
        """Forget what the directories held in the turn before."""
        self._listings.clear()

    def record(self, record: FileRecord, root: str | None) -> Sought | None:
        """Return the file of a record: at its path, if a pattern with this root covers it, else beside it."""
        wanted = identity.Fingerprint(record.head_bytes, record.head, record.read, record.tail)
        found = None if root is None else self.at(record.path, root, record)
        return found or self.beside(record.path, wanted, inode=(record.dev, record.ino))

    def at(self, path: str, root: str, record: FileRecord) -> Sought | None:
        """Return the file of a record, if it is what stands at this path."""
        wanted = identity.Fingerprint(record.head_bytes, record.head, record.read, record.tail)
        return self._at_path(path, root, wanted, (record.dev, record.ino))

    def like(self, path: str, root: str, status: os.stat_result) -> list[FileRecord]:
        """Return the records that rest and that what stands at this path may be the file of."""
        resting = self._known.resting
        found = resting.of_inode(status.st_dev, status.st_ino)
        if resting.has_heads and status.st_size >= identity.HEAD_BYTES:
            try:
                fd = open_regular(path, root)
            except (Refused, OSError):
                return found
            found += resting.of_head(identity.digest(os.pread(fd, identity.HEAD_BYTES, 0)))
            os.close(fd)
        return sorted(found, key=lambda record: -record.read)

    def beside(
        self,
        path: str,
        wanted: identity.Fingerprint,
        *,
        inode: tuple[int, int] | None = None,
        skip: tuple[int, int] | None = None,
    ) -> Sought | None:
        """Look among the regular files of the directory for the content; device and inode are hints."""
        directory = os.path.dirname(path)  # noqa: PTH120 - paths are plain text here, thousands of them
        base = os.path.basename(path)  # noqa: PTH119 - as above
        root = os.path.realpath(directory)
        if skip is not None:
            self._listings.pop(directory, None)  # a copy may have been made in a file that was there
        listing = self._listing(directory, root)
        for name in listing.like(wanted, None if inode is None else inode[1], base):
            sought = self._is_it(name, root, wanted, inode, skip)
            if sought is not None:
                return sought
        return None

    def _listing(self, directory: str, root: str) -> Listing:
        listing = self._listings.get(directory)
        if listing is None or not listing.is_of_now(directory):
            if sum(map(len, self._listings.values())) > _MOST_LISTED:
                self._listings.clear()
            listing = self._listings[directory] = Listing(directory, lambda path: self._head_of(path, root))
        return listing

    def _head_of(self, path: str, root: str) -> bytes:
        """Return the first bytes of a file's content, packed or not; none of what cannot be read."""
        try:
            fd = open_regular(path, root)
        except (Refused, OSError):
            return b""
        try:
            if path.endswith(".gz"):
                return packed.head(fd, identity.HEAD_BYTES)
            return os.pread(fd, identity.HEAD_BYTES, 0)
        except (OSError, zlib.error) as error:
            self._tell("unreadable_file", level="warning", path=path, error=str(error))
            return b""
        finally:
            os.close(fd)

    def _at_path(
        self, path: str, root: str, wanted: identity.Fingerprint, known_inode: tuple[int, int]
    ) -> Sought | None:
        try:
            fd = open_regular(path, root)
        except (Refused, OSError):
            return None
        status = os.fstat(fd)
        inode = (status.st_dev, status.st_ino)
        unknown = wanted.head_bytes == 0 and inode != known_inode
        if inode in self._known.by_inode or unknown or not holds(fd, wanted):
            os.close(fd)
            return None
        return Sought(fd, path, tail_of(fd, wanted.position), unpacked=False)

    def _is_it(
        self,
        path: str,
        root: str,
        wanted: identity.Fingerprint,
        inode: tuple[int, int] | None,
        skip: tuple[int, int] | None,
    ) -> Sought | None:
        try:
            fd = open_regular(path, root)
        except (Refused, OSError):
            return None
        status = os.fstat(fd)
        here = (status.st_dev, status.st_ino)
        owner = self._known.by_inode.get(here)
        is_read = owner is not None and owner.read > 0
        try:
            # A copy can be made over the one before it: then its inode is that of a file we know.
            if here == skip or (owner is not None and is_read and (skip is None or owner.is_in(fd))):
                return None
            if path.endswith(".gz") and wanted.head_bytes:
                return self._unpacked(fd, path, wanted)
            if wanted.head_bytes == 0 and here != inode:
                return None
            if status.st_size < wanted.position or not holds(fd, wanted):
                return None
            if owner is not None and not is_read:
                self._known.forget(owner)  # taken for a new one, is an old one, and was not read yet
            overwritten = owner if is_read else None
            sought = Sought(fd, path, tail_of(fd, wanted.position), unpacked=False, overwritten=overwritten)
            fd = -1
            return sought
        finally:
            if fd >= 0:
                os.close(fd)

    def _unpacked(self, fd: int, path: str, wanted: identity.Fingerprint) -> Sought | None:
        """Return the content of a `.gz` in an unnamed file, if it is the known one."""
        try:
            if identity.digest(packed.head(fd, wanted.head_bytes)) != wanted.head:
                return None
            import tempfile  # noqa: PLC0415 - three milliseconds of each start, for what is rare

            with tempfile.TemporaryFile(dir=self.scratch) as plain:
                packed.unpack(fd, plain.fileno())
                if not holds(plain.fileno(), wanted):
                    return None
                copy = os.dup(plain.fileno())
        except (OSError, zlib.error, ValueError) as error:
            self._tell("unreadable_file", level="warning", path=path, error=str(error))
            return None
        return Sought(copy, path, tail_of(copy, wanted.position), unpacked=True)
