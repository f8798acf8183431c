"""Finds the projects to read, and names them so that a name, once given, stays."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.files.document import ShapeError
from exporter.files.jsonvalue import as_mapping, as_text, parse_json
from shared.models import label_value

MAX_PROJECTS = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asked for: directories or globs, the registry file, names by directory.

    `is_labelled`: even one plain directory gets the label `project`.
    """

    patterns: Sequence[str]
    registry: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    is_labelled: bool = False

    @property
    def is_single(self) -> bool:
        """Whether this is one plain directory, which needs no label.

        Decided by what was asked for, not by what is there: a second match of a glob must not change the
        labels of the first.
        """
        is_one = len(self.patterns) == 1 and not is_pattern(self.patterns[0])
        return is_one and self.registry is None and not self.is_labelled

    @property
    def is_search(self) -> bool:
        """Whether projects must be looked for, rather than being named one by one."""
        return self.registry is not None or any(map(is_pattern, self.patterns))


def is_pattern(path: str) -> bool:
    """Whether a path is a glob. A directory that is really called so is taken as it is."""
    return glob.has_magic(path) and not _is_dir(os.path.expanduser(path))  # noqa: PTH111 (see _is_dir)


@dataclass(frozen=True, slots=True)
class Found:
    """The directories to read, at most `MAX_PROJECTS`, and how many there are beyond that."""

    directories: Sequence[str]
    left_out: int


def find(wanted: Wanted, registered: Sequence[str]) -> Found:
    """Return the directories to read; plain ones also while they do not exist.

    `registered` are the project paths that the registry holds.
    """
    found: dict[str, None] = {}
    for wish in wanted.patterns:
        path = os.path.expanduser(wish)  # noqa: PTH111 (see _is_dir)
        if is_pattern(path):
            found.update(dict.fromkeys(sorted(filter(_is_dir, glob.iglob(path, recursive=True)))))  # noqa: PTH207
        else:
            found[str(Path(path))] = None
    in_registry = (str(Path(path) / ".loki") for path in registered)
    found.update(dict.fromkeys(sorted(filter(_is_dir, in_registry))))
    # The same place under two names is one project, under the name that came first.
    by_place = {os.path.realpath(directory): directory for directory in reversed(found)}
    first = set(by_place.values())
    directories = [directory for directory in found if directory in first]
    return Found(directories[:MAX_PROJECTS], max(0, len(directories) - MAX_PROJECTS))


def _is_dir(path: str) -> bool:
    """Whether a directory lies at a path; as all of `os.path` and unlike `Path`, raises for no path at all.

    Agents write the registry, and a scrape must not end because a path in it is absurd or forbidden.
    """
    return os.path.isdir(path)  # noqa: PTH112


def parse_registry(text: bytes) -> Sequence[str]:
    """Return the paths of the registered projects; raises `TornJsonError`, or `ShapeError` for no object.

    `~/.loki/dashboard/projects.json`: `{version, projects: {id: {path, name, ...}}}`.
    """
    whole = parse_json(text)
    if not isinstance(whole, dict):
        raise ShapeError("no object")
    paths = (as_text(as_mapping(entry).get("path")) for entry in as_mapping(whole.get("projects")).values())
    return [path for path in paths if path is not None]


class Names:
    """Gives each directory a name of its own, once and for all of the process's life."""

    def __init__(self, configured: Mapping[str, str]) -> None:
        self._configured = {
            str(Path(os.path.expanduser(path))): name  # noqa: PTH111 (see _is_dir)
            for path, name in configured.items()
        }
        self._given: dict[str, str] = {}

    def is_configured(self, directory: str) -> bool:
        """Whether the operator named this directory."""
        return directory in self._configured

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
