"""Carries pushes over HTTP: a few threads, keep-alive, one answer for each push whatever happens."""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from shipper.push import encode
from shipper.push.answer import Action, Verdict, judge, no_answer, not_ready
from shipper.push.endpoint import Endpoint
from shipper.push.greeting import Greeted, NotReadyError
from shipper.push.readiness import Readiness
from shipper.push.reread import Reread
from shipper.push.retry_after import retry_after_s
from shipper.push.tls import make_context
from shipper.sending.transport import Answered, Push
from shipper.state import Tell

THREADS = 16


class Way:
    """An endpoint with what its files hold, read again when they change. Raises `ValueError` at the start."""

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

    def _make_headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "tallyship-shipper"}
        if self.endpoint.use_gzip:
            headers["Content-Encoding"] = "gzip"
        return headers | self.endpoint.authorization()


class Client:
    """A `Transport`. `wake` is called from a thread whenever an answer is there."""

    def __init__(self, way: Way, wake: Callable[[], None], threads: int = THREADS) -> None:
        self._way = way
        self._readiness = Readiness(time.monotonic)
        self._wake = wake
        self._waiting: queue.SimpleQueue[Push | None] = queue.SimpleQueue()
        self._ended: deque[Answered] = deque()
        self._threads: list[threading.Thread] = []
        self._max_threads = threads
        self._flying = 0

    def trust(self) -> None:
        """Wait for no young Loki before something has failed: until then nothing is a repeat."""
        self._readiness.trust()

    def go(self, way: Way) -> None:
        """Send what is not on its way yet along another way."""
        self._way = way

    def submit(self, push: Push) -> None:
        """Hand a push to a thread; a new one is started while all are busy."""
        self._flying += 1
        if self._flying > len(self._threads) and len(self._threads) < self._max_threads:
            thread = threading.Thread(target=self._work, name="push", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._waiting.put(push)

    def answers(self) -> Iterable[Answered]:
        """Return what has ended."""
        ended = self._ended
        found = []
        while ended:
            found.append(ended.popleft())
        self._flying -= len(found)
        return found

    def close(self) -> None:
        """Let the threads go; a request in flight is not waited for."""
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        way: Way | None = None
        version = 0
        connection: Greeted | None = None
        while (push := self._waiting.get()) is not None:
            started = time.perf_counter()
            if connection is None or way is not self._way or version != way.version:
                if connection is not None:
                    connection.close()
                way = self._way
                version = way.version
                connection = Greeted(way.endpoint, way.context, self._readiness)
            body = push.batch.body
            if way.endpoint.use_gzip:
                body = encode.gzip(body)
            verdict = _post(connection, body, way, self._readiness)
            if verdict.action is Action.REPEAT:
                self._readiness.doubt()
            self._ended.append(Answered(push, verdict, time.perf_counter() - started, len(body)))
            self._wake()
        if connection is not None:
            connection.close()


def _post(connection: Greeted, body: bytes, way: Way, readiness: Readiness) -> Verdict:
    try:
        answer = connection.post(body, way.headers.current())
    except NotReadyError as error:
        return not_ready(str(error))
    except TimeoutError as error:
        connection.close()
        return no_answer(timed_out=True, detail=_plain(error))
    except ConnectionRefusedError as error:
        readiness.unreachable()
        connection.close()
        return no_answer(timed_out=False, detail=_plain(error))
    except Exception as error:  # noqa: BLE001 - a thread that dies would leave its stream in flight for ever
        connection.close()
        return no_answer(timed_out=False, detail=_plain(error))
    return judge(
        answer.status,
        answer.body.decode("utf-8", "replace"),
        retry_after_s=retry_after_s(answer.headers.get("Retry-After", ""), time.time()),
        location=answer.headers.get("Location", ""),
    )


def _plain(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
