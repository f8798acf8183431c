"""An endpoint with what its files hold, read again when they change."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from shipper.push.endpoint import Endpoint
from shipper.push.request import Requests
from shipper.push.reread import Reread
from shipper.push.tls import make_context
from shipper.state import Tell


class Way:
    """How pushes get to a Loki now. Raises `ValueError` at the start."""

    def __init__(self, endpoint: Endpoint, tell: Tell) -> None:
        def told(problem: str) -> None:
            tell(
                "credentials_not_read",
                level="warning",
                error=problem,
                consequence="what was read before stays in force",
            )

        self.endpoint = endpoint
        self.headers = Reread(endpoint.secret_files, self._make_headers, told)
        self._tls: Reread[ssl.SSLContext] | None = None
        if endpoint.url.startswith("https"):
            self._tls = Reread(endpoint.tls_files, lambda: make_context(*endpoint.tls_files), told)
        self._requests = Requests(endpoint)
        self._started: tuple[Mapping[str, str], bytes | None] = ({}, None)

    @property
    def version(self) -> int:
        """Changes when connections must be made anew."""
        if self._tls is None:
            return 0
        self._tls.current()
        return self._tls.version

    def context(self) -> ssl.SSLContext:
        """Return the TLS context to use now."""
        return make_context() if self._tls is None else self._tls.current()

    def start_of_push(self) -> bytes | None:
        """Return how a push begins now, up to the length of its body; None when it cannot be written.

        For one thread. Made once for each change of the headers.
        """
        headers = self.headers.current()
        of, started = self._started
        if of is not headers:
            try:
                started = self._requests.start_of_push(headers)
            except ValueError:
                started = None
            self._started = headers, started
        return started

    def _make_headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "tallyship-shipper"}
        if self.endpoint.use_gzip:
            headers["Content-Encoding"] = "gzip"
        return headers | self.endpoint.authorization()
