"""TLS on one connection: moves bytes between socket and OpenSSL, the handshake being a phase like any other.

Why not asyncio's own TLS: it shows a connection to nobody until its handshake is done, so that those who
never finish one escape cap and deadlines; it sets 256 KiB aside for each connection; and it hides whether the
client has taken its answer. The protocol is OpenSSL's either way, through the `ssl` module.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from exporter.web.connections import Phase
from exporter.web.guard import Guard
from exporter.web.protocol import GuardedProtocol
from exporter.web.stats import CloseReason
from exporter.web.tls_context import Tls

_READ_BYTES = 16 * 1024
"""A TLS record holds no more."""
_WRITE_BYTES = 64 * 1024
PLAIN_HTTP_ANSWER = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    b"This port speaks TLS: ask for https://...\n"
)
"""What somebody gets who speaks plain HTTP to a port with TLS; a neighbour knows us by it."""


class TlsConnection(asyncio.Protocol):
    """Stands between the socket and the HTTP protocol, which is made when the handshake is done."""

    def __init__(self, tls: Tls, make_http: Callable[..., GuardedProtocol], guard: Guard) -> None:
        self.raw: asyncio.Transport
        self.tls = tls
        self._make_http = make_http
        self._guard = guard
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = tls.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._http: GuardedProtocol | None = None
        self._reason: CloseReason | None = None
        self._reading_paused = False
        self._said_goodbye = False
        self._client_done = False

    # What the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP is one
        """Enter the guard's table before the client has said a word."""
        self.raw = transport
        self._guard.opened(self, Phase.HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        """Decrypt; after a goodbye only count: what is thrown away need not be read."""
        if self._http is not None and self._said_goodbye:
            self._http.data_received(data)
            return
        if self._client_done:
            return  # after its goodbye a client has nothing to say
        self._incoming.write(data)
        if self._http is None:
            self._shake_hands()
        self._deliver()

    def eof_received(self) -> bool | None:
        """Keep the connection while an answer is owed, though many who close like this do not read it."""
        self._end_of_client()
        return self._http is not None and not self.raw.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the guard's table, or let the HTTP protocol do so."""
        http, self._http = self._http, None  # no cycle, so that OpenSSL's memory goes at once
        if http is None:
            self._guard.closed(self, self._reason or CloseReason.CLIENT)
        else:
            http.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client has not taken everything."""
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client has taken everything."""
        if self._http is not None:
            self._http.resume_writing()

    # What the guard calls, during the handshake only

    def cut(self, reason: CloseReason) -> None:
        """Close at once."""
        self._reason = self._reason or reason
        self._guard.closed(self, self._reason)
        self.raw.abort()

    def finish(self, reason: CloseReason = CloseReason.SHUTDOWN) -> None:
        """Close at once: nothing is owed before the first request."""
        self.cut(reason)

    # What the HTTP protocol calls, through its transport

    def write(self, data: bytes) -> None:
        """Encrypt and send, in pieces, so that a large page is not held three times."""
        if self.raw.is_closing() or self._said_goodbye:
            return
        view = memoryview(data)
        try:
            for start in range(0, len(view), _WRITE_BYTES):
                self.ssl_object.write(view[start : start + _WRITE_BYTES])
                self._flush()
        except ssl.SSLError:  # the client's last record was an alert, or nonsense
            self.raw.abort()

    def say_goodbye(self) -> None:
        """Tell the client that nothing follows."""
        if not self._said_goodbye:
            self._said_goodbye = True
            with suppress(ssl.SSLError):  # it wants the client's goodbye too, which we do not wait for
                self.ssl_object.unwrap()
            self._flush()

    def pause_reading(self) -> None:
        """Deliver nothing more for now."""
        self._reading_paused = True
        self.raw.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, soon: the caller may be in the middle of something."""
        self.raw.resume_reading()
        if self._reading_paused:
            self._reading_paused = False
            asyncio.get_running_loop().call_soon(self._deliver)

    # How it is done

    def _shake_hands(self) -> None:
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert, which tells the client what was wrong
            if error.reason == "HTTP_REQUEST":
                self.raw.write(PLAIN_HTTP_ANSWER)
            self._give_up()
            return
        if not _has_one_of(self.ssl_object.getpeercert(), self.tls.allowed_sans):
            self._give_up()
            return
        self._flush()
        self._http = self._make_http(entered=self._succeeded)
        self._http.connection_made(_TlsTransport(self))

    def _succeeded(self, http: GuardedProtocol) -> None:
        self._guard.succeeded(self, http, Phase.HEADER)

    def _give_up(self) -> None:
        """Close once the last word is out; if the client does not take it, the handshake's deadline does."""
        self._reason = self._reason or CloseReason.HANDSHAKE_FAILED
        self.raw.close()

    def _deliver(self) -> None:
        http = self._http
        while http is not None and not (
            self._reading_paused or self._said_goodbye or self._client_done or self.raw.is_closing()
        ):
            try:
                chunk = self.ssl_object.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                self._flush()  # the alert
                http.cut(CloseReason.BAD_REQUEST)
                return
            if not chunk:
                self._end_of_client()
                return
            http.data_received(chunk)
        self._flush()

    def _end_of_client(self) -> None:
        if self._client_done:
            return
        self._client_done = True
        if self._http is not None and not self._http.eof_received():
            self.say_goodbye()
            self.raw.close()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self.raw.is_closing():
            self.raw.write(data)


class _TlsTransport(asyncio.Transport):
    """What the HTTP protocol takes for its socket."""

    def __init__(self, connection: TlsConnection) -> None:
        super().__init__()
        self._connection = connection
        self._raw = connection.raw

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return self._connection.tls.context
        if name == "ssl_object":
            return self._connection.ssl_object
        return self._raw.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._connection.write(bytes(data))

    def write_eof(self) -> None:
        self._connection.say_goodbye()
        self._raw.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._raw.is_closing():
            self._connection.say_goodbye()
            self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        self._connection.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()


def _has_one_of(certificate: Any, allowed: frozenset[str] | None) -> bool:
    """Whether the certificate, verified and as `getpeercert` gives it, has a name that is asked for."""
    if allowed is None:
        return True
    names = (certificate or {}).get("subjectAltName", ())
    return any(_canonical(kind, value) in allowed for kind, value in names)


def _canonical(kind: str, value: str) -> str:
    """Return an IP address as Go writes it; `ssl` writes all eight groups of IPv6 in capitals."""
    if kind != "IP Address":
        return value
    with suppress(ValueError):
        return str(ipaddress.ip_address(value.strip()))
    return value
