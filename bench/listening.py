"""Finds a port to listen on."""

from __future__ import annotations

import socket


def port_for(host: str, wanted: int) -> int:
    """Return the wanted port if it is free, else one that is (somebody may still be faster)."""
    for port in (wanted, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, port))
            except OSError:
                continue
            found: int = sock.getsockname()[1]
            return found
    raise OSError(f"no free port on {host}")
