"""Exports what the web server counts about itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.exposition import metrics_of
from exporter.source import Family, Kind, Row
from exporter.web.stats import WebStats

_P = "tallyship_exporter_http_"

OPEN = Family(f"{_P}connections", Kind.GAUGE, "Connections open now.")
ACCEPTED = Family(f"{_P}connections_accepted_total", Kind.COUNTER, "Connections accepted.")
CLOSED = Family(f"{_P}connections_closed_total", Kind.COUNTER, "Connections closed, by reason.")
REQUESTS = Family(f"{_P}requests_total", Kind.COUNTER, "Requests answered, by page and status.")
FAILURES = Family(f"{_P}failures_total", Kind.COUNTER, "Requests that met a bug of ours, by page.")
LOOP_ERRORS = Family(f"{_P}loop_errors_total", Kind.COUNTER, "Errors that reached the event loop.")
AUTHORIZATIONS = Family(
    f"{_P}authorizations_total", Kind.COUNTER, "Requests that had to say who asks, by what became of it."
)
RELOADED = Family(
    "tallyship_exporter_web_config_reload_success",
    Kind.GAUGE,
    "Whether the web configuration in force is the one in the files (0 or 1).",
)
RELOADED_AT = Family(
    "tallyship_exporter_web_config_reload_success_timestamp_seconds",
    Kind.GAUGE,
    "When the web configuration in force was loaded.",
)


class WebCollector(Collector):
    """Collects a `WebStats`."""

    def __init__(self, stats: WebStats) -> None:
        self._stats = stats

    def describe(self) -> Iterable[Metric]:
        """Return nothing: there is nothing to learn from a first collection."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the counts as they are now."""
        return metrics_of(_rows(self._stats))


def _rows(stats: WebStats) -> Iterator[Row]:
    yield Row(OPEN, {}, stats.open_connections)
    yield Row(ACCEPTED, {}, stats.accepted)
    for reason, count in stats.closed.copy().items():
        yield Row(CLOSED, {"reason": reason.value}, count)
    for (route, status), count in stats.requests.copy().items():
        yield Row(REQUESTS, {"page": route.value, "status": str(status)}, count)
    for route, count in stats.failures.copy().items():
        yield Row(FAILURES, {"page": route.value}, count)
    yield Row(LOOP_ERRORS, {}, stats.loop_errors)
