"""Segments are cut so that whole ones nearly fill a push; no line is cut with them."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.entries import parts
from shipper.entries.ledger import Account
from shipper.entries.segment import Chunk, Segment
from shipper.entries.stamp import FRESH, STEP_NS
from shipper.entries.streams import Stream
from shipper.push.retry import RetryPolicy, Rounds
from shipper.sending.batch import Batch, Limits, parcels
from shipper.sending.stream_queue import Queue

STREAM = Stream({"app": "x", "environment": "test", "machine": "u@h"}, 0, 0)
CHUNK = Chunk(0, 10**6, FRESH, FRESH, "")
BASE_NS = 1_795_000_000 * 10**9
DURABLE = 0

texts = st.text('aé😀"', max_size=60)


def segment(lines: list[str], split_bytes: int | None = None) -> Segment:
    """Return lines as a segment; in parts of so many bytes where that is given."""
    if split_bytes is None:
        count = len(lines)
        stamps = [BASE_NS + number for number in range(count)]
        return Segment(
            Account(), CHUNK, STREAM, range(0, 70 * count, 70), stamps, lines, [None] * count, version=3
        )
    starts, stamps, said, before = [], [], [], []
    for number, line in enumerate(lines):
        found = parts.split(line.encode(), split_bytes)
        starts += [1000 * number + part for part in range(len(found))]
        stamps += [BASE_NS + 10**6 * number + STEP_NS * part for part in range(len(found))]
        said += found
        before += range(len(found))
    return Segment(Account(), CHUNK, STREAM, starts, stamps, said, [None] * len(said), parts=before)


@given(st.lists(texts, min_size=1, max_size=40), st.integers(1, 30), st.integers(100, 4000))
def test_pieces_of_a_segment_are_the_segment(lines: list[str], entries: int, body_bytes: int) -> None:
    """Each line once and in order, all that is known of the segment with each, and four to a push or more."""
    whole = segment(lines)

    found = parcels(whole, Limits(entries, body_bytes))

    for name in ("starts", "stamps", "texts", "metas", "sizes"):
        assert [one for piece in found for one in getattr(piece, name)] == list(getattr(whole, name)), name
    assert {(piece.account, piece.chunk, piece.stream, piece.version) for piece in found} == {
        (whole.account, whole.chunk, whole.stream, whole.version)
    }
    assert max(map(len, found)) <= max(1, entries // 4)
    assert min(map(len, found)) >= 1


@given(
    st.lists(texts, min_size=1, max_size=20), st.integers(4, 20), st.integers(1, 30), st.integers(100, 4000)
)
def test_no_line_is_cut_between_pieces(
    lines: list[str], split_bytes: int, entries: int, body_bytes: int
) -> None:
    """Its parts stay together: it is split anew as a whole, where Loki takes less than was thought."""
    whole = segment(lines, split_bytes)
    limit = max(1, entries // 4)

    found = parcels(whole, Limits(entries, body_bytes))

    assert [text for piece in found for text in piece.texts] == list(whole.texts)
    assert [start for piece in found for start in piece.starts] == list(whole.starts)
    for piece in found:
        assert piece.parts is not None
        assert piece.parts[0] == 0
        several = len({start // 1000 for start in piece.starts}) > 1
        assert len(piece) <= limit or not several


def test_a_segment_that_is_small_enough_is_not_made_anew() -> None:
    """Most are."""
    whole = segment(["a"] * 250)

    assert parcels(whole, Limits())[0] is whole
    assert [len(piece) for piece in parcels(segment(["a"] * 251), Limits())] == [250, 1]


def agents_line(size: int, number: int, letter: str) -> str:
    """Return a line of about so many characters, with quotes as agents' lines have them."""
    line = {"timestamp": "2026-11-21T01:02:29Z", "type": "iteration_start", "data": {"iteration": number}}
    rest = size - len(json.dumps(line)) - len(', "text": ""')
    return json.dumps({**line, "text": letter * rest} if rest > 0 else line, ensure_ascii=False)


@pytest.mark.parametrize("size", [100, 245, 1000])
@pytest.mark.parametrize("chunk_lines", [600, 1000, 1337, 2600])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("letter", ["x", "я", "語"])
def test_a_push_of_a_long_queue_is_nearly_full(
    size: int, chunk_lines: int, letter: str, *, plain: bool
) -> None:
    """In entries or in bytes; pushes are paid for one by one."""
    limits = Limits()
    queue = Queue(STREAM, Rounds(RetryPolicy(), lambda: 0.0))
    for _ in range(12_000 // chunk_lines):
        lines = [
            letter * size if plain else agents_line(size, number, letter) for number in range(chunk_lines)
        ]

        for piece in parcels(segment(lines), limits):
            piece.pack(metadata=True)
            queue.put(piece, 0.0)

    fullness = []
    while queue.entries >= limits.entries and queue.bytes >= limits.body_bytes:
        batch = queue.take(limits, DURABLE + 3, metadata=True)
        assert batch is not None
        fullness.append(max(batch.entries / limits.entries, len(batch.body) / limits.body_bytes))

    assert len(fullness) >= 4
    assert min(fullness) >= 0.75
    assert max(fullness) <= 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.data())
def test_the_oldest_stamp_of_a_batch_is_the_oldest_of_its_lines(
    lengths: list[int], data: st.DataObject
) -> None:
    """Of just those that it holds, in whatever order the lines were written."""
    random_ns = st.integers(0, 50)
    slices = []
    for length in lengths:
        stamps = data.draw(st.lists(random_ns, min_size=length, max_size=length))
        made = Segment(Account(), CHUNK, STREAM, stamps, stamps, ["x"] * length, [None] * length)
        made.pack(metadata=True)
        first = data.draw(st.integers(0, length - 1))
        slices.append((made, first, data.draw(st.integers(first + 1, length))))
    batch = Batch(STREAM, slices)

    assert batch.oldest == min(batch.stamps())
    assert batch.stamps() == [stamp for made, first, last in slices for stamp in made.stamps[first:last]]
    assert batch.line_bytes() == batch.entries == len(batch.stamps())


def test_a_batch_has_the_same_body_whether_its_segments_are_packed() -> None:
    """Whole ones and pieces of them."""
    made = random.Random(7)
    bodies = []
    for pack in (True, False):
        made.seed(7)
        slices = []
        for _ in range(5):
            one = segment(["é" * made.randrange(9) for _ in range(6)])
            if pack:
                one.pack(metadata=True)
            first = made.randrange(6)
            slices.append((one, first, 6))
        batch = Batch(STREAM, slices)
        batch.encode(metadata=True)
        bodies.append(batch.body)

    assert bodies[0] == bodies[1]
