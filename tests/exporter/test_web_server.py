from __future__ import annotations

import gzip
import http.client
import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from web_client import PATIENCE_S, connect, read_all, read_answer

from exporter.web.asgi import App, build_app
from exporter.web.connections import Limits
from exporter.web.listen import Address, Listener, bind
from exporter.web.server import serve
from exporter.web.stats import CloseReason, Route, WebStats
from shared.healthcheck import Check, Report, State, probe

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
LAST_SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n\r\n"


@dataclass
class Source:
    """A registry with a page of a wanted size, and a health report; both have a gate before them."""

    page_bytes: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    collecting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    checking: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.gate.set()

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge, with a label that makes the page as large as wanted."""
        self.collecting.release()
        self.gate.wait(PATIENCE_S)
        family = GaugeMetricFamily("sample", "A sample.", labels=["padding"])
        family.add_metric(["x" * self.page_bytes], 1)
        yield family

    def health(self) -> Report:
        """Return a report that finds nothing wrong."""
        self.checking.release()
        self.gate.wait(PATIENCE_S)
        return Report("exporter", (Check("all", State.OK, "fine", 1.0),))


@dataclass
class Running:
    """A server in a thread of this process."""

    app: App
    listener: Listener
    source: Source
    stop: Callable[[], None]
    thread: threading.Thread
    clients: ExitStack

    @property
    def stats(self) -> WebStats:
        """What the server counts."""
        return self.app.stats

    @property
    def port(self) -> int:
        """The port it got."""
        return self.listener.address.port

    def connect(self, send: bytes = b"", **options: Any) -> socket.socket:
        """Open a connection that is closed with the test, and send."""
        return connect(self.clients, self.port, send, **options)

    def get(self, path: str = "/metrics", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        """Ask over a connection of its own and read the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        self.clients.callback(connection.close)
        connection.request(
            method, path, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )
        return connection.getresponse()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Give a function that starts a server with the given limits; all stop with the test."""
    with ExitStack() as stack:

        def begin(page_bytes: int = 0, **limits: Any) -> Running:
            source = Source(page_bytes)
            chosen = replace(Limits(), **limits)
            app = build_app(source, health=source.health, version="1", limits=chosen)
            listener = bind(Address("127.0.0.1", 0))
            assert isinstance(listener, Listener)
            started: queue.Queue[Callable[[], None]] = queue.Queue()
            thread = threading.Thread(
                target=serve, args=(app, listener), kwargs={"limits": chosen, "on_started": started.put}
            )
            thread.start()
            running = Running(app, listener, source, started.get(timeout=PATIENCE_S), thread, ExitStack())

            def end() -> None:
                source.gate.set()
                running.clients.close()
                running.stop()
                thread.join(PATIENCE_S)
                assert not thread.is_alive()
                assert running.stats.open_connections == 0
                assert running.stats.loop_errors == 0

            stack.callback(end)
            return running

        yield begin


def drip(client: socket.socket, sent: bytes, pace_s: float = 0.01) -> int:
    """Send byte by byte, the socket's time-out setting the pace, until the server closes; return how many."""
    client.settimeout(pace_s)
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


# What a client gets


def test_a_scrape_over_a_real_socket(start: Callable[..., Running]) -> None:
    """Text by default, OpenMetrics and gzip when asked, through uvicorn and h11."""
    server = start()

    plain = server.get()
    packed = server.get(Accept="application/openmetrics-text;version=1.0.0", Accept_Encoding="gzip")

    assert (plain.status, b'sample{padding=""} 1.0\n' in plain.read()) == (200, True)
    assert packed.getheader("content-encoding") == "gzip"
    assert gzip.decompress(packed.read()).endswith(b"# EOF\n")


def test_head_answers_with_the_header_of_get(start: Callable[..., Running]) -> None:
    """The same length and type, no body, and the connection goes on."""
    server = start()
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    server.clients.callback(client.close)
    lengths = []
    for method in ("HEAD", "GET", "HEAD"):
        client.request(method, "/metrics")
        answer = client.getresponse()
        lengths.append((answer.status, answer.getheader("content-length"), answer.getheader("content-type")))
        body = answer.read()
        assert (body == b"") is (method == "HEAD")

    assert len(set(lengths)) == 1
    assert server.stats.accepted == 1


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/no", "GET", 404), ("/", "POST", 405), ("/", "PUT", 405)]
)
def test_refusals_over_a_real_socket(
    start: Callable[..., Running], path: str, method: str, status: int
) -> None:
    """404 and 405 leave the connection usable."""
    server = start()

    assert server.get(path, method).status == status
    assert server.get().status == 200


def test_the_health_client_understands_the_server(start: Callable[..., Running]) -> None:
    """`probe` gets the report from `/health` and both probes of Kubernetes."""
    server = start()

    for path in ("/health", "/-/ready", "/-/healthy"):
        report = probe(f"http://127.0.0.1:{server.port}{path}")
        assert isinstance(report, Report)
        assert report.state is State.OK


def test_pipelined_requests_are_answered_in_order(start: Callable[..., Running]) -> None:
    """Requests sent in one packet each get their own answer."""
    server = start()
    client = server.connect(SCRAPE + SCRAPE.replace(b"/metrics", b"/nonsense") + LAST_SCRAPE)

    answers = read_all(client).split(b"HTTP/1.1 ")[1:]

    assert [int(answer[:3]) for answer in answers] == [200, 404, 200]


def test_a_half_closed_client_gets_its_answers(start: Callable[..., Running]) -> None:
    """Whoever sends, closes its sending side and reads, as `nc -N` does, gets every answer; then it ends."""
    server = start()
    server.source.gate.clear()
    client = server.connect(SCRAPE + SCRAPE)
    client.shutdown(socket.SHUT_WR)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    server.source.gate.set()

    assert read_all(client).count(b"HTTP/1.1 200") == 2


def test_an_old_http_client_is_answered(start: Callable[..., Running]) -> None:
    """HTTP/1.0 gets its answer and the end of the connection."""
    server = start()

    assert b" 200 " in read_all(server.connect(b"GET /metrics HTTP/1.0\r\n\r\n")).split(b"\r\n")[0]


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_an_upgrade_is_ignored(start: Callable[..., Running], upgrade: str) -> None:
    """We speak HTTP/1.1 only, and say so by simply answering."""
    server = start()
    client = server.connect(
        b"GET /metrics HTTP/1.1\r\nHost: e\r\nConnection: Upgrade\r\nUpgrade: "
        + upgrade.encode()
        + b"\r\n\r\n"
    )

    assert read_answer(client)[0] == 200
    client.sendall(SCRAPE)
    assert read_answer(client)[0] == 200


def test_a_small_body_does_no_harm(start: Callable[..., Running]) -> None:
    """A body that comes along with its request is skipped, and the connection goes on."""
    server = start()
    client = server.connect(b"GET /metrics HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\nabc" + SCRAPE)

    assert [read_answer(client)[0], read_answer(client)[0]] == [200, 200]


# What a rude client gets


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / SPDY/3\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_answered_400_and_closed(start: Callable[..., Running], sent: bytes) -> None:
    """A TLS hello to the plain port among it; the reason is counted."""
    server = start()
    client = server.connect(sent)
    client.shutdown(socket.SHUT_WR)
    received = read_all(client)

    assert received == b"" or b" 400 " in received.split(b"\r\n")[0]
    assert server.get().status == 200


def test_a_header_above_the_limit_is_answered_431(start: Callable[..., Running]) -> None:
    """The client can read why, and is not reset though it goes on sending for a while."""
    server = start(header_bytes=4096)
    client = server.connect(b"GET /metrics HTTP/1.1\r\nHost: e\r\nX-Padding: " + b"a" * 8000)

    assert b"HTTP/1.1 431 " in client.recv(65536)
    for _ in range(3):
        client.sendall(b"a" * 1000)
        assert server.get().status == 200  # by now the server has seen what was sent
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) in {b"", b"Invalid HTTP request received.\n"}
    assert server.get().status == 200
    assert server.stats.closed[CloseReason.BAD_REQUEST] == 1
    assert server.stats.requests[Route.INVALID, 431] == 1


def test_an_endless_header_ends(start: Callable[..., Running]) -> None:
    """After the refusal a megabyte is read and thrown away, and then the connection is cut."""
    server = start()
    client = server.connect(b"GET /metrics HTTP/1.1\r\nHost: e\r\n")

    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        client.sendall((b"X: " + b"a" * 65536) * 1000)


def test_a_huge_body_is_refused_by_its_length(start: Callable[..., Running]) -> None:
    """413 before a byte of it has come, and the connection ends within the body time."""
    server = start(body_s=0.1)
    client = server.connect(b"POST /metrics HTTP/1.1\r\nHost: e\r\nContent-Length: 1000000000\r\n\r\n")

    assert b"HTTP/1.1 413 " in read_all(client)
    assert server.stats.closed[CloseReason.UNWANTED_BODY] in {0, 1}


def test_a_body_without_end_ends(start: Callable[..., Running]) -> None:
    """A chunked body has no declared length: it is answered, read for a while, and cut."""
    server = start()
    client = server.connect(b"POST /metrics HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n")

    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        client.sendall((b"10000\r\n" + b"a" * 65536 + b"\r\n") * 1000)


def test_a_bad_chunk_during_a_scrape_is_no_error_of_ours(start: Callable[..., Running]) -> None:
    """The body breaks while the answer is being made: the client hears 400, nothing is raised."""
    server = start()
    server.source.gate.clear()
    client = server.connect(b"GET /metrics HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    client.sendall(b"nonsense\r\n")

    assert b"HTTP/1.1 400 " in client.recv(65536)
    server.source.gate.set()
    for _ in range(3):
        assert server.get().status == 200
        client.sendall(b"more")  # no reset: the answer that came too late went nowhere


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.lists(
        st.one_of(
            st.binary(max_size=60), st.sampled_from([SCRAPE, b"\r\n", b"GET ", b"HEAD / HTTP/1.1\r\n"])
        ),
        max_size=6,
    )
)
def test_no_bytes_whatever_raise_in_the_server(start: Callable[..., Running], sent: list[bytes]) -> None:
    """Random bytes, cut anywhere, end in an answer or a close; the fixture asserts that none raised."""
    server = start()
    client = server.connect(b"".join(sent))
    client.shutdown(socket.SHUT_WR)

    read_all(client)

    assert server.get().status == 200
    server.clients.close()


# What a slow client gets


def test_a_silent_connection_is_closed_after_the_header_time(start: Callable[..., Running]) -> None:
    """It sends nothing, gets nothing, and ends."""
    server = start(header_s=0.05)

    assert read_all(server.connect()) == b""
    assert server.stats.closed[CloseReason.HEADER_TIMEOUT] == 1


def test_a_dripping_header_is_cut_as_if_nothing_had_come(start: Callable[..., Running]) -> None:
    """One byte every few milliseconds does not prolong the header time."""
    server = start(header_s=0.2)
    client = server.connect()
    began_s = time.monotonic()

    dripped = drip(client, b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 1000)

    assert dripped > 1
    assert 0.2 <= time.monotonic() - began_s < 2
    assert server.stats.closed[CloseReason.HEADER_TIMEOUT] == 1


def test_a_second_header_may_not_drip_either(start: Callable[..., Running]) -> None:
    """On a kept connection the header time runs from the first byte of the next request."""
    server = start(header_s=0.3, idle_s=300)
    client = server.connect(SCRAPE)
    assert read_answer(client)[0] == 200
    client.sendall(b"GET /met")

    assert read_all(client) == b""
    assert server.stats.closed[CloseReason.HEADER_TIMEOUT] == 1


def test_a_kept_connection_is_not_held_to_the_header_time(start: Callable[..., Running]) -> None:
    """Prometheus may be silent for longer than a header may take, and scrape on over the same connection."""
    server = start(header_s=0.3)
    client = server.connect(SCRAPE)
    assert read_answer(client)[0] == 200
    assert read_all(server.connect()) == b""  # as long as the header time has taken

    client.sendall(SCRAPE)
    assert read_answer(client)[0] == 200


def test_each_of_several_silent_connections_is_closed_in_time(start: Callable[..., Running]) -> None:
    """A connection with a far deadline before them makes nobody wait for it."""
    server = start(header_s=0.1, idle_s=300)
    assert read_answer(server.connect(SCRAPE))[0] == 200

    assert [read_all(server.connect()) for _ in range(3)] == [b"", b"", b""]


def test_an_idle_connection_is_closed_after_the_idle_time(start: Callable[..., Running]) -> None:
    """And it is called so."""
    server = start(idle_s=0.05)
    client = server.connect(SCRAPE)
    assert read_answer(client)[0] == 200

    assert read_all(client) == b""
    assert server.stats.closed[CloseReason.IDLE_TIMEOUT] == 1


@pytest.mark.parametrize("request_", [SCRAPE, LAST_SCRAPE], ids=["keep-alive", "close"])
def test_a_client_that_does_not_read_is_cut(start: Callable[..., Running], request_: bytes) -> None:
    """Its answer does not fit the sockets' buffers; after the write time it loses the rest."""
    server = start(page_bytes=20_000_000, write_s=1.0, header_s=2.5)
    client = server.connect(request_, SO_RCVBUF=4096)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    server.source.page_bytes = 0
    other = LAST_SCRAPE.replace(b"/metrics", b"/metrics?name[]=other")  # the same one would share the page
    assert read_all(server.connect(other)).startswith(b"HTTP/1.1 200")  # made after the large page
    assert read_all(server.connect()) == b""  # by the header time, which is longer than the write time

    assert server.stats.closed[CloseReason.WRITE_TIMEOUT] == 1
    assert len(read_all(client)) < 20_000_000


def test_an_answer_cut_short_by_little_counts_as_unread_too(start: Callable[..., Running]) -> None:
    """What is left may be less than any buffer mark: the write time counts all the same."""
    server = start(page_bytes=50_000, write_s=0.2, header_s=1, idle_s=300)
    server.listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = server.connect(SCRAPE, SO_RCVBUF=4096)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    assert read_all(server.connect()) == b""  # by the header time, which is longer than the write time

    assert server.stats.closed[CloseReason.WRITE_TIMEOUT] == 1
    assert 0 < len(read_all(client)) < 50_000


def test_a_slow_reader_that_reads_all_is_served(start: Callable[..., Running]) -> None:
    """A page larger than all buffers arrives whole, and the connection goes on."""
    server = start(page_bytes=5_000_000)
    client = server.connect(SCRAPE, SO_RCVBUF=4096)

    assert len(read_answer(client)[1]) > 5_000_000
    server.source.page_bytes = 0
    client.sendall(SCRAPE)
    assert read_answer(client)[0] == 200


# How many there may be


def test_at_the_cap_the_longest_idle_is_closed_and_the_newest_served(start: Callable[..., Running]) -> None:
    """Each newcomer takes the place of the connection that has been idle longest."""
    server = start(max_connections=3)
    kept = []
    for _ in range(3):
        kept.append(server.connect(SCRAPE))
        assert read_answer(kept[-1])[0] == 200
    kept[0].sendall(SCRAPE)
    assert read_answer(kept[0])[0] == 200

    newest = server.connect(SCRAPE)

    assert read_answer(newest)[0] == 200
    assert read_all(kept[1]) == b""
    kept[0].sendall(SCRAPE)
    assert read_answer(kept[0])[0] == 200
    kept[2].sendall(SCRAPE)
    assert read_answer(kept[2])[0] == 200
    assert server.stats.closed[CloseReason.CONNECTION_LIMIT] == 1
    assert server.stats.open_connections == 3


def test_a_scrape_in_progress_survives_a_flood(start: Callable[..., Running]) -> None:
    """Hundreds of newer connections close each other, not the one whose answer is being made."""
    server = start(max_connections=5)
    server.source.gate.clear()
    scraper = server.connect(SCRAPE)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    for _ in range(100):
        server.connect(b"GET / HT")
    assert server.get("/-/healthy").status == 200  # it came last, so all others have been seen
    server.source.gate.set()

    assert read_answer(scraper)[0] == 200
    assert server.stats.closed[CloseReason.CONNECTION_LIMIT] >= 95


def test_when_all_answers_hang_the_longest_served_makes_room(start: Callable[..., Running]) -> None:
    """Even then open connections stay bounded, and `/-/healthy` answers a newcomer."""
    server = start(max_connections=2)
    server.source.gate.clear()
    first = server.connect(SCRAPE)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    second = server.connect(SCRAPE.replace(b"/metrics", b"/health"))
    assert server.source.checking.acquire(timeout=PATIENCE_S)

    assert server.get("/-/healthy").status == 200
    assert read_all(first) == b""
    server.source.gate.set()
    assert read_answer(second)[0] == 200


def test_counters_account_for_every_connection(start: Callable[..., Running]) -> None:
    """Accepted is open plus closed, and a client that leaves is counted as such."""
    server = start()
    first = server.connect(SCRAPE)
    read_answer(first)
    read_all(server.connect(LAST_SCRAPE))
    assert server.stats.closed[CloseReason.ANSWERED] == 1
    first.shutdown(socket.SHUT_WR)
    read_all(first)

    assert server.stats.closed[CloseReason.CLIENT] == 1
    assert server.stats.accepted == server.stats.open_connections + sum(server.stats.closed.values()) == 2


def test_a_page_of_many_bytes_is_json_when_asked_at_health(start: Callable[..., Running]) -> None:
    """The report on the wire is one JSON document on one line."""
    body = start().get("/health").read()

    assert body.count(b"\n") == 1
    assert json.loads(body)["component"] == "exporter"


def test_the_kernel_queues_a_burst_of_connections(start: Callable[..., Running]) -> None:
    """Few are accepted at a time, but many may wait: one that does not fit would be a second late."""
    info = start().listener.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))

    assert struct.unpack_from("=I", info, 28)[0] == min(1024, somaxconn)  # of a listener: the queue's length


# How it ends


def test_stopping_closes_idle_connections_at_once(start: Callable[..., Running]) -> None:
    """Idle, silent and half-sent connections see the end, and `serve` returns."""
    server = start()
    idle = server.connect(SCRAPE)
    read_answer(idle)
    silent, half = server.connect(), server.connect(b"GET / HT")
    assert server.get("/-/healthy").status == 200

    server.stop()

    assert [read_all(client) for client in (idle, silent, half)] == [b"", b"", b""]
    server.thread.join(PATIENCE_S)
    assert not server.thread.is_alive()
    assert server.stats.closed[CloseReason.SHUTDOWN] >= 3


def test_stopping_answers_what_is_in_flight(start: Callable[..., Running]) -> None:
    """A scrape that has begun gets its page although the server takes no new connection."""
    server = start(stop_s=1000)
    server.source.gate.clear()
    scraper = server.connect(SCRAPE)
    idle = server.connect(SCRAPE[:-2])
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    server.stop()
    assert read_all(idle) == b""  # so stopping has begun
    with pytest.raises(OSError, match=r"refused|reset"):
        server.connect(SCRAPE).recv(1)

    server.source.gate.set()

    assert read_all(scraper).startswith(b"HTTP/1.1 200")
    server.thread.join(PATIENCE_S)
    assert not server.thread.is_alive()


def test_stopping_does_not_wait_for_ever(start: Callable[..., Running]) -> None:
    """A collection that hangs costs its scrape the answer, and the server ends after `stop_s`."""
    server = start(stop_s=0.2)
    server.source.gate.clear()
    scraper = server.connect(SCRAPE)
    assert server.source.collecting.acquire(timeout=PATIENCE_S)
    began_s = time.monotonic()

    server.stop()
    server.thread.join(PATIENCE_S)

    assert not server.thread.is_alive()
    assert 0.2 <= time.monotonic() - began_s < 2
    assert read_all(scraper) == b""
