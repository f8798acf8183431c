"""Where lines begin is counted when somebody asks, and then as plain counting has it."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.entries.picking import offsets_of, picker
from shipper.follow.offsets import Offsets

sizes = st.lists(st.integers(0, 5000), min_size=1, max_size=20)
firsts = st.integers(0, 2**50)


@given(firsts, sizes)
def test_a_line_begins_behind_the_newline_of_the_one_before(first: int, lengths: list[int]) -> None:
    """Whether all are asked for, one, or some."""
    plain = _plainly(first, lengths)
    offsets = Offsets(first, lengths)

    assert list(offsets) == plain
    assert [offsets[index] for index in range(len(plain))] == plain
    assert (list(offsets[1:]), offsets[-1], len(offsets)) == (plain[1:], plain[-1], len(plain))


@given(firsts, sizes, st.data())
def test_some_of_some_are_as_if_they_were_taken_of_a_list(
    first: int, lengths: list[int], data: st.DataObject
) -> None:
    """However often some are chosen, and whether what they are chosen of was counted before or after."""
    plain: list[int] = _plainly(first, lengths)
    offsets = Offsets(first, lengths)
    whole, whole_plain = offsets, plain
    for _ in range(data.draw(st.integers(1, 3))):
        if data.draw(st.booleans()):
            assert offsets.each is offsets.each
        indexes = sorted(data.draw(st.sets(st.integers(0, len(plain) - 1), min_size=1)))
        offsets, plain = offsets.chosen(indexes), [plain[index] for index in indexes]

        assert len(offsets) == len(plain)

    if data.draw(st.booleans()):
        assert list(whole) == whole_plain
    assert list(offsets) == plain
    assert list(whole) == whole_plain


@given(firsts, sizes, st.data())
def test_offsets_are_picked_as_plain_ones_are(first: int, lengths: list[int], data: st.DataObject) -> None:
    """Some lines of a chunk go to one stream: what is counted of them is the same."""
    plain = _plainly(first, lengths)
    indexes = sorted(data.draw(st.sets(st.integers(0, len(plain) - 1), min_size=1)))

    assert list(offsets_of(Offsets(first, lengths), indexes)) == list(offsets_of(plain, indexes))
    assert list(picker(indexes)(plain)) == [plain[index] for index in indexes]
    assert list(picker(range(indexes[0], indexes[-1] + 1))(plain)) == plain[indexes[0] : indexes[-1] + 1]


class Counted(list[int]):
    """Sizes that note how often they are asked for."""

    asked = 0

    def __getitem__(self, index: object) -> object:  # type: ignore[override]
        self.asked += 1
        return super().__getitem__(index)  # type: ignore[index]


def test_nothing_is_counted_before_it_is_asked_for_and_then_once() -> None:
    """Most lines are sent and settled without; all that is chosen of them shares one counting."""
    lengths = Counted([1, 2, 3])
    offsets = Offsets(10, lengths)
    some, others = offsets.chosen([0, 2]), offsets.chosen([1])
    of_some = some.chosen([1])
    assert (len(offsets), len(some), len(others), len(of_some), lengths.asked) == (3, 2, 1, 1, 0)

    assert (of_some[0], list(some), others[0], list(offsets)) == (15, [10, 15], 12, [10, 12, 15])

    assert lengths.asked == 1
    assert (offsets.each is offsets.each, some.each is some.each, others.each is others.each) == (True,) * 3


def test_sizes_are_let_go_once_they_are_counted() -> None:
    """Offsets are kept until their lines are acknowledged; beside them nothing is."""
    lengths = Counted([1, 2, 3])
    kept = weakref.ref(lengths)
    some = Offsets(0, lengths).chosen([0, 2])
    del lengths
    assert kept() is not None

    assert list(some) == [0, 5]

    assert kept() is None


def test_offsets_equal_a_list_of_the_same_and_have_no_hash() -> None:
    """As a list has none."""
    offsets = Offsets(0, [1, 2])

    assert (offsets == [0, 2], offsets == (0, 2), offsets == [0, 3], offsets == 0) == (
        True,
        True,
        False,
        False,
    )
    assert offsets == Offsets(0, [1, 9])
    assert repr(offsets) == "Offsets([0, 2])"
    with pytest.raises(TypeError):
        hash(offsets)


def test_no_lines_have_no_offsets() -> None:
    """A chunk of blank lines."""
    assert (list(Offsets(7, [])), len(Offsets(7, []))) == ([], 0)


def _plainly(first: int, lengths: list[int]) -> list[int]:
    found = []
    for length in lengths:
        found.append(first)
        first += length + 1
    return found
