"""A connection that asks Loki whether it is ready before it carries a push that may go to another Loki."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from shipper.push.connection import Answer, Connection
from shipper.push.readiness import Readiness
from shipper.push.way import Way


class NotReadyError(Exception):
    """Loki says that it has only just started."""


class Greeted:
    """For one thread at a time: a connection along a way, and what it was told."""

    def __init__(self, way: Way, readiness: Readiness) -> None:
        self._way = way
        self._version = way.version
        self._readiness = readiness
        self._path = urlsplit(way.endpoint.base_url).path.rstrip("/") + "/ready"
        self._connection = Connection(way.endpoint, way.context, self._greet)
        self._headers: Mapping[str, str] = {}
        self._asked_at_doubt = -1

    @property
    def sock(self) -> socket.socket | None:
        """The socket while there is a connection, as far as is known."""
        return self._connection.sock

    @property
    def is_sure(self) -> bool:
        """True while nothing need be asked before the next push."""
        return self.sock is not None and self._asked_at_doubt == self._readiness.doubts

    def leads(self, way: Way) -> bool:
        """Tell whether a push that goes this way now may go over this connection."""
        return way is self._way and self._version == way.version

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a push; raises `NotReadyError`, or whatever the network does."""
        self._note(headers)
        if self.sock is not None and not self.is_sure:
            # A gateway's connections outlive the Loki behind it.
            self._ask(self._connection)
        return self._connection.post(body, headers)

    def finish(self, begun: bytes, body: bytes, headers: Mapping[str, str], deadline_s: float) -> Answer:
        """Read the answer to a push that was sent already, of which `begun` has come; raises as `post`."""
        self._note(headers)
        return self._connection.finish(begun, body, headers, deadline_s)

    def post_again(self, body: bytes, headers: Mapping[str, str], deadline_s: float) -> Answer:
        """Send a push once more, over a new connection: this one ended as it was used; raises as `post`."""
        self._note(headers)
        return self._connection.post_again(body, headers, deadline_s)

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _note(self, headers: Mapping[str, str]) -> None:
        self._headers = {name: value for name, value in headers.items() if not name.startswith("Content-")}

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
