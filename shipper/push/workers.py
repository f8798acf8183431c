"""The threads, for what takes its time: new connections, questions, long bodies, answers that say more."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from shipper.push.answer import Verdict, judge
from shipper.push.exchange import Exchange, judge_failure
from shipper.push.greeting import Greeted
from shipper.push.readiness import Readiness
from shipper.push.retry_after import retry_after_s


class Workers:
    """Take exchanges and end them, whatever happens. `wake` is called from a thread when one has ended."""

    def __init__(self, readiness: Readiness, wake: Callable[[], None]) -> None:
        self._readiness = readiness
        self._wake = wake
        self._waiting: queue.SimpleQueue[Exchange | None] = queue.SimpleQueue()
        self._ended: deque[Exchange] = deque()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closed = False

    def take(self, exchange: Exchange) -> None:
        """Hand it to a thread; a new one is started while all are busy."""
        self._busy += 1
        if self._busy > len(self._threads):
            thread = threading.Thread(target=self._work, name="push", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._waiting.put(exchange)

    def ended(self) -> list[Exchange]:
        """Return what has ended since the last call, each with its connection."""
        found = []
        while self._ended:
            found.append(self._ended.popleft())
        self._busy -= len(found)
        return found

    def close(self) -> None:
        """Let the threads go; what they carry is not waited for, its connection is closed when it ends."""
        self._closed = True
        for _ in self._threads:
            self._waiting.put(None)
        self._drop_ended()

    def _work(self) -> None:
        while (exchange := self._waiting.get()) is not None:
            self._end(exchange)
            del exchange  # and with it thousands of lines, which are settled long before the next comes
            # The other order would leave a connection open that ends while we are closed.
            if self._closed:
                self._drop_ended()
            else:
                self._wake()

    def _end(self, exchange: Exchange) -> None:
        connection = exchange.connection
        try:
            if connection is None:
                connection = exchange.connection = Greeted(exchange.way, self._readiness)
            exchange.end(_carry(exchange, connection), self._readiness)
        except Exception as error:  # noqa: BLE001 - a thread that dies would leave its stream in flight for ever
            if connection is not None:
                connection.close()
            exchange.end(judge_failure(error, self._readiness), self._readiness)
        self._ended.append(exchange)

    def _drop_ended(self) -> None:
        while self._ended:
            try:
                connection = self._ended.popleft().connection
            except IndexError:  # somebody else was quicker
                return
            if connection is not None:
                connection.close()


def _carry(exchange: Exchange, connection: Greeted) -> Verdict:
    body = exchange.made_body()
    headers = exchange.way.headers.current()
    if exchange.deadline_s is None:
        answer = connection.post(body, headers)
    elif exchange.begun is None:
        answer = connection.post_again(body, headers, exchange.deadline_s)
    else:
        answer = connection.finish(exchange.begun, body, headers, exchange.deadline_s)
    return judge(
        answer.status,
        answer.body.decode("utf-8", "replace"),
        retry_after_s=retry_after_s(answer.headers.get("Retry-After", ""), time.time()),
        location=answer.headers.get("Location", ""),
    )
