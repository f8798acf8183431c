"""A server with a web configuration in a thread of the test process, and clients for it."""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certificates import authority
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from web_client import PATIENCE_S, connect

from exporter.web.asgi import App, build_app
from exporter.web.connections import Limits
from exporter.web.listen import Address, Listener, bind
from exporter.web.protection import WebConfigFile
from exporter.web.server import serve
from exporter.webprotection import make_doorman
from shared.healthcheck import Report


@dataclass
class Source:
    """A registry with a page of a wanted size, behind a gate."""

    page_bytes: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    collecting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge, with a label that makes the page as large as wanted."""
        self.collecting.release()
        self.gate.wait(PATIENCE_S)
        family = GaugeMetricFamily("sample", "A sample.", labels=["padding"])
        family.add_metric(["x" * self.page_bytes], 1)
        yield family


@dataclass
class TlsServer:
    """A running server; its files are in `folder`."""

    app: App
    file: WebConfigFile
    listener: Listener
    source: Source
    folder: Path
    stop: Callable[[], None]
    clients: ExitStack

    @property
    def port(self) -> int:
        """The port it got."""
        return self.listener.address.port

    def connect(self, send: bytes = b"", **options: int) -> socket.socket:
        """Open a TCP connection that is closed with the test, and send."""
        return connect(self.clients, self.port, send, **options)

    def shake(
        self, context: ssl.SSLContext | None = None, send: bytes = b"", **options: int
    ) -> ssl.SSLSocket:
        """Open a TLS connection that is closed with the test, and send."""
        context = context or authority().trusted()
        client = context.wrap_socket(self.connect(**options), server_hostname="localhost")
        self.clients.enter_context(client)
        client.sendall(send)
        return client

    def half(self) -> socket.socket:
        """Open a connection that says hello in TLS and then nothing more."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = authority().trusted().wrap_bio(incoming, outgoing, server_hostname="localhost")
        try:
            hello.do_handshake()
        except ssl.SSLWantReadError:
            return self.connect(outgoing.read())
        raise AssertionError

    def get(
        self, path: str = "/metrics", *, context: ssl.SSLContext | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """Ask over a connection of its own and read the answer."""
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=PATIENCE_S, context=context or authority().trusted()
        )
        self.clients.callback(connection.close)
        connection.request("GET", path, headers=headers)
        return connection.getresponse()

    def settle(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that happens in the server's thread."""
        deadline_s = time.monotonic() + PATIENCE_S
        waiting = threading.Event()
        while not is_so():
            assert time.monotonic() < deadline_s
            waiting.wait(0.002)


def begin(stack: ExitStack, folder: Path, text: str, page_bytes: int = 0, **limits: Any) -> TlsServer:
    """Start a server with this web configuration; it ends with the stack, and must have met no error."""
    authority().write(folder)
    (folder / "web.yml").write_text(text, "utf-8")
    file = WebConfigFile(str(folder / "web.yml"))
    assert file.load() is None
    source = Source(page_bytes)
    source.gate.set()
    chosen = replace(Limits(), **limits)
    app = build_app(
        source,
        health=lambda: Report("exporter", ()),
        version="1",
        limits=chosen,
        doorman=make_doorman(file),
        extra_headers=lambda: file.current.headers,
    )
    listener = bind(Address("127.0.0.1", 0))
    assert isinstance(listener, Listener)
    started: queue.Queue[Callable[[], None]] = queue.Queue()
    tls = None if file.current.tls is None else file
    thread = threading.Thread(
        target=serve, args=(app, listener), kwargs={"limits": chosen, "tls": tls, "on_started": started.put}
    )
    thread.start()
    stop = started.get(timeout=PATIENCE_S)
    server = TlsServer(app, file, listener, source, folder, stop, ExitStack())

    def end() -> None:
        source.gate.set()
        server.clients.close()
        stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert app.stats.open_connections == 0
        assert app.stats.loop_errors == 0
        assert app.stats.accepted == sum(app.stats.closed.values())

    stack.callback(end)
    return server
