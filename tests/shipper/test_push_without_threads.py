"""Once a connection is there, the loop itself sends pushes and reads 204s; for the rest there are threads."""

from __future__ import annotations

import os
import pathlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from certificates import authority
from gateway import ACK, Asked, Gateway, read_request, server_context
from pushing import Sent, encrypted, plain

from shipper.push.answer import Action
from shipper.push.endpoint import Endpoint, push_url
from shipper.push.proxy import choose
from shipper.push.way import Way

BUSY = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"


class Clock:
    """A clock of ours."""

    now_s = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


class Told(Gateway):
    """Sends what `steps` yields for each push; `None` hangs up, with a reset if `resets`."""

    resets = False

    def __init__(
        self, steps: Callable[[Asked], Iterator[bytes | None]], context: ssl.SSLContext | None = None
    ) -> None:
        self.steps = steps
        super().__init__(context=context)

    def talk(self, sock: socket.socket, lines: object) -> None:
        """Answer the requests of one connection."""
        while (asked := read_request(lines)) is not None:
            if asked.line.startswith("GET"):
                sock.sendall(ACK)
                continue
            self.asked.append(asked)
            for step in self.steps(asked):
                if step is None:
                    if self.resets:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        self._open.remove(sock)
                    return
                sock.sendall(step)


@pytest.fixture(name="ends")
def _ends() -> Iterator[ExitStack]:
    """Return what is closed in the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(name="told")
def _told(ends: ExitStack) -> Callable[..., Told]:
    """Return a function that makes gateways which answer in steps."""

    def make(*args: object, **more: object) -> Told:
        made = Told(*args, **more)  # type: ignore[arg-type]
        ends.callback(made.close)
        return made

    return make


@pytest.fixture(name="sent")
def _sent(ends: ExitStack) -> Callable[..., Sent]:
    """Return a function that makes clients that have pushed once: their connection is there."""

    def make(endpoint: Endpoint, **more: object) -> Sent:
        made = Sent(endpoint, lambda *_, **__: None, **more)  # type: ignore[arg-type]
        ends.callback(made.close)
        made.push(b"first")
        return made

    return make


# ---- the usual push


def test_only_the_first_push_of_a_connection_needs_a_thread(
    gate: Callable[..., Gateway], sent: Callable[..., Sent]
) -> None:
    """It makes the connection; those that follow are the same requests, and one connection carries all."""
    gateway = gate()
    client = sent(plain(gateway, tenant="a"))
    verdicts = [client.push(b"first").action for _ in range(20)]

    assert verdicts == [Action.DELIVERED] * 20
    assert (client.threaded, gateway.connections) == (1, 1)
    assert gateway.asked[1:] == gateway.asked[:1] * 20


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_needs_no_thread_either(
    gate: Callable[..., Gateway], sent: Callable[..., Sent], version: ssl.TLSVersion, tmp_path: pathlib.Path
) -> None:
    """Small bodies and some of many records; the tickets of TLS 1.3 come in between and mean nothing."""
    authority().write(tmp_path)
    context = server_context("localhost")
    context.minimum_version = context.maximum_version = version
    gateway = gate(context=context)
    client = sent(encrypted(gateway, ca_file=str(tmp_path / "ca.crt")))
    for size in (2, 1_000_000, 5, 3_000_000):
        body = os.urandom(size)
        assert client.push(body).action is Action.DELIVERED
        assert gateway.asked[-1].body == body

    assert (client.threaded, gateway.connections) == (1, 1)


def test_a_plain_proxy_is_given_each_push_with_its_whole_address(
    gate: Callable[..., Gateway], sent: Callable[..., Sent]
) -> None:
    """And its credentials, by the loop as by a thread."""
    proxy = gate()
    url = push_url("http://loki.example:3100")
    address = f"http://u:p@127.0.0.1:{proxy.port}"
    client = sent(Endpoint(url, use_gzip=False, proxy=choose(url, {"http_proxy": address})))
    client.push(b"first")
    first, second = proxy.asked

    assert client.threaded == 1
    assert second == first
    assert second.line == "POST http://loki.example:3100/loki/api/v1/push HTTP/1.1"


@pytest.mark.parametrize("encrypts", [False, True])
def test_a_body_that_the_kernel_does_not_take_at_once_goes_on_as_it_drains(
    ends: ExitStack,
    sent: Callable[..., Sent],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    encrypts: bool,  # noqa: FBT001 - two cases
) -> None:
    """Nobody waits for it meanwhile, and every byte arrives in its place."""
    authority().write(tmp_path)
    monkeypatch.setattr("shipper.push.connection._dial", with_small_buffer)
    drain = threading.Event()

    class Late(Gateway):
        def talk(self, sock: socket.socket, lines: object) -> None:
            while (asked := read_request(lines)) is not None:
                if asked.line.startswith("POST"):
                    self.asked.append(asked)
                sock.sendall(ACK)
                if asked.body == b"first":
                    drain.wait(30)

    gateway = Late(context=server_context("localhost") if encrypts else None)
    ends.callback(gateway.close)
    ends.callback(drain.set)
    ca = str(tmp_path / "ca.crt")
    client = sent(encrypted(gateway, ca_file=ca) if encrypts else plain(gateway))
    body = os.urandom(3_900_000)
    client.submit(body)
    early = list(client.client.answers())
    drain.set()
    (answered,) = client.wait()

    assert not early
    assert answered.verdict.action is Action.DELIVERED
    assert answered.sent_bytes == len(body)
    assert gateway.asked[-1].body == body
    assert client.threaded == 1


def test_a_very_long_body_is_left_to_a_thread(
    gate: Callable[..., Gateway], sent: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To compress it would hold the loop; the connection is the same."""
    monkeypatch.setattr("shipper.push.client._LONG_BODY_BYTES", 1000)
    gateway = gate()
    client = sent(plain(gateway))
    client.push(b"x" * 1000)
    client.push(b"x" * 1001)
    client.push(b"x")

    assert (client.threaded, gateway.connections) == (2, 1)


def test_pushes_wait_while_as_many_as_may_be_are_under_way(
    told: Callable[..., Told], sent: Callable[..., Sent]
) -> None:
    """There are no more connections than that, and all arrive in the end."""
    go = threading.Event()

    def steps(asked: Asked) -> Iterator[bytes]:
        if asked.body != b"first":
            go.wait(30)
        yield ACK

    gateway = told(steps)
    client = sent(plain(gateway), at_once=2)
    for number in range(7):
        client.submit(b"%d" % number)
    client.wait(lambda: len(gateway.asked) == 3)
    under_way = len(gateway.asked) - 1
    go.set()
    answers = []
    while len(answers) < 7:
        answers += client.wait()

    assert under_way == 2
    assert gateway.connections == 2
    assert {answered.verdict.action for answered in answers} == {Action.DELIVERED}
    assert sorted(asked.body for asked in gateway.asked[1:]) == [b"%d" % number for number in range(7)]


# ---- other answers


@pytest.mark.parametrize("way", ["plain", "TLS"])
@pytest.mark.parametrize("cut", [1, 9, 20, len(ACK) - 1])
def test_an_answer_in_two_pieces_is_read_to_its_end(
    told: Callable[..., Told], sent: Callable[..., Sent], tmp_path: pathlib.Path, way: str, cut: int
) -> None:
    """By a thread, which is given the first piece, and gives the connection back."""
    authority().write(tmp_path)
    go = threading.Event()

    def steps(asked: Asked) -> Iterator[bytes]:
        yield ACK[:cut]
        if asked.body == b"halves":
            go.wait(30)
        yield ACK[cut:]

    gateway = told(steps, context=server_context("localhost") if way == "TLS" else None)
    ca = str(tmp_path / "ca.crt")
    client = sent(encrypted(gateway, ca_file=ca) if way == "TLS" else plain(gateway))
    client.submit(b"halves")
    early = client.wait(lambda: client.threaded == 2)
    go.set()
    (answered,) = client.wait()

    assert not early
    assert answered.verdict.action is Action.DELIVERED
    assert client.push().action is Action.DELIVERED
    assert gateway.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        BUSY,
        b"HTTP/1.1 400 Bad\r\nContent-Length: 40000\r\n\r\n" + b"entry too far behind ".ljust(40_000, b"."),
        b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlabel\r\n0\r\n\r\n",
        b"HTTP/1.1 307 There\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + ACK,
        b"HTTP/1.0 500 No\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_an_answer_means_the_same_whoever_reads_it(
    gate: Callable[..., Gateway], sent: Callable[..., Sent], answer: bytes
) -> None:
    """Its text, its `Retry-After` and its status, for a push by a thread and one by the loop."""
    gateway = gate(lambda asked: answer if asked.body == b"x" else ACK)
    by_loop = sent(plain(gateway))
    by_loop.push(b"y")
    threaded = by_loop.threaded
    verdict = by_loop.push(b"x")
    by_thread = gate(lambda _asked: answer)
    other = Sent(plain(by_thread), lambda *_, **__: None)
    expected = other.push(b"x")
    other.close()

    assert threaded == 1
    assert verdict == expected


@pytest.mark.parametrize("tail", [b"x", ACK, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"])
def test_bytes_behind_an_answer_are_never_taken_for_the_next(
    gate: Callable[..., Gateway], sent: Callable[..., Sent], tail: bytes
) -> None:
    """A server that says more than it was asked is answered by its first word only."""
    gateway = gate(lambda asked: ACK + tail if asked.body == b"more" else BUSY)
    client = sent(plain(gateway))

    assert client.push(b"more").action is Action.DELIVERED
    assert client.push(b"x").reason == "rate_limited"


@pytest.mark.parametrize(("way", "by_loop"), [("plain", True), ("TLS", True), ("TLS", False)])
def test_bytes_that_nobody_has_read_are_never_taken_for_the_next_answer(
    gate: Callable[..., Gateway], ends: ExitStack, tmp_path: pathlib.Path, way: str, *, by_loop: bool
) -> None:
    """Of an answer that went on and on, in our hands or in those of TLS: its connection is given up."""
    authority().write(tmp_path)
    gateway = gate(
        lambda asked: BUSY + b"x" * 12_000 if asked.body == b"more" else ACK,
        context=server_context("localhost") if way == "TLS" else None,
    )
    ca = str(tmp_path / "ca.crt")
    client = Sent(encrypted(gateway, ca_file=ca) if way == "TLS" else plain(gateway), lambda *_, **__: None)
    ends.callback(client.close)
    if by_loop:
        client.push()

    assert client.push(b"more").reason == "rate_limited"
    assert client.push().action is Action.DELIVERED
    assert gateway.connections == 2


# ---- connections that end


@pytest.mark.parametrize("resets", [False, True])
def test_a_connection_that_ends_instead_of_an_answer_costs_no_push(
    told: Callable[..., Told],
    sent: Callable[..., Sent],
    resets: bool,  # noqa: FBT001 - two cases
) -> None:
    """It may have been closed while idle: sent once more over a new one, and only once."""
    hung_up: list[bytes] = []

    def steps(asked: Asked) -> Iterator[bytes | None]:
        if asked.body == b"always" or (asked.body == b"once" and not hung_up):
            hung_up.append(asked.body)
            yield None
        yield ACK

    gateway = told(steps)
    gateway.resets = resets
    client = sent(plain(gateway))

    assert client.push(b"once").action is Action.DELIVERED
    assert hung_up == [b"once"]
    failed = client.push(b"always")
    assert (failed.action, failed.reason) == (Action.REPEAT, "unreachable")
    assert hung_up == [b"once", b"always", b"always"]


@pytest.mark.parametrize("says_so", [False, True])
def test_a_server_that_closes_after_its_answer_has_answered(
    told: Callable[..., Told],
    sent: Callable[..., Sent],
    says_so: bool,  # noqa: FBT001 - two cases
) -> None:
    """Each push has a connection of its own then, also where the server only says that it closes."""

    def steps(_asked: Asked) -> Iterator[bytes | None]:
        if says_so:
            yield b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n"
        else:
            yield ACK
            yield None

    gateway = told(steps)
    client = sent(plain(gateway))

    assert [client.push().action for _ in range(3)] == [Action.DELIVERED] * 3
    assert gateway.connections == 4


def test_an_idle_connection_that_ends_is_noticed_before_it_is_used(
    gate: Callable[..., Gateway], sent: Callable[..., Sent]
) -> None:
    """And ends the trust of a first run: behind the next one may be a Loki that has just started."""
    gateway = gate()
    client = sent(plain(gateway))
    client.client.trust()
    gateway.drop()
    client.wait(lambda: not client.client._flights._idle)

    assert not client.client._readiness._trusting
    assert client.push().action is Action.DELIVERED
    assert (client.threaded, gateway.connections) == (2, 2)


def test_what_is_no_tls_any_more_is_a_failure(
    sent: Callable[..., Sent], ends: ExitStack, tmp_path: pathlib.Path
) -> None:
    """Not an idle connection that was closed: it is not repeated at once."""
    authority().write(tmp_path)

    class Garbled(Gateway):
        def talk(self, sock: socket.socket, lines: object) -> None:
            while (asked := read_request(lines)) is not None:
                if asked.body == b"x":
                    self.asked.append(asked)
                    os.write(sock.fileno(), b"\x17\x03\x03\x00\x20" + b"?" * 32)
                    sock.recv(1)
                sock.sendall(ACK)

    gateway = Garbled(context=server_context("localhost"))
    ends.callback(gateway.close)
    client = sent(encrypted(gateway, ca_file=str(tmp_path / "ca.crt")))
    failed = client.push(b"x")

    assert (failed.action, failed.reason) == (Action.REPEAT, "unreachable")
    assert len(gateway.asked) == 1
    assert client.threaded == 1


# ---- deadlines


@pytest.mark.parametrize("size", [2, 3_900_000])
def test_silence_ends_with_the_time_out_though_nothing_wakes_the_loop(
    told: Callable[..., Told], sent: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """With the body's allowance, whether all of it was taken or not; its connection is not used again."""
    monkeypatch.setattr("shipper.push.connection._dial", with_small_buffer)
    clock = Clock()
    go = threading.Event()

    def steps(asked: Asked) -> Iterator[bytes]:
        yield ACK
        if asked.body == b"first":
            go.wait(30)

    gateway = told(steps)
    client = sent(plain(gateway, timeout_s=30.0), monotonic=clock)
    client.submit(b"x" * size)
    clock.now_s += 29.9 + size / 16384
    early = list(client.client.answers())
    clock.now_s += 0.2
    (late,) = client.client.answers()
    go.set()

    assert not early
    assert (late.verdict.action, late.verdict.reason) == (Action.REPEAT, "timeout")
    assert client.threaded == 1
    assert client.push().action is Action.DELIVERED
    assert gateway.connections == 2


def test_an_answer_that_begins_and_trickles_ends_with_the_same_time_out(
    told: Callable[..., Told], sent: Callable[..., Sent]
) -> None:
    """The thread that is given its first byte has what is left of the time."""
    tick = threading.Event()

    def steps(asked: Asked) -> Iterator[bytes]:
        if asked.body == b"first":
            yield ACK
            return
        for byte in b"HTTP/1.1 204 No Content\r\n" + b"X: y\r\n" * 1000:
            yield bytes([byte])
            tick.wait(0.02)

    gateway = told(steps)
    client = sent(plain(gateway, timeout_s=0.5))
    client.submit(b"x")
    (answered,) = client.wait()
    tick.set()

    assert (answered.verdict.action, answered.verdict.reason) == (Action.REPEAT, "timeout")
    assert 0.4 < answered.seconds < 5
    assert client.threaded == 2


# ---- another configuration


def test_after_a_reload_nothing_new_goes_the_old_way(
    told: Callable[..., Told], sent: Callable[..., Sent]
) -> None:
    """What is on its way ends there, and its connection with it; idle ones end at once."""
    go = threading.Event()

    def steps(asked: Asked) -> Iterator[bytes]:
        if asked.body == b"held":
            go.wait(30)
        yield ACK

    old, new = told(steps), told(steps)
    client = sent(plain(old))
    client.submit(b"held")
    client.submit(b"idle")
    (idle,) = client.wait()
    client.client.go(Way(plain(new), lambda *_, **__: None))
    assert not client.client._flights._idle
    assert client.push(b"new").action is Action.DELIVERED
    go.set()
    (held,) = client.wait()
    client.push(b"new")

    assert (idle.push.batch.body, held.push.batch.body) == (b"idle", b"held")
    assert held.verdict.action is Action.DELIVERED
    assert [asked.body for asked in new.asked] == [b"new", b"new"]
    assert (old.connections, new.connections) == (2, 1)


@pytest.mark.parametrize("tenant", ["a\r\nX-Other: b", "\u65e5\u672c"])
def test_a_header_that_cannot_be_sent_is_a_failed_push(
    gate: Callable[..., Gateway], sent: Callable[..., Sent], tenant: str
) -> None:
    """Never an exception in the loop, and never a request."""
    gateway = gate()
    client = sent(plain(gateway, tenant=tenant))

    assert client.push().reason == "unreachable"
    assert gateway.asked == []


def test_the_end_closes_all_connections(sent: Callable[..., Sent]) -> None:
    """Those with a push on them, too."""
    arrived, ended = threading.Event(), threading.Event()

    class Watched(Gateway):
        def talk(self, sock: socket.socket, lines: object) -> None:
            while (asked := read_request(lines)) is not None:
                if asked.body == b"held":
                    arrived.set()
                    sock.recv(1)
                    break
                sock.sendall(ACK)
            ended.set()

    gateway = Watched()
    client = sent(plain(gateway))
    client.submit(b"held")
    assert arrived.wait(30)
    client.close()

    assert ended.wait(30)
    gateway.close()


def test_what_a_thread_carries_at_the_end_is_closed_when_it_has_ended(ends: ExitStack) -> None:
    """Nobody takes its connection back any more."""
    arrived, go, ended = threading.Event(), threading.Event(), threading.Event()

    class Held(Gateway):
        def talk(self, sock: socket.socket, lines: object) -> None:
            while (asked := read_request(lines)) is not None:
                if asked.line.startswith("POST"):
                    arrived.set()
                    go.wait(30)
                sock.sendall(ACK)
            ended.set()

    gateway = Held()
    ends.callback(gateway.close)
    client = Sent(plain(gateway), lambda *_, **__: None)
    client.submit(b"held")
    assert arrived.wait(30)
    client.close()
    go.set()

    assert ended.wait(30)


def with_small_buffer(address: tuple[str, int], deadline_s: float) -> socket.socket:
    """Connect with a buffer that a large body does not fit into."""
    _ = deadline_s
    sock = socket.create_connection(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return sock
