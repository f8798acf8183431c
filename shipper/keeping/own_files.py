"""Opening what the shipper keeps in its state directory: never waits, never leads elsewhere."""

from __future__ import annotations

import errno
import os
import pathlib
import stat


def open_own(path: pathlib.Path, flags: int) -> int:
    """Return a descriptor of a regular file, made if `flags` say so; raises `OSError` for anything else.

    Somebody may have put a FIFO or a link there: the one would be waited for without end, the other followed.
    """
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "no regular file", str(path))


def read_own(path: pathlib.Path) -> bytes:
    """Return what is in a regular file; raises `OSError`."""
    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        return file.read()
