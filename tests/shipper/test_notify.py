from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import exporter.notify
from shipper.telling import notify
from shipper.telling.notify import Notifier, Pulse


@pytest.fixture(name="systemd")
def _systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Give a socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def heard(systemd: socket.socket) -> list[bytes]:
    """Return everything that systemd has been told since."""
    found = []
    while True:
        try:
            found.append(systemd.recv(1000))
        except BlockingIOError:
            return found


@pytest.mark.parametrize("name", ["message", "Notifier", "_watchdog_s", "of_this_process"])
def test_what_both_programs_say_to_systemd_is_the_same(name: str) -> None:
    """The protocol stands in each of them, word for word, and is tested in tests/exporter/test_notify.py."""
    ours, theirs = getattr(notify, name), getattr(exporter.notify, name)

    assert inspect.getsource(ours) == inspect.getsource(theirs)


def test_the_first_turn_makes_the_service_ready(systemd: socket.socket) -> None:
    """Files are found and followed then; before it nothing is told."""
    pulse = Pulse(Notifier(systemd.getsockname(), 60.0), Clock())
    before = heard(systemd)

    pulse.beat(lambda: "follows 3 files")

    assert before == []
    assert heard(systemd) == [b"READY=1\nSTATUS=follows 3 files"]


def test_turns_are_told_twice_in_the_watchdogs_time_however_many_there_are(systemd: socket.socket) -> None:
    """A thousand turns in 29 s are one message, and the next comes at 30 s."""
    clock = Clock()
    pulse = Pulse(Notifier(systemd.getsockname(), 60.0), clock)
    pulse.beat(lambda: "ready")
    heard(systemd)
    for turn in range(1000):
        clock.now_s = 29 * turn / 1000
        pulse.beat(lambda: pytest.fail("nobody wants to know yet"))

    clock.now_s = 30.0
    pulse.beat(lambda: "lag 0 s")

    assert heard(systemd) == [b"WATCHDOG=1\nSTATUS=lag 0 s"]


def test_the_end_is_told(systemd: socket.socket) -> None:
    """STOPPING, with what is still to be done."""
    Pulse(Notifier(systemd.getsockname()), Clock()).stopping("sends 12 lines")

    assert heard(systemd) == [b"STOPPING=1\nSTATUS=sends 12 lines"]


def test_without_systemd_no_status_is_made() -> None:
    """Nobody asks."""
    Pulse(Notifier(), Clock()).beat(lambda: pytest.fail("made"))
