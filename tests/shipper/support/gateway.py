"""What stands before a Loki: a scripted server, with or without TLS, and a proxy; both on loopback."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import NamedTuple

from certificates import Authority, authority

ACK = b"HTTP/1.1 204 No Content\r\n\r\n"
READY = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n"


class Asked(NamedTuple):
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class Gateway:
    """Answers each request with the bytes that `answer` returns; None: the connection is closed."""

    def __init__(
        self,
        answer: Callable[[Asked], bytes | None] = lambda _asked: ACK,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.context = context
        self.asked: list[Asked] = []
        self.connections = 0
        self.common_names: list[str] = []
        """Who came with a certificate."""
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop; all connections end."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """End all connections, as an idle server does."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client:
            self._open.append(client)
            sock = client
            if self.context is not None:
                sock = self.context.wrap_socket(client, server_side=True)
                self.common_names += _names(sock)
            with sock, sock.makefile("rb") as lines:
                self.talk(sock, lines)

    def talk(self, sock: socket.socket, lines: object) -> None:
        """Answer the requests of one connection."""
        while (asked := read_request(lines)) is not None:
            if asked.line.endswith("/ready HTTP/1.1"):
                sock.sendall(READY)
                continue
            self.asked.append(asked)
            answer = self.answer(asked)
            if answer is None:
                return
            sock.sendall(answer)


class Proxy(Gateway):
    """Takes CONNECT for any name and leads to one port; `wants` is the credential that it asks for."""

    def __init__(self, port: int, wants: str = "") -> None:
        self._port = port
        self._wants = wants
        super().__init__()

    def talk(self, sock: socket.socket, lines: object) -> None:
        """Open the tunnel."""
        asked = read_request(lines)
        if asked is None:
            return
        self.asked.append(asked)
        if asked.headers.get("proxy-authorization", "") != self._wants:
            sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self._port)) as far:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(far, sock), daemon=True)
            back.start()
            _copy(sock, far)
            back.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _names(sock: ssl.SSLSocket) -> list[str]:
    found = sock.getpeercert() or {}
    return [value for kind, value in found.get("subjectAltName", ()) if kind == "DNS"]  # type: ignore[misc]


def read_request(lines: object) -> Asked | None:
    """Read one request; None at the end."""
    line = lines.readline().decode("latin-1").strip()  # type: ignore[attr-defined]
    if not line:
        return None
    headers = {}
    while header := lines.readline().decode("latin-1").strip():  # type: ignore[attr-defined]
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = lines.read(int(headers.get("content-length", "0")))  # type: ignore[attr-defined]
    return Asked(line, headers, body)


def server_context(*names: str, wants_clients_of: Authority | None = None) -> ssl.SSLContext:
    """Return a server's context for these names; it may want certificates of an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().ca.issue_cert(*names).configure_cert(context)
    if wants_clients_of is not None:
        wants_clients_of.ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_files(folder: pathlib.Path, name: str, of: Authority) -> tuple[str, str]:
    """Write a client's certificate and its key; return their paths."""
    leaf = of.ca.issue_cert(name)
    cert, key = folder / "client.crt", folder / "client.key"
    cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    return str(cert), str(key)
