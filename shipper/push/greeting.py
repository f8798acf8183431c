"""The question that goes before the first push of each connection: has this Loki been up for some time."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from shipper.push.connection import Connection
from shipper.push.readiness import Readiness


class NotReadyError(Exception):
    """Loki says that it has only just started."""


class Greeting:
    """Of one connection after the other, of one thread."""

    def __init__(self, readiness: Readiness, base_url: str, headers: Callable[[], Mapping[str, str]]) -> None:
        self._readiness = readiness
        self._path = urlsplit(base_url).path.rstrip("/") + "/ready"
        self._headers = headers
        self._asked_at_doubt = -1

    @property
    def stale(self) -> bool:
        """True when something has failed since: a gateway's connections outlive the Loki behind it."""
        return self._asked_at_doubt != self._readiness.doubts

    def __call__(self, connection: Connection) -> None:
        """Return when pushes may go; raises `NotReadyError`, or what the network does."""
        if self._asked_at_doubt >= 0:
            self._readiness.distrust()  # the connection before this one has ended, and perhaps its Loki
        self._asked_at_doubt = self._readiness.doubts
        headers = {k: v for k, v in self._headers().items() if not k.startswith("Content-")}
        try:
            answer = connection.ask("GET", self._path, headers)
        except (OSError, http.client.HTTPException):
            connection.close()
            if self._readiness.holds_silent():
                raise
            return
        text = answer.body.decode("utf-8", "replace")
        if self._readiness.holds(answer.status, text):
            connection.close()
            raise NotReadyError(" ".join(text.split()))
