"""The tally: a Prometheus collector that reads AI agents' flat files on each scrape."""

from exporter.loki_mode_collector import LokiModeCollector

__all__ = ["LokiModeCollector"]
