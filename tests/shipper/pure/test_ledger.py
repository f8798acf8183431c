from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shipper.ledger import Account, Chunk, Segment
from shipper.stamp import FRESH
from shipper.streams import Stream

A, B = Stream({"a": "1"}, 0, 0), Stream({"b": "1"}, 1, 0)


def segment(account: Account, start: int, count: int, stream: Stream = A) -> Segment:
    """Return `count` lines of ten bytes each, in a chunk of their own that begins 5 bytes before them."""
    chunk = Chunk(start - 5, start + 10 * count, FRESH, FRESH, "")
    starts = [start + 10 * i for i in range(count)]
    return Segment(account, chunk, stream, starts, starts, ["x"] * count, [None] * count, [9] * count)


def test_what_is_read_is_acked_or_dead_or_in_flight() -> None:
    """The balance, at any moment."""
    account = Account()
    lines = segment(account, 100, 5)
    account.add(lines)
    account.settle(lines, 0, 2)
    account.lines_acked += 2
    account.settle(lines, 2, 3)
    account.lines_dead += 1

    assert (account.lines_read, account.in_flight) == (5, 2)


@given(st.permutations(range(12)), st.integers(0, 12))
def test_the_position_is_the_lowest_line_that_is_not_settled(order: list[int], count: int) -> None:
    """Whatever is settled out of order: nothing before it is missing, nothing after it is passed."""
    account = Account()
    lines = segment(account, 100, 12)
    account.add(lines)

    for index in order[:count]:
        account.settle(lines, index, index + 1)

    left = sorted(order[count:])
    behind = {stream: floor.lowest for stream, floor in account.behind().items()}
    assert behind == ({A: 100 + 10 * left[0]} if left else {})
    assert account.clear == (not left)


def test_a_stuck_stream_holds_back_no_other_of_its_file() -> None:
    """Offsets are settled for each stream on its own, so that only its lines repeat."""
    account = Account()
    stuck, fine = segment(account, 0, 3, A), segment(account, 50, 3, B)
    account.add(stuck)
    account.add(fine)

    account.settle(fine, 0, 3)

    assert {stream: floor.lowest for stream, floor in account.behind().items()} == {A: 0}


def test_lines_that_leave_memory_are_remembered_as_to_be_read_again() -> None:
    """From the start of their chunk, for the stamps; from the lowest unsettled line, for the rest."""
    account = Account()
    lines = segment(account, 100, 5)
    account.add(lines)
    account.settle(lines, 0, 2)
    account.lines_acked += 2

    assert account.drop(lines) == 3

    floor = account.floors[A]
    assert (floor.chunk.start, floor.lowest, account.in_flight, account.clear) == (95, 120, 0, False)


def test_a_floor_only_sinks() -> None:
    """A later drop does not hide an earlier line."""
    account = Account()
    chunk = Chunk(0, 10, FRESH, FRESH, "")
    for lowest in (70, 40, 90):
        account.lower_floor(A, chunk, lowest)

    assert account.floors[A].lowest == 40


def test_lines_that_move_to_another_stream_are_not_read_twice() -> None:
    """Backfill changes where they go, not how many there are."""
    account = Account()
    lines = segment(account, 0, 2)
    account.add(lines)
    account.settle(lines, 0, 2)

    account.add(segment(account, 0, 2, B), fresh=False)

    assert (account.lines_read, account.in_flight) == (2, 2)
