"""Puts the parts together: from a configuration to a collector, a registry and a health report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector

from exporter.collector import SourceCollector
from exporter.config import Config
from exporter.process import pids_are_visible
from exporter.sources.loki_mode import LokiModeProjects, Settings, Wanted
from exporter.sources.loki_mode.discovery import Names
from shared.healthcheck import Report, State, Tracker


def make_collector(
    config: Config, environ: Mapping[str, str] = os.environ, *, is_patient: bool = True
) -> SourceCollector:
    """Return the collector of everything that is configured.

    `is_patient` False: a project whose name cannot be known just now is read all the same, as its folder.
    """
    settings = Settings(
        environ=environ,
        pids_visible=pids_are_visible() if config.pids == "auto" else config.pids == "visible",
        prices=config.prices,
        state_max_age_s=config.state_max_age_s,
        keep_s=config.keep_s,
        name_patience_s=config.keep_s if is_patient else 0.0,
    )
    wanted = Wanted(config.loki_dirs, config.registry, config.names)
    return SourceCollector(LokiModeProjects(wanted, settings), cache_s=config.cache_s)


def lone_title(config: Config) -> str:
    """Return what people would call the one project whose metrics carry no name."""
    return Names(config.names).name(config.loki_dirs[0], None) if config.loki_dirs else "Loki Mode"


def make_registry(collector: SourceCollector) -> CollectorRegistry:
    """Return a registry of our own: the global one belongs to whoever embeds us."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


class SourceHealth:
    """The health report: one check a source, as of the last reading; it reads nothing itself.

    A source that is down leaves the exporter degraded, not failing: a restart would not bring it back, and
    the directory of a project may still appear.
    """

    def __init__(self, collector: SourceCollector, clock: Callable[[], float] = time.time) -> None:
        self._collector = collector
        self._clock = clock
        self._tracker = Tracker("exporter")

    def report(self) -> Report:
        """Return how each source stands."""
        return self._tracker.update(self._clock(), self._found())

    def _found(self) -> Iterator[tuple[str, State, str]]:
        accounts = self._collector.accounts()
        if not accounts:
            yield "sources", State.OK, "no source has been read yet"
        for account in accounts:
            labels = account.source.labels
            name = ":".join([account.source.name, *labels.values()])
            reading = account.reading
            if not reading.is_up:
                yield name, State.DEGRADED, f"down: {reading.down_reason}"
            elif reading.unread_bytes:
                yield name, State.OK, f"up, {reading.unread_bytes} bytes of history still to read"
            else:
                yield name, State.OK, "up"
