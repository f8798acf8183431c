"""inotify: one instance, watches on directories. Only a hint: the rescan is what correctness rests on."""

from __future__ import annotations

import errno
from typing import NamedTuple

from inotify_simple import INotify, flags

_MASK = (
    flags.CREATE
    | flags.MODIFY
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
    | flags.DONT_FOLLOW
)
_CHANGES_NAMES = flags.CREATE | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE
_OVERFLOW = int(flags.Q_OVERFLOW)
_ISDIR = int(flags.ISDIR)
_IGNORED = int(flags.IGNORED)


class Hints(NamedTuple):
    """What the kernel told since the last time."""

    written: set[str]
    """Paths of files that were written to."""
    moved: set[str]
    """Paths of files that came, went or were renamed."""
    directories: set[str]
    """Directories that came, went or were renamed: to be scanned again."""
    overflow: bool


class Watcher:
    """Watches directories. Without inotify, or out of watches, it says so and the rescan does the work."""

    def __init__(self) -> None:
        self._paths: dict[int, str] = {}
        self._watched: dict[str, int] = {}
        self.problem = ""
        """Why some directories are not watched; empty while all are."""
        try:
            self._inotify: INotify | None = INotify(nonblocking=True)
        except OSError as error:
            self._inotify = None
            self.problem = _advice(error)

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        return len(self._watched)

    def fileno(self) -> int | None:
        """Return the descriptor that becomes readable, or None without inotify."""
        return None if self._inotify is None else self._inotify.fileno()

    def watch(self, directory: str) -> bool:
        """Watch a directory; return True when that is new, and it must be scanned (again) after this."""
        if self._inotify is None or directory in self._watched:
            return False
        try:
            wd = self._inotify.add_watch(directory, _MASK)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EMFILE):
                self.problem = _advice(error)
            return False
        before = self._paths.get(wd)
        if before is not None:
            self._watched.pop(before, None)
        self._paths[wd] = directory
        self._watched[directory] = wd
        return True

    def forget_all_but(self, directories: set[str]) -> None:
        """Drop the watches of directories that no longer stand where they stood."""
        for directory in self._watched.keys() - directories:
            wd = self._watched.pop(directory)
            self._paths.pop(wd, None)
            if self._inotify is not None:
                try:
                    self._inotify.rm_watch(wd)
                except OSError:
                    # The kernel has dropped it with the directory.
                    continue

    def hints(self) -> Hints:
        """Return what has happened; never waits."""
        found = Hints(set(), set(), set(), overflow=False)
        if self._inotify is None:
            return found
        overflow = False
        for wd, mask, _cookie, name in self._inotify.read(timeout=0):
            if mask & _OVERFLOW:
                overflow = True
                continue
            directory = self._paths.get(wd)
            if directory is None:
                continue
            if mask & _IGNORED:
                self._paths.pop(wd, None)
                self._watched.pop(directory, None)
                found.directories.add(directory)
            elif not name:
                found.directories.add(directory)
            elif mask & _ISDIR:
                found.directories.add(f"{directory}/{name}")
            elif mask & _CHANGES_NAMES:
                found.moved.add(f"{directory}/{name}")
            else:
                found.written.add(f"{directory}/{name}")
        return found._replace(overflow=overflow)

    def close(self) -> None:
        """Give the instance back."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None


def _advice(error: OSError) -> str:
    which = "fs.inotify.max_user_instances" if error.errno == errno.EMFILE else "fs.inotify.max_user_watches"
    return (
        f"{error.strerror}: some directories are only looked at every few seconds; raise the sysctl {which}"
    )
