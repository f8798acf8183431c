from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(name="systemd")
def _systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Give a socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)
        yield sock


@pytest.fixture(name="shipper")
def _shipper(systemd: socket.socket, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give a shipper of one file with one line, started as systemd starts it, whose Loki is away."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/a.jsonl").write_text('{"timestamp":"2026-11-21T10:00:00Z"}\n')
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "shipper", "run", "--loki-url", "http://127.0.0.1:9"),
            *("--source", f"jsonl={tmp_path}/logs/*.jsonl", "--state-dir", tmp_path / "state"),
            *("--listen-address", "", "--shutdown-timeout", "0.2s"),
        ],
        env={**os.environ, "NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "400000"},
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()


def test_systemd_hears_ready_then_signs_of_life_then_stopping(
    systemd: socket.socket, shipper: subprocess.Popen[bytes]
) -> None:
    """READY after the first turn, WATCHDOG though Loki is away, STOPPING at SIGTERM."""
    ready, alive = systemd.recv(1000), systemd.recv(1000)
    shipper.send_signal(signal.SIGTERM)
    last = alive
    while last.startswith(b"WATCHDOG=1"):
        last = systemd.recv(1000)

    assert ready.startswith(b"READY=1\nSTATUS=")
    assert alive == b"WATCHDOG=1\nSTATUS=1 files, 0 lines sent, 1 under way"
    assert last == b"STOPPING=1\nSTATUS=stopping: 1 files, 0 lines sent, 1 under way"
    shipper.wait(timeout=20)


def test_a_shipper_that_is_switched_off_is_ready_before_it_ends(
    systemd: socket.socket, tmp_path: Path
) -> None:
    """Exit 0 without READY is a failure to systemd, which would start it again for ever."""
    (tmp_path / "shipper.toml").write_text("loki_enabled = false\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "shipper", "run", "--loki-url", "http://127.0.0.1:9"),
            *("--config", tmp_path / "shipper.toml", "--source", f"jsonl={tmp_path}/*.jsonl"),
            *("--state-dir", tmp_path / "state"),
        ],
        env={**os.environ, "NOTIFY_SOCKET": systemd.getsockname()},
        stderr=subprocess.PIPE,
        check=False,
        timeout=20,
    )

    assert done.returncode == 0, done.stderr
    assert systemd.recv(1000) == b"READY=1\nSTATUS=switched off by loki_enabled"


def test_switched_off_ends_well_with_nothing_else_configured(tmp_path: Path) -> None:
    """No source, no Loki, a wrong number: the switch is off, so none of them matters."""
    done = subprocess.run(
        [sys.executable, "-m", "shipper", "run", "--batch-size", "many"],
        env={**os.environ, "LLM_PROXY_LOKI_ENABLED": "false", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )

    assert (done.returncode, "switched off" in done.stderr) == (0, True), done.stderr


def test_the_unit_reloads_by_the_signal_that_the_shipper_takes() -> None:
    """SIGHUP to the main process; its type is not the one for which systemd waits to be told of a reload."""
    unit = (Path(__file__).parent.parent.parent / "systemd/tallyship-shipper.service").read_text("utf-8")

    assert "\nExecReload=/bin/kill -HUP $MAINPID\n" in unit
    assert "\nType=notify\n" in unit


def test_a_reload_does_not_end_the_signs_of_life(
    systemd: socket.socket, shipper: subprocess.Popen[bytes]
) -> None:
    """READY is not told again, nor STOPPING; the watchdog goes on hearing."""
    systemd.recv(1000)
    shipper.send_signal(signal.SIGHUP)
    told = [systemd.recv(1000) for _ in range(4)]

    assert all(one.startswith(b"WATCHDOG=1\n") for one in told)
