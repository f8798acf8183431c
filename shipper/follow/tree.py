"""Which files match a source's patterns: a walk that leaves no root and follows no link."""

from __future__ import annotations

import errno
import fnmatch
import functools
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

_MAGIC = re.compile(r"[*?\[]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
MAX_DEPTH = 32
Passes = Callable[[str, os.stat_result], bool]
"""Tells of a file's path and stat that there is nothing to look at."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A glob cut at its root: the part before the first wildcard, made absolute and free of links once."""

    root: str
    parts: tuple[str, ...]
    """The path components below the root; `**` stands for any number of directories."""

    def matches(self, path: str) -> bool:
        """Tell whether an absolute path is one of the pattern's files."""
        if not path.startswith(self.root.rstrip("/") + "/") or not is_text(path):
            return False
        return _match(self.parts, tuple(path[len(self.root.rstrip("/")) + 1 :].split("/")))

    def has_directory(self, directory: str) -> bool:
        """Tell whether a file of the pattern could stand in this directory."""
        return Pattern(self.root, (*self.parts[:-1], "*")).matches(f"{directory.rstrip('/')}/x")


@dataclass(slots=True)
class Found:
    """What a walk saw: regular files with their stat, and the directories to be watched."""

    passes: Passes
    files: dict[str, os.stat_result] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(path, what went wrong), for directories that cannot be read."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(path, why), for names that are not followed."""


def pattern(text: str) -> Pattern:
    """Return the pattern of an absolute glob. The root may itself be a link; nothing below it may."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    fixed = 0
    while fixed < len(parts) - 1 and not _MAGIC.search(parts[fixed]):
        fixed += 1
    root = os.path.realpath("/" + "/".join(parts[:fixed]))
    return Pattern(root, tuple(parts[fixed:]))


def patterns(texts: tuple[str, ...]) -> tuple[Pattern, ...]:
    """Return the patterns of several globs."""
    return tuple(map(pattern, texts))


def walk(
    wanted: Pattern,
    under: str | None = None,
    *,
    outside: str | None = None,
    passes: Passes = lambda _path, _status: False,
) -> Found:
    """Return the pattern's files and its directories: all, or those below `under`; none below `outside`.

    What `passes` says of is left out: of thousands of files hardly any has changed, and a stat takes half a
    kilobyte.
    """
    found = Found(passes)
    _walk(wanted.root, wanted.parts, found, _Bounds(under, outside), 0)
    return found


class _Bounds(NamedTuple):
    under: str | None
    outside: str | None

    def admit(self, directory: str) -> bool:
        if is_below(directory, self.outside):
            return False
        under = self.under
        return under is None or directory.startswith(under) or is_below(under, directory)


def _walk(directory: str, parts: tuple[str, ...], found: Found, bounds: _Bounds, depth: int) -> None:
    if not bounds.admit(directory):
        return
    if depth > MAX_DEPTH:
        found.refused.append((directory, f"more than {MAX_DEPTH} directories deep: not followed"))
        return
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        found.problems.append((directory, error.strerror or str(error)))
        return
    found.directories.append(directory)
    head, rest = parts[0], parts[1:]
    below: list[tuple[str, tuple[str, ...]]] = []
    try:
        _list(fd, directory, parts, found, below)
    finally:
        os.close(fd)
    if head == "**" and len(rest) > 1:
        below.append((directory, rest))
    # Only now, so that one directory at a time is held open.
    for path, wanted in below:
        _walk(path, wanted, found, bounds, depth + 1)


def _list(
    fd: int, directory: str, parts: tuple[str, ...], found: Found, below: list[tuple[str, tuple[str, ...]]]
) -> None:
    """Note the files of an open directory, and what is to be walked below it."""
    head, rest = parts[0], parts[1:]
    matches, is_leaf = _matcher(head), _leaf(parts)
    stem = directory.rstrip("/") + "/"
    leaves = []
    with os.scandir(fd) as entries:
        for entry in entries:
            name = entry.name
            if not name.isascii() and not is_text(name):
                if is_leaf(name) or (rest and entry.is_dir(follow_symlinks=False)):
                    found.refused.append((_escaped(stem + name), "the name is not UTF-8: not followed"))
                continue
            if rest and entry.is_dir(follow_symlinks=False):
                if head == "**":
                    if not name.startswith("."):
                        below.append((stem + name, parts))
                elif matches(name):
                    below.append((stem + name, rest))
            if is_leaf(name):
                leaves.append(name)
    _look_at(fd, stem, leaves, found)


def _look_at(fd: int, stem: str, names: list[str], found: Found) -> None:
    """Note which of these names in a directory are regular files, and not as they were.

    Ten thousand stats are most of what an idle shipper costs. By the descriptor they cost less.
    """
    passes, files = found.passes, found.files
    for name in names:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            # Gone between the listing and the stat: the next rescan sees what became of it.
            continue
        path = stem + name
        if stat.S_ISREG(status.st_mode) and not passes(path, status):
            files[path] = status


def is_text(path: str) -> bool:
    """Tell whether a path is UTF-8: positions, dead letters and metadata are, and could not name another."""
    return path.isascii() or not _SURROGATE.search(path)


def _escaped(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()


def _leaf(parts: tuple[str, ...]) -> Callable[[str], bool]:
    """Return what tells whether a name in the directory of these parts is one of the pattern's files."""
    if len(parts) == 1:
        return _matcher(parts[0])
    if parts[0] == "**" and len(parts) == 2:  # noqa: PLR2004 - `**` and the file
        return _matcher(parts[1])
    return lambda _name: False


def is_below(path: str, directory: str | None) -> bool:
    """Tell whether a path is the directory or lies in it."""
    return directory is not None and (path + "/").startswith(directory.rstrip("/") + "/")


@functools.lru_cache(maxsize=256)
def _matcher(part: str) -> Callable[[str], bool]:
    if not _MAGIC.search(part):
        return part.__eq__
    if part.startswith("*") and not _MAGIC.search(part[1:]):
        end = part[1:]
        return lambda name: name.endswith(end) and not name.startswith(".")
    compiled = re.compile(fnmatch.translate(part)).match
    hidden = part.startswith(".")
    return lambda name: bool(compiled(name)) and (hidden or not name.startswith("."))


def _match(parts: tuple[str, ...], names: tuple[str, ...]) -> bool:
    if not parts or not names:
        return not parts and not names
    if parts[0] == "**":
        return _match(parts[1:], names) or (not names[0].startswith(".") and _match(parts, names[1:]))
    return _matcher(parts[0])(names[0]) and _match(parts[1:], names[1:])


class Refused(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """The path is not one we open: a link, no regular file, or outside its root."""


def open_regular(path: str, root: str) -> int:
    """Return a descriptor of a regular file below `root`; raises `Refused` or `OSError`.

    O_NONBLOCK keeps a FIFO from hanging us, O_NOFOLLOW refuses a link as last component, and the kernel's own
    name of what was opened shows a link further up that was put there after the walk.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _check(fd, path, root)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_away(path: str, root: str, dev: int) -> bool:
    """Tell whether a file that is not found at `path` may be there all the same, and cannot be seen now.

    Its directory cannot be listed, or is what is left of a mount point (empty, on another device than the
    file's), or the path cannot be opened.
    """
    directory = os.path.dirname(path)  # noqa: PTH120 - paths are plain text here, thousands of them
    try:
        with os.scandir(directory) as entries:
            if next(entries, None) is None:
                return os.stat(directory).st_dev != dev  # noqa: PTH116 - as above
        os.close(open_regular(path, root))
    except (FileNotFoundError, Refused) as missing:
        return isinstance(missing, FileNotFoundError) and not os.path.isdir(directory)  # noqa: PTH112 - as above
    except OSError as error:
        return error.errno != errno.ELOOP
    return False


def _check(fd: int, path: str, root: str) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise Refused(f"{path} is no regular file")
    real = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - a link of the kernel, not a path
    if not real.startswith(root.rstrip("/") + "/"):
        raise Refused(f"{path} leads out of {root}")
