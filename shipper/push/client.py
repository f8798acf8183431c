"""Carries pushes over HTTP, keep-alive, one answer for each push whatever happens.

The loop's own thread sends and reads where a connection is there and nothing is special; threads do the rest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from shipper.push.exchange import Exchange
from shipper.push.flights import Flights
from shipper.push.readiness import Readiness
from shipper.push.way import Way
from shipper.push.workers import Workers
from shipper.sending.transport import Answered, Push

AT_ONCE = 16
"""So many pushes are under way at most, and there are no more connections than that."""
_LONG_BODY_BYTES = 4 << 20
"""To compress more than this would hold the loop."""


class Client:
    """A `Transport`. `wake` is called, also from threads, when an answer is there.

    What `fileno` returns is readable when `answers` has something to do.
    """

    def __init__(
        self,
        way: Way,
        wake: Callable[[], None],
        at_once: int = AT_ONCE,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._way = way
        self._wake = wake
        self._at_once = at_once
        self._readiness = Readiness(monotonic)
        self._flights = Flights(self._readiness, monotonic)
        self._workers = Workers(self._readiness, wake)
        self._backlog: deque[Push] = deque()
        self._ended: list[Exchange] = []
        self._under_way = 0

    def fileno(self) -> int:
        """Return the descriptor to sleep on."""
        return self._flights.fileno()

    def trust(self) -> None:
        """Wait for no young Loki before something has failed: until then nothing is a repeat."""
        self._readiness.trust()

    def go(self, way: Way) -> None:
        """Send what is not on its way yet along another way."""
        self._way = way
        self._flights.close_idle()

    def submit(self, push: Push) -> None:
        """Send it, or have it sent; where too many are under way it waits for one of them."""
        self._backlog.append(push)
        self._start_some()

    def answers(self) -> Iterable[Answered]:
        """Return what has ended; those that wait for one of them start. Must be called once in a while."""
        for exchange in self._flights.turn():
            self._sort(exchange)
        ended = self._ended + self._workers.ended()
        self._ended = []
        for exchange in ended:
            self._under_way -= 1
            self._keep(exchange)
        self._start_some()
        return [exchange.answered() for exchange in ended]

    def close(self) -> None:
        """Close what is idle or in the loop's hands; threads are not waited for."""
        self._backlog.clear()
        self._flights.close()
        self._workers.close()

    def _start_some(self) -> None:
        while self._backlog and self._under_way < self._at_once:
            self._under_way += 1
            self._start(self._backlog.popleft())

    def _start(self, push: Push) -> None:
        way = self._way
        connection = self._flights.take()
        if connection is not None and not connection.leads(way):
            # All that is idle is as old, or older.
            connection.close()
            self._flights.close_idle()
            connection = None
        exchange = Exchange(push, way, connection)
        head = way.start_of_push() if len(push.batch.body) <= _LONG_BODY_BYTES else None
        if connection is None or head is None or not connection.is_sure:
            self._workers.take(exchange)
        elif not self._flights.start(exchange, connection, head):
            self._sort(exchange)
            if self._ended:
                self._wake()

    def _sort(self, exchange: Exchange) -> None:
        """Put what the loop does not carry any more to where it belongs."""
        if exchange.verdict is None:
            self._workers.take(exchange)
        else:
            self._ended.append(exchange)

    def _keep(self, exchange: Exchange) -> None:
        connection = exchange.connection
        if connection is None:
            return
        if connection.leads(self._way):
            self._flights.keep(connection)
        else:
            connection.close()
