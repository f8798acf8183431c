"""A connection that asks Loki whether it is ready before it carries a push that may go to another Loki."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from shipper.push.connection import Answer, Connection
from shipper.push.endpoint import Endpoint
from shipper.push.readiness import Readiness


class NotReadyError(Exception):
    """Loki says that it has only just started."""


class Greeted:
    """For one thread: a connection, and what it was told."""

    def __init__(
        self, endpoint: Endpoint, context: Callable[[], ssl.SSLContext], readiness: Readiness
    ) -> None:
        self._readiness = readiness
        self._path = urlsplit(endpoint.base_url).path.rstrip("/") + "/ready"
        self._connection = Connection(endpoint, context, self._greet)
        self._headers: Mapping[str, str] = {}
        self._asked_at_doubt = -1

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a push; raises `NotReadyError`, or whatever the network does."""
        self._headers = {name: value for name, value in headers.items() if not name.startswith("Content-")}
        if self._connection.is_open and self._asked_at_doubt != self._readiness.doubts:
            # A gateway's connections outlive the Loki behind it.
            self._ask(self._connection)
        return self._connection.post(body, headers)

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _greet(self, connection: Connection) -> None:
        if self._asked_at_doubt >= 0:
            self._readiness.distrust()  # the connection before this one has ended, and perhaps its Loki
        self._ask(connection)

    def _ask(self, connection: Connection) -> None:
        self._asked_at_doubt = self._readiness.doubts
        try:
            answer = connection.ask("GET", self._path, self._headers)
        except (OSError, http.client.HTTPException):
            connection.close()
            if self._readiness.holds_silent():
                raise
            return
        text = answer.body.decode("utf-8", "replace")
        if self._readiness.holds(answer.status, text):
            connection.close()
            raise NotReadyError(" ".join(text.split()))
