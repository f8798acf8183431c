from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.entries.ledger import Account, Floor
from shipper.entries.segment import Chunk, Segment, picked
from shipper.entries.stamp import FRESH, STEP_BYTES
from shipper.entries.streams import Stream

A, B = Stream({"a": "1"}, 0, 0), Stream({"b": "1"}, 1, 0)
NEAR = Chunk(0, 50, FRESH, FRESH, "")


def segment(account: Account, start: int, count: int, stream: Stream = A) -> Segment:
    """Return `count` lines of ten bytes each, in a chunk of their own that begins 5 bytes before them."""
    chunk = Chunk(start - 5, start + 10 * count, FRESH, FRESH, "")
    starts = [start + 10 * i for i in range(count)]
    return Segment(account, chunk, stream, starts, starts, ["x"] * count, [None] * count)


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


def test_of_a_settled_file_no_emptied_table_is_kept() -> None:
    """There are thousands of them, and a dict keeps the room it once needed."""
    account = Account()
    lines = segment(account, 100, 5)
    account.add(lines)

    account.settle(lines, 0, 5)

    assert sys.getsizeof(account.pending) == sys.getsizeof({})


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


def split_segment() -> Segment:
    """Return five entries: a line at 100, one at 110 in three parts, one at 200 in a part of its own."""
    return Segment(
        Account(),
        Chunk(95, 300, FRESH, FRESH, ""),
        A,
        [100, 110, 111, 112, 200],
        [1, 2, 3, 4, 5],
        ["a" * (STEP_BYTES - 1), "b" * STEP_BYTES, "b" * STEP_BYTES, "b", "c" * 9],
        [
            None,
            *({"line_id": "n", "part": str(part), "parts": "3"} for part in (1, 2, 3)),
            {"session_id": "s"},
        ],
        version=4,
        since_s=3.0,
        parts=[0, 0, 1, 2, 0],
    )


def test_a_full_account_balances_over_all_its_segments() -> None:
    """Each adds to what was read; what leaves memory is taken off, for it is read again."""
    account = Account()
    first, second = segment(account, 0, 3), segment(account, 50, 4)
    account.add(first)
    account.add(second)
    assert (account.lines_read, account.in_flight) == (7, 7)

    account.drop(first)

    assert (account.lines_read, account.in_flight) == (4, 4)


def test_one_line_is_settled_or_it_is_not() -> None:
    """In any order; and the bytes that wait are those of the others."""
    lines = segment(Account(), 0, 5)
    lines.pack(metadata=True)

    lines.settle(3, 4)
    lines.settle(0, 1)

    assert [lines.is_settled(index) for index in range(5)] == [True, False, False, True, False]
    assert (lines.unsettled, lines.lowest, lines.settled) == (3, 10, False)
    assert lines.unsettled_weight == sum(lines.weight(index, index + 1) for index in (1, 2, 4))

    lines.settle(1, 3)
    assert (lines.unsettled, lines.unsettled_weight, lines.lowest) == (1, lines.weight(4), 40)

    lines.settle(4, 5)
    assert (lines.unsettled, lines.unsettled_weight, lines.settled) == (0, 0, True)


def test_the_parts_of_a_line_are_found_from_any_of_them() -> None:
    """And end where the next line begins."""
    lines = split_segment()

    assert [lines.line_of(index) for index in range(5)] == [(0, 1), (1, 4), (1, 4), (1, 4), (4, 5)]
    assert [lines.is_part(index) for index in range(5)] == [False, True, True, True, False]


def test_parts_of_which_the_first_went_elsewhere_are_a_line_of_their_own() -> None:
    """And are not taken for parts of the line that is now next to them."""
    lines = picked(split_segment(), [0, 2, 4])

    assert [lines.line_of(index) for index in range(3)] == [(0, 1), (1, 2), (2, 3)]


def test_parts_at_the_begin_of_a_segment_have_no_entry_before_them() -> None:
    """The first went elsewhere; what is left is one line all the same."""
    lines = picked(split_segment(), [2, 3])

    assert (lines.line_of(0), lines.line_of(1)) == ((0, 2), (0, 2))


def test_entries_of_whole_lines_are_each_a_line() -> None:
    """Where nothing is split."""
    meta: dict[str, str] | None = {"line_id": "of the program that wrote it"}
    lines = picked(segment(Account(), 0, 3), range(3), metas=[meta] * 3)

    assert [lines.line_of(index) for index in range(3)] == [(0, 1), (1, 2), (2, 3)]
    assert not lines.is_part(1)


def test_an_offset_noted_by_any_limit_leads_to_its_line() -> None:
    """A line owns as many offsets as it may have parts; what is between lines is nobody's."""
    lines = split_segment()

    found = {offset: lines.index_at(offset) for offset in (99, 100, 101, 110, 111, 112, 113, 199, 200, 201)}

    # The line at 110 has two steps of bytes and one byte more: three offsets.
    assert found == {
        99: None,
        100: 0,
        101: None,
        110: 1,
        111: 1,
        112: 1,
        113: None,
        199: None,
        200: 4,
        201: None,
    }


@pytest.mark.parametrize("indexes", [[1], [0, 4], [1, 2, 3]])
def test_picked_entries_are_as_they_were_and_nothing_of_them_is_settled(indexes: list[int]) -> None:
    """All that is known of each, and of the segment, goes along."""
    lines = split_segment()
    lines.settle(0, 3)
    lines.taken = 3

    found = picked(lines, indexes)

    assert (found.account, found.chunk, found.stream) == (lines.account, lines.chunk, lines.stream)
    assert (found.version, found.since_s, found.taken, found.done, found.unsettled) == (
        4,
        3.0,
        0,
        0,
        len(indexes),
    )
    for name in ("starts", "stamps", "texts", "metas", "sizes", "parts"):
        assert list(getattr(found, name)) == [getattr(lines, name)[index] for index in indexes], name


def test_picked_whole_lines_are_whole_lines() -> None:
    """No parts come from where there were none."""
    assert picked(segment(Account(), 0, 3), [0, 2]).parts is None


def test_other_entries_take_the_place_of_what_is_not_settled() -> None:
    """A lower limit makes more parts of the same line: more are read, none is counted twice."""
    account = Account()
    old, new = segment(account, 100, 4), segment(account, 110, 7)
    account.add(old)
    account.settle(old, 0, 1)
    account.lines_acked += 1
    account.dirty = False

    assert account.replace(old, new) == 3

    assert account.pending == {A: [new]}
    assert (account.lines_read, account.in_flight, account.dirty) == (8, 7, True)


def test_entries_can_be_replaced_where_other_segments_of_the_stream_wait() -> None:
    """Those stay."""
    account = Account()
    old, other, new = segment(account, 0, 1), segment(account, 50, 1), segment(account, 0, 2)
    account.add(old)
    account.add(other)

    account.replace(old, new)

    assert account.pending == {A: [other, new]}


def test_what_leaves_memory_keeps_what_is_settled_behind_it_and_since_when_it_waits() -> None:
    """So that it is not sent twice when it is read again, and its age is the true one."""
    account = Account()
    lines = segment(account, 100, 5)
    lines.since_s = 7.0
    account.add(lines)
    account.settle(lines, 0, 1)
    account.settle(lines, 3, 4)

    assert account.drop(lines) == 3

    assert _told(account.floors[A]) == (lines.chunk, 110, True, 7.0, {130})


def test_a_segment_that_is_settled_leaves_nothing_behind() -> None:
    """There is no floor for what needs no reading."""
    account = Account()
    lines = segment(account, 100, 2)
    account.add(lines)
    lines.settle(0, 2)

    assert account.drop(lines) == 0
    assert account.clear


def _told(floor: Floor) -> tuple[Chunk, int, bool, float, set[int]]:
    return floor.chunk, floor.lowest, floor.exact, floor.since_s, set(floor.settled)


def test_a_lower_floor_takes_over_with_all_that_the_higher_one_knew() -> None:
    """The earlier chunk; the longer wait; what is settled by either."""
    account = Account()
    early, late = Chunk(0, 50, FRESH, FRESH, ""), Chunk(50, 100, FRESH, FRESH, "")

    account.lower_floor(A, late, 70, since_s=5.0, settled=frozenset({80}))
    assert _told(account.floors[A]) == (late, 70, True, 5.0, {80})

    account.lower_floor(A, early, 20, exact=False, since_s=9.0, settled=frozenset({30}))
    assert _told(account.floors[A]) == (early, 20, False, 5.0, {30, 80})

    account.lower_floor(A, late, 90, settled=frozenset({95}))
    assert _told(account.floors[A]) == (early, 20, False, 5.0, {30, 80, 95})


def test_a_floor_that_is_noted_again_stays_as_exact_as_it_was() -> None:
    """The same offset tells nothing new."""
    account = Account()
    first, second = Chunk(0, 50, FRESH, FRESH, ""), Chunk(10, 50, FRESH, FRESH, "")
    account.lower_floor(A, first, 20)

    account.lower_floor(A, second, 20, exact=False)

    assert _told(account.floors[A]) == (first, 20, True, math.inf, set())


def test_reading_begins_again_at_the_lowest_of_what_is_in_memory_and_what_is_not() -> None:
    """Stream by stream, with the chunk of just that line."""
    account = Account()
    in_memory = [segment(account, 100, 2, A), segment(account, 60, 2, A), segment(account, 90, 2, A)]
    for lines in in_memory:
        account.add(lines)
    account.add(segment(account, 40, 1, B))
    account.lower_floor(B, NEAR, 20)

    behind = account.behind()

    assert (behind[A].chunk, behind[A].lowest) == (in_memory[1].chunk, 60)
    assert behind[B] is account.floors[B]
    assert account.floors.keys() == {B}


def test_a_floor_and_a_line_in_memory_at_the_same_offset_keep_what_the_floor_knows() -> None:
    """What is settled behind it is not forgotten."""
    account = Account()
    account.lower_floor(A, NEAR, 60, settled=frozenset({80}))
    account.add(segment(account, 60, 1, A))

    assert account.behind()[A] is account.floors[A]


@pytest.mark.parametrize("change", ["add", "settle", "drop", "lower_floor"])
def test_each_change_of_an_account_is_to_be_saved(change: str) -> None:
    """What is not marked would be encoded as it was."""
    account = Account()
    lines = segment(account, 0, 2)
    account.add(lines)
    account.dirty = False

    if change == "add":
        account.add(segment(account, 50, 1))
    elif change == "settle":
        account.settle(lines, 0, 1)
    elif change == "drop":
        lines.settle(0, 2)
        account.drop(lines)
    else:
        account.lower_floor(A, NEAR, 5)

    assert account.dirty is True


def test_an_account_is_clear_only_when_nothing_waits_in_memory_or_out_of_it() -> None:
    """Both count."""
    account = Account()
    assert account.clear

    account.lower_floor(A, NEAR, 5)
    assert not account.clear

    account.floors.clear()
    account.add(segment(account, 0, 1))
    assert not account.clear
