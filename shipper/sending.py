"""From queues to Loki and back: what may go now, and what an answer means for the lines it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from shipper.deadletter import DeadLetters
from shipper.follow.tracked import Tracked
from shipper.ledger import Meta, Segment, picked
from shipper.positions import Moved
from shipper.push.answer import Action, Verdict
from shipper.push.retry import PROBE_S, RetryPolicy, Rounds
from shipper.refit import refitted
from shipper.sorting import backfill_labels, is_restamped, restamped_labels, with_original
from shipper.stamp import ANSWER_RESIDUE, STEP_NS
from shipper.state import Clock, EntryLimit, Meter, Options, Saves, Tell, Window
from shipper.streams import Batch, Queue, Registry, Stream
from shipper.times import hour, rfc3339

_STREAM_REASONS = frozenset({"rate_limited", "stream_limit", "too_new"})
_STORED_NOTHING = frozenset({"too_large", "rate_limited"})
"""What Loki refused so does not count for its rates."""
_MANY_QUEUES = 100
_MIN_LIMIT_BYTES = 512


@dataclass(slots=True, eq=False)
class Push:
    """A request in flight."""

    queue: Queue
    batch: Batch


class Answered(NamedTuple):
    """What became of it."""

    push: Push
    verdict: Verdict
    seconds: float
    sent_bytes: int


class Transport(Protocol):
    """Carries pushes; never blocks, never raises for what Loki or the network does."""

    def submit(self, push: Push) -> None:
        """Start a request."""

    def answers(self) -> Iterable[Answered]:
        """Return the requests that have ended since the last call."""


@dataclass(slots=True)
class Trouble:
    """The last thing that went wrong in sending, for health and status."""

    text: str = ""
    at_ns: int = 0


class Sender:
    """Owns the queues. Single-threaded: answers are handled where `turn` is called."""

    def __init__(  # noqa: PLR0917 - the engine's wiring comes in as arguments
        self,
        options: Options,
        registry: Registry,
        window: Window,
        saves: Saves,
        entry_limit: EntryLimit,
        transport: Transport,
        dead_letters: DeadLetters,
        policy: RetryPolicy,
        clock: Clock,
        chance: Callable[[], float],
        tell: Tell,
        meter: Meter,
    ) -> None:
        self._options = options
        self._registry = registry
        self._window = window
        self._saves = saves
        self._entry_limit = entry_limit
        self._transport = transport
        self._dead = dead_letters
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._tell = tell
        self._meter = meter
        self.queues: dict[Stream, Queue] = {}
        self.busy: dict[Stream, Queue] = {}
        self._files: dict[int, Tracked] = {}
        self.floored: dict[int, Tracked] = {}
        """Files of which lines have left memory, to be read again when their stream takes lines."""
        self._started_s = clock.monotonic()
        self._paced_from_s = clock.monotonic() + self._pause_s(options.limits.body_bytes)
        """A run before this one may have pushed a moment ago: without this, restarts go past the rate."""
        self.last_ack_s = -math.inf
        self.last_error = Trouble()
        self.sent = 0
        """Entries acked since the start."""
        self.dropped = 0
        """Entries dead-lettered since the start."""
        self.flushing = False
        """True: nothing waits for a fuller batch."""
        self.hurry = False
        """True: the same, because descriptors are short and only acknowledged files can be closed."""
        self.unpaced = False

    def reconfigure(self, options: Options, policy: RetryPolicy) -> None:
        """Go on in another way. Streams that wait are tried at once: the cause may be what was mended."""
        self._options = options
        self._policy = policy
        for queue in self.queues.values():
            queue.rounds.policy = policy
            queue.not_before_s = -math.inf

    # ---- what the reader asks

    def accepts(self, stream: Stream) -> bool:
        """Tell whether lines of the stream may enter memory now."""
        queue = self.queues.get(stream)
        if queue is None:
            return True
        return not queue.parked and not (queue.rounds.open and queue.busy)

    def misses(self, stream: Stream) -> bool:
        """Tell whether lines of the stream have left memory, of whatever file."""
        return any(stream in tracked.account.floors for tracked in self.floored.values())

    def put(self, tracked: Tracked, segment: Segment) -> None:
        """Queue lines that were read."""
        queue = self._queue(segment.stream)
        self._files[id(segment.account)] = tracked
        now_s = self._clock.monotonic()
        if segment.since_s == math.inf:
            segment.since_s = now_s
        queue.put(segment, now_s)
        self._window.entries += len(segment.starts)
        self._window.bytes += sum(segment.sizes)
        self.busy[segment.stream] = queue

    @property
    def away(self) -> bool:
        """True when nothing is taken at all.

        Some stream's circuit is open, and no other has had an ack since.
        """
        opened = [
            queue.first_failure_s
            for queue in self.queues.values()
            if queue.rounds.open and queue.first_failure_s is not None and queue.reason not in _STREAM_REASONS
        ]
        return bool(opened) and self.last_ack_s < min(opened)

    def oldest_since_s(self) -> float | None:
        """Return since when the oldest line waits that is neither acked nor dead-lettered; None: none does.

        Also one that has left memory; one that an earlier run read waits since the start of this one.
        """
        oldest_s = math.inf
        found = False
        for queue in self.busy.values():
            batches = [*queue.work, *([queue.in_flight] if queue.in_flight else [])]
            for segment in [*queue.segments, *(part[0] for batch in batches for part in batch.slices)]:
                oldest_s = min(oldest_s, segment.since_s)
                found = True
        for tracked in self.floored.values():
            for floor in tracked.account.floors.values():
                oldest_s = min(oldest_s, self._started_s if floor.since_s == math.inf else floor.since_s)
                found = True
        return oldest_s if found else None

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing is in flight."""
        return not self.busy

    # ---- a turn

    def turn(self, now_s: float) -> None:
        """Handle answers, then push what may go."""
        for answered in self._transport.answers():
            self._answered(answered, now_s)
        self._make_room(now_s)
        for queue in list(self.busy.values()):
            queue.waits_for_save = False
            if queue.parked and now_s >= queue.not_before_s:
                queue.parked = False
                queue.probing = True
            if queue.in_flight is None and now_s >= max(queue.not_before_s, queue.paced_until_s):
                self._push(queue, now_s)
            if not queue.busy and not queue.parked:
                del self.busy[queue.stream]
                self._forget_backfill(now_s)

    def _forget_backfill(self, now_s: float) -> None:
        """Let go of the queues of hours past: there is one for each hour that was ever too far behind."""
        for stream, queue in list(self.queues.items()) if len(self.queues) > _MANY_QUEUES else ():
            if "backfill" in stream.labels and queue.is_spent(now_s, self._saves.durable):
                del self.queues[stream]

    def next_deadline_s(self) -> float:
        """Return the monotonic time at which `turn` has something to do, as far as no answer comes before."""
        deadline = math.inf
        for queue in self.busy.values():
            if queue.in_flight is None and not queue.waits_for_save:
                at = max(queue.not_before_s, queue.paced_until_s)
                if not queue.work and not queue.parked and not self._due(queue, math.inf):
                    at = max(at, queue.oldest_s + self._options.batch_wait_s)
                deadline = min(deadline, at)
        return deadline

    def _push(self, queue: Queue, now_s: float) -> None:
        if queue.fitted_bytes != self._entry_limit.bytes:
            self._refit(queue, now_s)
        if queue.work:
            batch = queue.work.pop()
            if not batch.body:
                batch.encode(metadata=self._options.structured_metadata)
        elif queue.segments and self._due(queue, now_s):
            taken = queue.take(
                self._options.limits,
                self._saves.durable,
                metadata=self._options.structured_metadata,
                proven_bytes=self._entry_limit.proven_bytes,
            )
            if taken is None:
                # The save that runs, or the next one, makes it possible; its end wakes the loop.
                queue.waits_for_save = True
                self._saves.dirty = True
                return
            batch = taken
            queue.oldest_s = now_s if queue.segments else math.inf
        else:
            return
        stamps = batch.stamps()
        oldest = min(stamps)
        queue.pushed_oldest = oldest if queue.pushed_oldest is None else min(oldest, queue.pushed_oldest)
        queue.in_flight = batch
        if not batch.tries:
            queue.in_flight_since_s = now_s
        if batch.tries:
            self._meter.add("retries", 1, queue.reason)
        batch.tries += 1
        if not self.unpaced:
            queue.paced_until_s = max(queue.paced_until_s, now_s) + self._pause_s(len(batch.body))
        self._transport.submit(Push(queue, batch))

    def _pause_s(self, sent_bytes: int) -> float:
        rate_bps = self._options.max_stream_rate_bps
        return sent_bytes / rate_bps if rate_bps else 0.0

    def _due(self, queue: Queue, now_s: float) -> bool:
        limits = self._options.limits
        body_limit = min(limits.body_bytes, queue.limit_bytes or limits.body_bytes)
        return (
            self.flushing
            or self.hurry
            or queue.entries >= limits.entries
            or queue.bytes * queue.expansion >= body_limit
            or (now_s != math.inf and now_s >= queue.oldest_s + self._options.batch_wait_s)
        )

    def _make_room(self, now_s: float) -> None:
        """Let the lines of refused streams leave memory, as long as another stream gets on."""
        for queue in list(self.busy.values()):
            since = queue.first_failure_s
            if (
                since is None
                or queue.parked
                or queue.probing
                or queue.in_flight is not None
                or self.last_ack_s <= since
            ):
                continue
            if queue.rounds.open or self._window.half_full:
                self._park(queue)
                queue.not_before_s = max(queue.not_before_s, now_s)

    def _park(self, queue: Queue) -> None:
        segments = list(queue.segments)
        segments += [segment for batch in queue.work for segment, _, _ in batch.slices]
        for segment in dict.fromkeys(segments):
            if segment.settled:
                continue
            bytes_ = segment.unsettled_bytes
            self._window.entries -= segment.account.drop(segment)
            self._window.bytes -= bytes_
            self._wake_file(segment)
        queue.segments.clear()
        queue.work.clear()
        queue.entries = queue.bytes = 0
        queue.oldest_s = math.inf
        queue.parked = True
        queue.pushed_oldest = None
        self._tell("stream_parked", stream=repr(queue.stream), reason=queue.reason)

    def _wake_file(self, segment: Segment) -> None:
        tracked = self._files[id(segment.account)]
        self.floored[tracked.id] = tracked

    # ---- answers

    def _answered(self, answered: Answered, now_s: float) -> None:
        queue, batch, verdict = answered.push.queue, answered.push.batch, answered.verdict
        queue.in_flight = None
        self._meter.observe_push(answered.seconds)
        self._meter.add("push_bytes", len(batch.body))
        self._meter.add("push_compressed_bytes", answered.sent_bytes)
        self._meter.add("batches", 1, verdict.action.value)
        if verdict.action is Action.DELIVERED:
            self._delivered(queue, batch, now_s)
            return
        if verdict.reason in _STORED_NOTHING and not self.unpaced:
            queue.paced_until_s -= self._pause_s(len(batch.body))
        self._note(queue, verdict)
        match verdict.action:
            case Action.REPEAT | Action.BACK_OFF | Action.KEEP:
                self._again(queue, batch, verdict, now_s)
            case Action.SPLIT | Action.BISECT:
                self._reached(queue)
                if not (verdict.reason == "line_too_long" and self._split_anew(queue, batch, verdict, now_s)):
                    self._halve_or_bury(queue, batch, verdict, now_s)
            case Action.TOO_FAR_BEHIND | Action.TOO_OLD | Action.TOO_NEW:
                self._reached(queue)
                self._elsewhere(queue, batch, verdict, now_s)
        if queue.busy or queue.parked:
            self.busy[queue.stream] = queue

    def _split_anew(self, queue: Queue, batch: Batch, verdict: Verdict, now_s: float) -> bool:
        """Split the lines that Loki refused by the limit that it stated; False where that is no help."""
        stated = verdict.max_entry_bytes
        if stated is not None and self._entry_limit.learn(stated, self._saves.now()):
            self._tell(
                "entry_limit_learnt",
                level="warning",
                bytes=self._entry_limit.bytes,
                consequence="longer lines are split into parts of this size from now on",
            )
            for tracked in self.floored.values():
                for floor in tracked.account.floors.values():
                    floor.settled = frozenset()  # parts of another split
        queue.work.append(batch)
        if self._refit(queue, now_s):
            return True
        queue.work.pop()
        return False

    def _refit(self, queue: Queue, now_s: float) -> bool:
        """Split lines in memory that are longer than Loki takes; return True where there was one."""
        limit = self._entry_limit
        queue.fitted_bytes = limit.bytes
        replaced: dict[Segment, Segment] = {}
        waiting = [segment for batch in reversed(queue.work) for segment, _, _ in batch.slices]
        for old in dict.fromkeys([*waiting, *queue.segments]):
            new = refitted(old, limit.bytes, self._files[id(old.account)].origin)
            if new is not None:
                replaced[old] = new
                new.version = max(new.version, limit.version)
                self._window.bytes += sum(new.sizes) - old.unsettled_bytes
                self._window.entries += len(new.starts) - old.account.replace(old, new)
        if replaced:
            queue.replace(replaced, now_s)
        return bool(replaced)

    def _delivered(self, queue: Queue, batch: Batch, now_s: float) -> None:
        entries = batch.entries
        self._settle(batch)
        for segment, first, last in batch.slices:
            segment.account.lines_acked += last - first
            if segment.parts is not None:
                longest = max(segment.sizes[first:last])
                self._entry_limit.proven_bytes = max(longest, self._entry_limit.proven_bytes)
        queue.was_acked(self._saves.now())
        self.last_ack_s = now_s
        self.sent += entries
        self._meter.add("entries_sent", entries)
        if queue.rounds.open:
            self._tell("stream_recovered", stream=repr(queue.stream))
        self._reached(queue)

    @staticmethod
    def _reached(queue: Queue) -> None:
        queue.rounds.succeeded()
        queue.probing = False
        queue.first_failure_s = None
        queue.reason = ""

    def _note(self, queue: Queue, verdict: Verdict) -> None:
        text = f"{verdict.reason}: {verdict.status or 'no answer'} {verdict.detail}".strip()
        self.last_error = Trouble(text, self._clock.time_ns())
        level = "info" if verdict.action in (Action.SPLIT, Action.TOO_FAR_BEHIND) else "warning"
        self._tell(
            "push_refused",
            level=level,
            stream=repr(queue.stream),
            reason=verdict.reason,
            status=verdict.status,
            detail=verdict.detail,
            consequence=verdict.action.value,
        )

    def _again(self, queue: Queue, batch: Batch, verdict: Verdict, now_s: float) -> None:
        queue.reason = verdict.reason
        queue.probing = False
        if queue.first_failure_s is None:
            queue.first_failure_s = now_s
        limit = verdict.limit_bytes
        if limit is not None and len(batch.body) > limit >= _MIN_LIMIT_BYTES and batch.entries > 1:
            # More than a second's allowance in one push: it might pass with the burst, halves surely do.
            queue.limit_bytes = min(limit, queue.limit_bytes or limit)
            self._halve(queue, batch)
            wait_s, ended = queue.rounds.failed()
        elif verdict.action is Action.KEEP:
            queue.work.append(batch)
            wait_s, ended = queue.rounds.hopeless(), True
        else:
            wait_s, ended = queue.rounds.failed()
            if ended and verdict.action is Action.BACK_OFF and batch.entries > 1:
                self._halve(queue, batch)
            else:
                queue.work.append(batch)
        queue.not_before_s = now_s + max(wait_s, verdict.retry_after_s or 0.0)
        if ended:
            self._meter.add("entries_failed", batch.entries)
            self._tell(
                "round_failed",
                level="warning",
                stream=repr(queue.stream),
                reason=verdict.reason,
                entries=batch.entries,
                consequence="kept, tried again every ten seconds",
            )

    def _halve(self, queue: Queue, batch: Batch) -> None:
        left, right = batch.parted((batch.entries + 1) // 2)
        queue.work += [right, left]

    def _halve_or_bury(self, queue: Queue, batch: Batch, verdict: Verdict, now_s: float) -> None:
        if batch.entries > 1:
            self._halve(queue, batch)
            return
        ((segment, index, _),) = batch.slices
        tracked = self._files[id(segment.account)]
        record = self.dead_record(
            tracked,
            segment.starts[index],
            segment.stream,
            verdict.reason,
            verdict.status,
            segment.texts[index].encode(),
            detail=verdict.detail,
            stamp=segment.stamps[index],
            meta=segment.metas[index],
        )
        if not self.bury([record]):
            queue.work.append(batch)
            queue.not_before_s = now_s + PROBE_S
            queue.reason = "dead_letters_full"
            if queue.first_failure_s is None:
                queue.first_failure_s = now_s
            return
        start = segment.starts[index]
        tracked.moved.append(Moved(segment.stream.index, start, start, "dead"))
        self._settle(batch)
        segment.account.lines_dead += 1
        self.dropped += 1
        self._meter.add("dead_lettered", 1, verdict.reason)
        # Loki may hold nothing of it, and what was before it is acked.
        queue.was_acked(self._saves.now())

    def bury(self, records: list[dict[str, object]]) -> bool:
        """Write dead letters durably; False when that is not possible now."""
        if self._dead.write(records):
            return True
        self._tell(
            "dead_letters_full", level="error", error=self._dead.problem, consequence="the stream waits"
        )
        return False

    def dead_record(  # noqa: PLR0917 - the engine's wiring comes in as arguments
        self,
        tracked: Tracked,
        offset: int,
        stream: Stream | None,
        reason: str,
        status: int,
        line: bytes,
        *,
        detail: str = "",
        stamp: int = 0,
        meta: Meta | None = None,
    ) -> dict[str, object]:
        """Return a dead letter: all that it takes to send the line once more."""
        return {
            "reason": reason,
            "status": status,
            "detail": detail,
            "file": tracked.path,
            "file_id": tracked.id,
            "offset": offset,
            "stream": stream.labels if stream is not None else None,
            "timestamp": str(stamp) if stamp else None,
            "metadata": meta,
            "time": rfc3339(self._clock.time_ns()),
            "line": str(line, "utf-8", "replace"),
        }

    def _settle(self, batch: Batch) -> None:
        for segment, first, last in batch.slices:
            segment.account.settle(segment, first, last)
            self._window.entries -= last - first
            self._window.bytes -= sum(segment.sizes[first:last])
        self._saves.dirty = True

    # ---- backfill and restamped

    def _elsewhere(self, queue: Queue, batch: Batch, verdict: Verdict, now_s: float) -> None:
        """Move lines that are too old, too new or too far behind.

        Those go elsewhere, the others are pushed again.
        """
        labels = batch.stream.labels
        if verdict.action is not Action.TOO_FAR_BEHIND and "restamped" in labels:
            # Even the time of reading is refused: the clocks disagree, and a person must mend that.
            self._again(queue, batch, Verdict(Action.KEEP, verdict.reason, verdict.status), now_s)
            return
        if verdict.action is Action.TOO_OLD and self._options.policy.old_lines == "dead-letter":
            self._halve_or_bury(queue, batch, verdict, now_s)
            return
        wanted = self._refused(batch, verdict)
        if wanted is None:
            self._halve(queue, batch)
            return
        gone, rest = batch.chosen(wanted), batch.chosen([not refused for refused in wanted])
        to_backfill = verdict.action is Action.TOO_FAR_BEHIND and "backfill" not in labels
        if "restamped" in labels and not to_backfill:
            self._halve_or_bury(queue, batch, verdict, now_s)
            return
        if to_backfill and self._is_room_for(gone):
            self._to_backfill(gone)
        else:
            self._to_restamped(gone)
        if rest.slices:
            queue.work.append(rest)
        else:
            queue.was_acked(self._saves.now())

    @staticmethod
    def _refused(batch: Batch, verdict: Verdict) -> list[bool] | None:
        """Return which lines the answer refused, or None where only halves can tell."""
        if verdict.all_refused or batch.entries == 1:
            return [True] * batch.entries
        oldest = verdict.oldest_ok_ns
        if oldest is None:
            return None
        # Loki states the limit to the second; what lies within that second is found when the rest is pushed
        # again.
        refused = [stamp < oldest for stamp in batch.stamps()]
        return refused if any(refused) else None

    def _is_room_for(self, batch: Batch) -> bool:
        hours = {hour(stamp): stamp for stamp in batch.stamps()}
        return all(
            self._registry.admits_backfill(backfill_labels(batch.stream.labels, stamp))
            for stamp in hours.values()
        )

    def _to_backfill(self, batch: Batch) -> None:
        self._meter.add("backfilled", batch.entries)
        version = self._saves.now()
        for segment, first, last in batch.slices:
            tracked = self._files[id(segment.account)]
            tracked.moved.append(
                Moved(segment.stream.index, segment.starts[first], segment.starts[last - 1], "backfill")
            )
            hours: dict[Stream, list[int]] = {}
            for index in range(first, last):
                labels = backfill_labels(segment.stream.labels, segment.stamps[index])
                hours.setdefault(self._registry.stream(labels, version), []).append(index)
            for stream, indexes in hours.items():
                self._move(tracked, segment, stream, indexes, version)
            segment.account.settle(segment, first, last)

    def _to_restamped(self, batch: Batch) -> None:
        self._meter.add("restamped", batch.entries)
        version = self._saves.now()
        now_ns = self._clock.time_ns()
        for segment, first, last in batch.slices:
            tracked = self._files[id(segment.account)]
            base = {k: v for k, v in segment.stream.labels.items() if k != "backfill"}
            stream = self._registry.stream(restamped_labels(base), version)
            stamps = []
            metas = []
            for index in range(first, last):
                stamp = now_ns - now_ns % STEP_NS + tracked.slot + ANSWER_RESIDUE
                stamp = max(stamp, tracked.answer_last + STEP_NS)
                tracked.answer_last = stamp
                start = segment.starts[index]
                tracked.moved.append(Moved(segment.stream.index, start, start, "restamped", stamp))
                stamps.append(stamp)
                metas.append(with_original(segment.metas[index], segment.stamps[index]))
            self._move(tracked, segment, stream, list(range(first, last)), version, stamps, metas)
            segment.account.settle(segment, first, last)

    def _move(  # noqa: PLR0917 - the engine's wiring comes in as arguments
        self,
        tracked: Tracked,
        segment: Segment,
        stream: Stream,
        indexes: list[int],
        version: int,
        stamps: list[int] | None = None,
        metas: list[dict[str, str] | None] | None = None,
    ) -> None:
        moved = picked(segment, indexes)
        moved.stream, moved.version = stream, version
        moved.stamps = moved.stamps if stamps is None else stamps
        moved.metas = moved.metas if metas is None else metas
        segment.account.add(moved, fresh=False)
        queue = self._queue(stream)
        if queue.parked or (is_restamped(stream) and self.misses(stream)):
            bytes_ = sum(moved.sizes)
            self.floored[tracked.id] = tracked
            self._window.entries -= segment.account.drop(moved)
            self._window.bytes -= bytes_
            return
        queue.put(moved, self._clock.monotonic())
        self.busy[stream] = queue

    def _queue(self, stream: Stream) -> Queue:
        queue = self.queues.get(stream)
        if queue is None:
            queue = self.queues[stream] = Queue(stream, Rounds(self._policy, self._chance))
            queue.paced_until_s = self._paced_from_s
        return queue

    def forget_file(self, tracked: Tracked) -> None:
        """Let go of a file that is done: nothing of it is in memory any more."""
        self._files.pop(id(tracked.account), None)
