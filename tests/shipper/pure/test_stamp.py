from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from shipper.stamp import ANSWER_RESIDUE, FRESH, SLOTS, STEP_NS, stamp_all

BASE_NS = 1_795_000_000 * 10**9
slots = st.integers(0, SLOTS - 1)
near = st.integers(0, 12).map(lambda steps: BASE_NS + steps * STEP_NS)
wild = st.integers(0, 10**13).map(lambda ns: BASE_NS + ns)
owns = st.lists(near | wild | st.integers(0, 5000), max_size=60)


@given(owns, slots)
def test_equal_times_get_different_stamps_in_the_order_of_the_file(times: list[int], slot: int) -> None:
    """Equal lines have equal times; Loki keeps all of them, in this order, if their nanoseconds differ."""
    stamps, _ = stamp_all(times, slot, FRESH)

    by_time = sorted(zip(times, stamps, strict=True), key=lambda pair: pair[0] // STEP_NS)
    for _, group in groupby(by_time, key=lambda pair: pair[0] // STEP_NS):
        got = [stamp for _, stamp in group]
        assert got == sorted(set(got))


@given(owns, slots)
def test_lines_that_do_not_run_backwards_keep_the_order_of_the_file(times: list[int], slot: int) -> None:
    """A line as late as all before it gets a later stamp than all of those."""
    stamps, _ = stamp_all(sorted(times), slot, FRESH)

    assert stamps == sorted(set(stamps))


@given(owns, slots, st.data())
def test_reading_again_from_any_saved_state_gives_the_same_stamps(
    times: list[int], slot: int, data: st.DataObject
) -> None:
    """A repeat after a crash is the same entry, wherever the chunk began."""
    at = data.draw(st.integers(0, len(times)))
    stamps, end = stamp_all(times, slot, FRESH)

    first, saved = stamp_all(times[:at], slot, FRESH)

    assert stamp_all(times[at:], slot, saved) == (stamps[at:], end)
    assert first == stamps[:at]


@given(owns, owns, slots, slots)
def test_files_with_different_slots_never_meet(mine: list[int], theirs: list[int], a: int, b: int) -> None:
    """They can share a stream, and equal lines of both arrive."""
    if a == b:
        b = (a + 1) % SLOTS
    ours, others = stamp_all(mine, a, FRESH)[0], stamp_all(theirs, b, FRESH)[0]

    assert not set(ours) & set(others)
    assert {stamp % STEP_NS for stamp in ours} <= {a}


@given(owns, slots, slots)
def test_stamps_given_because_of_an_answer_never_meet_those_of_any_file(
    times: list[int], a: int, b: int
) -> None:
    """They have residues of their own."""
    answered = BASE_NS + b + ANSWER_RESIDUE

    assert answered not in stamp_all(times, a, FRESH)[0]


@given(st.lists(wild, max_size=60), slots)
def test_a_stamp_is_within_a_microsecond_a_line_of_the_own_time(times: list[int], slot: int) -> None:
    """The shift is for telling lines apart, not for changing when they happened."""
    stamps, _ = stamp_all(times, slot, FRESH)

    for own, stamp in zip(times, stamps, strict=True):
        assert own - STEP_NS < stamp <= own + (2 * len(times) + 1) * STEP_NS


def test_a_line_with_a_time_of_its_own_keeps_its_microsecond() -> None:
    """Only the nanoseconds below it are the slot's."""
    assert stamp_all([BASE_NS + 1_234_567], 42, FRESH)[0] == [BASE_NS + 1_234_042]


def test_a_line_that_comes_late_is_behind_all_that_have_its_time() -> None:
    """Two equal ones, one of a later second, and again one of the first."""
    later = BASE_NS + 10**9

    stamps, _ = stamp_all([BASE_NS, BASE_NS, later, BASE_NS], 0, FRESH)

    assert stamps == [BASE_NS, BASE_NS + STEP_NS, later, BASE_NS + 2 * STEP_NS]


@given(st.lists(st.integers(0, 40).map(lambda ms: BASE_NS + ms * 10**6), max_size=60), slots)
def test_times_in_milliseconds_stay_in_order_even_when_lines_run_backwards(
    times: list[int], slot: int
) -> None:
    """The promised order: own time, and the file's among equals."""
    stamps, _ = stamp_all(times, slot, FRESH)

    indexes = range(len(times))
    assert sorted(indexes, key=lambda i: stamps[i]) == sorted(indexes, key=lambda i: (times[i], i))


def test_more_equal_lines_than_fit_into_a_millisecond_push_the_next_time_on() -> None:
    """The file's order holds, and none falls together with the next."""
    stamps, _ = stamp_all([BASE_NS] * 1500 + [BASE_NS + 10**6], 0, FRESH)

    assert stamps == sorted(set(stamps))
