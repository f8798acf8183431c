"""What carries pushes: the requests, their ends, and what a transport must do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from shipper.push.answer import Verdict
from shipper.sending.batch import Batch
from shipper.sending.stream_queue import Queue


@dataclass(slots=True, eq=False)
class Push:
    """A request in flight."""

    queue: Queue
    batch: Batch


class Answered(NamedTuple):
    """What became of it."""

    push: Push
    verdict: Verdict
    seconds: float
    sent_bytes: int


class Transport(Protocol):
    """Carries pushes; never blocks, never raises for what Loki or the network does."""

    def submit(self, push: Push) -> None:
        """Start a request."""

    def answers(self) -> Iterable[Answered]:
        """Return the requests that have ended since the last call."""
