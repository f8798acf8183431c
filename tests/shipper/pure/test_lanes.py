"""Whatever becomes of lines in memory, the window counts just those: none stays, none is taken off twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from shipper_world import Counting

from shipper.entries import parts
from shipper.entries.ledger import Account
from shipper.entries.segment import Chunk, Segment
from shipper.entries.stamp import FRESH, STEP_NS
from shipper.entries.streams import Registry, Stream
from shipper.push.retry import RetryPolicy
from shipper.sending.batch import Batch, Limits, parcels
from shipper.sending.lanes import Lanes
from shipper.sending.stream_queue import Queue
from shipper.state import Common, Options

BASE_NS = 1_795_000_000 * 10**9
STREAMS = [
    Stream({"app": "a"}, 0, 0),
    Stream({"app": "b"}, 1, 0),
    Stream({"app": "a", "restamped": "true"}, 2, 0),
    Stream({"app": "a", "backfill": "2026-11-21T05"}, 3, 0),
]
Line = tuple[str, dict[str, str] | None]

streams = st.sampled_from(STREAMS)
texts = st.text('aé😀"', max_size=60)
metas = st.none() | st.dictionaries(st.sampled_from(["a", "b"]), texts, max_size=2)
lines = st.lists(st.tuples(texts, metas), min_size=1, max_size=12)
fractions = st.floats(0, 1)


class StillClock:
    """Time that stands."""

    def monotonic(self) -> float:
        """Return a moment."""
        return 1000.0

    def time_ns(self) -> int:
        """Return another."""
        return BASE_NS


def silent(_event: str, *, level: str = "info", **_fields: object) -> None:
    """Tell nobody."""


@dataclass(eq=False)
class OneFile:
    """What the lanes need to know of a file."""

    id: int
    account: Account = field(default_factory=Account)
    origin: str = "/a"


class Sending(RuleBasedStateMachine):
    """Lines are read, pushed, taken, refused, moved, split anew, made anew, and leave memory."""

    def __init__(self) -> None:
        super().__init__()
        self.files = [OneFile(0), OneFile(1)]
        self.offset = 0
        self.settled: Counter[tuple[Account, int]] = Counter()
        self.remade: set[tuple[Account, int]] = set()
        """Lines of which parts that were taken are made again."""
        self.read: set[tuple[Account, int]] = set()

    @initialize(metadata=st.booleans())
    def begin(self, *, metadata: bool) -> None:
        """Nothing waits."""
        options = Options(
            window_entries=10**6,
            window_bytes=10**9,
            max_entry_bytes=10**6,
            structured_metadata=metadata,
        )
        self.common = Common(options, Registry(), StillClock(), silent, Counting())
        self.window, self.limit = self.common.window, self.common.entry_limit
        self.lanes = Lanes(self.common, RetryPolicy(), lambda: 0.5, 0.0)
        self.metadata = metadata

    @rule(stream=streams, found=lines, file=st.integers(0, 1), entries=st.integers(1, 20))
    def put(self, stream: Stream, found: list[Line], file: int, entries: int) -> None:
        """Lines are read, and cut to pieces for pushes."""
        if not self.lanes.accepts(stream):
            return
        one = self.files[file]
        starts, stamps, said, beside, before = [], [], [], [], []
        for text, meta in found:
            self.offset += 1000
            pieces = parts.split(text.encode(), self.limit.bytes)
            count = len(pieces)
            starts += range(self.offset, self.offset + count)
            stamps += [BASE_NS + 10**6 * self.offset + STEP_NS * part for part in range(count)]
            said += pieces
            name = parts.line_id(one.origin, self.offset, pieces)
            beside += parts.metas(meta, name, count) if count > 1 else [meta]
            before += range(count)
            self.read.add((one.account, self.offset))
        chunk = Chunk(starts[0], starts[-1] + 1000, FRESH, FRESH, "")
        of_parts = before if any(before) else None
        segment = Segment(one.account, chunk, stream, starts, stamps, said, beside, parts=of_parts)
        for parcel in parcels(segment, Limits(entries, 2000)):
            one.account.add(parcel)
            self.lanes.put(one, parcel)  # type: ignore[arg-type]

    def idle(self) -> list[Queue]:
        """Return the queues with something to push and nothing in flight."""
        return [queue for queue in self.lanes.queues.values() if queue.in_flight is None and queue.busy]

    def flying(self) -> list[Queue]:
        """Return the queues with something in flight."""
        return [queue for queue in self.lanes.queues.values() if queue.in_flight is not None]

    @precondition(lambda self: self.idle())
    @rule(
        data=st.data(),
        entries=st.integers(1, 20),
        body_bytes=st.integers(100, 2000),
        proven=st.integers(0, 40),
    )
    def push(self, data: st.DataObject, entries: int, body_bytes: int, proven: int) -> None:
        """Push what is tried again, else what is new."""
        queue = data.draw(st.sampled_from(self.idle()))
        if queue.work:
            batch = queue.work.pop()
            if not batch.body:
                batch.encode(metadata=self.metadata)
        else:
            taken = queue.take(
                Limits(entries, body_bytes), 10**9, metadata=self.metadata, proven_bytes=proven
            )
            assert taken is not None
            batch = taken
        queue.in_flight = batch

    def answered(self, data: st.DataObject) -> tuple[Queue, Batch]:
        """Return a queue and what was in flight of it."""
        queue = data.draw(st.sampled_from(self.flying()))
        batch = queue.in_flight
        assert batch is not None
        queue.in_flight = None
        return queue, batch

    @precondition(lambda self: self.flying())
    @rule(data=st.data(), dead=st.booleans())
    def settle(self, data: st.DataObject, *, dead: bool) -> None:
        """Take a push, or bury its lines."""
        self.settle_batch(self.answered(data)[1], dead=dead)

    def settle_batch(self, batch: Batch, *, dead: bool = False) -> None:
        """Do as the answers do."""
        self.lanes.settle(batch)
        for segment, first, last in batch.slices:
            account = segment.account
            if dead:
                account.lines_dead += last - first
            else:
                account.lines_acked += last - first
            for start in segment.starts[first:last]:
                self.settled[account, start] += 1

    @precondition(lambda self: self.flying())
    @rule(data=st.data(), halve=st.booleans(), at=fractions)
    def refuse(self, data: st.DataObject, at: float, *, halve: bool) -> None:
        """Try it again as it is, or in two."""
        queue, batch = self.answered(data)
        if halve and batch.entries > 1:
            left, right = batch.parted(1 + int(at * (batch.entries - 2)))
            queue.work += [right, left]
        else:
            queue.work.append(batch)

    @precondition(lambda self: self.flying())
    @rule(data=st.data(), to=streams, restamp=st.booleans())
    def move(self, data: st.DataObject, to: Stream, *, restamp: bool) -> None:
        """Put some lines into another stream, with other stamps or with theirs; push the others again."""
        queue, batch = self.answered(data)
        wanted = data.draw(st.lists(st.booleans(), min_size=batch.entries, max_size=batch.entries))
        if to is batch.stream or not any(wanted):
            queue.work.append(batch)
            return
        rest = batch.chosen([not one for one in wanted])
        for segment, first, last in batch.chosen(wanted).slices:
            indexes = list(range(first, last))
            stamps = [BASE_NS + 7 + index for index in indexes] if restamp else None
            moved = (
                [{**(segment.metas[index] or {}), "was": "x" * 20} for index in indexes] if restamp else None
            )
            self.lanes.move(segment, to, indexes, 1, stamps, moved)
            self.lanes.moved_away(segment, first, last)
        if rest.slices:
            queue.work.append(rest)

    @precondition(lambda self: self.idle())
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        """Make room where a stream is refused."""
        self.lanes.park(data.draw(st.sampled_from(self.idle())))

    @rule(stream=streams)
    def shed(self, stream: Stream) -> None:
        """Make room where a push has no answer: what is under way stays, whatever it is."""
        queue = self.lanes.queues.get(stream)
        if queue is None or queue.parked:
            return
        under_way = [(batch, list(batch.slices)) for batch in queue.under_way()]
        begun = [segment for segment in queue.segments if segment.taken]
        self.lanes.shed(queue)
        assert [(batch, list(batch.slices)) for batch in queue.under_way()] == under_way
        assert [segment for segment in queue.segments if segment.taken] == begun

    @rule(stream=streams)
    def unpark(self, stream: Stream) -> None:
        """Try it again; its lines would be read again, in a test of reading."""
        if stream in self.lanes.queues:
            self.lanes.queues[stream].parked = False

    @rule()
    def reread(self) -> None:
        """Nothing is missing any more."""
        for file in self.files:
            file.account.floors.clear()

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), limit=st.integers(4, 40))
    def refit(self, data: st.DataObject, limit: int) -> None:
        """Loki takes less than was thought."""
        self.limit.bytes = min(limit, self.limit.bytes)
        queue = data.draw(st.sampled_from(self.idle()))
        held = [part[0] for batch in queue.work for part in batch.slices]
        for segment in dict.fromkeys([*held, *queue.segments]):
            if max(segment.sizes) > self.limit.bytes:
                self.remade |= {(segment.account, start) for start in segment.starts}
        self.lanes.refit(queue, 1000.0)
        for segment, index in self.places():
            # What is too long all the same is part of a line of which others are elsewhere.
            fits = segment.sizes[index] <= self.limit.bytes or segment.is_part(index)
            assert fits or segment.stream is not queue.stream

    @rule(metadata=st.booleans())
    def reconfigure(self, *, metadata: bool) -> None:
        """Carry metadata from now on, or none; what Loki takes is unknown again."""
        self.limit.bytes = 10**6
        self.common.options = replace(self.common.options, structured_metadata=metadata)
        self.lanes.reconfigure(RetryPolicy())
        self.metadata = metadata

    def places(self) -> Counter[tuple[Segment, int]]:
        """Return where entries wait, are tried again or in flight."""
        found: Counter[tuple[Segment, int]] = Counter()
        for queue in self.lanes.queues.values():
            for segment in queue.segments:
                found.update((segment, index) for index in range(segment.taken, len(segment)))
            for batch in [*queue.work, *([queue.in_flight] if queue.in_flight else [])]:
                for segment, first, last in batch.slices:
                    found.update((segment, index) for index in range(first, last))
        return found

    @invariant()
    def the_window_holds_what_is_not_settled(self) -> None:
        """To the entry and to the byte, by the ledger and by the queues."""
        pending = [s for file in self.files for found in file.account.pending.values() for s in found]

        assert self.window.entries == sum(segment.unsettled for segment in pending) >= 0
        assert self.window.bytes == sum(segment.unsettled_weight for segment in pending) >= 0
        assert self.window.entries == sum(file.account.in_flight for file in self.files)

    @invariant()
    def a_queue_counts_what_waits(self) -> None:
        """Find every unsettled entry somewhere, and once; what is in flight or tried again waits no more."""
        places = self.places()
        for queue in self.lanes.queues.values():
            assert queue.entries == sum(len(s) - s.taken for s in queue.segments) >= 0
            assert queue.bytes == sum(s.weight(s.taken) for s in queue.segments) >= 0
            assert all(s._json is not None or s._pieces is not None for s in queue.segments)
        assert all(count == 1 for count in places.values())
        assert len(places) == self.window.entries
        assert not any(segment.is_settled(index) for segment, index in places)

    def teardown(self) -> None:
        """All that is left is taken: then nothing is in memory, and no entry was taken twice."""
        for queue in list(self.lanes.queues.values()):
            while queue.busy:
                batch = queue.in_flight or (queue.work.pop() if queue.work else None)
                queue.in_flight = None
                if batch is None:
                    batch = queue.take(Limits(5, 1000), 10**9, metadata=self.metadata)
                assert batch is not None
                self.settle_batch(batch)
                self.the_window_holds_what_is_not_settled()
        assert (self.window.entries, self.window.bytes) == (0, 0)
        assert not any(file.account.pending for file in self.files)
        assert {entry for entry, count in self.settled.items() if count > 1} <= self.remade


Sending.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestSending = Sending.TestCase
