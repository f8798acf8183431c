"""Stamps: unique, in order, and the same again from any state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shipper.stamp import FRESH, SLOTS, STEP_NS, stamp_all

MS = 10**6
times = st.lists(st.integers(0, 40).map(lambda ms: 1_795_000_000 * 10**9 + ms * MS), max_size=60)


@given(times, st.integers(0, SLOTS - 1))
def test_no_two_lines_of_a_file_have_the_same_stamp_if_they_have_the_same_time(
    owns: list[int], slot: int
) -> None:
    """Equal lines have equal times, so this is what keeps all of them."""
    stamps, _ = stamp_all(owns, slot, FRESH)

    assert len(set(zip(owns, stamps, strict=True))) == len(owns)


@given(times, times, st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1))
def test_files_with_different_slots_never_meet(
    ones: list[int], others: list[int], slot: int, other_slot: int
) -> None:
    """A slot is a residue that no other slot has."""
    first, _ = stamp_all(ones, slot, FRESH)
    second, _ = stamp_all(others, other_slot, FRESH)

    assert slot == other_slot or not set(first) & set(second)


@given(times)
def test_stamps_order_lines_by_own_time_and_by_the_file_among_equals(owns: list[int]) -> None:
    """What Promised order says, for times of a millisecond and a thousand lines in each."""
    stamps, _ = stamp_all(owns, 7, FRESH)

    by_stamp = sorted(range(len(owns)), key=lambda index: stamps[index])
    assert by_stamp == sorted(range(len(owns)), key=lambda index: (owns[index], index))


@given(times, st.integers(0, 60))
def test_reading_again_from_any_chunk_gives_the_same_stamps(owns: list[int], cut: int) -> None:
    """The state that travels with the position is all there is."""
    whole, end = stamp_all(owns, 3, FRESH)
    first, state = stamp_all(owns[:cut], 3, FRESH)
    second, again = stamp_all(owns[cut:], 3, state)

    assert (whole, end) == (first + second, again)


def test_a_stamp_keeps_the_microsecond_of_the_own_time() -> None:
    """A line that stands alone is shown at its own time."""
    own = 1_795_000_000_123_456_789

    assert stamp_all([own], 42, FRESH)[0] == [own - own % STEP_NS + 42]


def test_a_burst_of_one_time_is_spread_in_steps_and_the_next_time_comes_after_it() -> None:
    """More lines than fit into a millisecond push the next ones on, and the file's order holds."""
    start = 1_795_000_000 * 10**9
    stamps, _ = stamp_all([start] * 1500 + [start + MS], 0, FRESH)

    assert stamps == sorted(set(stamps))
