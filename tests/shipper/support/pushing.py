"""A client with the loop around it: pushes, and waits for the answers on the descriptor as the loop does."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway import Gateway

from shipper.bell import Bell
from shipper.push.answer import Verdict
from shipper.push.client import AT_ONCE, Client
from shipper.push.endpoint import Endpoint, push_url
from shipper.push.exchange import Exchange
from shipper.push.way import Way
from shipper.sending.batch import Batch
from shipper.sending.transport import Answered, Push
from shipper.state import Tell


class Sent:
    """A client that is pushed to, and what it gives to threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        tell: Tell,
        *,
        at_once: int = AT_ONCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bell = Bell()
        self.client = Client(Way(endpoint, tell), self._bell.ring, at_once, monotonic=monotonic)
        self.threaded = 0
        """How often a thread was given something to do."""
        take = self.client._workers.take

        def counted(exchange: Exchange) -> None:
            self.threaded += 1
            take(exchange)

        self.client._workers.take = counted  # type: ignore[method-assign]

    def submit(self, body: bytes = b"{}") -> None:
        """Send a body."""
        batch = Batch.__new__(Batch)
        batch.body = body
        self.client.submit(Push(None, batch))  # type: ignore[arg-type]

    def wait(self, until: Callable[[], bool] = lambda: False) -> list[Answered]:
        """Turn until something has ended, or `until` is true; return what has ended."""
        began = time.monotonic()
        while not (answers := list(self.client.answers())) and not until():
            assert time.monotonic() - began < 30
            self._bell.sleep(0.02, None, self.client.fileno())
        return answers

    def push(self, body: bytes = b"{}") -> Verdict:
        """Send a body; return what became of it."""
        self.submit(body)
        (answered,) = self.wait()
        return answered.verdict

    def close(self) -> None:
        """End it."""
        self.client.close()


def plain(gateway: Gateway, **more: object) -> Endpoint:
    """Return the endpoint of a gateway without TLS."""
    return Endpoint(push_url(f"http://127.0.0.1:{gateway.port}"), use_gzip=False, **more)  # type: ignore[arg-type]


def encrypted(gateway: Gateway, **more: object) -> Endpoint:
    """Return the endpoint of a gateway with TLS."""
    return Endpoint(push_url(f"https://localhost:{gateway.port}"), use_gzip=False, **more)  # type: ignore[arg-type]
