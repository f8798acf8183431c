"""Thousands of files at rest: little is kept of each, and nothing is forgotten."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shipper_world import World

from shipper.entries.ledger import NOWHERE
from shipper.entries.stamp import FRESH, StampState, stamp_all
from shipper.entries.streams import Stream
from shipper.follow.tracked import Tracked
from shipper.follow.tree import pattern, walk
from shipper.keeping.record import FileRecord, decode_file
from shipper.sources.jsonl import Jsonl

SOURCE = Jsonl("/logs/*.jsonl", "test", "u@h")


def at_rest(own: StampState = FRESH, clock: StampState = FRESH, context: str = "") -> Tracked:
    """Return a file that has been read and settled, and is not open."""
    tracked = Tracked(7, 3, SOURCE, SOURCE.describe("/logs/a.jsonl"), "/logs/a.jsonl", "/logs")
    course = tracked.course
    course.own_state, course.clock_state, course.context = own, clock, context
    tracked.head_bytes, tracked.size = 12, 12
    tracked.advance(12, b"twelve bytes")
    return tracked


def state(owns: list[int]) -> StampState:
    """Return the state after lines with these times."""
    return stamp_all([10**18 + own * 10**6 for own in owns], 3, FRESH)[1]


@given(
    st.lists(st.integers(0, 50), max_size=9), st.lists(st.integers(0, 50), max_size=9), st.text(max_size=5)
)
def test_what_is_folded_away_comes_back(owns: list[int], clocks: list[int], context: str) -> None:
    """Stamps above all: a file that goes on with others than before gives a line a second time."""
    tracked = at_rest(state(owns), state(clocks), context)
    info, fingerprint, record = tracked.info, tracked.fingerprint, tracked.record()

    tracked.fold()

    assert tracked.fingerprint == fingerprint
    assert tracked.info == info
    course = tracked.course
    assert (course.own_state, course.clock_state, course.context) == (state(owns), state(clocks), context)
    assert tracked.record() == record


def test_of_a_file_at_rest_only_the_record_is_kept() -> None:
    """Lists, labels, stamps and bytes of ten thousand take as much memory as all the rest."""
    tracked = at_rest()

    tracked.fold()

    assert tracked._course is None
    assert tracked._info is None
    assert tracked.encoded
    with pytest.raises(RuntimeError):
        _ = tracked.tail


def test_what_was_set_since_is_not_overwritten_by_what_was_folded() -> None:
    """A place in the file and the stamps that belong to it go together."""
    tracked = at_rest(context="before")
    tracked.fold()

    tracked.course.own_state = state([1])

    assert (tracked.course.context, tracked.course.own_state) == ("before", state([1]))


def test_what_changes_of_a_folded_file_is_in_its_next_record() -> None:
    """Its record is made from the one before."""
    tracked = at_rest(state([1]), context="kept")
    before = tracked.record()
    tracked.fold()

    tracked.size = 20
    tracked.account.dirty = True

    changed: FileRecord = decode_file(tracked.encode())
    assert changed.size == 20
    changed.size = before.size
    assert changed == before


def test_a_file_with_lines_under_way_is_not_folded() -> None:
    """What it has beside its record is in use."""
    tracked = at_rest()
    tracked.account.lower_floor(Stream({}, 0, 0), NOWHERE, 0)
    course = tracked.course

    tracked.fold()

    assert tracked._course is course


def test_a_file_that_goes_on_for_another_keeps_its_labels() -> None:
    """They do not follow from its own path."""
    original = at_rest()
    original.serve(Jsonl("/logs/*.jsonl", "elsewhere", "u@h"), "/logs")
    copy = at_rest()
    copy.branch_off(original)

    copy.fold()

    assert copy.info == original.info


def test_files_that_are_closed_in_turns_lose_and_repeat_nothing(world: Callable[..., World]) -> None:
    """Each is folded and unfolded many times over."""
    one = world(max_open=1)
    one.start()
    written = []
    for turn in range(4):
        for name in "abcd":
            written.append(one.line(f"{name}{turn}"))
            one.write(f"{name}.jsonl", written[-1])
        one.settle()
        if turn == 2:
            one.crash()
            one.start()

    assert sorted(one.arrived()) == sorted(written)


def test_a_walk_leaves_out_what_there_is_nothing_to_look_at(tmp_path: pathlib.Path) -> None:
    """A stat of each of ten thousand files takes five megabytes."""
    (tmp_path / "same.jsonl").touch()
    (tmp_path / "other.jsonl").touch()
    asked: list[str] = []

    def passes(path: str, status: os.stat_result) -> bool:
        asked.append(path)
        return status.st_size == 0 and path.endswith("same.jsonl")

    found = walk(pattern(f"{tmp_path}/*.jsonl"), passes=passes)

    assert list(found.files) == [f"{tmp_path}/other.jsonl"]
    assert sorted(asked) == [f"{tmp_path}/other.jsonl", f"{tmp_path}/same.jsonl"]
