"""One HTTP connection: uvicorn's h11 protocol, plus what it lacks against slow, silent and rude clients.

Uvicorn 0.54 has no header time-out (its keep-alive timer is switched off by the first byte), no write
time-out, no body limit, drops the answer to a client that has closed its sending side, and raises inside the
event loop when a bad chunk follows an answer. All that is settled here; parsing and answering stay uvicorn's
and h11's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from exporter.web.connections import Phase
from exporter.web.guard import Guard
from exporter.web.stats import CloseReason, Route

DISCARD_LIMIT_BYTES = 1 << 20
"""What is read and thrown away after a refusal, so that the client gets to read it and not a reset."""


class GuardedProtocol(H11Protocol):
    """An `H11Protocol` that tells the guard its phase and obeys it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        guard: Guard,
        entered: Callable[[GuardedProtocol], None] | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._guard = guard
        self._entered = entered or guard.opened
        self._reason: CloseReason | None = None
        self._client_done = False
        self._discarding = False
        self._discarded_bytes = 0

    # What the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Enter the guard's table. With a high-water mark of 0, `pause_writing` means: some is unsent."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        self._entered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the guard's table."""
        super().connection_lost(exc)
        gone = CloseReason.CLIENT if exc is not None or self._client_done else CloseReason.ANSWERED
        self._guard.closed(self, self._reason or gone)

    def data_received(self, data: bytes) -> None:
        """Parse, or throw away. Of a body that comes before the answer, uvicorn reads 64 KiB and waits."""
        if not self._discarding:
            super().data_received(data)
            self._note_phase()
            return
        self._discarded_bytes += len(data)
        if self._discarded_bytes > DISCARD_LIMIT_BYTES:
            self.cut(CloseReason.UNWANTED_BODY)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio allows it, uvicorn never uses it
        """Keep the connection while an answer is owed: a half-closed client still reads."""
        self._client_done = True
        return True if self._owes_answer() else None

    def pause_writing(self) -> None:
        """Note that the client has not taken everything."""
        super().pause_writing()
        self._note_phase()

    def resume_writing(self) -> None:
        """Note that the client has taken everything."""
        super().resume_writing()
        self._note_phase()

    # What uvicorn calls

    def on_response_complete(self) -> None:
        """Go on to the next request, or close where there cannot be one."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the guard's deadlines cover this and more; see server.py
        if self.transport.is_closing():
            return
        if not self._owes_answer():  # there is no pipelined request
            if self._client_done:
                self.transport.close()
            elif self.conn.their_state is h11.SEND_BODY:
                self._discard_rest(CloseReason.UNWANTED_BODY)
        self._note_phase()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, by the status h11 suggests, and hang up."""
        error = sys.exc_info()[1]  # uvicorn calls this while handling h11's exception
        status = HTTPStatus(error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._guard.stats.answered(Route.INVALID, status)
            self._send_refusal(status, msg)
        if (cycle := self._cycle()) is not None:
            cycle.disconnected = True  # whatever the app still says goes nowhere
        self._discard_rest(CloseReason.BAD_REQUEST)

    def shutdown(self) -> None:
        """Do what the guard would ask for; our server asks the guard instead."""
        self.finish()

    # What the guard calls

    def cut(self, reason: CloseReason) -> None:
        """Close at once, unsent bytes and all."""
        self._reason = self._reason or reason
        self._guard.closed(self, self._reason)
        self.transport.abort()

    def finish(self, reason: CloseReason = CloseReason.SHUTDOWN) -> None:
        """Close as soon as the answer owed, if any, has been sent."""
        self._reason = self._reason or reason
        if self._owes_answer():
            self.cycle.keep_alive = False
        else:
            self.transport.close()  # still sends what is buffered

    # How it is done

    def _cycle(self) -> RequestResponseCycle | None:
        """Return the last request's cycle; there is none before the first, whatever uvicorn's types say."""
        return self.cycle

    def _owes_answer(self) -> bool:
        cycle = self._cycle()
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    def _note_phase(self) -> None:
        self._guard.moved(self, self._phase())

    def _phase(self) -> Phase:
        if self.flow.write_paused:
            return Phase.WRITING
        if self._discarding:
            return Phase.BODY
        if self._owes_answer():
            return Phase.SERVING
        if self._cycle() is None or self.conn.trailing_data[0]:
            return Phase.HEADER
        return Phase.IDLE

    def _send_refusal(self, status: HTTPStatus, text: str) -> None:
        body = text.encode("ascii") + b"\n"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        response = h11.Response(status_code=status, headers=headers, reason=status.phrase.encode())
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))

    def _discard_rest(self, reason: CloseReason) -> None:
        """Say that nothing follows, then read on for a while: closing now would reset what we just sent."""
        self._reason = self._reason or reason
        self._discarding = True
        if self._client_done or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()
            self.flow.resume_reading()
