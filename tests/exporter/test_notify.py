from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.notify import Notifier, message, report_progress

PID = 4242


@pytest.fixture(name="systemd")
def _systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Give a socket that listens as systemd does, at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def address_of(sock: socket.socket) -> str:
    """Return what `$NOTIFY_SOCKET` is for a bound socket."""
    name = sock.getsockname()
    return "@" + name[1:].decode() if isinstance(name, bytes) else str(name)


def test_ready_with_a_status_is_two_assignments() -> None:
    """One datagram carries both."""
    assert message(ready=True, status="2 of 2 sources up") == b"READY=1\nSTATUS=2 of 2 sources up"


def test_stopping_and_watchdog_are_assignments_of_their_own() -> None:
    """As sd_notify(3) spells them."""
    assert message(stopping=True) == b"STOPPING=1"
    assert message(watchdog=True) == b"WATCHDOG=1"


def test_nothing_said_is_an_empty_message() -> None:
    """No assignment is made up."""
    assert message() == b""


@given(st.text())
def test_no_status_can_smuggle_in_another_assignment(status: str) -> None:
    """Whatever a status holds, it is one line of valid UTF-8 and not too long."""
    datagram = message(status=status)

    assert datagram.startswith(b"STATUS=")
    assert len(datagram.decode("utf-8").splitlines()) == 1
    assert len(datagram) <= 507


def test_a_message_reaches_a_socket_at_a_path(systemd: socket.socket) -> None:
    """`$NOTIFY_SOCKET` that begins with a slash."""
    notifier = Notifier.of({"NOTIFY_SOCKET": address_of(systemd)}, PID)

    assert notifier.send(message(ready=True)) is True
    assert systemd.recv(100) == b"READY=1"


def test_a_message_reaches_an_abstract_socket() -> None:
    """`$NOTIFY_SOCKET` that begins with an @."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0tallyship-test-{os.getpid()}")
        sock.settimeout(5)
        notifier = Notifier.of({"NOTIFY_SOCKET": address_of(sock)}, PID)

        assert notifier.send(message(stopping=True)) is True
        assert sock.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_socket_that_we_know_nothing_is_sent(environ: dict[str, str]) -> None:
    """Started by hand, or by something newer than us."""
    assert Notifier.of(environ, PID).send(message(ready=True)) is False


def test_a_socket_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    """The service works on when systemd does not listen."""
    notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, PID)

    assert notifier.send(message(ready=True)) is False


@pytest.mark.parametrize(
    ("environ", "expected_s"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(PID)}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_time_is_that_for_this_process(
    environ: dict[str, str], expected_s: float | None
) -> None:
    """A watchdog of another process, of no time, or in no number is none."""
    notifier = Notifier.of({"NOTIFY_SOCKET": "/run/x", **environ}, PID)

    assert notifier.watchdog_s == expected_s


def test_signs_of_life_are_told_twice_in_the_watchdogs_time() -> None:
    """Half of it; without a watchdog the status is told every 30 s."""
    assert Notifier("/run/x", 60.0).interval_s == 30.0
    assert Notifier("/run/x", 10.0).interval_s == 5.0
    assert Notifier("/run/x").interval_s == 30.0


class Steps(threading.Event):
    """An event whose `wait` takes no time: it is set after so many waits, which it records."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self._steps = steps

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether the steps are used up."""
        self.waits.append(timeout)
        return len(self.waits) > self._steps


def test_a_sign_of_life_follows_each_piece_of_work(systemd: socket.socket) -> None:
    """Work, message, wait, and so on until it is stopped."""
    statuses = iter(["first", "second"])
    stopped = Steps(2)

    report_progress(Notifier(address_of(systemd), 10.0), lambda: next(statuses), stopped)

    assert [systemd.recv(100) for _ in range(2)] == [
        b"WATCHDOG=1\nSTATUS=first",
        b"WATCHDOG=1\nSTATUS=second",
    ]
    assert stopped.waits == [5.0, 5.0, 5.0]


def test_work_that_fails_ends_the_signs_of_life(systemd: socket.socket) -> None:
    """The watchdog must find a process that does not work."""

    def fail() -> str:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        report_progress(Notifier(address_of(systemd), 10.0), fail, Steps(2))

    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


def test_without_systemd_no_work_is_done() -> None:
    """Nobody asks, so no reading is made for the answer."""
    stopped = Steps(2)

    report_progress(Notifier(), lambda: pytest.fail("worked"), stopped)

    assert stopped.waits == []
