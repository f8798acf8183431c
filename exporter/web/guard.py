"""The shell around `ConnectionTable`: carries its decisions out on the event loop, with one timer for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Protocol

from exporter.web.connections import ConnectionTable, Limits, Phase
from exporter.web.stats import CloseReason, WebStats


class Connection(Protocol):
    """What the guard needs of a connection; `cut` and `finish` may call back into the guard."""

    def __hash__(self) -> int:
        """By identity, as any object that defines no equality."""

    def cut(self, reason: CloseReason) -> None:
        """Close at once, unsent bytes and all."""

    def finish(self, reason: CloseReason = CloseReason.SHUTDOWN) -> None:
        """Close as soon as nothing is owed any more."""


class Guard:
    """Knows every open connection of one server, cuts the overdue ones and keeps their number under the cap.

    Everything here runs on the event loop.
    """

    def __init__(self, limits: Limits, stats: WebStats, clock_s: Callable[[], float] | None = None) -> None:
        self.limits = limits
        self.stats = stats
        self.stopping = False
        self._clock_s = clock_s or (lambda: asyncio.get_running_loop().time())
        self._table: ConnectionTable[Connection] = ConnectionTable(limits)
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    def opened(self, connection: Connection, phase: Phase = Phase.HEADER) -> None:
        """Enter a connection, and close the longest-idle one if that is one too many."""
        self.stats.accepted += 1
        self._arm(self._table.open(connection, self._clock_s(), phase))
        self.stats.open_connections = len(self._table)
        if (victim := self._table.above_cap()) is not None:
            victim.cut(CloseReason.CONNECTION_LIMIT)
        if self.stopping:
            connection.finish()

    def moved(self, connection: Connection, phase: Phase) -> None:
        """Note the phase a connection is in now; a no-op unless it changed."""
        self._arm(self._table.move(connection, phase, self._clock_s()))

    def succeeded(self, old: Connection, new: Connection, phase: Phase) -> None:
        """Note that `new` has taken over from `old`, which is the same connection to its client."""
        self._arm(self._table.succeed(old, new, phase, self._clock_s()))

    def finish_all(self, reason: CloseReason) -> None:
        """Close every connection as soon as nothing is owed on it; new ones may come."""
        for connection in self._table.keys():  # noqa: SIM118 (a list of them: `finish` removes entries)
            connection.finish(reason)

    def closed(self, connection: Connection, reason: CloseReason) -> None:
        """Forget a connection; only the first call for it counts."""
        if not self._table.drop(connection):
            return
        self.stats.closed[reason] += 1
        self.stats.open_connections = len(self._table)
        if self.stopping and not len(self._table):
            self._empty.set()

    async def stop(self, *, at_once: asyncio.Event) -> int:
        """Close what is idle, wait for what is owed, cut the rest; returns how many had to be cut.

        Waits `limits.stop_s` at most, less if `at_once` is set meanwhile.
        """
        self.stopping = True
        self.finish_all(CloseReason.SHUTDOWN)
        if len(self._table):
            waits = [asyncio.ensure_future(event.wait()) for event in (self._empty, at_once)]
            await asyncio.wait(waits, timeout=self.limits.stop_s, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        left = self._table.keys()
        for connection in left:
            connection.cut(CloseReason.SHUTDOWN)
        if self._timer is not None:
            self._timer.cancel()
        return len(left)

    def _arm(self, deadline_s: float) -> None:
        """Make sure the timer fires by `deadline_s`; it may fire early, and then looks again."""
        if deadline_s == inf:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline_s:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline_s, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        for connection, reason in self._table.overdue(self._clock_s()):
            connection.cut(reason)
        self._arm(self._table.next_deadline_s())
