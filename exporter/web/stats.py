"""What the web server counts about itself, as plain integers that a collector reads at any time."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Route(StrEnum):
    """The label `route`: which page a request asked for. `invalid` never became a request."""

    METRICS = "metrics"
    LANDING = "landing"
    HEALTH = "health"
    HEALTHY = "healthy"
    READY = "ready"
    OTHER = "other"
    INVALID = "invalid"


class CloseReason(StrEnum):
    """The label `reason`: why a connection ended. The first reason found is the one that counts."""

    CLIENT = "client"
    ANSWERED = "answered"
    CONNECTION_LIMIT = "connection_limit"
    HANDSHAKE_FAILED = "handshake_failed"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    HEADER_TIMEOUT = "header_timeout"
    WRITE_TIMEOUT = "write_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    UNWANTED_BODY = "unwanted_body"
    BAD_REQUEST = "bad_request"
    TLS_RENEWED = "tls_renewed"
    SHUTDOWN = "shutdown"


_EXPECTED_ANSWERS = (
    (Route.METRICS, 200),
    (Route.METRICS, 401),
    (Route.METRICS, 429),
    (Route.METRICS, 500),
    (Route.METRICS, 503),
    (Route.LANDING, 200),
    (Route.HEALTH, 200),
    (Route.HEALTH, 503),
    (Route.HEALTHY, 200),
    (Route.READY, 200),
    (Route.READY, 503),
    (Route.OTHER, 404),
    (Route.INVALID, 400),
    (Route.INVALID, 431),
)


@dataclass
class WebStats:
    """Counts since the process began; written on the event loop only, safe to read from any thread.

    Every reason and every expected (route, status) pair is there from the start, at 0. Further pairs can
    appear, bounded by routes times the statuses this package answers with. Counts only grow; the one gauge
    is `open_connections`.
    """

    open_connections: int = 0
    accepted: int = 0
    closed: dict[CloseReason, int] = field(default_factory=lambda: dict.fromkeys(CloseReason, 0))
    requests: dict[tuple[Route, int], int] = field(
        default_factory=lambda: dict.fromkeys(_EXPECTED_ANSWERS, 0)
    )
    failures: dict[Route, int] = field(default_factory=lambda: dict.fromkeys(Route, 0))
    """Requests that ended in an exception of ours: answered 500 and logged."""
    loop_errors: int = 0
    """Exceptions that reached the event loop itself, and accepts that failed for want of file descriptors."""

    def answered(self, route: Route, status: int) -> None:
        """Count one answer."""
        key = (route, int(status))
        self.requests[key] = self.requests.get(key, 0) + 1
