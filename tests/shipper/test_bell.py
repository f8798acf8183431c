from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from shipper.bell import Bell


@pytest.fixture(name="bell")
def _bell() -> Iterator[Bell]:
    """Give a bell."""
    bell = Bell()
    yield bell
    bell.close()


def test_a_ring_while_nobody_sleeps_ends_the_next_sleep(bell: Bell) -> None:
    """And only that one."""
    for _ in range(100_000):
        bell.ring()
    began = time.monotonic()
    bell.sleep(20.0, None)
    heard = time.monotonic() - began
    began = time.monotonic()
    bell.sleep(0.05, None)

    assert heard < 5
    assert time.monotonic() - began >= 0.04


def test_a_ring_from_another_thread_ends_a_sleep(bell: Bell) -> None:
    """As an answer does, or a save."""
    began = time.monotonic()
    threading.Timer(0.05, bell.ring).start()
    bell.sleep(20.0, None)

    assert time.monotonic() - began < 10


@pytest.mark.parametrize("answers", [False, True])
def test_inotify_and_answers_end_a_sleep_and_are_left_to_their_readers(bell: Bell, answers: bool) -> None:  # noqa: FBT001 - two cases
    """Nothing is read from them here."""
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"event")
    began = time.monotonic()
    if answers:
        bell.sleep(20.0, None, read_fd)
    else:
        bell.sleep(20.0, read_fd)
    ended = time.monotonic() - began

    assert ended < 10
    assert os.read(read_fd, 100) == b"event"
    os.close(read_fd)
    os.close(write_fd)
