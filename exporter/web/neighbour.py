"""Who has the port that we want: asked over HTTP, bounded in time and bytes, told as one sentence."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from enum import Enum

from exporter.web.listen import Address, BindFailed
from exporter.web.tls import PLAIN_HTTP_ANSWER

ANSWER_LIMIT_BYTES = 64 * 1024
_REALM = b'realm="tallyship-exporter"'
_REQUEST = "GET /health HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n\r\n"


class Neighbour(Enum):
    """Who answered, as a sentence that goes on from "the port is taken"."""

    LOKI_DASHBOARD = "by Loki Mode's own dashboard"
    EXPORTER = "by another tallyship exporter"
    HTTP_SERVER = "by some other web server"
    UNKNOWN = "by a program that does not answer HTTP"


def ask(address: Address, timeout_s: float = 1.0, clock_s: Callable[[], float] = time.monotonic) -> Neighbour:
    """Ask whoever listens at `address` for `/health`; takes `timeout_s` at most, whatever is there.

    Loki Mode v5's dashboard answers `{"status": "healthy", "service": "loki-dashboard"}`.
    """
    return recognise(hear(address, timeout_s, clock_s))


def hear(address: Address, timeout_s: float, clock_s: Callable[[], float] = time.monotonic) -> bytes:
    """Return what whoever listens at `address` answers to `/health`, for `recognise` and `wants_tls`."""
    return _fetch(address, clock_s() + timeout_s, clock_s)


def recognise(answer: bytes) -> Neighbour:
    """Return whose answer this is; `answer` holds status line, header and body, possibly cut short.

    An exporter with TLS, or with users, is known by how it refuses who has neither.
    """
    if wants_tls(answer):
        return Neighbour.EXPORTER
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/"):
        return Neighbour.UNKNOWN
    if head.partition(b" ")[2].startswith(b"401 ") and _REALM in head:
        return Neighbour.EXPORTER
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        report = None
    if isinstance(report, dict):
        if report.get("service") == "loki-dashboard":
            return Neighbour.LOKI_DASHBOARD
        if report.get("component") == "exporter" and "checks" in report:
            return Neighbour.EXPORTER
    return Neighbour.HTTP_SERVER


def wants_tls(answer: bytes) -> bool:
    """Whether this is what an exporter with TLS says to somebody without it."""
    return answer == PLAIN_HTTP_ANSWER


def explain(failed: BindFailed, neighbour: Neighbour | None, flag: str = "--web.listen-address") -> str:
    """Return the one line to end with: what failed, because of whom, and the flag that mends it."""
    taken = f", taken {neighbour.value}" if neighbour is not None else ""
    mend = f"choose another address with {flag} HOST:PORT"
    return f"cannot listen on {failed.address}: {failed.reason}{taken}; {mend}"


def _fetch(address: Address, deadline_s: float, clock_s: Callable[[], float]) -> bytes:
    """Return what comes back until the end, the limit or the deadline; empty when nothing does."""
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (what to ask, not to bind)
    target = Address(loopback.get(address.host, address.host), address.port)
    received = b""
    try:
        timeout_s = max(deadline_s - clock_s(), 0.001)
        with socket.create_connection((target.host, target.port), timeout_s) as sock:
            sock.sendall(_REQUEST.format(target).encode())
            while len(received) < ANSWER_LIMIT_BYTES and (left_s := deadline_s - clock_s()) > 0:
                sock.settimeout(left_s)
                chunk = sock.recv(ANSWER_LIMIT_BYTES)
                if not chunk:
                    break
                received += chunk
    except (OSError, UnicodeError):
        return received  # nothing more comes; what has come is the answer
    return received
