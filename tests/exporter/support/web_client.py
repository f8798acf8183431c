"""What the tests of the exporter's web server do on a bare connection."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack

PATIENCE_S = 10.0
"""How long a test waits for what should come at once; only a failing test ever waits so long."""


def connect(clients: ExitStack, port: int, send: bytes = b"", **options: int) -> socket.socket:
    """Open a connection to a port of this machine that is closed with the stack; set options, and send."""
    client = socket.socket()
    clients.enter_context(client)
    for option, value in options.items():
        client.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
    client.settimeout(PATIENCE_S)
    client.connect(("127.0.0.1", port))
    client.sendall(send)
    return client


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes; a reset counts as closed."""
    received = b""
    try:
        while chunk := client.recv(65536):
            received += chunk
    except (ConnectionError, ssl.SSLError):
        pass
    return received


def read_answer(client: socket.socket) -> tuple[int, bytes]:
    """Read exactly one answer off a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = client.recv(1)
        assert chunk, "closed before a whole header came"
        received += chunk
    length = int(received.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = b""
    while len(body) < length:
        chunk = client.recv(length - len(body))
        assert chunk, "closed before the whole body came"
        body += chunk
    return int(received.split()[1]), body
