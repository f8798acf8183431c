from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from shared.models import MAX_LABEL_CHARS, OTHER
from shipper.ledger import Account, Chunk, Segment
from shipper.push.retry import RetryPolicy, Rounds
from shipper.stamp import FRESH
from shipper.streams import SPAN_NS, Batch, Limits, Queue, Registry, Stream

BASE_NS = 1_795_000_000 * 10**9
MINUTE_NS = 60 * 10**9


def queue(*parts: list[tuple[int, str]], version: int = 0) -> Queue:
    """Return a queue with these segments of (stamp, text)."""
    made = Queue(Stream({"app": "x"}, 0, 0), Rounds(RetryPolicy(), lambda: 0.0))
    account, chunk = Account(), Chunk(0, 0, FRESH, FRESH, "")
    for part in parts:
        stamps, texts = [stamp for stamp, _ in part], [text for _, text in part]
        sizes = [len(text.encode()) for text in texts]
        made.put(
            Segment(account, chunk, made.stream, stamps, stamps, texts, [None] * len(part), sizes, version),
            0.0,
        )
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


# ---- labels


def test_one_label_set_is_one_stream() -> None:
    """Whatever the order of its names."""
    registry = Registry()

    assert registry.stream({"a": "1", "b": "2"}, 0) is registry.stream({"b": "2", "a": "1"}, 0)


@given(st.lists(st.dictionaries(st.sampled_from(["app", "project"]), st.text(max_size=300)), max_size=60))
def test_labels_stay_bounded_whatever_comes(label_sets: list[dict[str, str]]) -> None:
    """Length, values of a label, and streams: all have a cap, and what is above it is `other`."""
    registry = Registry(max_streams=5, max_values=4)

    for labels in label_sets:
        registry.stream(labels, 0)

    values = {
        name: {s.labels[name] for s in registry.streams if name in s.labels} for name in ("app", "project")
    }
    assert all(len(found - {OTHER}) <= 4 for found in values.values())
    assert all(v.encode() and len(v) <= MAX_LABEL_CHARS for found in values.values() for v in found)
    # One overflow stream for each value of `app`, which stays, and each set of label names.
    assert len(registry.streams) <= 5 + 2 * 5 + 2


def test_a_restart_knows_which_values_got_in_before_the_cap() -> None:
    """A repeat must find the same stream."""
    first = Registry(max_values=2)
    for project in ("a", "b", "c"):
        first.stream({"project": project}, 0)
    later = Registry(max_values=2)
    later.restore({k: list(v) for k, v in first.values.items()}, [s.labels for s in first.streams])

    for project, label in (("c", OTHER), ("a", "a"), ("d", OTHER)):
        found = later.stream({"project": project}, 9)
        assert (found.labels["project"], found.version) == (label, 0)


def test_backfill_and_restamped_streams_are_never_folded_into_others() -> None:
    """Their lines would be refused there, for ever."""
    registry = Registry(max_streams=1, max_values=1)
    registry.stream({"app": "x"}, 0)

    for hour in ("2026-11-21T05", "2026-11-21T06"):
        assert registry.stream({"app": "x", "backfill": hour}, 0).labels["backfill"] == hour
    assert registry.stream({"app": "x", "restamped": "true"}, 0).labels["restamped"] == "true"


def test_surrogates_in_a_label_become_the_replacement_character() -> None:
    """One of them would cost the whole push."""
    assert Registry().stream({"project": "a\ud800"}, 0).labels == {"project": "a\ufffd"}
