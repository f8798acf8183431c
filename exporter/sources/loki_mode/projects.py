"""The set of Loki Mode projects, found anew every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf

from exporter.source import Labels, Source
from exporter.sources.loki_mode.discovery import Names, Wanted, find
from exporter.sources.loki_mode.project import LokiModeProject, Settings
from exporter.sources.loki_mode.project_search import ProjectSearch

REDISCOVER_S = 10.0
"""How often globs and the registry are looked at again; a wide glob may take milliseconds."""

GONE_S = 600.0
"""How long a project whose directory is gone is shown as down before it is left out."""


class LokiModeProjects:
    """A source provider: answers which projects there are now.

    A project, once found, is kept for good: its counters go on where they were when its directory returns.
    """

    def __init__(self, wanted: Wanted, settings: Settings) -> None:
        self._wanted = wanted
        self._settings = settings
        self._names = Names(wanted.names)
        self._search = ProjectSearch(wanted.registry, keep_s=settings.keep_s) if wanted.is_search else None
        self._projects: dict[str, LokiModeProject] = {}
        self._found_at_s: dict[str, float] = {}
        self._searched_at_s = -inf

    def __call__(self, now_s: float) -> Sequence[Source]:
        """Return the projects, and the search for them; the same object for the same directory."""
        if not 0 <= now_s - self._searched_at_s < REDISCOVER_S:
            self._find(now_s)
        patience_s = self._settings.name_patience_s
        listed: list[Source] = [
            self._projects[directory]
            for directory, found_at_s in self._found_at_s.items()
            if now_s - found_at_s <= GONE_S and self._projects[directory].settle_labels(now_s, patience_s)
        ]
        return listed if self._search is None else [*listed, self._search]

    def _find(self, now_s: float) -> None:
        registered = self._search.registered(now_s) if self._search is not None else ()
        found = find(self._wanted, registered)
        for directory in found.directories:
            if directory not in self._projects:
                self._projects[directory] = self._project(directory)
            self._found_at_s[directory] = now_s
        if self._search is not None:
            self._search.found = found
        # With no project at all, the first one ought to be seen at once.
        self._searched_at_s = now_s if found.directories else -inf

    def _project(self, directory: str) -> LokiModeProject:
        name_it = _no_labels if self._wanted.is_single else partial(self._labels, directory)
        project = LokiModeProject(directory, name_it, self._settings)
        if self._wanted.is_single or self._names.is_configured(directory):
            project.settle_labels_unstated()
        return project

    def _labels(self, directory: str, stated: str | None) -> Labels:
        return {"project": self._names.name(directory, stated)}


def single_project(directory: str, settings: Settings, name: str | None = None) -> LokiModeProjects:
    """Return the provider for one plain directory; its metrics carry the label `project` if it has a name."""
    wanted = Wanted((directory,), names={directory: name} if name else {}, is_labelled=bool(name))
    return LokiModeProjects(wanted, settings)


def _no_labels(_stated: str | None) -> Labels:
    return {}
