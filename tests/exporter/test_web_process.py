from __future__ import annotations

import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from web_client import PATIENCE_S, connect, read_all

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n\r\n"
CROWD = 200

PROGRAM = """
import sys
from prometheus_client.core import GaugeMetricFamily
from exporter.logs import set_up_logging
from exporter.web.asgi import build_app
from exporter.web.connections import Limits
from exporter.web.listen import Address, bind
from exporter.web.server import serve
from shared.healthcheck import Report

def say(text):
    print(text, flush=True)

class Registry:
    def collect(self):
        if "gated" in sys.argv:
            say("collecting")
            sys.stdin.readline()
        yield GaugeMetricFamily("sample", "A sample.", value=1)

set_up_logging("logfmt")
listener = bind(Address("127.0.0.1", 0))
app = build_app(Registry(), health=lambda: Report("exporter", ()), version="1")
limits = Limits(stop_s=float(sys.argv[1]))
serve(
    app, listener, limits=limits,
    on_started=lambda stop: say(f"port {listener.address.port}"),
    on_stopping=lambda: say("stopping"),
)
say(f"returned {app.stats.loop_errors}")
"""


@dataclass
class Child:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    clients: ExitStack

    def connect(self, send: bytes = b"") -> socket.socket:
        """Open a connection that is closed with the test, and send."""
        return connect(self.clients, self.port, send)

    def says(self) -> str:
        """Return the next line it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def let_go(self) -> None:
        """Let one gated collection go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def open_files(self) -> int:
        """Return how many descriptors the process holds."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    """Give a function that starts the program; its processes are killed with the test."""
    with ExitStack() as stack:

        def start(*arguments: str, stop_s: float = 4.0) -> Child:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(stop_s), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            clients = stack.enter_context(ExitStack())
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("port "), process.communicate()
            return Child(process, int(line.split()[1]), clients)

        yield start


def scrape_seconds(child: Child) -> float:
    """Scrape once over a new connection; return how long it took."""
    began_s = time.monotonic()
    with socket.socket() as client:
        client.settimeout(PATIENCE_S)
        client.connect(("127.0.0.1", child.port))
        client.sendall(SCRAPE)
        assert b" 200 " in read_all(client).split(b"\r\n")[0]
    return time.monotonic() - began_s


def test_a_crowd_of_idle_and_slow_clients_delays_no_scrape(spawn: Callable[..., Child]) -> None:
    """With 200 idle and 200 slow header senders, a scrape takes under 100 ms and open files stay bounded."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1024:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    child = spawn()
    scrape_seconds(child)
    before = child.open_files()

    idle = [child.connect() for _ in range(CROWD)]
    slow = [child.connect(b"GET /metrics HTTP/1.1\r\nX: ") for _ in range(CROWD)]
    took_s = []
    for _ in range(11):
        for client in slow[-50:]:
            client.sendall(b"y")
        took_s.append(scrape_seconds(child))

    assert statistics.median(took_s) < 0.1
    assert 100 <= child.open_files() - before <= 128
    assert len(idle) + len(slow) == 2 * CROWD


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_success(spawn: Callable[..., Child], number: signal.Signals) -> None:
    """Idle connections close, `serve` returns, the process exits 0, well under a second."""
    child = spawn()
    idle = child.connect()
    scrape_seconds(child)
    began_s = time.monotonic()

    child.process.send_signal(number)
    out, err = child.process.communicate(timeout=PATIENCE_S)

    assert out.split() == ["stopping", "returned", "0"]
    assert child.process.returncode == 0
    assert time.monotonic() - began_s < 2
    assert read_all(idle) == b""
    assert re.fullmatch(rf"ts=\S+ level=info event=stopping signal={number.name}\n", err)


def test_sigterm_waits_for_a_scrape_in_flight(spawn: Callable[..., Child]) -> None:
    """The scrape gets its page, then the process exits 0."""
    child = spawn("gated")
    scraper = child.connect(SCRAPE)
    assert child.says() == "collecting"
    child.process.send_signal(signal.SIGTERM)
    assert child.says() == "stopping"
    child.let_go()

    assert read_all(scraper).endswith(b"sample 1.0\n")
    assert child.process.wait(PATIENCE_S) == 0


def test_sigterm_does_not_wait_for_a_collection_that_hangs(spawn: Callable[..., Child]) -> None:
    """After `stop_s` the process exits 0 although a thread is still stuck, and says what was lost."""
    child = spawn("gated", stop_s=0.2)
    scraper = child.connect(SCRAPE)
    assert child.says() == "collecting"
    child.process.send_signal(signal.SIGTERM)

    assert child.process.wait(5) == 0
    assert read_all(scraper) == b""
    assert child.process.stderr is not None
    assert 'level=warning event="connections cut" count=1 ' in child.process.stderr.read()


def test_a_second_signal_ends_it_at_once(spawn: Callable[..., Child]) -> None:
    """Who presses Ctrl-C twice does not want to wait."""
    child = spawn("gated", stop_s=1000)
    scraper = child.connect(SCRAPE)
    assert child.says() == "collecting"
    child.process.send_signal(signal.SIGINT)
    assert child.says() == "stopping"
    child.process.send_signal(signal.SIGINT)

    assert child.process.wait(PATIENCE_S) == 0
    assert read_all(scraper) == b""


def test_an_idle_server_is_small(spawn: Callable[..., Child]) -> None:
    """After some scrapes the whole process is far under the 45 MB that an exporter may take."""
    child = spawn()
    for _ in range(20):
        scrape_seconds(child)

    status = Path(f"/proc/{child.process.pid}/status").read_text(encoding="ascii")

    assert int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) < 38 * 1024
