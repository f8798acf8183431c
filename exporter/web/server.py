"""Runs the app on a listening socket until SIGTERM or SIGINT: uvicorn's server with our guard in it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import uvicorn

from exporter.logs import RepeatLimiter, log_event
from exporter.web.asgi import App
from exporter.web.connections import Limits
from exporter.web.guard import Guard
from exporter.web.listen import Listener
from exporter.web.protocol import GuardedProtocol
from exporter.web.stats import CloseReason, WebStats
from exporter.web.tls import TlsConnection
from exporter.web.tls_context import Tls

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_ACCEPT_TURNS = 3
"""Turns of the event loop that asyncio takes from accepting a connection to telling its protocol."""

_log = logging.getLogger(__name__)


class TlsSource(Protocol):
    """Where the server gets certificates from, anew for each connection."""

    def tls(self) -> Tls:
        """Return what to use now."""

    def on_renewed_tls(self, renewed: Callable[[], None]) -> None:
        """Have a function called, from any thread, when connections should be made anew."""


def serve(
    app: App,
    listener: Listener,
    *,
    limits: Limits | None = None,
    tls: TlsSource | None = None,
    on_started: Callable[[Callable[[], None]], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then return normally within `limits.stop_s` and a bit.

    On the way out idle connections are closed at once, requests in flight are answered, and what is left
    after `limits.stop_s`, or at a second signal, is cut. `on_started` is called on the event loop as soon as
    requests are answered, with a function that stops the server from any thread; `on_stopping` when stopping
    begins. Neither may block. Signals are handled only when this runs in the main thread. Counts are in
    `app.stats`. With `tls`, TLS is all that is spoken; when it is renewed, connections made before are closed
    as soon as their answers are out, so that a certificate which is no longer good stops being used.
    """
    asyncio.run(_serve(app, listener.sock, limits or Limits(), tls, _Hooks(on_started, on_stopping)))


class _Hooks(NamedTuple):
    on_started: Callable[[Callable[[], None]], None] | None
    on_stopping: Callable[[], None] | None


async def _serve(
    app: App,
    sock: socket.socket,
    limits: Limits,
    tls: TlsSource | None,
    hooks: _Hooks,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_LoopErrors(app.stats).handle)
    guard = Guard(limits, app.stats)
    if tls is not None:
        tls.on_renewed_tls(lambda: _soon(loop, guard.finish_all, CloseReason.TLS_RENEWED))
    config = uvicorn.Config(
        cast("Any", app),
        http=cast("Any", partial(_connection, guard, tls)),
        interface="asgi3",
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL + 1,  # what matters of uvicorn's log is counted or logged by us
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=limits.accept_batch,
        timeout_keep_alive=0,  # the protocol cancels this timer; should that fail, 0 shows it in any test
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    try:
        await _Server(config, guard, hooks).serve([sock])
    finally:
        app.close()


class _Server(uvicorn.Server):
    """Uvicorn's server without its ten ticks a second, its re-raised signals and its polling shutdown."""

    def __init__(
        self,
        config: uvicorn.Config,
        guard: Guard,
        hooks: _Hooks,
    ) -> None:
        super().__init__(config)
        self._guard = guard
        self._hooks = hooks
        self._stop = asyncio.Event()
        self._stop_at_once = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal, at once at the second."""
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, in small batches; the kernel's queue is made long again afterwards."""
        await super().startup(sockets)
        for sock in sockets or ():
            sock.listen(self._guard.limits.accept_queue)
        if self._hooks.on_started is not None:
            loop = asyncio.get_running_loop()
            self._hooks.on_started(lambda: _soon(loop, self._stop.set))

    async def main_loop(self) -> None:
        """Wait for the signal."""
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, then let the guard see everybody out."""
        if self._hooks.on_stopping is not None:
            self._hooks.on_stopping()
        loop = asyncio.get_running_loop()
        for sock in sockets or ():
            loop.remove_reader(sock)
        # Connections that were accepted but have no protocol yet get one now: asyncio drops them without
        # closing them when their server is closed first.
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        cut = await self._guard.stop(at_once=self._stop_at_once)
        if cut:
            log_event(
                _log, logging.WARNING, "connections cut", count=cut, consequence="their answers are lost"
            )
        await asyncio.sleep(0)  # the loop closes the sockets one turn later

    def _on_signal(self, number: int) -> None:
        if self._stop.is_set():
            self._stop_at_once.set()
        else:
            log_event(_log, logging.INFO, "stopping", signal=signal.Signals(number).name)
        self._stop.set()


def _connection(guard: Guard, tls: TlsSource | None, **uvicorns: Any) -> asyncio.Protocol:
    """Return what speaks on a new connection."""
    make_http = partial(GuardedProtocol, guard=guard, **uvicorns)
    return make_http() if tls is None else TlsConnection(tls.tls(), make_http, guard)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    """Make a call on the loop, from any thread."""
    with suppress(RuntimeError):  # the loop is closed: it has stopped already
        loop.call_soon_threadsafe(call, *arguments)


class _LoopErrors:
    """The boundary around the event loop's own callbacks: counts, and logs once in a while."""

    def __init__(self, stats: WebStats) -> None:
        self._stats = stats
        self._repeats = RepeatLimiter()

    def handle(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._stats.loop_errors += 1
        held_back = self._repeats.admit(context.get("message"))
        if held_back is not None:
            log_event(
                _log,
                logging.ERROR,
                "event loop error",
                message=context.get("message"),
                error=repr(context.get("exception")),
                repeats=held_back,
                consequence="one connection may have been closed, or none accepted for a second",
            )
