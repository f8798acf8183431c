"""Which open connection must go: phases, deadlines and the cap, decided from times alone, with no I/O.

A connection is always in one phase, and what counts is when that phase began: bytes dripping in do not
renew it. So somebody who sends one header byte a second has been in `HEADER` ever since the first, and is as
old as that.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Generic, TypeVar

from exporter.web.stats import CloseReason

KIBI = 1024

Key = TypeVar("Key", bound=Hashable)


class Phase(Enum):
    """What a connection is waiting for."""

    HANDSHAKE = "the client has just connected, and TLS is not agreed on yet"
    HEADER = "the client has yet to send a whole request header (also: has just connected, without TLS)"
    BODY = "the answer is out, and the client is still sending what nobody wants"
    SERVING = "we owe an answer"
    WRITING = "the client has yet to take the answer"
    IDLE = "a request was answered, the next has not begun"


@dataclass(frozen=True)
class Limits:
    """How much of a client's time and bytes we put up with.

    `idle_s` is a little over the five minutes for which Prometheus keeps an unused connection, so that with
    scrape intervals of minutes it is Prometheus that closes, and no scrape meets a connection just closed.
    A scrape commonly times out after 10 s, so `service_s` (until the app answers 503 instead) and `write_s`
    (for the client to take the whole answer) give up on nothing that is wanted.
    """

    max_connections: int = 128
    handshake_s: float = 5.0
    header_s: float = 5.0
    body_s: float = 5.0
    service_s: float = 60.0
    write_s: float = 30.0
    idle_s: float = 310.0
    stop_s: float = 4.0
    header_bytes: int = 16 * KIBI
    body_bytes: int = 64 * KIBI
    accept_batch: int = 16
    """Connections accepted before the loop looks at anything else; so many may exceed the cap for a tick."""
    accept_queue: int = 1024
    """Connections that wait in the kernel; one that does not fit is retried by the client a second later."""


@dataclass
class _Entry:
    phase: Phase
    since_s: float


class ConnectionTable(Generic[Key]):
    """All open connections, each with its phase and since when; the caller's clock, any monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        self._cap = limits.max_connections
        # SERVING has no entry: the app answers within `service_s`, and that answer is better than a cut.
        self._rules = {
            Phase.HANDSHAKE: (limits.handshake_s, CloseReason.HANDSHAKE_TIMEOUT),
            Phase.HEADER: (limits.header_s, CloseReason.HEADER_TIMEOUT),
            Phase.BODY: (limits.body_s, CloseReason.UNWANTED_BODY),
            Phase.WRITING: (limits.write_s, CloseReason.WRITE_TIMEOUT),
            Phase.IDLE: (limits.idle_s, CloseReason.IDLE_TIMEOUT),
        }
        self._entries: dict[Key, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def keys(self) -> list[Key]:
        """Return the open connections, oldest first."""
        return list(self._entries)

    def open(self, key: Key, now_s: float, phase: Phase = Phase.HEADER) -> float:
        """Enter a new connection; returns the time at which it is overdue unless it moves on."""
        entry = self._entries[key] = _Entry(phase, now_s)
        return self._deadline_s(entry)

    def succeed(self, old: Key, new: Key, phase: Phase, now_s: float) -> float:
        """Put `new` in the place of `old`; returns its deadline, infinity if `old` is not there any more."""
        return self.open(new, now_s, phase) if self.drop(old) else inf

    def move(self, key: Key, phase: Phase, now_s: float) -> float:
        """Put a connection into `phase`; returns its new deadline, infinity if nothing changed."""
        entry = self._entries.get(key)
        if entry is None or entry.phase is phase:
            return inf
        entry.phase, entry.since_s = phase, now_s
        return self._deadline_s(entry)

    def drop(self, key: Key) -> bool:
        """Forget a connection; False if it was not there."""
        return self._entries.pop(key, None) is not None

    def above_cap(self) -> Key | None:
        """Return the connection to close for the newest one's sake; None while there is room.

        It is the one that has kept us waiting longest. Only if we owe every one of them an answer, the one
        owed longest goes: then something hangs, and its client has very likely given up.
        """
        if len(self._entries) <= self._cap:
            return None
        newest = next(reversed(self._entries))
        others = [(entry, key) for key, entry in self._entries.items() if key is not newest]
        _, victim = min(others, key=lambda other: (other[0].phase is Phase.SERVING, other[0].since_s))
        return victim

    def overdue(self, now_s: float) -> list[tuple[Key, CloseReason]]:
        """Return the connections whose phase has lasted too long, and what that is called."""
        found = []
        for key, entry in self._entries.items():
            if self._deadline_s(entry) <= now_s:
                found.append((key, self._rules[entry.phase][1]))
        return found

    def next_deadline_s(self) -> float:
        """Return when the next connection becomes overdue, infinity when none will."""
        return min(map(self._deadline_s, self._entries.values()), default=inf)

    def _deadline_s(self, entry: _Entry) -> float:
        rule = self._rules.get(entry.phase)
        return inf if rule is None else entry.since_s + rule[0]
