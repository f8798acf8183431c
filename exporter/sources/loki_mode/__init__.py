"""Loki Mode, an agent runner (not the log store): its `.loki/` flat files become the `loki_*` metrics."""

from exporter.sources.loki_mode.discovery import Wanted
from exporter.sources.loki_mode.project import LokiModeProject, Settings
from exporter.sources.loki_mode.projects import LokiModeProjects, single_project

__all__ = ["LokiModeProject", "LokiModeProjects", "Settings", "Wanted", "single_project"]
