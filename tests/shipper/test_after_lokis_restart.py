"""A Loki that may have restarted is asked before it is sent what it may hold already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from receiver import Answer, Receiver

from shipper.bell import Bell
from shipper.push.answer import Verdict
from shipper.push.client import Client
from shipper.push.endpoint import Endpoint, push_url
from shipper.push.way import Way
from shipper.sending.transport import Push

BODY = b'{"streams":[{"stream":{"app":"x"},"values":[["1","line"]]}]}'
WAITING = Answer(503, "Ingester not ready: waiting for 15s after being ready\n")
READY = Answer(200, "ready\n")

Pushing = Callable[[], Verdict]


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    """Return a function that makes a Loki on a socket; closed in the end."""
    made: list[Receiver] = []

    def make(port: int = 0) -> Receiver:
        made.append(Receiver(port=port, sink=True))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def pushing() -> Iterator[Callable[..., Pushing]]:
    """Return a function that makes a client, as a function that pushes and returns the verdict."""
    clients: list[Client] = []

    def make(receiver: Receiver, *, first_run: bool = False) -> Pushing:
        bell = Bell()
        endpoint = Endpoint(push_url(receiver.url), use_gzip=False, timeout_s=5.0)
        client = Client(Way(endpoint, lambda *_, **__: None), bell.ring, at_once=1)
        if first_run:
            client.trust()
        clients.append(client)

        def push() -> Verdict:
            client.submit(cast("Push", SimpleNamespace(batch=cast("Any", SimpleNamespace(body=BODY)))))
            for _ in range(100):
                for answered in client.answers():
                    return answered.verdict
                bell.sleep(1.0, None, client.fileno())
            pytest.fail("no answer")

        return push

    yield make
    for client in clients:
        client.close()


def test_after_a_start_nothing_is_pushed_to_a_loki_that_is_not_ready(
    receivers: Callable[..., Receiver], pushing: Callable[..., Pushing]
) -> None:
    """The refusal is a failed try with Loki's own words; when it is ready, the push goes."""
    loki = receivers()
    loki.ready = WAITING
    push = pushing(loki)

    refused = push()
    pushes = loki.pushes
    loki.ready = READY

    assert (refused.reason, refused.status, pushes) == ("not_ready", 503, 0)
    assert "waiting for 15s" in refused.detail
    assert push().status == 204
    assert loki.pushes == 1


def test_on_the_first_run_a_loki_that_is_not_ready_is_pushed_to(
    receivers: Callable[..., Receiver], pushing: Callable[..., Pushing]
) -> None:
    """A Loki and a shipper that were just installed need not wait for each other."""
    loki = receivers()
    loki.ready = WAITING

    assert pushing(loki, first_run=True)().status == 204


def test_a_loki_that_was_restarted_between_two_pushes_is_asked_first(
    receivers: Callable[..., Receiver], pushing: Callable[..., Pushing]
) -> None:
    """Also on the first run, and also where no push fell into the time without a Loki."""
    loki = receivers()
    push = pushing(loki, first_run=True)
    assert push().status == 204
    loki.close()
    again = receivers(int(loki.url.rsplit(":", 1)[1]))
    again.ready = WAITING

    refused = push()

    assert (refused.reason, again.pushes) == ("not_ready", 0)
    again.ready = READY
    assert push().status == 204


def test_after_an_answer_of_a_server_in_trouble_loki_is_asked_again(
    receivers: Callable[..., Receiver], pushing: Callable[..., Pushing]
) -> None:
    """A gateway's 502 may stand for a Loki that restarts, and the connection outlives it."""
    loki = receivers()
    push = pushing(loki)
    assert push().status == 204
    loki.sink, loki.script = False, lambda _request: Answer(502)
    assert push().reason == "server_error"
    loki.sink, loki.ready = True, WAITING

    assert push().reason == "not_ready"


def test_a_gateway_that_does_not_know_the_question_holds_nothing_back(
    receivers: Callable[..., Receiver], pushing: Callable[..., Pushing]
) -> None:
    """Nothing can be known then."""
    loki = receivers()
    loki.ready = Answer(404, "no such page")

    assert pushing(loki)().status == 204


def test_a_connection_that_goes_on_is_asked_once(
    receivers: Callable[..., Receiver], pushing: Callable[..., Pushing]
) -> None:
    """The second push does not ask: the answer would hold it back."""
    loki = receivers()
    push = pushing(loki)
    assert push().status == 204
    loki.ready = WAITING

    assert push().status == 204


def test_a_connection_is_kept_while_it_is_asked_again(
    receivers: Callable[..., Receiver], pushing: Callable[..., Pushing]
) -> None:
    """A busy Loki that answers 500 now and then is not made to take new connections as well."""
    loki = receivers()
    push = pushing(loki)
    loki.sink, loki.script = False, lambda _request: Answer(500, "busy")
    for _ in range(5):
        assert push().reason == "server_error"
    loki.sink = True
    assert push().status == 204

    assert loki.connections == 1


def test_a_loki_behind_a_port_that_answers_nothing_is_unreachable(
    receivers: Callable[..., Receiver], pushing: Callable[..., Pushing]
) -> None:
    """As a container's port is, while there is no Loki in it yet: nothing is pushed blindly."""
    loki = receivers()
    loki.ready = Answer(0)

    assert pushing(loki)().reason == "unreachable"
    assert loki.pushes == 0
