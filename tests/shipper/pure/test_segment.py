"""Entries kept as JSON answer as entries that were never made so; their weight is shared out to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.entries import parts
from shipper.entries.ledger import Account
from shipper.entries.segment import Chunk, Segment, picked
from shipper.entries.stamp import FRESH, STEP_NS
from shipper.entries.streams import Stream
from shipper.entries.wire import from_json
from shipper.follow.offsets import Offsets

STREAM = Stream({"app": "x"}, 0, 0)
CHUNK = Chunk(0, 10**6, FRESH, FRESH, "")
BASE_NS = 1_795_000_000 * 10**9
SPLIT_BYTES = 12
Line = tuple[int, str, dict[str, str] | None]
Make = Callable[[list[Line]], Segment]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
metas = st.none() | st.just({}) | st.dictionaries(texts, texts, min_size=1, max_size=2)
lines = st.lists(st.tuples(st.integers(0, 10**12), texts, metas), min_size=1, max_size=8)


def whole(found: list[Line]) -> Segment:
    """Return lines as a segment without parts."""
    stamps, said, beside = ([line[at] for line in found] for at in range(3))
    starts = Offsets(7, [len(text.encode()) for text in said])
    stamps = [BASE_NS + ns for ns in stamps]
    return Segment(
        Account(), CHUNK, STREAM, starts, stamps, said, [dict(m) if m else m for m in beside], since_s=3.0
    )


def split(found: list[Line]) -> Segment:
    """Return lines in parts of a few bytes each, as sorting makes them."""
    starts, stamps, said, beside, before = [], [], [], [], []
    for number, (ns, text, meta) in enumerate(found):
        pieces = parts.split(text.encode(), SPLIT_BYTES)
        name = parts.line_id("/a", 1000 * number, pieces)
        starts += [1000 * number + part for part in range(len(pieces))]
        stamps += [BASE_NS + ns + STEP_NS * part for part in range(len(pieces))]
        said += pieces
        beside += parts.metas(meta, name, len(pieces)) if len(pieces) > 1 else [meta]
        before += range(len(pieces))
    return Segment(Account(), CHUNK, STREAM, starts, stamps, said, beside, parts=before)


kinds = pytest.mark.parametrize("make", [whole, split])


@st.composite
def packings(draw: st.DrawFn) -> list[bool]:
    """Return with metadata or without, how often a segment is packed: a configuration can change."""
    return draw(st.lists(st.booleans(), min_size=1, max_size=3))


@kinds
@given(found=lines, packs=packings(), data=st.data())
def test_a_packed_segment_answers_as_an_unpacked_one(
    make: Make, found: list[Line], packs: list[bool], data: st.DataObject
) -> None:
    """In whatever order it is asked, and however often it was packed; its metadata is never lost."""
    plain, packed = make(found), make(found)
    for metadata in packs:
        packed.pack(metadata=metadata)
        asked = data.draw(st.permutations(sorted(QUESTIONS)))
        for name in asked[: data.draw(st.integers(0, len(asked)))]:
            assert QUESTIONS[name](packed) == QUESTIONS[name](plain), name

        first, last = _cut(data, len(plain))
        values = from_json(packed.json(first, last, metadata=metadata))
        assert values == from_json(plain.json(first, last, metadata=metadata))
        assert values[2] == [(meta or None) if metadata else None for meta in plain.metas[first:last]]
    for name, ask in QUESTIONS.items():
        assert ask(packed) == ask(plain), name


QUESTIONS = {
    "starts": lambda s: list(s.starts),
    "stamps": lambda s: list(s.stamps),
    "texts": lambda s: list(s.texts),
    "metas": lambda s: [meta or None for meta in s.metas],
    "sizes": lambda s: list(s.sizes),
    "parts": lambda s: s.parts,
    "length": len,
    "age": lambda s: (s.oldest, s.newest, s.since_s),
    "lowest": lambda s: (s.lowest, s.unsettled, s.settled),
    "line_of": lambda s: [s.line_of(index) for index in range(len(s))],
    "is_part": lambda s: [s.is_part(index) for index in range(len(s))],
    "index_at": lambda s: [s.index_at(start + past) for start in s.starts for past in (-1, 0, 1)],
}


@kinds
@given(found=lines, packs=packings(), data=st.data())
def test_what_is_picked_of_a_packed_segment_is_what_is_picked_of_an_unpacked_one(
    make: Make, found: list[Line], packs: list[bool], data: st.DataObject
) -> None:
    """Lines that move, pieces for pushes; packed again they are themselves."""
    plain, packed = make(found), make(found)
    for metadata in packs:
        packed.pack(metadata=metadata)
    indexes = sorted(data.draw(st.sets(st.integers(0, len(plain) - 1), min_size=1)))
    stamps = [1 + index for index in range(len(indexes))] if data.draw(st.booleans()) else None

    want, got = picked(plain, indexes, stamps), picked(packed, indexes, stamps)

    for again in (False, True):
        if again:
            got.pack(metadata=packs[-1])
        for name, ask in QUESTIONS.items():
            assert ask(got) == ask(want), (name, again)
    assert list(want.texts) == [plain.texts[index] for index in indexes]
    assert list(want.starts) == [plain.starts[index] for index in indexes]


@kinds
@given(found=lines, metadata=st.booleans(), data=st.data())
def test_a_weight_is_the_sum_of_its_pieces_weights(
    make: Make, found: list[Line], data: st.DataObject, *, metadata: bool
) -> None:
    """Wherever it is cut; and all together is what it takes as JSON, but for commas."""
    segment = make(found)
    segment.pack(metadata=metadata)
    count = len(segment)
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=5)) | {0, count})

    shares = [segment.weight(first, last) for first, last in pairwise(cuts)]

    assert sum(shares) == segment.weight() == segment.weight(0) == segment.weight(0, count)
    assert min(shares) >= 0
    commas = count - 1 if segment.parts is not None else 0
    assert segment.weight() + commas == len(segment.json(0, count, metadata=metadata))
    assert [segment.weight(first) for first in cuts] == [sum(shares[at:]) for at in range(len(cuts))]


@kinds
@given(found=lines, metadata=st.booleans(), data=st.data())
def test_what_is_settled_in_any_order_leaves_no_weight(
    make: Make, found: list[Line], data: st.DataObject, *, metadata: bool
) -> None:
    """Each settling takes what it weighs, also where the segment is packed anew on the way."""
    segment = make(found)
    segment.pack(metadata=metadata)
    count = len(segment)
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=5)) | {0, count})
    unsettled = set(range(count))
    held = segment.weight()

    for first, last in data.draw(st.permutations(list(pairwise(cuts)))):
        if data.draw(st.booleans()):
            before = segment.unsettled_weight
            segment.pack(metadata=data.draw(st.booleans()))
            held += segment.unsettled_weight - before
        segment.settle(first, last)
        held -= segment.weight(first, last)
        unsettled -= set(range(first, last))

        assert held == segment.unsettled_weight >= 0
        assert segment.unsettled == len(unsettled)
        if unsettled:
            assert segment.lowest == segment.starts[min(unsettled)]

    assert (held, segment.unsettled, segment.settled) == (0, 0, True)


@kinds
@given(found=lines, metadata=st.booleans(), room=st.integers(0, 2000), data=st.data())
def test_at_least_one_entry_fits_and_never_more_than_are_asked_for(
    make: Make, found: list[Line], room: int, data: st.DataObject, *, metadata: bool
) -> None:
    """And with room for all of it, all of it."""
    segment = make(found)
    segment.pack(metadata=metadata)
    count = len(segment)
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))

    assert first < segment.fitting(first, last, room) <= last
    assert segment.fitting(first, last, segment.weight() + count) == last


def test_a_packed_segment_is_one_piece_of_bytes() -> None:
    """The texts are kept once; asked for all, it is that very piece."""
    segment = whole([(number, "text", None) for number in range(5)])
    segment.pack(metadata=True)

    assert (segment._texts, segment._stamps, segment._metas) == (None, None, None)
    assert segment.json(0, 5, metadata=True) is segment.json(0, 5, metadata=True)
    assert json.loads(b"[%b]" % segment.json(1, 3, metadata=True)) == [
        [str(BASE_NS + number), "text"] for number in (1, 2)
    ]


def test_a_segment_without_entries_weighs_nothing() -> None:
    """There is none to settle, and none to push."""
    segment = Segment(Account(), CHUNK, STREAM, [], [], [], [])
    segment.pack(metadata=True)

    assert (len(segment), segment.weight(), segment.unsettled_weight, segment.settled) == (0, 0, 0, True)
    assert (list(segment.texts), list(segment.stamps), list(segment.metas)) == ([], [], [])


def _cut(data: st.DataObject, count: int) -> tuple[int, int]:
    first = data.draw(st.integers(0, count - 1))
    return first, data.draw(st.integers(first + 1, count))
