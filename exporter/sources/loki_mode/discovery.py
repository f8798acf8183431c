"""Finds the projects to read, and names them so that a name, once given, stays."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.jsonvalue import TornJsonError, as_mapping, as_text, parse_json
from shared.models import label_value

MAX_PROJECTS = 200
REGISTRY_LIMIT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asked for: directories or globs, the registry file, names by directory."""

    patterns: Sequence[str]
    registry: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_single(self) -> bool:
        """Whether this is one plain directory, which needs no label.

        Decided by what was asked for, not by what is there: a second match of a glob must not change the
        labels of the first.
        """
        return self.registry is None and len(self.patterns) == 1 and not is_pattern(self.patterns[0])


def is_pattern(path: str) -> bool:
    """Whether a path is a glob. A directory that is really called so is taken as it is."""
    return glob.has_magic(path) and not _is_dir(os.path.expanduser(path))  # noqa: PTH111 (see _is_dir)


def find(wanted: Wanted) -> list[str]:
    """Return the directories to read, at most `MAX_PROJECTS`; plain ones also while they do not exist."""
    found: dict[str, None] = {}
    for wish in wanted.patterns:
        path = os.path.expanduser(wish)  # noqa: PTH111 (see _is_dir)
        if is_pattern(path):
            found.update(dict.fromkeys(sorted(filter(_is_dir, glob.iglob(path, recursive=True)))))  # noqa: PTH207
        else:
            found[str(Path(path))] = None
    if wanted.registry is not None:
        found.update(dict.fromkeys(_registered(os.path.expanduser(wanted.registry))))  # noqa: PTH111
    by_place = {os.path.realpath(directory): directory for directory in reversed(found)}
    return [directory for directory in found if directory in by_place.values()][:MAX_PROJECTS]


def _is_dir(path: str) -> bool:
    """Whether a directory lies at a path; as all of `os.path` and unlike `Path`, raises for no path at all.

    Agents write the registry, and a scrape must not end because a path in it is absurd or forbidden.
    """
    return os.path.isdir(path)  # noqa: PTH112


def _registered(registry: str) -> list[str]:
    """Return the `.loki` directories of the registered projects that have one.

    `~/.loki/dashboard/projects.json`: `{version, projects: {id: {path, name, ...}}}`.
    """
    try:
        whole = as_mapping(parse_json(_read_regular(registry)))
    except (OSError, TornJsonError):
        return []
    paths = (as_text(as_mapping(entry).get("path")) for entry in as_mapping(whole.get("projects")).values())
    return sorted(directory for path in paths if path and _is_dir(directory := str(Path(path) / ".loki")))


def _read_regular(path: str) -> bytes:
    """Return the bytes of a regular file, none of anything else; raises `OSError`.

    `O_NONBLOCK`: opening a FIFO must not wait for its writer.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:  # noqa: PTH123 (a descriptor)
        is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
        return file.read(REGISTRY_LIMIT_BYTES) if is_regular else b""


class Names:
    """Gives each directory a name of its own, once and for all of the process's life."""

    def __init__(self, configured: Mapping[str, str]) -> None:
        self._configured = {
            str(Path(os.path.expanduser(path))): name  # noqa: PTH111 (see _is_dir)
            for path, name in configured.items()
        }
        self._given: dict[str, str] = {}

    def name(self, directory: str, stated: str | None) -> str:
        """Return the directory's name: configured, else stated by its state file, else its folder's."""
        given = self._given.get(directory)
        if given is None:
            wish = label_value(self._configured.get(directory) or stated or _folder(directory)) or "project"
            given = self._given[directory] = _unused(wish, self._given.values())
        return given


def _folder(directory: str) -> str:
    path = Path(directory).absolute()
    return path.parent.name if path.name == ".loki" else path.name


def _unused(wish: str, used: Iterable[str]) -> str:
    taken = set(used)
    if wish not in taken:
        return wish
    return next(name for n in range(2, len(taken) + 3) if (name := f"{wish}-{n}") not in taken)
