"""From queues to Loki: what may go now, at what pace, and which refused streams must make room."""

from __future__ import annotations

import math
from collections.abc import Callable

from shipper.keeping.deadletter import DeadLetters
from shipper.push.retry import RetryPolicy
from shipper.sending.answers import Answers, Trouble
from shipper.sending.burying import Burial
from shipper.sending.elsewhere import Elsewhere
from shipper.sending.lanes import Lanes
from shipper.sending.stream_queue import Queue
from shipper.sending.transport import Push, Transport
from shipper.state import Common

_STREAM_REASONS = frozenset({"rate_limited", "stream_limit", "too_new"})
SLOW_S = 5.0
"""A push that takes longer may be one that is never answered."""
MOST_STRUGGLING = 8
"""Pushes under way of streams that are refused or not answered: half of what may be under way at all."""
_STORED_NOTHING = frozenset({"too_large", "rate_limited"})
"""What Loki refused so does not count for its rates."""


class Sender:
    """Pushes. Single-threaded: answers are handled where `turn` is called."""

    def __init__(
        self,
        common: Common,
        transport: Transport,
        dead_letters: DeadLetters,
        policy: RetryPolicy,
        chance: Callable[[], float],
    ) -> None:
        self._common = common
        self._transport = transport
        # A run before this one may have pushed a moment ago: without this, restarts go past the rate.
        paced_from_s = common.clock.monotonic() + self._pause_s(common.options.limits.body_bytes)
        self.burial = Burial(common, dead_letters)
        self._lanes = Lanes(common, policy, chance, paced_from_s)
        self._answers = Answers(common, self._lanes, Elsewhere(common, self._lanes), self.burial)
        self.queues = self._lanes.queues
        self.busy = self._lanes.busy
        self.floored = self._lanes.floored
        self.accepts = self._lanes.accepts
        self.put = self._lanes.put
        self.oldest_since_s = self._lanes.oldest_since_s
        self.flushing = False
        """True: nothing waits for a fuller batch."""
        self.ending = False
        """True: nothing more will be read, so nothing makes room for it."""
        self.hurry = False
        """True: the same, because descriptors are short and only acknowledged files can be closed."""
        self.unpaced = False
        self.reconfigure = self._lanes.reconfigure

    # ---- how it stands

    @property
    def sent(self) -> int:
        """Entries acked since the start."""
        return self._answers.sent

    @property
    def dropped(self) -> int:
        """Entries dead-lettered since the start."""
        return self.burial.dropped

    @property
    def last_error(self) -> Trouble:
        """The last thing that went wrong."""
        return self._answers.last_error

    @property
    def away(self) -> bool:
        """True when nothing is taken: a push failed as it does without a Loki, and none got on since."""
        failed = [
            queue.first_failure_s
            for queue in self.queues.values()
            if queue.first_failure_s is not None and queue.reason not in _STREAM_REASONS
        ]
        return bool(failed) and self._answers.last_ack_s < min(failed)

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing is in flight."""
        return not self.busy

    # ---- a turn

    def turn(self, now_s: float) -> None:
        """Handle answers, then push what may go."""
        for answered in self._transport.answers():
            if answered.verdict.reason in _STORED_NOTHING and not self.unpaced:
                answered.push.queue.paced_until_s -= self._pause_s(len(answered.push.batch.body))
            self._answers.handle(answered, now_s)
        self._make_room(now_s)
        struggling = sum(q.struggles and q.in_flight is not None for q in self.busy.values())
        for queue in list(self.busy.values()):
            queue.waits_for_save = queue.waits_for_turn = False
            if queue.parked and now_s >= queue.not_before_s:
                queue.parked = False
                queue.probing = True
            if queue.in_flight is None and now_s >= max(queue.not_before_s, queue.paced_until_s):
                if queue.struggles and struggling >= MOST_STRUGGLING:
                    queue.waits_for_turn = True
                else:
                    self._push(queue, now_s)
                    struggling += queue.struggles and queue.in_flight is not None
            if not queue.busy and not queue.parked:
                del self.busy[queue.stream]
                self._lanes.forget_backfill(now_s)

    def next_deadline_s(self) -> float:
        """Return the monotonic time at which `turn` has something to do, as far as no answer comes before."""
        deadline = math.inf
        for queue in self.busy.values():
            if queue.in_flight is None and not (queue.waits_for_save or queue.waits_for_turn):
                at = max(queue.not_before_s, queue.paced_until_s)
                if not queue.work and not queue.parked and not self._due(queue, math.inf):
                    at = max(at, queue.oldest_s + self._common.options.batch_wait_s)
                deadline = min(deadline, at)
        return deadline

    def _push(self, queue: Queue, now_s: float) -> None:
        if queue.fitted_bytes != self._common.entry_limit.bytes:
            self._lanes.refit(queue, now_s)
        if queue.work:
            batch = queue.work.pop()
            if not batch.body:
                batch.encode(metadata=self._common.options.structured_metadata)
        elif queue.segments and self._due(queue, now_s):
            taken = queue.take(
                self._common.options.limits,
                self._common.saves.durable,
                metadata=self._common.options.structured_metadata,
                proven_bytes=self._common.entry_limit.proven_bytes,
            )
            if taken is None:
                # The save that runs, or the next one, makes it possible; its end wakes the loop.
                queue.waits_for_save = True
                self._common.saves.dirty = self._common.saves.urgent = True
                return
            batch = taken
            queue.oldest_s = now_s if queue.segments else math.inf
        else:
            return
        oldest = batch.oldest
        queue.pushed_oldest = oldest if queue.pushed_oldest is None else min(oldest, queue.pushed_oldest)
        queue.in_flight = batch
        if not batch.tries:
            queue.in_flight_since_s = now_s
        if batch.tries:
            self._common.meter.add("retries", 1, queue.reason)
        batch.tries += 1
        if not self.unpaced:
            queue.paced_until_s = max(queue.paced_until_s, now_s) + self._pause_s(len(batch.body))
        self._transport.submit(Push(queue, batch))

    def _pause_s(self, sent_bytes: int) -> float:
        rate_bps = self._common.options.max_stream_rate_bps
        return sent_bytes / rate_bps if rate_bps else 0.0

    def _due(self, queue: Queue, now_s: float) -> bool:
        limits = self._common.options.limits
        body_limit = min(limits.body_bytes, queue.limit_bytes or limits.body_bytes)
        return (
            self.flushing
            or self.hurry
            or queue.entries >= limits.entries
            or queue.bytes >= body_limit
            or (now_s != math.inf and now_s >= queue.oldest_s + self._common.options.batch_wait_s)
        )

    def _make_room(self, now_s: float) -> None:
        """Let the lines of refused streams leave memory: where others get on, or would if they were read."""
        self._shed(now_s)
        for queue, since in self._refused():
            others_get_on = self._answers.last_ack_s > since
            if others_get_on and (queue.rounds.open or self._common.window.half_full):
                self._park(queue)
                queue.not_before_s = max(queue.not_before_s, now_s)

    def _shed(self, now_s: float) -> None:
        """Let what waits behind a failing or very slow push make room, where nothing could be read for it."""
        window = self._common.window
        if not window.full or self.ending:
            return
        stuck = [
            queue
            for queue in self.busy.values()
            if queue.segments
            and (
                queue.first_failure_s is not None
                or (queue.in_flight is not None and now_s >= queue.in_flight_since_s + SLOW_S)
            )
        ]
        for queue in sorted(stuck, key=lambda queue: -queue.entries):
            if not window.half_full:
                return
            self._lanes.shed(queue)
            self._common.tell("stream_shed", level="debug", stream=repr(queue.stream), reason=queue.reason)
        if window.full:
            self._park_largest()

    def _park_largest(self) -> None:
        """Let the refused stream leave memory whose pushes alone fill it: a line can be as large as that."""
        refused = [queue for queue, _since in self._refused() if queue.work]
        if refused:
            self._park(max(refused, key=lambda queue: sum(batch.line_bytes() for batch in queue.work)))

    def _refused(self) -> list[tuple[Queue, float]]:
        """Return the queues whose last push was not taken and that wait for the next, and since when."""
        return [
            (queue, queue.first_failure_s)
            for queue in self.busy.values()
            if queue.first_failure_s is not None
            and queue.in_flight is None
            and not (queue.parked or queue.probing)
        ]

    def _park(self, queue: Queue) -> None:
        self._lanes.park(queue)
        self._common.tell("stream_parked", stream=repr(queue.stream), reason=queue.reason)
