"""Tells systemd how this process stands (sd_notify): messages are pure, and the socket may not be there.

The protocol: datagrams of NAME=VALUE lines to the socket that `$NOTIFY_SOCKET` names, a path or, with an `@`
before it, an abstract name (sd_notify(3)). `$WATCHDOG_USEC` is the time after which systemd takes a silent
process for hung. Without systemd both are absent, and everything here does nothing.

The exporter has the same of its own: neither imports the other, and it is nothing that both must agree on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

STATUS_EVERY_S = 30.0
"""How often the status is told where systemd has set no watchdog."""

_STATUS_LIMIT_BYTES = 500
_SEND_WITHIN_S = 1.0


def message(
    *, ready: bool = False, stopping: bool = False, watchdog: bool = False, status: str | None = None
) -> bytes:
    """Return the datagram that says so; `status` is for people, one line, cut to 500 bytes."""
    lines = [
        text
        for text, is_said in (("READY=1", ready), ("STOPPING=1", stopping), ("WATCHDOG=1", watchdog))
        if is_said
    ]
    if status is not None:
        # A line break would begin another assignment.
        words = " ".join(status.split()).encode("utf-8", "replace")[:_STATUS_LIMIT_BYTES]
        lines.append(f"STATUS={words.decode('utf-8', 'ignore')}")
    return "\n".join(lines).encode()


@dataclass(frozen=True, slots=True)
class Notifier:
    """Where to send messages, and how often systemd wants to hear one.

    `address` is None where nobody listens; `watchdog_s` where nobody watches.
    """

    address: str | None = None
    watchdog_s: float | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """Return what systemd asked of the process `pid`; what it says in another form counts as nothing."""
        name = environ.get("NOTIFY_SOCKET", "")
        if not name.startswith(("/", "@")):
            return cls()
        return cls("\0" + name[1:] if name.startswith("@") else name, _watchdog_s(environ, pid))

    @property
    def interval_s(self) -> float:
        """How often to tell: twice in the watchdog's time, as sd_watchdog_enabled(3) advises."""
        return STATUS_EVERY_S if self.watchdog_s is None else self.watchdog_s / 2

    def send(self, datagram: bytes) -> bool:
        """Send one message; return whether it went. Never raises: the work goes on without systemd."""
        if self.address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_SEND_WITHIN_S)
                sock.sendto(datagram, self.address)
        except OSError:
            return False
        return True


class Pulse:
    """Tells systemd about turns that were done, as often as it wants to hear. `monotonic` gives seconds."""

    def __init__(self, notifier: Notifier, monotonic: Callable[[], float]) -> None:
        self._notifier = notifier
        self._monotonic = monotonic
        self._due_s: float | None = None

    def beat(self, status: Callable[[], str]) -> None:
        """Tell that a turn was done: first READY, then WATCHDOG; `status` is asked when it is told.

        To be called after the work and not beside it: a turn that hangs, or fails each time, is not told, and
        systemd starts the process anew.
        """
        now_s = self._monotonic()
        if self._notifier.address is None or (self._due_s is not None and now_s < self._due_s):
            return
        is_first = self._due_s is None
        self._due_s = now_s + self._notifier.interval_s
        self._notifier.send(message(ready=is_first, watchdog=not is_first, status=status()))

    def stopping(self, status: str) -> None:
        """Tell that the process is on its way out."""
        self._notifier.send(message(stopping=True, status=status))


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the watchdog's time in seconds, None when it is not meant for this process."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


def of_this_process() -> Notifier:
    """Return what systemd asked of this process."""
    return Notifier.of(os.environ, os.getpid())
