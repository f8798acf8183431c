"""Opens files beneath one directory that somebody else writes, and never follows it outside.

The agents own what lies in there, so every name may be a symlink, a FIFO, a socket, or gone a moment later.
All access goes component by component with `O_NOFOLLOW` from the root's descriptor. A symlink that stays
within the tree is resolved and walked again in the same way; one that leaves it is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from types import TracebackType
from typing import Self


class Reason(StrEnum):
    """Why something could not be read: the bounded vocabulary of `errors_total{reason}`."""

    MISSING = "missing"
    PERMISSION = "permission"
    SYMLINK = "symlink"
    NOT_REGULAR = "not_regular"
    TOO_LARGE = "too_large"
    IO = "io"
    TORN = "torn"
    SHAPE = "shape"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Refused:
    """A file or directory that is not read, and why; `detail` is for the log."""

    reason: Reason
    detail: str


Signature = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, mtime and ctime in ns: equal as long as nobody touched the file."""


def signature(found: os.stat_result) -> Signature:
    """Return what must be equal for a file to count as untouched.

    The ctime is in it because mtime can be set back (`cp -p`, `touch -r`), the ctime cannot.
    """
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


_MAX_DIRS = 64
"""Directories that one reading holds open at a time."""


class Tree:
    """The directory `root`, opened for one reading; a context manager that closes what it opened.

    `open_error` says why the root itself could not be opened. Not thread-safe.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.open_error: Refused | None = None
        self._dirs: dict[str, int | Refused] = {}
        self._real_root: str | None = None

    def __enter__(self) -> Self:
        try:
            # The root is the operator's choice and may be a symlink; nothing below it may lead out.
            self._dirs[""] = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self.open_error = self._dirs[""] = _refused(self.root, error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._dirs.values():
            if isinstance(fd, int):
                os.close(fd)
        self._dirs.clear()

    def dir_fd(self, path: str) -> int | Refused:
        """Return a descriptor of the directory at `path` (relative, `""` is the root).

        The tree owns it, and may close it when another directory is asked for.
        """
        known = self._dirs.get(path)
        if known is None:
            known = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
            self._close_one_of_many()
            self._dirs[path] = known
        return known

    def _close_one_of_many(self) -> None:
        """Close the directory that has been open longest, so that thousands of them need few descriptors."""
        if len(self._dirs) >= _MAX_DIRS:
            oldest = self._dirs.pop(next(path for path in self._dirs if path))
            if isinstance(oldest, int):
                os.close(oldest)

    def stat(self, path: str) -> os.stat_result | Refused:
        """Return the stat of the regular file at `path`, without opening it."""
        head, _, name = path.rpartition("/")
        parent = self.dir_fd(head)
        if isinstance(parent, Refused):
            return parent
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            return _refused(path, error)
        if stat.S_ISREG(found.st_mode):
            return found
        if stat.S_ISLNK(found.st_mode):
            resolved = self._resolve(path)
            return resolved if isinstance(resolved, Refused) else self.stat(resolved)
        return Refused(Reason.NOT_REGULAR, f"{path} is no regular file")

    def exists(self, path: str) -> bool:
        """Whether anything at all lies at `path`; its kind does not matter and no link is followed."""
        head, _, name = path.rpartition("/")
        parent = self.dir_fd(head)
        if isinstance(parent, Refused):
            return False
        try:
            os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError:
            return False
        return True

    def open_file(self, path: str) -> int | Refused:
        """Return a descriptor of the regular file at `path`, which the caller closes.

        `O_NONBLOCK`: opening a FIFO must not wait for its writer; on a regular file it means nothing.
        """
        fd = self._open(path, os.O_RDONLY | os.O_NONBLOCK)
        if isinstance(fd, Refused):
            return fd
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return Refused(Reason.NOT_REGULAR, f"{path} is no regular file")

    def names(self, path: str, limit: int) -> list[str] | Refused:
        """Return at most `limit` names in the directory at `path`, unsorted."""
        fd = self.dir_fd(path)
        if isinstance(fd, Refused):
            return fd
        try:
            with os.scandir(fd) as entries:
                return [entry.name for entry in islice(entries, limit)]
        except OSError as error:
            return _refused(path, error)

    def _open(self, path: str, flags: int) -> int | Refused:
        head, _, name = path.rpartition("/")
        parent = self.dir_fd(head)
        if isinstance(parent, Refused):
            return parent
        try:
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            # Linux answers ELOOP for a final symlink, ENOTDIR where a directory was asked for.
            if error.errno not in {errno.ELOOP, errno.ENOTDIR} or not self._is_link(name, parent):
                return _refused(path, error)
        resolved = self._resolve(path)
        return resolved if isinstance(resolved, Refused) else self._open(resolved, flags)

    @staticmethod
    def _is_link(name: str, parent: int) -> bool:
        with contextlib.suppress(OSError):
            return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        return False

    def _resolve(self, path: str) -> str | Refused:
        """Return the symlink-free path, relative to the root, of a link that stays in the tree.

        The result is walked with `O_NOFOLLOW` again, so a swap in between leads nowhere.
        """
        try:
            if self._real_root is None:
                self._real_root = os.path.realpath(self.root)
            real = os.path.realpath(os.path.join(self.root, path))  # noqa: PTH118 (hot path, plain strings)
        except OSError as error:  # what was a link a moment ago is none any more
            return _refused(path, error)
        inside = real.removeprefix(self._real_root.rstrip("/") + "/")
        if inside in {real, path} or os.path.islink(real):  # noqa: PTH114 (as above)
            return Refused(Reason.SYMLINK, f"{path} is a symlink that leads out of the tree")
        return inside


def _refused(path: str, error: OSError) -> Refused:
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return Refused(Reason.MISSING, f"{path}: {error.strerror}")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Refused(Reason.PERMISSION, f"{path}: {error.strerror}")
    if error.errno == errno.ELOOP:
        return Refused(Reason.SYMLINK, f"{path} is a symlink")
    if error.errno == errno.ENXIO:
        return Refused(Reason.NOT_REGULAR, f"{path} is a socket")
    return Refused(Reason.IO, f"{path}: {error.strerror}")
