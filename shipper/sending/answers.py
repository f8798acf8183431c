"""What an answer means for the lines that it answers: acked, again, in halves, elsewhere or buried."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from shipper.entries.beside import is_restamped
from shipper.keeping.record import Moved
from shipper.push.answer import Action, Verdict
from shipper.push.retry import PROBE_S
from shipper.sending.batch import Batch
from shipper.sending.burying import Burial
from shipper.sending.elsewhere import Elsewhere, refused_lines
from shipper.sending.lanes import Lanes
from shipper.sending.stream_queue import Queue
from shipper.sending.transport import Answered
from shipper.state import Common

_MIN_LIMIT_BYTES = 512
_TOO_LONG = frozenset({"line_too_long", "too_large"})


@dataclass(slots=True)
class Trouble:
    """The last thing that went wrong in sending, for health and status."""

    text: str = ""
    at_ns: int = 0


class Answers:
    """Handles answers; what is left to do stays in the queues."""

    def __init__(self, common: Common, lanes: Lanes, elsewhere: Elsewhere, burial: Burial) -> None:
        self._common = common
        self._lanes = lanes
        self._elsewhere = elsewhere
        self._burial = burial
        self.last_ack_s = -math.inf
        self.last_error = Trouble()
        self.sent = 0
        """Entries acked since the start."""

    def handle(self, answered: Answered, now_s: float) -> None:
        """Do what one answer asks for."""
        queue, batch, verdict = answered.push.queue, answered.push.batch, answered.verdict
        queue.in_flight = None
        self._common.meter.observe_push(answered.seconds)
        self._common.meter.add("push_bytes", len(batch.body))
        self._common.meter.add("push_compressed_bytes", answered.sent_bytes)
        self._common.meter.add("batches", 1, verdict.action.value)
        if verdict.action is Action.DELIVERED:
            self._delivered(queue, batch, now_s)
            return
        if self._common.redactor is not None:
            # An answer can echo what was sent along with the lines.
            verdict = replace(verdict, detail=self._common.redactor.text(verdict.detail))
        self._note(queue, verdict)
        match verdict.action:
            case Action.REPEAT | Action.BACK_OFF | Action.KEEP:
                self._again(queue, batch, verdict, now_s)
            case Action.SPLIT | Action.BISECT:
                self._reached(queue)
                if not self._split_anew(queue, batch, verdict, now_s):
                    self._halve_or_bury(queue, batch, verdict, now_s)
            case Action.TOO_FAR_BEHIND | Action.TOO_OLD | Action.TOO_NEW:
                self._reached(queue)
                self._move(queue, batch, verdict, now_s)
        if queue.busy or queue.parked:
            self._lanes.busy[queue.stream] = queue

    def _split_anew(self, queue: Queue, batch: Batch, verdict: Verdict, now_s: float) -> bool:
        """Split lines that are too long, by the limit that the answer stated; False where that is no help.

        A gateway states none. Where it refuses a single entry, half of what was thought is the next guess.
        """
        if verdict.reason not in _TOO_LONG:
            return False
        stated = verdict.max_entry_bytes
        if stated is None:
            if batch.entries > 1:
                return False
            stated = self._common.entry_limit.halved_below(batch.line_bytes())
        if self._common.entry_limit.learn(stated, self._common.saves.now()):
            self._common.tell(
                "entry_limit_learnt",
                level="warning",
                bytes=self._common.entry_limit.bytes,
                consequence="longer lines are split into parts of this size from now on",
            )
            self._lanes.forget_parts()
        queue.work.append(batch)
        if self._lanes.refit(queue, now_s):
            return True
        queue.work.pop()
        return False

    def _delivered(self, queue: Queue, batch: Batch, now_s: float) -> None:
        entries = batch.entries
        now_wall_s = self._common.clock.time_ns() // 10**9
        self._lanes.settle(batch)
        for segment, first, last in batch.slices:
            segment.account.lines_acked += last - first
            segment.account.acked_at_s = now_wall_s
            if segment.parts is not None:
                longest = max(segment.sizes[first:last])
                self._common.entry_limit.proven_bytes = max(longest, self._common.entry_limit.proven_bytes)
        queue.was_acked(self._common.saves.now())
        self.last_ack_s = now_s
        self.sent += entries
        self._common.meter.add("entries_sent", entries)
        if queue.rounds.open:
            self._common.tell("stream_recovered", stream=repr(queue.stream))
        self._reached(queue)

    @staticmethod
    def _reached(queue: Queue) -> None:
        queue.rounds.succeeded()
        queue.probing = queue.shed = False
        queue.first_failure_s = None
        queue.reason = ""

    def _note(self, queue: Queue, verdict: Verdict) -> None:
        text = f"{verdict.reason}: {verdict.status or 'no answer'} {verdict.detail}".strip()
        self.last_error = Trouble(text, self._common.clock.time_ns())
        level = "info" if verdict.action in (Action.SPLIT, Action.TOO_FAR_BEHIND) else "warning"
        self._common.tell(
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
            self._common.meter.add("entries_failed", batch.entries)
            self._common.tell(
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
        tracked = self._lanes.file_of(segment)
        record = self._burial.dead_record(
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
        if not self._burial.bury([record]):
            queue.work.append(batch)
            queue.not_before_s = now_s + PROBE_S
            queue.reason = "dead_letters_full"
            if queue.first_failure_s is None:
                queue.first_failure_s = now_s
            return
        start = segment.starts[index]
        tracked.course.moved.append(Moved(segment.stream.index, start, start, "dead"))
        self._lanes.settle(batch)
        segment.account.lines_dead += 1
        self._burial.dropped += 1
        self._common.meter.add("dead_lettered", 1, verdict.reason)
        # Loki may hold nothing of it, and what was before it is acked.
        queue.was_acked(self._common.saves.now())

    def _move(self, queue: Queue, batch: Batch, verdict: Verdict, now_s: float) -> None:
        """Move lines that are too old, too new or too far behind.

        Those go elsewhere, the others are pushed again.
        """
        restamped = is_restamped(batch.stream)
        anew = verdict.action is not Action.TOO_FAR_BEHIND and restamped
        if anew and self._elsewhere.is_stamped_now(batch):
            # Even the present time is refused: the clocks disagree, and a person must mend that.
            self._again(queue, batch, Verdict(Action.KEEP, verdict.reason, verdict.status), now_s)
            return
        policy = self._common.options.policy
        if not anew and verdict.action is Action.TOO_OLD and policy.old_lines == "dead-letter":
            self._halve_or_bury(queue, batch, verdict, now_s)
            return
        wanted = refused_lines(batch, verdict)
        if wanted is None:
            self._halve(queue, batch)
            return
        gone, rest = batch.chosen(wanted), batch.chosen([not refused for refused in wanted])
        to_backfill = verdict.action is Action.TOO_FAR_BEHIND and "backfill" not in batch.stream.labels
        if restamped and not to_backfill and not anew:
            self._halve_or_bury(queue, batch, verdict, now_s)
            return
        if to_backfill and self._elsewhere.is_room_for(gone):
            self._elsewhere.to_backfill(gone)
        else:
            self._elsewhere.to_restamped(gone)
        if rest.slices:
            queue.work.append(rest)
        else:
            queue.was_acked(self._common.saves.now())
