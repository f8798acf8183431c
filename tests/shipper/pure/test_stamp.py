from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.entries import stamp as stamping
from shipper.entries.stamp import (
    ANSWER_RESIDUE,
    FRESH,
    MAX_SHIFT_NS,
    RUNS,
    SLOTS,
    STEP_BYTES,
    STEP_NS,
    StampState,
    packed,
    stamp_all,
    steps_for,
    unpacked,
)

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


lengths = st.sampled_from([10, 10, 10, STEP_BYTES, 5 * STEP_BYTES, 300_000])
sized = st.lists(st.tuples(near | wild, lengths), max_size=60)


@given(sized, slots, st.data())
def test_a_long_line_reserves_a_stamp_for_each_part_and_no_other_line_of_its_time_gets_one_of_them(
    lines: list[tuple[int, int]], slot: int, data: st.DataObject
) -> None:
    """Whatever its neighbours; and it is the same from any saved state."""
    times, sizes = [own for own, _ in lines], [size for _, size in lines]
    at = data.draw(st.integers(0, len(times)))

    stamps, end = stamp_all(times, slot, FRESH, sizes)
    first, saved = stamp_all(times[:at], slot, FRESH, sizes[:at])
    second, again = stamp_all(times[at:], slot, saved, sizes[at:])

    assert (first + second, again) == (stamps, end)
    taken = [
        (own // STEP_NS, stamp + step * STEP_NS)
        for own, size, stamp in zip(times, sizes, stamps, strict=True)
        for step in range(steps_for(size))
    ]
    assert len(set(taken)) == len(taken)


@given(st.lists(near | wild, max_size=60), slots)
def test_a_state_is_the_same_after_it_was_saved(times: list[int], slot: int) -> None:
    """As integers, an odd number of them."""
    own = stamp_all(times, slot, FRESH)[1]
    clock = stamp_all(times[:3], slot, FRESH)[1]

    assert unpacked(packed(own, clock)) == (own, clock)


def test_a_state_of_an_earlier_version_is_read_and_nothing_it_gave_is_given_again() -> None:
    """Last stamp, run, longest run, lines that ran backwards; twice."""
    own, clock = unpacked([BASE_NS + 7 + 3 * STEP_NS, 3, 5, 2, 0, 0, 0, 0])

    stamps, _ = stamp_all([BASE_NS, BASE_NS - 10**9, BASE_NS + 10**9], 7, own)

    assert clock == FRESH
    assert stamps == [BASE_NS + 7 + 8 * STEP_NS, BASE_NS - 10**9 + 7 + 9 * STEP_NS, BASE_NS + 10**9 + 7]


@pytest.mark.parametrize("back_ns", [10**6, 5 * 10**6])
def test_lines_that_keep_running_backwards_a_little_are_not_shifted_more_and_more(back_ns: int) -> None:
    """Two writers, or a line that ends before the one before it: for ever, and each at its own time."""
    times = [BASE_NS + n * 10**6 - (back_ns + 1000 if n % 2 else 0) for n in range(20_000)]

    stamps, _ = stamp_all(times, 0, FRESH)

    assert max(stamp - own for own, stamp in zip(times, stamps, strict=True)) <= 2 * STEP_NS


def test_a_file_that_runs_backwards_from_end_to_begin_shifts_nothing() -> None:
    """What lies before all that was seen is free."""
    times = [BASE_NS - n * 10**6 for n in range(5000)]

    assert stamp_all(times, 0, FRESH)[0] == times


def test_lines_of_a_time_long_past_are_shifted_by_a_microsecond_each_and_never_by_more_than_a_minute() -> (
    None
):
    """What was there before is forgotten, so each goes behind all that can have been there."""
    again = [BASE_NS + n * 10**6 for n in range(100)]

    stamps, state = stamp_all(again * 50, 0, FRESH)
    _, long = stamp_all(again[::-1], 0, state._replace(shift=MAX_SHIFT_NS + STEP_NS))

    assert max(stamp - own for own, stamp in zip(again * 50, stamps, strict=True)) <= 5000 * STEP_NS
    assert len(set(zip(again * 50, stamps, strict=True))) == 5000
    assert long.shift <= 200 * STEP_NS


@given(st.lists(near | wild, max_size=100))
def test_the_state_stays_small(times: list[int]) -> None:
    """It is saved with each file."""
    _, state = stamp_all(times, 3, FRESH)

    assert len(state.runs) <= RUNS


FAR = [BASE_NS + n * 10**9 for n in range(RUNS + 2)]
"""Times so far apart that each is a run of its own: the first two are no longer known exactly."""


def test_a_state_with_forgotten_times_is_the_same_after_it_was_saved() -> None:
    """Of which only the first and the end are known."""
    own = stamp_all(FAR, 7, FRESH)[1]
    clock = stamp_all(FAR[3:] + FAR[:3], 7, FRESH)[1]

    assert unpacked(packed(own, clock)) == (own, clock)
    assert (own.low, own.horizon) == (FAR[0] + 7, FAR[1] + 7 + STEP_NS)
    assert len(packed(own, clock)) % 2 == 1


def test_a_line_of_a_forgotten_time_goes_behind_all_that_can_be_there() -> None:
    """By as much as any line was shifted so far; what lies outside of the forgotten is free."""
    _, state = stamp_all([*FAR, FAR[-1]], 7, FRESH)
    end = FAR[1] + STEP_NS

    stamps, _ = stamp_all([FAR[0], FAR[1], end, FAR[0] - STEP_NS], 7, state)

    assert stamps == [FAR[0] + 7 + 2 * STEP_NS, FAR[1] + 7 + 3 * STEP_NS, end + 7, FAR[0] + 7 - STEP_NS]


def test_a_shift_that_begins_anew_keeps_the_residue_of_the_file() -> None:
    """After a minute's worth of shifts; else it would meet another file's stamps."""
    _, state = stamp_all(FAR, 7, FRESH)

    stamps, _ = stamp_all([FAR[0], FAR[0]], 7, state._replace(shift=MAX_SHIFT_NS + STEP_NS))

    assert stamps == [FAR[0] + 7, FAR[0] + 7 + STEP_NS]


def test_a_line_takes_the_first_microsecond_that_no_other_line_has() -> None:
    """Also where its own are used up and another's begin."""
    one, two, four = BASE_NS + STEP_NS, BASE_NS + 2 * STEP_NS, BASE_NS + 4 * STEP_NS
    three = BASE_NS + 3 * STEP_NS

    stamps, _ = stamp_all([FAR[1], three, BASE_NS, BASE_NS, BASE_NS, BASE_NS], 0, FRESH)

    assert stamps == [FAR[1], three, BASE_NS, one, two, four]


def test_a_long_line_steps_over_all_runs_that_lie_where_its_parts_would() -> None:
    """In whatever order those came: its parts stand together."""
    times = [BASE_NS + steps * STEP_NS for steps in (10_000, 4, 2, 0)]

    stamps, state = stamp_all([*times, times[3] + STEP_NS], 0, FRESH, [9, 9, 9, 5 * STEP_BYTES, 9])

    assert stamps == [*times[:3], BASE_NS + 5 * STEP_NS, BASE_NS + 11 * STEP_NS]
    assert state.runs == ((times[0], times[0] + STEP_NS), (BASE_NS, BASE_NS + 12 * STEP_NS))


def test_lines_that_follow_each_other_by_a_microsecond_are_one_run() -> None:
    """Wherever they lie, so that runs last."""
    times = [BASE_NS + 10**9, *(BASE_NS + steps * STEP_NS for steps in range(5))]

    _, state = stamp_all(times, 0, FRESH)

    assert state.runs == ((times[0], times[0] + STEP_NS), (BASE_NS, BASE_NS + 5 * STEP_NS))


def test_a_time_between_the_lines_before_is_free() -> None:
    """What is remembered as taken is what was taken."""
    between = BASE_NS + 5 * 10**8

    assert stamp_all([*FAR[:3], between], 0, FRESH)[0] == [*FAR[:3], between]


def test_the_last_stamp_of_an_earlier_version_is_taken() -> None:
    """And the microsecond after it is not."""
    last = BASE_NS + 7
    own, clock = unpacked([last, 0, 1, 0, last, 0, 1, 0])

    assert own == clock
    assert stamp_all([last], 7, own)[0] == [last + 2 * STEP_NS]
    assert stamp_all([last + STEP_NS], 7, own)[0] == [last + STEP_NS]


def test_a_line_reserves_a_step_and_one_more_for_each_that_it_fills() -> None:
    """Whatever the limit is."""
    sizes = [0, STEP_BYTES - 1, STEP_BYTES, 2 * STEP_BYTES - 1, 2 * STEP_BYTES]

    assert [steps_for(size) for size in sizes] == [1, 1, 2, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 10**13).map(lambda ns: BASE_NS + ns), lengths), max_size=20), slots)
def test_long_lines_keep_the_residue_of_the_file_and_their_microsecond(
    lines: list[tuple[int, int]], slot: int
) -> None:
    """As short ones do, so that no other file's line gets the stamp of a part."""
    stamps, _ = stamp_all([own for own, _ in lines], slot, FRESH, [size for _, size in lines])

    assert {stamp % STEP_NS for stamp in stamps} <= {slot}
    assert [stamp // STEP_NS for stamp in stamps[:1]] == [own // STEP_NS for own, _ in lines[:1]]


def test_no_lines_take_nothing() -> None:
    """A piece of blank lines, say."""
    assert stamp_all([], 7, FRESH) == ([], FRESH)
    assert stamp_all([], 7, FRESH, []) == ([], FRESH)


def test_a_line_of_a_forgotten_time_goes_behind_lines_that_ran_backwards() -> None:
    """Three had one time; none of their stamps is given again."""
    times = [FAR[5], BASE_NS, BASE_NS, BASE_NS, *(FAR[-1] + n * 10**9 for n in range(1, RUNS + 2))]
    _, state = stamp_all(times, 7, FRESH)

    assert stamp_all([BASE_NS], 7, state)[0] == [BASE_NS + 7 + 3 * STEP_NS]


@pytest.mark.parametrize("free", [1, 9, 11, 13, 15])
def test_a_microsecond_between_lines_that_are_close_to_each_other_is_free(free: int) -> None:
    """Only lines without a gap are one run."""
    times = [BASE_NS + steps * STEP_NS for steps in (0, 10, 12, 14, 20, free)]

    assert stamp_all(times, 0, FRESH)[0] == times


def test_lines_in_order_and_equal_ones_are_stamped_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line comes through here; only where a piece begins at the last one's time is it looked up."""
    searched: list[int] = []
    take = stamping._Taken.take

    def noted(self: stamping._Taken, at: int, width: int) -> int:
        searched.append(at)
        return take(self, at, width)

    monkeypatch.setattr(stamping._Taken, "take", noted)

    _, state = stamp_all([BASE_NS] * 3 + [FAR[1]] * 3, 0, FRESH)
    assert searched == []

    stamp_all([FAR[1]] * 100 + [FAR[2]] * 100, 0, state)
    assert searched == [FAR[1]]


many_equal = st.lists(
    st.tuples(near | near.map(lambda ns: ns + 7 * 10**9) | wild | st.sampled_from(FAR), st.integers(1, 12)),
    max_size=25,
).map(lambda runs: [own for own, count in runs for _ in range(count)])
"""Times of which many follow themselves, as whole seconds do: in order, or not."""


def _by_ones(
    times: list[int], slot: int, state: StampState, sizes: list[int] | None = None
) -> tuple[list[int], StampState]:
    stamps = []
    for index, own in enumerate(times):
        found, state = stamp_all([own], slot, state, None if sizes is None else [sizes[index]])
        stamps += found
    return stamps, state


@settings(max_examples=300)
@given(many_equal | many_equal.map(sorted), many_equal, slots)
def test_lines_of_equal_times_are_stamped_as_if_they_came_one_by_one(
    times: list[int], before: list[int], slot: int
) -> None:
    """Whatever was before: the runs of a chunk are a way to count, and no other promise."""
    _, state = stamp_all(before, slot, FRESH)

    assert stamp_all(times, slot, state) == _by_ones(times, slot, state)
    assert _by_ones(before, slot, FRESH)[1] == state


def test_equal_times_that_are_forgotten_take_nothing_of_the_run_that_was_used_last() -> None:
    """Also where their stamps happen to end with it: by ones or at once, the state is the same."""
    step = [BASE_NS + number * STEP_NS for number in range(12)]
    state = StampState(step[0], step[8], 3 * STEP_NS, ((step[8], step[10]),))

    stamps, after = stamp_all([step[6]] * 2, 0, state)

    assert (stamps, after) == _by_ones([step[6]] * 2, 0, state)
    assert (stamps, after.runs) == ([step[9], step[10]], state.runs)


def test_a_time_at_which_two_runs_touch_goes_on_in_the_one_that_begins_there() -> None:
    """Whichever was used last, so that it is the same wherever the lines before were cut."""
    step = [BASE_NS + number * STEP_NS for number in range(12)]
    runs = ((step[0], step[5]), (step[5], step[6]))

    for order in (runs, runs[::-1]):
        stamps, after = stamp_all([step[5]], 0, StampState(runs=order))
        assert (stamps, sorted(after.runs)) == ([step[6]], [runs[0], (step[5], step[7])])


@given(many_equal | many_equal.map(sorted), slots, st.data())
def test_lines_of_equal_times_may_be_cut_anywhere(times: list[int], slot: int, data: st.DataObject) -> None:
    """In the middle of a run as well; into any number of pieces."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(times)), max_size=6)) | {0, len(times)})
    state = FRESH
    stamps: list[int] = []
    for first, last in pairwise(cuts):
        found, state = stamp_all(times[first:last], slot, state)
        stamps += found

    assert (stamps, state) == stamp_all(times, slot, FRESH)


@given(many_equal | many_equal.map(sorted), slots, st.data())
def test_long_lines_among_equal_times_are_stamped_as_if_they_came_one_by_one(
    times: list[int], slot: int, data: st.DataObject
) -> None:
    """They reserve what their parts need, and runs go on behind them."""
    sizes = [data.draw(lengths) if index < 20 else 10 for index in range(len(times))]

    assert stamp_all(times, slot, FRESH, sizes) == _by_ones(times, slot, FRESH, sizes)


@given(many_equal | many_equal.map(sorted) | st.lists(near | wild, unique=True))
def test_runs_of_equal_times_are_the_times_again(times: list[int]) -> None:
    """Each counted, none left out; where most are equal and in order, once each."""
    runs = list(stamping._equal_runs(times))

    assert [own for own, count in runs for _ in range(count)] == times
    if len(times) >= 4 * len(set(times)) and sorted(times) == times:
        assert len(runs) == len(set(times))
