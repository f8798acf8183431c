from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.connections import ConnectionTable, Limits, Phase
from exporter.web.stats import CloseReason

LIMITS = Limits(max_connections=3, handshake_s=4, header_s=5, body_s=6, write_s=30, idle_s=310)


@pytest.fixture
def table() -> ConnectionTable[str]:
    """Give an empty table for three connections."""
    return ConnectionTable(LIMITS)


def test_a_new_connection_has_the_header_time_to_send_its_header(table: ConnectionTable[str]) -> None:
    """A connection that stays silent is overdue exactly `header_s` after it was accepted."""
    assert table.open("a", 100.0) == 105.0

    assert table.overdue(104.9) == []
    assert table.overdue(105.0) == [("a", CloseReason.HEADER_TIMEOUT)]


def test_a_handshake_begins_with_the_connection(table: ConnectionTable[str]) -> None:
    """A connection that must speak TLS first has the handshake's time, and then the whole header time."""
    assert table.open("a", 100.0, Phase.HANDSHAKE) == 104.0
    assert table.overdue(104.0) == [("a", CloseReason.HANDSHAKE_TIMEOUT)]

    assert table.succeed("a", "b", Phase.HEADER, 103.0) == 108.0
    assert table.keys() == ["b"]
    assert table.overdue(107.9) == []
    assert table.overdue(108.0) == [("b", CloseReason.HEADER_TIMEOUT)]


def test_nobody_succeeds_a_connection_that_is_gone(table: ConnectionTable[str]) -> None:
    """It was cut in the middle of its handshake, and takes up no place afterwards."""
    assert table.succeed("a", "b", Phase.HEADER, 100.0) == inf

    assert len(table) == 0


def test_dripping_a_header_renews_nothing(table: ConnectionTable[str]) -> None:
    """Moving to the phase a connection is in already keeps the time at which the phase began."""
    table.open("a", 100.0)

    assert [table.move("a", Phase.HEADER, now_s) for now_s in (101.0, 102.0, 104.9)] == [inf, inf, inf]

    assert table.overdue(105.0) == [("a", CloseReason.HEADER_TIMEOUT)]


@pytest.mark.parametrize(
    ("phase", "limit_s", "reason"),
    [
        (Phase.HANDSHAKE, 4, CloseReason.HANDSHAKE_TIMEOUT),
        (Phase.BODY, 6, CloseReason.UNWANTED_BODY),
        (Phase.WRITING, 30, CloseReason.WRITE_TIMEOUT),
        (Phase.IDLE, 310, CloseReason.IDLE_TIMEOUT),
    ],
)
def test_each_phase_has_its_own_limit(
    table: ConnectionTable[str], phase: Phase, limit_s: float, reason: CloseReason
) -> None:
    """A phase is timed from when it began, by its own limit, and its end has its own name."""
    table.open("a", 100.0)

    assert table.move("a", phase, 104.0) == 104.0 + limit_s

    assert table.next_deadline_s() == 104.0 + limit_s
    assert table.overdue(103.9 + limit_s) == []
    assert table.overdue(104.0 + limit_s) == [("a", reason)]


def test_a_connection_being_served_is_never_overdue(table: ConnectionTable[str]) -> None:
    """What we owe is bounded by the app, not by the connection's age."""
    table.open("a", 100.0)

    assert table.move("a", Phase.SERVING, 101.0) == inf

    assert table.next_deadline_s() == inf
    assert table.overdue(1e9) == []


def test_no_one_goes_while_there_is_room(table: ConnectionTable[str]) -> None:
    """At the cap itself nobody has to go."""
    for number, key in enumerate("abc"):
        table.open(key, float(number))

    assert table.above_cap() is None


def test_the_longest_idle_connection_makes_room_for_the_newest(table: ConnectionTable[str]) -> None:
    """One above the cap, the one that has kept us waiting longest goes, whatever it last did."""
    for number, key in enumerate("abc"):
        table.open(key, float(number))
    table.move("a", Phase.SERVING, 3.0)
    table.move("a", Phase.IDLE, 4.0)
    table.open("new", 5.0)

    assert table.above_cap() == "b"


def test_a_slow_header_counts_from_its_beginning(table: ConnectionTable[str]) -> None:
    """A connection idle for a shorter time than another has been dripping stays; the dripping one goes."""
    table.open("dripping", 0.0)
    table.open("idle", 0.0)
    table.open("other", 3.0)
    table.move("idle", Phase.IDLE, 2.0)
    table.move("dripping", Phase.HEADER, 4.0)
    table.open("new", 4.0)

    assert table.above_cap() == "dripping"


def test_a_connection_being_served_outlives_any_idle_one(table: ConnectionTable[str]) -> None:
    """Even the oldest connection stays while its request is being served and another merely waits."""
    for number, key in enumerate("abc"):
        table.open(key, float(number))
    table.move("a", Phase.SERVING, 2.0)
    table.move("b", Phase.SERVING, 2.0)
    table.open("new", 5.0)

    assert table.above_cap() == "c"


def test_when_every_connection_is_being_served_the_one_served_longest_goes(
    table: ConnectionTable[str],
) -> None:
    """Open files stay bounded even when all answers hang."""
    for number, key in enumerate("abc"):
        table.open(key, float(number))
    for key, now_s in (("c", 3.0), ("a", 4.0), ("b", 5.0)):
        table.move(key, Phase.SERVING, now_s)
    table.open("new", 6.0)

    assert table.above_cap() == "c"


def test_a_dropped_connection_is_forgotten(table: ConnectionTable[str]) -> None:
    """It can be dropped once, moves no more and is never overdue."""
    table.open("a", 0.0)

    assert table.drop("a")
    assert not table.drop("a")
    assert table.move("a", Phase.IDLE, 1.0) == inf
    assert table.overdue(1e9) == []
    assert len(table) == 0


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["open", *Phase]), st.integers(0, 5), st.floats(0, 10, allow_nan=False)),
        max_size=60,
    )
)
def test_the_cap_holds_and_the_newest_stays_whatever_clients_do(
    steps: list[tuple[str | Phase, int, float]],
) -> None:
    """With the victim dropped, there are never more than the cap, and a newcomer always survives."""
    table: ConnectionTable[int] = ConnectionTable(LIMITS)
    now_s, next_key = 0.0, 0
    for action, which, pause_s in steps:
        now_s += pause_s
        if isinstance(action, Phase):
            keys = table.keys()
            if keys:
                table.move(keys[which % len(keys)], action, now_s)
            continue
        table.open(next_key, now_s)
        victim = table.above_cap()
        if victim is not None:
            table.drop(victim)

        assert len(table) <= LIMITS.max_connections
        assert next_key in table.keys()  # noqa: SIM118 (a table is no mapping)
        next_key += 1
