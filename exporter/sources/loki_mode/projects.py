"""The set of Loki Mode projects, found anew every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf

from exporter.source import Labels, Source
from exporter.sources.loki_mode.discovery import Names, Wanted, find
from exporter.sources.loki_mode.project import LokiModeProject, Settings

REDISCOVER_S = 10.0
"""How often globs and the registry are looked at again; a wide glob may take milliseconds."""


class LokiModeProjects:
    """A source provider: answers which projects there are now."""

    def __init__(self, wanted: Wanted, settings: Settings) -> None:
        self._wanted = wanted
        self._settings = settings
        self._names = Names(wanted.names)
        self._projects: dict[str, LokiModeProject] = {}
        self._found_at_s = -inf

    def __call__(self, now_s: float) -> Sequence[Source]:
        """Return the projects; the same object for the same directory."""
        if not self._projects or not 0 <= now_s - self._found_at_s < REDISCOVER_S:
            directories = find(self._wanted)
            known = self._projects
            self._projects = {path: known.get(path) or self._project(path) for path in directories}
            self._found_at_s = now_s
        return list(self._projects.values())

    def _project(self, directory: str) -> LokiModeProject:
        if self._wanted.is_single:
            return LokiModeProject(directory, _no_labels, self._settings)
        return LokiModeProject(directory, partial(self._labels, directory), self._settings)

    def _labels(self, directory: str, stated: str | None) -> Labels:
        return {"project": self._names.name(directory, stated)}


def single_project(directory: str, settings: Settings) -> LokiModeProjects:
    """Return the provider for one plain directory, whose metrics carry no label `project`."""
    return LokiModeProjects(Wanted((directory,)), settings)


def _no_labels(_stated: str | None) -> Labels:
    return {}
