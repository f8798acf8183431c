from __future__ import annotations

import pytest

from shipper.push.readiness import HOLD_LIMIT_S, Readiness

WAITING = "Ingester not ready: waiting for 15s after being ready\n"


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def started(clock: Clock) -> Readiness:
    """Of a shipper that has run before."""
    return Readiness(clock)


@pytest.mark.parametrize(
    "text",
    [
        WAITING,
        "Ingester not ready: ingester not ready: Starting",
        "Some services are not Running:\nStarting: 1\n",
    ],
)
def test_a_loki_that_has_just_started_holds_pushes_back_until_it_is_ready(text: str) -> None:
    """Each text that Loki 3.7.8 says in its first seconds."""
    readiness = started(Clock())

    assert readiness.holds(503, text)
    assert readiness.holds(503, text)
    assert not readiness.holds(200, "ready\n")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "page not found"),
        (401, "no"),
        (200, "<html>OK</html>"),
        (503, "<html>Service Unavailable</html>"),
        (502, "Bad Gateway"),
        (503, "Query Frontend not ready: no querier"),
    ],
)
def test_what_is_no_word_of_lokis_ingester_holds_nothing_back(status: int, text: str) -> None:
    """A gateway's pages say nothing of the Loki behind it."""
    assert not started(Clock()).holds(status, text)


def test_a_loki_that_is_never_ready_is_pushed_to_after_a_minute() -> None:
    """And from then on at once, until it was ready or gone."""
    clock = Clock()
    readiness = started(clock)
    assert readiness.holds(503, WAITING)
    clock.now_s += HOLD_LIMIT_S - 1
    assert readiness.holds(503, WAITING)
    clock.now_s += 1

    assert not readiness.holds(503, WAITING)
    readiness.doubt()
    assert not readiness.holds(503, WAITING)
    readiness.unreachable()
    assert readiness.holds(503, WAITING)


def test_a_question_without_an_answer_holds_back_for_a_minute_and_an_answer_counts_anew() -> None:
    """Behind a port that takes connections for a Loki that is not there."""
    clock = Clock()
    readiness = started(clock)
    assert readiness.holds_silent()
    clock.now_s += HOLD_LIMIT_S
    assert not readiness.holds_silent()

    assert readiness.holds(503, WAITING)


def test_on_the_first_run_nothing_is_held_back_before_something_has_failed() -> None:
    """Nothing that was never pushed can be a repeat."""
    readiness = Readiness(Clock())
    readiness.trust()
    assert not readiness.holds(503, WAITING)
    assert not readiness.holds_silent()

    readiness.doubt()

    assert readiness.holds(503, WAITING)


def test_a_connection_that_ended_ends_the_trust_of_the_first_run() -> None:
    """It may have been idle for too long; and it may have been Loki that ended."""
    readiness = Readiness(Clock())
    readiness.trust()

    readiness.distrust()

    assert readiness.holds(503, WAITING)
    assert readiness.doubts == 0
