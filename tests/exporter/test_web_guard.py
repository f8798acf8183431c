from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from exporter.web.connections import Limits, Phase
from exporter.web.guard import Guard
from exporter.web.stats import CloseReason, WebStats


class Recorded:
    """A connection that notes what is asked of it, and closes when asked."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.asked: list[CloseReason | str] = []
        self.why: CloseReason | None = None

    def cut(self, reason: CloseReason) -> None:
        """Close at once."""
        self.asked.append(reason)
        self.guard.closed(self, reason)

    def finish(self, reason: CloseReason = CloseReason.SHUTDOWN) -> None:
        """Close when nothing is owed; here: when the test says so."""
        self.why = reason
        self.asked.append("finish")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on a loop; a timer that should not fire fails the test by its time-out."""
    asyncio.run(asyncio.wait_for(scenario, 10))


def test_a_connection_that_comes_while_stopping_is_asked_to_finish() -> None:
    """It was accepted a moment before the listener closed, and must not hold up the end."""

    async def scenario() -> None:
        guard = Guard(Limits(), WebStats())
        assert await guard.stop(at_once=asyncio.Event()) == 0
        late = Recorded(guard)
        guard.opened(late)

        assert late.asked == ["finish"]

    run(scenario())


def test_stopping_ends_with_the_last_connection() -> None:
    """No time-out is waited for once nobody is left."""

    async def scenario() -> None:
        guard = Guard(Limits(stop_s=1000), WebStats())
        busy = Recorded(guard)
        guard.opened(busy)
        guard.moved(busy, Phase.SERVING)
        stopping = asyncio.ensure_future(guard.stop(at_once=asyncio.Event()))
        await asyncio.sleep(0)
        guard.closed(busy, CloseReason.ANSWERED)

        assert await stopping == 0
        assert busy.asked == ["finish"]

    run(scenario())


def test_connections_are_asked_to_finish_for_a_reason() -> None:
    """When TLS is renewed all are asked, and new ones are welcome."""

    async def scenario() -> None:
        guard = Guard(Limits(), WebStats())
        before, after = Recorded(guard), Recorded(guard)
        guard.opened(before)
        guard.finish_all(CloseReason.TLS_RENEWED)
        guard.opened(after)

        assert (before.asked, before.why) == (["finish"], CloseReason.TLS_RENEWED)
        assert after.asked == []
        for connection in (before, after):
            guard.closed(connection, CloseReason.CLIENT)

    run(scenario())


def test_a_connection_is_counted_closed_once() -> None:
    """The first reason counts, whatever is reported later."""

    async def scenario() -> None:
        stats = WebStats()
        guard = Guard(Limits(), stats)
        connection = Recorded(guard)
        guard.opened(connection)
        connection.cut(CloseReason.IDLE_TIMEOUT)
        guard.closed(connection, CloseReason.CLIENT)

        assert (stats.accepted, stats.open_connections, sum(stats.closed.values())) == (1, 0, 1)
        assert stats.closed[CloseReason.IDLE_TIMEOUT] == 1

    run(scenario())
