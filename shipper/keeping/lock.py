"""One shipper for each state directory: a lock that ends with the process, and is looked after meanwhile."""

from __future__ import annotations

import fcntl
import os
import pathlib

from shipper.keeping.own_files import open_own
from shipper.keeping.positions import GENERATIONS


class AlreadyRunning(Exception):  # noqa: N818 - an outcome, not an error of ours
    """Another shipper holds the state directory."""


class Lock:
    """Holds a state directory. Whoever saves there asks before and after whether it is still held.

    A directory that was removed, or lost its lock file, is taken again, if nobody has been there meanwhile.
    """

    def __init__(self, state_dir: pathlib.Path) -> None:
        """Take it; raises `AlreadyRunning` or `OSError`."""
        self._state_dir = state_dir
        self._fd = _take(state_dir)
        self._seen = self._generations()
        self.usurped = ""
        """Why this process may never save again: somebody else has the directory, or had it."""
        self.times_taken = 1

    def stands(self) -> bool:
        """Tell whether the lock that is held is the one that another shipper would find."""
        try:
            there = os.lstat(self._state_dir / "lock")
        except OSError:
            return False
        held = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def problem(self) -> str:
        """Return why nothing may be saved now; nothing where the lock is held, or was taken again."""
        if self.usurped or self.stands():
            return self.usurped
        try:
            fd = _take(self._state_dir)
        except AlreadyRunning as running:
            self.usurped = f"{running}: the directory was taken away from this one, which stands still"
            return self.usurped
        except OSError as error:
            return f"{self._state_dir}: the lock is lost: {error.strerror}"
        if not self._generations() <= self._seen:
            os.close(fd)
            self.usurped = f"{self._state_dir} holds positions of another shipper: this one stands still"
            return self.usurped
        os.close(self._fd)
        self._fd = fd
        self.times_taken += 1
        return ""

    def saved(self) -> None:
        """Note that the positions that lie there now are ours."""
        self._seen = self._generations()

    def close(self) -> None:
        """Let another shipper have the directory."""
        os.close(self._fd)

    def _generations(self) -> set[tuple[int, int, int]]:
        found = set()
        for name in GENERATIONS:
            try:
                status = os.lstat(self._state_dir / name)
            except OSError:
                continue
            found.add((status.st_dev, status.st_ino, status.st_mtime_ns))
        return found


def _take(state_dir: pathlib.Path) -> int:
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
