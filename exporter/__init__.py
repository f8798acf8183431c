"""The tally: a Prometheus collector that reads AI agents' flat files on each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.loki_mode_collector import LokiModeCollector

__all__ = ["LokiModeCollector"]


def __getattr__(name: str) -> object:
    """Return the collector when it is asked for: a container's `healthcheck` has no use for it."""
    if name != "LokiModeCollector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from exporter.loki_mode_collector import LokiModeCollector  # noqa: PLC0415 - half of the CPU of a healthcheck

    return LokiModeCollector
