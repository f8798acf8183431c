from __future__ import annotations

import base64
import gc
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from certificates import TOKEN, TOKEN_ENTRY, authority, bcrypt_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tls_server import TlsServer, begin
from web_client import PATIENCE_S, read_all, read_answer

from exporter.web.stats import CloseReason
from exporter.web.tls import TlsConnection

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
LAST_SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n\r\n"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
MUTUAL = (
    "tls_server_config: {cert_file: server.crt, key_file: server.key, "
    "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}\n"
)
IF_GIVEN = MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
USERS = f"basic_auth_users: {{alice: {bcrypt_of('right')}}}\n"
TOKENS = f"tallyship_bearer_tokens: {{prom: '{TOKEN_ENTRY}'}}\n"


def basic(user: str, password: str) -> str:
    """Return the header's value."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., TlsServer]]:
    """Give a function that starts a server with a web configuration; it stops with the test."""
    with ExitStack() as stack:
        yield partial(begin, stack, tmp_path)


# What a client gets


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_scrape_over_tls(start: Callable[..., TlsServer], version: ssl.TLSVersion) -> None:
    """In both versions, with the connection kept, and HTTP/1.1 agreed on."""
    server = start(TLS)
    context = authority().trusted()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = server.shake(context)

    for _ in range(3):
        client.sendall(SCRAPE)
        assert read_answer(client)[0] == 200
    assert client.selected_alpn_protocol() == "http/1.1"
    assert server.app.stats.accepted == 1


def test_a_large_page_arrives_whole(start: Callable[..., TlsServer]) -> None:
    """Larger than all buffers, to a client that takes little at a time; then the connection goes on."""
    server = start(TLS, page_bytes=5_000_000)
    client = server.shake(send=SCRAPE, SO_RCVBUF=4096)

    assert read_answer(client)[1].count(b"x") >= 5_000_000
    server.source.page_bytes = 0
    client.sendall(SCRAPE)
    assert read_answer(client)[0] == 200


def test_pipelined_requests_are_answered_in_order(start: Callable[..., TlsServer]) -> None:
    """In one record or many."""
    server = start(TLS)
    client = server.shake(send=SCRAPE + SCRAPE.replace(b"/metrics", b"/nonsense"))
    client.sendall(SCRAPE + LAST_SCRAPE)

    answers = read_all(client).split(b"HTTP/1.1 ")[1:]

    assert [int(answer[:3]) for answer in answers] == [200, 404, 200, 200]


def test_a_request_byte_by_byte_is_answered(start: Callable[..., TlsServer]) -> None:
    """Each byte a record of its own."""
    client = start(TLS).shake()
    for byte in LAST_SCRAPE:
        client.sendall(bytes([byte]))

    assert read_all(client).startswith(b"HTTP/1.1 200 ")


def test_the_end_is_told_in_tls(start: Callable[..., TlsServer]) -> None:
    """So that the client can tell the end of the answer from a cut by somebody in between."""
    client = start(TLS).shake(send=LAST_SCRAPE)
    client.suppress_ragged_eofs = False

    assert read_all(client).endswith(b'sample{padding=""} 1.0\n')
    assert client.recv(1) == b""


def test_a_client_that_says_goodbye_in_tls_gets_its_answer(start: Callable[..., TlsServer]) -> None:
    """It asked, and said that it has nothing more to say, before the page is made."""
    server = start(TLS)
    server.source.gate.clear()
    client = server.shake(send=SCRAPE)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):  # it waits for the server's goodbye, which comes after the answer
        client.unwrap()
    client.settimeout(PATIENCE_S)
    server.source.gate.set()

    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_goodbye_is_returned(start: Callable[..., TlsServer]) -> None:
    """A client that closes in good order sees the same from the other side."""
    client = start(TLS).shake(send=SCRAPE)
    assert read_answer(client)[0] == 200

    assert client.unwrap().recv(1) == b""


def test_what_comes_after_a_goodbye_is_not_kept(start: Callable[..., TlsServer]) -> None:
    """A client that goes on sending while its answer is made fills no memory."""
    server = start(TLS)
    server.source.gate.clear()
    client = server.shake(send=SCRAPE)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.unwrap()
    raw = socket.socket(fileno=client.detach())
    server.clients.enter_context(raw)
    raw.settimeout(PATIENCE_S)
    raw.sendall(b"x" * 20_000_000)  # more than the sockets' buffers hold, so the server has read most of it

    [connection] = [found for found in gc.get_objects() if isinstance(found, TlsConnection)]
    assert connection._incoming.pending == 0
    server.source.gate.set()
    assert len(read_all(raw)) > 100


def test_a_client_that_closes_its_side_gets_its_answer(start: Callable[..., TlsServer]) -> None:
    """Without a goodbye in TLS, as many do; what is sent to it are records, whole ones, to the end."""
    server = start(TLS, page_bytes=100_000)
    server.source.gate.clear()
    client = server.shake(send=SCRAPE)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    client.shutdown(socket.SHUT_WR)
    server.source.gate.set()

    assert len(read_all(client)) > 100_000
    server.settle(lambda: server.app.stats.closed[CloseReason.CLIENT] == 1)


def test_plain_http_is_told_that_this_is_tls(start: Callable[..., TlsServer]) -> None:
    """Not with a reset: somebody wrote http:// and should see why it does not work."""
    server = start(TLS)

    assert b"speaks TLS" in read_all(server.connect(SCRAPE))
    assert server.app.stats.closed[CloseReason.HANDSHAKE_FAILED] == 1


def test_without_a_tls_section_it_is_plain_http_with_users(start: Callable[..., TlsServer]) -> None:
    """As behind a proxy that does TLS."""
    server = start(USERS)

    assert read_all(server.connect(LAST_SCRAPE)).startswith(b"HTTP/1.1 401 ")
    asked = LAST_SCRAPE.replace(b"Host", f"Authorization: {basic('alice', 'right')}\r\nHost".encode())
    assert read_all(server.connect(asked)).startswith(b"HTTP/1.1 200 ")


# Versions and certificates


@pytest.mark.parametrize(
    ("allowed", "offered", "is_served"),
    [
        ("min_version: TLS13", ssl.TLSVersion.TLSv1_2, False),
        ("min_version: TLS13", ssl.TLSVersion.TLSv1_3, True),
        ("max_version: TLS12", ssl.TLSVersion.TLSv1_2, True),
        ("max_version: TLS12", ssl.TLSVersion.TLSv1_3, False),
    ],
)
def test_versions_outside_the_bounds_are_refused(
    start: Callable[..., TlsServer], allowed: str, offered: ssl.TLSVersion, *, is_served: bool
) -> None:
    """In the handshake, with an alert that says so."""
    server = start(TLS.replace("}", f", {allowed}}}"))
    context = authority().trusted()
    context.minimum_version = context.maximum_version = offered

    if is_served:
        assert server.get(context=context).status == 200
        return
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        server.get(context=context)
    server.settle(lambda: server.app.stats.closed[CloseReason.HANDSHAKE_FAILED] == 1)


def drip(client: socket.socket, sent: bytes) -> int:
    """Send byte by byte, the socket's time-out setting the pace, until the server closes; return how many."""
    for count, byte in enumerate(sent, 1):
        try:
            client.sendall(bytes([byte]))
            if client.recv(1) == b"":
                return count
        except TimeoutError:
            continue
        except ConnectionError:
            return count
    return len(sent)


def is_served(server: TlsServer, context: ssl.SSLContext) -> bool:
    """Whether this client gets a page; in TLS 1.3 a refusal comes with the first read."""
    try:
        return server.get(context=context).status == 200
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return False


@pytest.mark.parametrize(
    ("config", "without", "stranger"), [(MUTUAL, False, False), (IF_GIVEN, True, False), (TLS, True, True)]
)
def test_who_needs_a_client_certificate(
    start: Callable[..., TlsServer], config: str, *, without: bool, stranger: bool
) -> None:
    """One of ours always comes in; none, or one of somebody else's, as the configuration says."""
    server = start(config)
    foreign = authority().trusted()
    authority(1).ca.issue_cert("client.example").configure_cert(foreign)

    assert is_served(server, authority().as_client("client.example"))
    assert is_served(server, authority().trusted()) is without
    assert is_served(server, foreign) is stranger


@pytest.mark.parametrize(
    ("names", "is_allowed"),
    [
        (("one.example",), True),
        (("other.example", "one.example"), True),
        (("192.0.2.7",), True),
        (("2001:db8::7",), True),
        (("scraper@one.example",), True),
        (("other.example",), False),
        (("sub.one.example",), False),
        (("192.0.2.8",), False),
    ],
)
def test_client_names_are_matched_whole(
    start: Callable[..., TlsServer], names: tuple[str, ...], *, is_allowed: bool
) -> None:
    """DNS name, address or e-mail, one of which is enough."""
    allowed = "client_allowed_sans: [one.example, 192.0.2.7, '2001:db8::7', scraper@one.example]"
    server = start(MUTUAL.replace("}", f", {allowed}}}"))

    assert is_served(server, authority().as_client(*names)) is is_allowed
    server.settle(lambda: server.app.stats.closed[CloseReason.HANDSHAKE_FAILED] == (not is_allowed))


# Users


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        ("/metrics", basic("alice", "right"), 200),
        ("/metrics", f"Bearer {TOKEN}", 200),
        ("/metrics", basic("alice", "wrong"), 401),
        ("/metrics", "Bearer wrong", 401),
        ("/metrics", "", 401),
        ("/", "", 401),
        ("/health", "", 401),
        ("/-/ready", "", 401),
        ("/nonsense", "", 401),
        ("/-/healthy/", "", 401),
        ("//-/healthy", "", 401),
        ("/-/healthy", "", 200),
        ("/-/healthy", basic("alice", "wrong"), 200),
        ("/health", basic("alice", "right"), 200),
        ("/nonsense", basic("alice", "right"), 404),
    ],
)
def test_every_page_but_one_asks_who_it_is(
    start: Callable[..., TlsServer], path: str, header: str, status: int
) -> None:
    """`/-/healthy` tells nothing but that the process lives; the others name projects."""
    server = start(TLS + USERS + TOKENS)
    answer = server.get(path, **({"Authorization": header} if header else {}))

    assert answer.status == status
    challenges = answer.headers.get_all("www-authenticate") or []
    assert [challenge.split()[0] for challenge in challenges] == (
        ["Basic", "Bearer"] if status == 401 else []
    )


def test_a_stranger_learns_nothing_from_methods_and_bodies(start: Callable[..., TlsServer]) -> None:
    """Who is asked for comes before everything else that could be wrong."""
    server = start(USERS)
    for request in (b"POST /metrics", b"BREW /", b"HEAD /metrics", b"GET http://elsewhere/metrics"):
        client = server.connect(request + b" HTTP/1.1\r\nHost: e\r\nContent-Length: 9999999\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 401 ")


def test_a_metrics_page_at_the_free_path_is_not_free() -> None:
    """Whoever calls the metrics `/-/healthy` has no free page."""
    from exporter.web.asgi import App, build_app  # noqa: PLC0415 (only here)
    from exporter.web.stats import Route  # noqa: PLC0415 (only here)
    from shared.healthcheck import Report  # noqa: PLC0415 (only here)

    class Nothing:
        def collect(self) -> list[object]:
            return []

    app: App = build_app(
        Nothing(),  # type: ignore[arg-type]  # it is never asked
        health=lambda: Report("exporter", ()),
        version="1",
        telemetry_path="/-/healthy",
    )

    assert app._routes["/-/healthy"][0] is Route.METRICS


def test_configured_headers_go_with_every_answer(start: Callable[..., TlsServer]) -> None:
    """Refusals too; where a page has its own policy, that one stands."""
    server = start(
        TLS + USERS + "http_server_config: {headers: {Strict-Transport-Security: max-age=60, "
        "Content-Security-Policy: default-src https}}\n"
    )
    right = basic("alice", "right")

    for path, header in (("/metrics", right), ("/metrics", ""), ("/-/healthy", ""), ("/no", right)):
        answer = server.get(path, Authorization=header)
        assert answer.headers.get_all("strict-transport-security") == ["max-age=60"]
        assert answer.headers.get_all("content-security-policy") == ["default-src https"]
    [own] = server.get("/", Authorization=right).headers.get_all("content-security-policy") or []
    assert "'none'" in own


# Changes while it runs


def test_a_renewed_certificate_is_served_and_old_connections_end(start: Callable[..., TlsServer]) -> None:
    """An idle connection is closed, one that is owed an answer gets it first, the next meets the new one."""
    server = start(TLS)
    idle, busy = server.shake(send=SCRAPE), server.shake(send=SCRAPE)
    assert read_answer(idle)[0] == read_answer(busy)[0] == 200
    server.source.gate.clear()
    busy.sendall(SCRAPE)
    for _ in range(3):
        assert server.source.collecting.acquire(timeout=PATIENCE_S)
    before = busy.getpeercert(binary_form=True)
    authority().write(server.folder)
    server.file.look()

    assert read_all(idle) == b""
    server.source.gate.set()
    assert read_all(busy).startswith(b"HTTP/1.1 200 ")
    assert server.shake().getpeercert(binary_form=True) != before
    assert server.app.stats.closed[CloseReason.TLS_RENEWED] == 2


def test_a_broken_certificate_disturbs_nobody(start: Callable[..., TlsServer]) -> None:
    """The old one is served on, over the same connections."""
    server = start(TLS)
    client = server.shake(send=SCRAPE)
    assert read_answer(client)[0] == 200
    (server.folder / "server.key").write_text("junk")
    server.file.look()

    assert not server.file.is_good
    client.sendall(SCRAPE)
    assert read_answer(client)[0] == 200
    assert server.get().status == 200


def test_a_removed_user_is_out_at_the_next_request(start: Callable[..., TlsServer]) -> None:
    """Over the connection that is open already."""
    server = start(TLS + USERS)
    asked = SCRAPE.replace(b"Host", f"Authorization: {basic('alice', 'right')}\r\nHost".encode())
    client = server.shake(send=asked)
    assert read_answer(client)[0] == 200
    (server.folder / "web.yml").write_text(TLS + USERS.replace("alice", "bob"))
    server.file.look()

    client.sendall(asked)
    assert read_answer(client)[0] == 401


# Slow and rude clients


def test_a_silent_connection_ends_with_the_handshake_time(start: Callable[..., TlsServer]) -> None:
    """It never says hello; it has its own time and its own name."""
    server = start(TLS, handshake_s=0.05, header_s=300)

    assert read_all(server.connect()) == b""
    assert server.app.stats.closed[CloseReason.HANDSHAKE_TIMEOUT] == 1


def test_a_half_done_handshake_ends_with_the_handshake_time(start: Callable[..., TlsServer]) -> None:
    """The server has answered the hello, and nothing follows."""
    server = start(TLS, handshake_s=0.1, header_s=300)

    assert read_all(server.half()) != b""  # the server's half
    assert server.app.stats.closed[CloseReason.HANDSHAKE_TIMEOUT] == 1


def test_a_dripping_handshake_is_not_renewed_by_each_byte(start: Callable[..., TlsServer]) -> None:
    """It is as old as its connection."""
    server = start(TLS, handshake_s=0.2, header_s=300)
    client = server.connect()
    client.settimeout(0.01)
    began_s = time.monotonic()

    dripped = drip(client, b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + b"\x00" * 1000)

    assert 1 < dripped < 1000
    assert 0.1 <= time.monotonic() - began_s < 3


def test_after_the_handshake_the_header_has_its_own_time(start: Callable[..., TlsServer]) -> None:
    """A client that shook hands and says no more."""
    server = start(TLS, handshake_s=300, header_s=0.05)

    assert read_all(server.shake()) == b""
    assert server.app.stats.closed[CloseReason.HEADER_TIMEOUT] == 1


def test_half_done_handshakes_count_against_the_cap(start: Callable[..., TlsServer]) -> None:
    """They close each other, oldest first, and a scrape comes through."""
    server = start(TLS, max_connections=5)
    kept = server.shake(send=SCRAPE)
    assert read_answer(kept)[0] == 200
    halves = [server.half() for _ in range(40)]

    assert server.get().status == 200
    assert server.app.stats.closed[CloseReason.CONNECTION_LIMIT] >= 35
    assert server.app.stats.open_connections <= 5
    assert len(halves) == 40


def test_a_client_that_does_not_read_is_cut(start: Callable[..., TlsServer]) -> None:
    """What is encrypted and unsent counts as not taken."""
    server = start(TLS, page_bytes=20_000_000, write_s=0.3, header_s=2)
    client = server.shake(send=SCRAPE, SO_RCVBUF=4096)

    server.settle(lambda: server.app.stats.closed[CloseReason.WRITE_TIMEOUT] == 1)
    assert len(read_all(client)) < 20_000_000


def test_a_broken_record_ends_the_connection(start: Callable[..., TlsServer]) -> None:
    """Somebody in between changed a byte: nothing of it reaches HTTP."""
    server = start(TLS)
    client = server.shake(send=SCRAPE)
    assert read_answer(client)[0] == 200
    raw = socket.socket(fileno=client.detach())
    server.clients.enter_context(raw)
    raw.settimeout(PATIENCE_S)
    raw.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)

    read_all(raw)
    assert server.app.stats.closed[CloseReason.BAD_REQUEST] == 1


def test_what_is_not_http_is_told_so_within_tls(start: Callable[..., TlsServer]) -> None:
    """And what follows is thrown away, up to a bound."""
    server = start(TLS)
    client = server.shake(send=b"hello\r\n\r\n")
    assert read_all(client).startswith(b"HTTP/1.1 400 ")
    with pytest.raises(OSError, match=r"Broken pipe|reset|EOF|closed"):
        client.sendall(b"x" * 20_000_000)

    assert server.get().status == 200


def test_stopping_answers_what_is_in_flight(start: Callable[..., TlsServer]) -> None:
    """A connection in the middle of its handshake is cut at once; the fixture sees that the server ends."""
    server = start(TLS, handshake_s=300, stop_s=300)
    server.source.gate.clear()
    busy, half = server.shake(send=SCRAPE), server.half()
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    server.settle(lambda: server.app.stats.accepted == 2)
    server.stop()

    read_all(half)
    server.source.gate.set()
    assert read_answer(busy)[0] == 200
    assert read_all(busy) == b""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.binary(max_size=60),
    sent=st.lists(st.binary(max_size=60) | st.sampled_from([SCRAPE, b"\r\n"]), max_size=4),
)
def test_no_bytes_whatever_raise_in_the_server(tls: TlsServer, before: bytes, sent: list[bytes]) -> None:
    """Random bytes before the handshake and within TLS; the fixture asserts that none raised."""
    raw = tls.connect(before)
    raw.shutdown(socket.SHUT_WR)
    read_all(raw)
    client = tls.shake(send=b"".join(sent))
    client.shutdown(socket.SHUT_WR)
    client.close()

    assert tls.get("/-/healthy").status == 200
    tls.clients.close()


@pytest.fixture
def tls(start: Callable[..., TlsServer]) -> TlsServer:
    """Give a running server with TLS."""
    return start(TLS)
