"""One shipper for each state directory: a lock that ends with the process."""

from __future__ import annotations

import fcntl
import os
import pathlib

from shipper.own_files import open_own


class AlreadyRunning(Exception):  # noqa: N818 - an outcome, not an error of ours
    """Another shipper holds the state directory."""


def lock(state_dir: pathlib.Path) -> int:
    """Take the state directory; raises `AlreadyRunning` or `OSError`. The lock ends with the process."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = open_own(state_dir / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise AlreadyRunning(
            f"another shipper (pid {owner or 'unknown'}) uses the state directory {state_dir}"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
