"""What the loop sleeps on: a pipe that any thread and any signal handler may ring, inotify, and answers."""

from __future__ import annotations

import os
import select

_GATHER_S = 0.05
"""After the first sign of a write, so long is waited for more: a busy writer costs a few turns, not
thousands."""
_LONGEST_S = 60.0


class Bell:
    """One sleeper, any number of ringers."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def ring(self) -> None:
        """End the sleep; what is rung while nobody sleeps ends the next one at once."""
        try:
            os.write(self._write, b"w")
        except BlockingIOError:
            return

    def sleep(self, seconds: float, inotify_fd: int | None, answers_fd: int | None = None) -> None:
        """Sleep until it rings, inotify or the connections have something, or the time is over."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        if inotify_fd is not None:
            poller.register(inotify_fd, select.POLLIN)
        if answers_fd is not None:
            poller.register(answers_fd, select.POLLIN)
        events = poller.poll(min(seconds, _LONGEST_S) * 1000)
        if inotify_fd is not None and any(fd == inotify_fd for fd, _ in events) and seconds > _GATHER_S:
            poller.unregister(inotify_fd)
            poller.poll(_GATHER_S * 1000)
        try:
            while os.read(self._read, 4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._read)
        os.close(self._write)
