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
_MOVED_FROM = int(flags.MOVED_FROM)
_MOVED_TO = int(flags.MOVED_TO)
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
    journeys: list[list[str | None]]
    """Of each file that was renamed: its names in order, the last one None if that is not known."""
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
        found = Hints(set(), set(), set(), [], overflow=False)
        if self._inotify is None:
            return found
        overflow = False
        moves = _Moves()
        for wd, mask, cookie, name in self._inotify.read(timeout=0):
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
                moves.note(mask, cookie, f"{directory}/{name}")
            else:
                found.written.add(f"{directory}/{name}")
        return found._replace(journeys=journeys(moves.seen), overflow=overflow)

    def close(self) -> None:
        """Give the instance back."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None


class _Moves:
    """Pairs the two halves of each rename."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self._under_way: dict[int, int] = {}

    def note(self, mask: int, cookie: int, path: str) -> None:
        if mask & _MOVED_FROM:
            self._under_way[cookie] = len(self.seen)
            self.seen.append((path, None))
        elif mask & _MOVED_TO and cookie in self._under_way:
            at = self._under_way.pop(cookie)
            self.seen[at] = (self.seen[at][0], path)


def journeys(moves: list[tuple[str, str | None]]) -> list[list[str | None]]:
    """Return for each file that was renamed its names in order; None at the end where it is out of sight."""
    found: list[list[str | None]] = []
    here: dict[str, list[str | None]] = {}
    for before, after in moves:
        journey = here.pop(before, None)
        if journey is None:
            journey = [before]
            found.append(journey)
        journey.append(after)
        if after is not None:
            replaced = here.get(after)
            if replaced is not None:
                replaced.append(None)
            here[after] = journey
    return found


def _advice(error: OSError) -> str:
    which = "fs.inotify.max_user_instances" if error.errno == errno.EMFILE else "fs.inotify.max_user_watches"
    return (
        f"{error.strerror}: some directories are only looked at every few seconds; raise the sysctl {which}"
    )
