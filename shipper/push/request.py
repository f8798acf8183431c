"""The head of a request to an endpoint, as http.client writes it: to Loki itself or through a proxy. Pure."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from shipper.push.endpoint import Endpoint


class Requests:
    """What all requests to one endpoint have in common."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self.path = parts.path
        """Where pushes go."""
        self._netloc = parts.netloc
        through = endpoint.proxy if parts.scheme == "http" else None
        # A proxy is given the whole address of what is not encrypted; TLS goes through it in a tunnel.
        self._prefix = f"{parts.scheme}://{parts.netloc}" if through else ""
        self._extra = through.headers() if through else {}

    def head(self, method: str, path: str, headers: Mapping[str, str], length: int | None) -> bytes:
        """Return the head of a request with a body so long, or with none.

        Its last field is the length. Raises `ValueError` for what http.client does not send.
        """
        ending = {} if length is None else {"Content-Length": str(length)}
        written = _Written(self._netloc)
        written.request(method, self._prefix + path, headers={**headers, **self._extra, **ending})
        return written.head

    def start_of_push(self, headers: Mapping[str, str]) -> bytes:
        """Return the head of a push up to where the length of its body stands; raises as `head`."""
        return self.head("POST", self.path, headers, 0).removesuffix(b"0\r\n\r\n")


class _Written(http.client.HTTPConnection):
    """Keeps what it would send."""

    head = b""

    def send(self, data: bytes) -> None:  # type: ignore[override]
        self.head += data
