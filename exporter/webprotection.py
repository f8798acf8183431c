"""What `--web.config.file` comes to when serving: loaded, watched, counted, and missed when absent."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.exposition import metrics_of
from exporter.logs import log_event
from exporter.source import Row
from exporter.web.doorman import Doorman
from exporter.web.protection import Protection, WebConfigFile
from exporter.webmetrics import AUTHORIZATIONS, RELOADED, RELOADED_AT

_log = logging.getLogger("exporter")


class ProtectionCollector(Collector):
    """Collects how the web configuration and its users fare; only where there is such a file."""

    def __init__(self, file: WebConfigFile, doorman: Doorman) -> None:
        self._file = file
        self._doorman = doorman

    def describe(self) -> Iterable[Metric]:
        """Return nothing: there is nothing to learn from a first collection."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return how it stands now."""
        return metrics_of(self._rows())

    def _rows(self) -> Iterator[Row]:
        yield Row(RELOADED, {}, self._file.is_good)
        yield Row(RELOADED_AT, {}, self._file.loaded_s)
        for verdict, count in self._doorman.counts.copy().items():
            yield Row(AUTHORIZATIONS, {"result": verdict.value}, count)


def make_doorman(file: WebConfigFile) -> Doorman:
    """Return who decides by the users and tokens in force at each request."""
    return Doorman(lambda: file.current.credentials)


def warn_if_exposed(sock: socket.socket, protection: Protection) -> None:
    """Log a warning if others than this machine can read the metrics, or their passwords on the wire."""
    host = str(sock.getsockname()[0])
    missing = list(_missing(protection))
    if missing and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        log_event(
            _log,
            logging.WARNING,
            "listening for other machines",
            address=host,
            missing=", ".join(missing),
            consequence="whoever reaches the port can read project names, costs and events, or listen in",
            remedy="--web.config.file FILE",
        )


def _missing(protection: Protection) -> Iterator[str]:
    if protection.tls is None:
        yield "TLS"
    if not protection.credentials.are_needed and not protection.wants_certificate:
        yield "users"
