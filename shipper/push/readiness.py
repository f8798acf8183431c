"""Whether Loki has been up for so long that a repeat is recognised: what `/ready` says, and what it means.

A Loki that starts replays its log as fast as it can and takes that for the rate of each stream. Until the
moving average has faded (by 0.6 a second; measured: 8 s after 60 MB of one stream) it splits streams into
shards, however slowly they are pushed. A line that was stored before and is repeated into a shard is there
twice, and so is one that was stored in a shard and is repeated afterwards. `/ready` says `ready` 15 s after
the start of a Loki at the earliest, so each connection that may lead to another process than the last one
asks first.

Only Loki's own refusals count, and never for longer than a minute: some are never ready and take pushes.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

HOLD_LIMIT_S = 60.0
_YOUNG = ("ingester not ready", "some services are not running", "application is stopping")


class Readiness:
    """What the connections of one client know together."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._trusting = False
        self.doubts = 0
        """Grows with each failure: what a connection was told before says nothing any more."""
        self._held_for = ""
        self._held_since_s = 0.0

    def trust(self) -> None:
        """Take it that nothing that is sent can be a repeat, until something has failed."""
        self._trusting = True

    def doubt(self) -> None:
        """Something failed as it does when Loki ends."""
        self.doubts += 1
        self._trusting = False

    def distrust(self) -> None:
        """End the trust: a connection has ended, and be it because it was idle."""
        self._trusting = False

    def unreachable(self) -> None:
        """There is no Loki: the next that answers is a young one."""
        self._held_for = ""

    def holds(self, status: int, text: str) -> bool:
        """Tell whether an answer to `/ready` says that pushes must wait."""
        lower = text.lower()
        if status == HTTPStatus.SERVICE_UNAVAILABLE and any(reason in lower for reason in _YOUNG):
            # Loki counts its 15 s from the first question, so an old one can say this too, once.
            return self._held("young")
        if status == HTTPStatus.OK:
            self._held_for = ""
        return False

    def holds_silent(self) -> bool:
        """Tell whether pushes must wait because a connection came to be and the question found no answer."""
        return self._held("silent")

    def _held(self, reason: str) -> bool:
        if self._trusting:
            return False
        if self._held_for != reason:
            self._held_for, self._held_since_s = reason, self._monotonic()
        return self._monotonic() - self._held_since_s < HOLD_LIMIT_S
