from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

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
