from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.entries import parts as splitting
from shipper.entries.ledger import Account
from shipper.entries.segment import Chunk, Segment
from shipper.entries.stamp import FRESH
from shipper.entries.streams import Stream
from shipper.push.retry import RetryPolicy, Rounds
from shipper.sending.batch import SPAN_NS, Batch, Limits
from shipper.sending.stream_queue import Queue

BASE_NS = 1_795_000_000 * 10**9
MINUTE_NS = 60 * 10**9


def queue(*parts: list[tuple[int, str]], version: int = 0) -> Queue:
    """Return a queue with these segments of (stamp, text)."""
    made = Queue(Stream({"app": "x"}, 0, 0), Rounds(RetryPolicy(), lambda: 0.0))
    account, chunk = Account(), Chunk(0, 0, FRESH, FRESH, "")
    for part in parts:
        stamps, texts = [stamp for stamp, _ in part], [text for _, text in part]
        segment = Segment(account, chunk, made.stream, stamps, stamps, texts, [None] * len(part), version)
        segment.pack(metadata=True)
        made.put(segment, 0.0)
    return made


def lines(batch: Batch | None) -> list[str]:
    """Return the lines of a batch's body."""
    assert batch is not None
    return [value[1] for value in json.loads(batch.body)["streams"][0]["values"]]


def drained(made: Queue, limits: Limits) -> list[Batch]:
    """Take batches, each acked durably before the next, until nothing is left."""
    taken = []
    while made.segments:
        batch = made.take(limits, 0, metadata=True)
        assert batch is not None
        taken.append(batch)
    return taken


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
parts = st.lists(
    st.lists(
        st.tuples(st.integers(0, 2 * SPAN_NS).map(lambda ns: BASE_NS + ns), texts), min_size=1, max_size=8
    ),
    min_size=1,
    max_size=5,
)


@given(parts, st.integers(1, 7), st.integers(150, 600))
def test_batches_hold_every_line_once_in_order_and_none_is_above_a_limit(
    content: list[list[tuple[int, str]]], entries: int, body_bytes: int
) -> None:
    """1,000 entries, 256 KiB, 30 minutes at their defaults; a single longer line goes alone."""
    batches = drained(queue(*content), Limits(entries, body_bytes))

    assert [line for batch in batches for line in lines(batch)] == [
        text for part in content for _, text in part
    ]
    for batch in batches:
        assert batch.entries <= entries
        assert len(batch.body) <= body_bytes or batch.entries == 1
        assert max(batch.stamps()) - min(batch.stamps()) <= SPAN_NS


def test_lines_that_need_escapes_stay_within_the_limit() -> None:
    """A quote takes two bytes in the body, a control character six."""
    content = [(BASE_NS + i, '"\x01' * 50) for i in range(100)]

    batches = drained(queue(content), Limits(1000, 4096))

    assert max(len(batch.body) for batch in batches) <= 4096
    assert sum(batch.entries for batch in batches) == 100


def test_nothing_goes_before_what_it_rests_on_is_durable() -> None:
    """The slot, the stream and the clock's decisions: else a repeat after a crash would decide otherwise."""
    made = queue([(BASE_NS, "a")], version=7)

    assert made.take(Limits(), 6, metadata=True) is None
    assert lines(made.take(Limits(), 7, metadata=True)) == ["a"]


def test_no_push_is_more_than_half_an_hour_past_an_ack_that_is_not_durable() -> None:
    """Else the repeat after a crash would come too late for Loki to recognise."""
    made = queue([(BASE_NS, "a")], [(BASE_NS + 29 * MINUTE_NS, "b"), (BASE_NS + 31 * MINUTE_NS, "c")])
    first = made.take(Limits(entries=1), 0, metadata=True)
    made.pushed_oldest = BASE_NS
    made.was_acked(5)

    second = made.take(Limits(), 4, metadata=True)
    third = made.take(Limits(), 4, metadata=True)
    after_the_save = made.take(Limits(), 5, metadata=True)

    assert (lines(first), lines(second), third, lines(after_the_save)) == (["a"], ["b"], None, ["c"])


@given(st.integers(1, 30), st.data())
def test_halves_and_choices_lose_nothing(count: int, data: st.DataObject) -> None:
    """Bisecting ends with single lines, each of them once."""
    batch = queue([(BASE_NS + i, str(i)) for i in range(count)]).take(Limits(), 0, metadata=True)
    assert batch is not None
    at = data.draw(st.integers(0, count))
    wanted = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))

    left, right = batch.parted(at)
    chosen, others = batch.chosen(wanted), batch.chosen([not w for w in wanted])

    assert left.stamps() + right.stamps() == batch.stamps()
    assert left.entries == at
    assert chosen.stamps() == [stamp for stamp, want in zip(batch.stamps(), wanted, strict=True) if want]
    assert sorted(chosen.stamps() + others.stamps()) == batch.stamps()


metas = st.none() | st.dictionaries(texts.filter(bool), texts, min_size=1, max_size=2)
described = st.lists(
    st.lists(
        st.tuples(texts | st.sampled_from(["x" * 25, "é" * 12]), metas, st.booleans()), min_size=1, max_size=6
    ),
    min_size=1,
    max_size=5,
)
"""Segments of (text, metadata, whether it is split)."""


def split_queue(
    content: list[list[tuple[str, dict[str, str] | None, bool]]], *, metadata: bool = True
) -> Queue:
    """Return a queue of lines of which some are split into parts of at most ten bytes."""
    made = Queue(Stream({"app": "x"}, 0, 0), Rounds(RetryPolicy(), lambda: 0.0))
    account, chunk = Account(), Chunk(0, 0, FRESH, FRESH, "")
    for number, part in enumerate(content):
        starts, said, beside, before = [], [], [], []
        for at, (text, meta, long) in enumerate(part):
            pieces = splitting.split(text.encode(), 10) if long else [text]
            starts += [10_000 * number + 100 * at + index for index in range(len(pieces))]
            said += pieces
            beside += splitting.metas(meta, str(at), len(pieces)) if len(pieces) > 1 else [meta]
            before += range(len(pieces))
        stamps = [BASE_NS + start for start in starts]
        with_parts = before if any(before) else None
        segment = Segment(account, chunk, made.stream, starts, stamps, said, beside, parts=with_parts)
        segment.pack(metadata=metadata)
        made.put(segment, 0.0)
    return made


def entries(batch: Batch) -> list[tuple[str, dict[str, str]]]:
    """Return the text and the metadata of each line of a body."""
    values = json.loads(batch.body)["streams"][0]["values"]
    return [(value[1], value[2] if len(value) > 2 else {}) for value in values]


def waiting(made: Queue) -> tuple[int, int]:
    """Return the entries and bytes that wait, counted anew."""
    return (
        sum(len(segment) - segment.taken for segment in made.segments),
        sum(segment.weight(segment.taken) for segment in made.segments),
    )


@given(described, st.integers(1, 9), st.integers(150, 900), st.sampled_from([0, 5, 9, 10**9]), st.booleans())
def test_what_waits_is_counted_to_the_byte_and_every_part_goes_once(
    content: list[list[tuple[str, dict[str, str] | None, bool]]],
    count: int,
    body_bytes: int,
    proven_bytes: int,
    metadata: bool,  # noqa: FBT001 - hypothesis gives it by place
) -> None:
    """Whatever is split, and whatever of it has to go alone; at the end nothing waits."""
    made = split_queue(content, metadata=metadata)
    all_entries = [
        (text, (meta or {}) if metadata else {})
        for segment in made.segments
        for text, meta in zip(segment.texts, segment.metas, strict=True)
    ]
    got = []
    while made.segments:
        batch = made.take(Limits(count, body_bytes), 0, metadata=metadata, proven_bytes=proven_bytes)
        assert batch is not None
        assert (made.entries, made.bytes) == waiting(made)
        assert len(batch.body) <= body_bytes or batch.entries == 1
        unproven = [
            segment.sizes[index] > proven_bytes and segment.is_part(index)
            for segment, first, last in batch.slices
            for index in range(first, last)
        ]
        assert not any(unproven) or batch.entries == 1
        got += entries(batch)

    assert got == all_entries
    assert (made.entries, made.bytes) == (0, 0)


@given(described, st.data())
def test_what_waits_is_made_anew_when_metadata_is_switched(
    content: list[list[tuple[str, dict[str, str] | None, bool]]], data: st.DataObject
) -> None:
    """In the queue and in batches that are tried again; what it grows by is what it weighs more."""
    made = split_queue(content)
    told = [
        (text, meta or {})
        for segment in made.segments
        for text, meta in zip(segment.texts, segment.metas, strict=True)
    ]
    everything = list(made.segments)
    for way in ("work", "parted", "flight"):
        batch = made.take(Limits(data.draw(st.integers(1, 5))), 0, metadata=True)
        if batch is None:
            break
        if way == "flight":
            made.in_flight = batch
        elif way == "parted":
            made.work = [*batch.parted(data.draw(st.integers(1, batch.entries)))[::-1], *made.work]
        else:
            made.work.append(batch)
    made.work = [batch for batch in made.work if batch.slices]
    sent = made.in_flight.body if made.in_flight else b""
    held = sum(segment.weight() for segment in everything)

    for metadata in data.draw(st.lists(st.booleans(), min_size=1, max_size=3)):
        held += made.repack(metadata=metadata)

        assert held == sum(segment.weight() for segment in everything)
        assert (made.entries, made.bytes) == waiting(made)
        assert {batch.body for batch in made.work} <= {b""}
        assert made.in_flight is None or made.in_flight.body == sent

    batches = [*made.work[::-1], *([made.in_flight] if made.in_flight else [])]
    for batch in batches:
        batch.encode(metadata=metadata)
    while made.segments:
        batch = made.take(Limits(3), 0, metadata=metadata)
        assert batch is not None
        batches.append(batch)
    got = [entry for batch in batches for entry in entries(batch)]
    assert got == [(text, meta if metadata else {}) for text, meta in told]


@pytest.mark.parametrize("metadata", [True, False])
def test_nothing_grows_where_nothing_changes(*, metadata: bool) -> None:
    """Made anew in the same way it is the same."""
    made = split_queue([[("a", {"b": "c"}, False), ("d", None, False)]], metadata=metadata)
    before = made.bytes

    assert made.repack(metadata=metadata) == 0
    assert made.bytes == before
    assert (made.repack(metadata=not metadata) > 0) is not metadata


def test_the_oldest_line_of_a_whole_segment_or_of_a_piece_bounds_what_goes_with_it() -> None:
    """Half an hour from the oldest to the newest, whichever comes first in the file."""
    made = queue(
        [(BASE_NS + 31 * MINUTE_NS, "late"), (BASE_NS + 40 * MINUTE_NS, "later")],
        [(BASE_NS + 10 * MINUTE_NS, "early"), (BASE_NS, "earliest"), (BASE_NS + 1, "next")],
    )

    batches = [lines(batch) for batch in drained(made, Limits())]

    assert batches == [["late", "later", "early"], ["earliest", "next"]]
