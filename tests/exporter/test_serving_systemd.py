from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.collector import SourceCollector
from exporter.commands.serving import _work


@pytest.fixture(name="systemd")
def _systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Give a socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)
        yield sock


@pytest.fixture(name="served")
def _served(systemd: socket.socket, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give an exporter on an empty project, started as systemd starts it."""
    (tmp_path / ".loki").mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "exporter", "serve", "--web.listen-address", "127.0.0.1:0"),
            *("--loki-dir", tmp_path / ".loki"),
        ],
        env={**os.environ, "NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "400000"},
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()


def test_systemd_hears_ready_then_signs_of_life_then_stopping(
    systemd: socket.socket, served: subprocess.Popen[bytes]
) -> None:
    """READY once it answers, WATCHDOG with how the sources stand, STOPPING at SIGTERM, and exit code 0."""
    ready, alive = systemd.recv(1000), systemd.recv(1000)
    served.send_signal(signal.SIGTERM)
    last = alive
    while last == alive:
        last = systemd.recv(1000)

    assert ready.startswith(b"READY=1\nSTATUS=answers at http://127.0.0.1:")
    assert alive == b"WATCHDOG=1\nSTATUS=1 of 1 sources up"
    assert last == b"STOPPING=1\nSTATUS=answering what was asked"
    assert served.wait(timeout=20) == 0


def test_an_exporter_that_is_switched_off_is_ready_before_it_ends(
    systemd: socket.socket, tmp_path: Path
) -> None:
    """Exit 0 without READY is a failure to systemd, which would start it again for ever."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "serve", "--loki-dir", tmp_path],
        env={**os.environ, "NOTIFY_SOCKET": systemd.getsockname(), "LOKI_METRICS_ENABLED": "false"},
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=20,
    )

    assert done.returncode == 0
    assert systemd.recv(1000) == b"READY=1\nSTATUS=switched off by LOKI_METRICS_ENABLED"


def test_no_sign_of_life_comes_from_a_hanging_event_loop() -> None:
    """The work is done when the loop has turned, and not before."""
    collector, loop = SourceCollector(lambda _now_s: ()), asyncio.new_event_loop()
    told: list[str] = []
    worker = threading.Thread(target=lambda: told.append(_work(collector, loop)))
    worker.start()
    worker.join(timeout=0.3)
    while_it_hung = list(told)

    loop.run_until_complete(asyncio.sleep(0))
    worker.join(timeout=20)
    loop.close()

    assert while_it_hung == []
    assert told == ["0 of 0 sources up"]


def test_no_sign_of_life_comes_from_a_hanging_source() -> None:
    """A reading that hangs, as on a dead network file system, hangs every scrape, and systemd must know."""
    released, loop = threading.Event(), asyncio.new_event_loop()

    def hang(_now_s: float) -> tuple[()]:
        released.wait()
        return ()

    told: list[str] = []
    worker = threading.Thread(target=lambda: told.append(_work(SourceCollector(hang), loop)))
    worker.start()
    loop.run_until_complete(asyncio.sleep(0.3))
    while_it_hung = list(told)

    loop.close()
    released.set()
    worker.join(timeout=20)

    assert while_it_hung == []
    assert told == ["stopped"]
