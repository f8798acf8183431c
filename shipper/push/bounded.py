"""A socket on which everything, byte by byte, must be over by one moment.

A time-out of a socket is for each wait: a peer that sends a byte now and then would hold a push for ever.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Callable


class Bounded:
    """What http.client needs of a socket, within a deadline that is set for each exchange."""

    def __init__(
        self, sock: socket.socket, deadline_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.sock = sock
        self.deadline_s = deadline_s
        self._monotonic = monotonic
        self._readers = 0
        self._closed = False
        self._put_back = b""
        self.ended = False
        """The peer has closed its side, and somebody was told so."""

    def arm(self) -> None:
        """Let the next wait end at the deadline; raises `TimeoutError` when that has passed."""
        self.sock.settimeout(left_s(self.deadline_s, self._monotonic))

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            self.arm()
            view = view[self.sock.send(view) :]

    def put_back(self, data: bytes) -> None:
        """Let the next reader begin with what somebody has received already."""
        self._put_back = data

    @property
    def holds_more(self) -> bool:
        """Tell whether bytes were received that nobody has read, and of which the kernel knows nothing."""
        return bool(self._put_back) or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0)

    def recv_into(self, buffer: memoryview) -> int:
        """Receive what is there."""
        if self._put_back:
            taken = self._put_back[: len(buffer)]
            self._put_back = self._put_back[len(taken) :]
            buffer[: len(taken)] = taken
            return len(taken)
        self.arm()
        count = self.sock.recv_into(buffer)
        self.ended = not count
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a reader; the socket is closed when both it and all its readers are.

        As with any socket: http.client closes one before it reads the body of a server that will close it.
        """
        _ = mode
        self._readers += 1
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Close the socket, once nobody reads from it any more."""
        self._closed = True
        if not self._readers:
            self.sock.close()

    def reader_closed(self) -> None:
        """Note that a reader is done."""
        self._readers -= 1
        if self._closed:
            self.close()


class _Reader(io.RawIOBase):
    def __init__(self, bounded: Bounded) -> None:
        self._bounded = bounded

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._bounded.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._bounded.reader_closed()


def left_s(deadline_s: float, monotonic: Callable[[], float] = time.monotonic) -> float:
    """Return the seconds that are left; raises `TimeoutError` when there are none."""
    left = deadline_s - monotonic()
    if left <= 0:
        raise TimeoutError("not over in time")
    return left
