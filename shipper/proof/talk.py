"""One connection for questions and pushes, outside of the shipper's own threads."""

from __future__ import annotations

import http.client
from dataclasses import replace
from urllib.parse import urlsplit

from shipper.proof.loki_query import HEADERS
from shipper.push import encode
from shipper.push.answer import Verdict, judge, no_answer
from shipper.push.connection import Connection
from shipper.push.endpoint import Endpoint
from shipper.push.tls import make_context

ANSWER_LIMIT_BYTES = 64 << 20
"""4 MiB of entries are more as JSON; no honest answer is longer than this."""
QUERY_TIMEOUT_S = 90.0
"""Longer than Loki's own `query_timeout` of a minute."""


class Talk:
    """Everything that the configuration says of the way to Loki holds here too."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = replace(endpoint, timeout_s=max(endpoint.timeout_s, QUERY_TIMEOUT_S))
        context = make_context(*endpoint.tls_files) if endpoint.url.startswith("https") else None
        self._connection = Connection(self._endpoint, lambda: context or make_context())
        self._prefix = urlsplit(endpoint.base_url).path.rstrip("/")

    def fetch(self, path: str) -> tuple[int, bytes]:
        """Ask; raises `OSError` or `HTTPException`."""
        headers = {"User-Agent": "tallyship-shipper", **HEADERS, **self._endpoint.authorization()}
        try:
            answer = self._connection.ask("GET", self._prefix + path, headers, limit_bytes=ANSWER_LIMIT_BYTES)
        except BaseException:
            self._connection.close()
            raise
        return answer.status, answer.body

    def post(self, body: bytes) -> Verdict:
        """Push; never raises for what Loki or the network does."""
        headers = {"Content-Type": "application/json", "User-Agent": "tallyship-shipper"}
        if self._endpoint.use_gzip:
            body = encode.gzip(body)
            headers["Content-Encoding"] = "gzip"
        try:
            answer = self._connection.post(body, headers | self._endpoint.authorization())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            slow = isinstance(error, TimeoutError)
            return no_answer(timed_out=slow, detail=f"{type(error).__name__}: {error}")
        return judge(answer.status, answer.body.decode("utf-8", "replace"))

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()
