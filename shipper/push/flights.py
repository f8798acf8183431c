"""Pushes that need no thread: sent by the loop over an idle connection, and read when the answer is there.

What is not as simple as that (another answer than a plain 204, a connection that was closed) is given back,
for a thread. Handing each push to one costs more than the push: a millisecond of CPU on two cores.
"""

from __future__ import annotations

import select
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus

from shipper.push.acknowledged import is_acknowledged
from shipper.push.answer import judge
from shipper.push.connection import IDLE_ENDS, allowed_s
from shipper.push.exchange import Exchange, judge_failure
from shipper.push.greeting import Greeted
from shipper.push.readiness import Readiness

_ANSWER_BYTES = 16 * 1024
"""As many as a record of TLS holds: what is left is the kernel's, and epoll tells of it."""
_ACKNOWLEDGED = judge(HTTPStatus.NO_CONTENT, "")


class Flights:
    """Idle connections, and those with a push on them. Never blocks. One owner, the loop."""

    def __init__(self, readiness: Readiness, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._readiness = readiness
        self._monotonic = monotonic
        self._epoll = select.epoll()
        self._idle: dict[int, Greeted] = {}
        """By descriptor; the one that was used last is the last."""
        self._flying: dict[int, _Flight] = {}

    def fileno(self) -> int:
        """Return what becomes readable when `turn` has something to do."""
        return self._epoll.fileno()

    def keep(self, connection: Greeted) -> None:
        """Take a connection that nobody uses; one that cannot be used again is closed."""
        sock = connection.sock
        if sock is None:
            self._drop(connection)
            return
        sock.setblocking(False)
        self._epoll.register(sock, select.EPOLLIN)
        self._idle[sock.fileno()] = connection

    def take(self) -> Greeted | None:
        """Return the idle connection that was used last, which is kept here no more."""
        if not self._idle:
            return None
        fd, connection = self._idle.popitem()
        self._epoll.unregister(fd)
        return connection

    def start(self, exchange: Exchange, connection: Greeted, head: bytes) -> bool:
        """Send a push over a connection that was taken, as much of it as goes at once.

        False: it has left our hands again, as those that `turn` returns.
        """
        body = exchange.made_body()
        exchange.deadline_s = self._monotonic() + allowed_s(exchange.way.endpoint, len(body))
        flight = _Flight(exchange, connection, b"%b%d\r\n\r\n%b" % (head, len(body), body), self._readiness)
        if flight.advance():
            return False
        self._epoll.register(flight.sock, flight.waits_for)
        self._flying[flight.sock.fileno()] = flight
        return True

    def turn(self) -> list[Exchange]:
        """Return what has left the loop's hands since: with a verdict, or without one, for a thread."""
        if not self._idle and not self._flying:
            return []
        left = []
        for fd, _ in self._epoll.poll(0):
            flight = self._flying.get(fd)
            if flight is None:
                self._look_at_idle(fd)
                continue
            # Now: it may be closed in a moment.
            self._epoll.unregister(fd)
            if flight.advance():
                left.append(self._flying.pop(fd).exchange)
            else:
                self._epoll.register(fd, flight.waits_for)
        if self._flying:
            now_s = self._monotonic()
            for fd in [fd for fd, flight in self._flying.items() if flight.deadline_s <= now_s]:
                flight = self._flying.pop(fd)
                self._epoll.unregister(fd)
                flight.fail(TimeoutError("not over in time"))
                left.append(flight.exchange)
        return left

    def close_idle(self) -> None:
        """Close what nobody uses."""
        while (connection := self.take()) is not None:
            connection.close()

    def close(self) -> None:
        """Close all; what is on its way has no end."""
        self.close_idle()
        for flight in self._flying.values():
            flight.close()
        self._flying.clear()
        self._epoll.close()

    def _look_at_idle(self, fd: int) -> None:
        """See what has come on an idle connection: its end, or what TLS says without being asked."""
        connection = self._idle[fd]
        sock = connection.sock
        try:
            if sock is not None:
                sock.recv(_ANSWER_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            pass
        # Bytes that nobody asked for would be taken for the next answer.
        del self._idle[fd]
        self._epoll.unregister(fd)
        self._drop(connection)

    def _drop(self, connection: Greeted) -> None:
        connection.close()
        self._readiness.distrust()


class _Flight:
    """One push on its connection."""

    def __init__(self, exchange: Exchange, connection: Greeted, request: bytes, readiness: Readiness) -> None:
        sock = connection.sock
        assert sock is not None  # noqa: S101 - only open connections are kept
        self.exchange = exchange
        self.sock = sock
        self.deadline_s = exchange.deadline_s or 0.0
        self.waits_for = select.EPOLLIN
        self._connection = connection
        self._readiness = readiness
        self._unsent = memoryview(request)
        self._sending = True

    def advance(self) -> bool:
        """Do what can be done now; True when it is no longer ours, with a verdict or without one."""
        try:
            return self._go_on()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            # TLS may have to read before it can send, and the other way round.
            writes = isinstance(error, ssl.SSLWantWriteError) or (
                self._sending and isinstance(error, BlockingIOError)
            )
            self.waits_for = select.EPOLLOUT if writes else select.EPOLLIN
            return False
        except IDLE_ENDS:
            # Closed while it was idle, as it seems: a thread sends the push once more.
            return True
        except Exception as error:  # noqa: BLE001 - else its stream would be in flight for ever
            self.fail(error)
            return True

    def fail(self, error: Exception) -> None:
        """End it without an answer."""
        self.close()
        self.exchange.end(judge_failure(error, self._readiness), self._readiness)

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _go_on(self) -> bool:
        if self._sending:
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
            self._sending = False
            self._unsent = memoryview(b"")  # what was sent leaves memory
            self.waits_for = select.EPOLLIN
            return False
        answer = self.sock.recv(_ANSWER_BYTES)
        if is_acknowledged(answer):
            self.exchange.end(_ACKNOWLEDGED, self._readiness)
        else:
            self.exchange.begun = answer
        return True
