from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.listen import Address, BadAddress, BindFailed, Listener, bind, parse_address
from exporter.web.neighbour import Neighbour, ask, explain, recognise
from exporter.web.tls import PLAIN_HTTP_ANSWER
from shared.healthcheck import Check, Report, State, encode

HAS_IPV6 = socket.has_dualstack_ipv6()
DASHBOARD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    b'{"status":"healthy","service":"loki-dashboard"}'
)


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Give a stack that closes sockets with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def listen(closing: ExitStack) -> Callable[[str], Listener]:
    """Give a function that listens on an address, which must work."""

    def go(text: str) -> Listener:
        address = parse_address(text)
        assert isinstance(address, Address)
        listener = bind(address)
        assert isinstance(listener, Listener), listener
        closing.enter_context(listener.sock)
        return listener

    return go


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:57374", Address("127.0.0.1", 57374), "http://127.0.0.1:57374"),
        ("[::1]:57374", Address("::1", 57374), "http://[::1]:57374"),
        (":57374", Address("", 57374), "http://localhost:57374"),
        ("0.0.0.0:1", Address("0.0.0.0", 1), "http://localhost:1"),  # noqa: S104 (parsed only)
        ("[::]:0", Address("::", 0), "http://localhost:0"),
        ("some-host.example:65535", Address("some-host.example", 65535), "http://some-host.example:65535"),
    ],
)
def test_an_address_is_parsed_and_written_back(text: str, address: Address, url: str) -> None:
    """Each form that exporters take, and its URL on this machine."""
    assert parse_address(text) == address
    assert str(address) == text
    assert address.url == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("localhost", "no port"),
        ("57374", "no port"),
        ("", "no port"),
        ("::1:57374", "brackets"),
        ("[]:57374", "brackets"),
        ("[::1:57374", "brackets"),
        ("host:", "between 0 and 65535"),
        ("host:65536", "between 0 and 65535"),
        ("host:-1", "between 0 and 65535"),
        ("host:http", "between 0 and 65535"),
        ("host:٣", "between 0 and 65535"),
        ("host:" + "9" * 5000, "between 0 and 65535"),
    ],
)
def test_what_is_no_address_is_named(text: str, words: str) -> None:
    """The reason quotes the text and says what is expected."""
    bad = parse_address(text)

    assert isinstance(bad, BadAddress)
    assert repr(text) in bad.reason
    assert words in bad.reason


@given(st.text(max_size=30))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    """Whatever is given on the command line is an address or a reason."""
    assert isinstance(parse_address(text), Address | BadAddress)


def test_port_0_becomes_a_real_port(listen: Callable[[str], Listener]) -> None:
    """The listener knows its port, and a client can connect before anything is served."""
    listener = listen("127.0.0.1:0")

    assert listener.address.port > 0
    with socket.create_connection(("127.0.0.1", listener.address.port), 5):
        pass


def test_localhost_is_listened_to_at_127_0_0_1(listen: Callable[[str], Listener]) -> None:
    """A scrape configuration with 127.0.0.1 reaches an exporter told `localhost`."""
    assert listen("localhost:0").sock.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_ipv6_and_all_addresses(listen: Callable[[str], Listener]) -> None:
    """`[::1]` listens on IPv6 alone, an empty host on both."""
    assert listen("[::1]:0").sock.getsockname()[0] == "::1"
    both = listen(":0").address.port
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, both), 5):
            pass


def test_a_taken_port_is_a_value(listen: Callable[[str], Listener]) -> None:
    """The second to listen gets a reason and no exception."""
    taken = listen("127.0.0.1:0").address

    failed = bind(taken)

    assert isinstance(failed, BindFailed)
    assert (failed.in_use, failed.address) == (True, taken)
    assert explain(failed, None) == (
        f"cannot listen on {taken}: Address already in use; "
        "choose another address with --web.listen-address HOST:PORT"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 300, "x..y"])
def test_an_impossible_address_is_a_value(host: str) -> None:
    """An address of another machine, an unknown name, a name that cannot be one: a reason, not in use."""
    failed = bind(Address(host, 0))

    assert isinstance(failed, BindFailed)
    assert not failed.in_use
    assert failed.reason


@pytest.mark.parametrize(
    ("answer", "neighbour"),
    [
        (DASHBOARD, Neighbour.LOKI_DASHBOARD),
        (
            b"HTTP/1.1 503 x\r\n\r\n" + encode(Report("exporter", (Check("a", State.FAILING, "b", 1.0),))),
            Neighbour.EXPORTER,
        ),
        (b"HTTP/1.0 404 Not Found\r\n\r\nnope", Neighbour.HTTP_SERVER),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]", Neighbour.HTTP_SERVER),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 60_000, Neighbour.HTTP_SERVER),
        (b"HTTP/1.0 200 OK\r\n\r\n\xff\xfe", Neighbour.HTTP_SERVER),
        (
            b'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm="tallyship-exporter"\r\n\r\nno',
            Neighbour.EXPORTER,
        ),
        (
            b'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm="grafana"\r\n\r\nno',
            Neighbour.HTTP_SERVER,
        ),
        (PLAIN_HTTP_ANSWER, Neighbour.EXPORTER),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
            Neighbour.HTTP_SERVER,
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Neighbour.UNKNOWN),
        (b"", Neighbour.UNKNOWN),
    ],
)
def test_a_neighbour_is_recognised_by_its_answer(answer: bytes, neighbour: Neighbour) -> None:
    """Loki Mode's dashboard, our own kind, other web servers, and everything else."""
    assert recognise(answer) is neighbour


def test_the_last_word_names_the_dashboard_and_the_flag() -> None:
    """One line: what, why, who, and what to do."""
    failed = BindFailed(Address("127.0.0.1", 57374), "Address already in use", in_use=True)

    assert explain(failed, Neighbour.LOKI_DASHBOARD) == (
        "cannot listen on 127.0.0.1:57374: Address already in use, taken by Loki Mode's own dashboard; "
        "choose another address with --web.listen-address HOST:PORT"
    )


def answer_one(listener: Listener, answer: bytes, *, hold: threading.Event | None = None) -> threading.Thread:
    """Answer one client in a thread, and keep the connection until `hold`."""

    def run() -> None:
        listener.sock.settimeout(10)
        client, _ = listener.sock.accept()
        with client:
            client.settimeout(10)
            assert client.recv(65536).startswith(b"GET /health HTTP/1.0\r\n")
            client.sendall(answer)
            if hold is not None:
                hold.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_the_dashboard_is_found_on_a_real_port(listen: Callable[[str], Listener]) -> None:
    """Asked over a socket, `GET /health`."""
    listener = listen("127.0.0.1:0")
    thread = answer_one(listener, DASHBOARD)

    assert ask(listener.address) is Neighbour.LOKI_DASHBOARD
    thread.join(10)


def test_asking_takes_no_longer_than_it_may(listen: Callable[[str], Listener]) -> None:
    """Neither a program that never answers nor one that never ends its answer holds up the start."""
    silent, endless = listen("127.0.0.1:0"), listen("127.0.0.1:0")
    release = threading.Event()
    thread = answer_one(endless, b"HTTP/1.1 200 OK\r\n\r\n{", hold=release)
    began_s = time.monotonic()

    assert ask(silent.address, timeout_s=0.1) is Neighbour.UNKNOWN
    assert ask(endless.address, timeout_s=0.1) is Neighbour.HTTP_SERVER
    assert time.monotonic() - began_s < 2
    release.set()
    thread.join(10)


def test_nobody_there_is_unknown(listen: Callable[[str], Listener]) -> None:
    """A port that closed meanwhile, or a name that cannot be, is no exception either."""
    gone = listen("127.0.0.1:0")
    gone.sock.close()

    assert ask(gone.address) is Neighbour.UNKNOWN
    assert ask(Address("a" * 300, 1)) is Neighbour.UNKNOWN


def test_all_addresses_are_asked_at_loopback(listen: Callable[[str], Listener]) -> None:
    """Who wanted `:PORT` learns who has it at 127.0.0.1."""
    listener = listen("127.0.0.1:0")
    thread = answer_one(listener, b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps({"x": 1}).encode())

    assert ask(Address("", listener.address.port)) is Neighbour.HTTP_SERVER
    thread.join(10)
