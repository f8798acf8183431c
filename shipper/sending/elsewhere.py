"""Lines that Loki refuses for their time go to `backfill` or `restamped` streams; it is written down."""

from __future__ import annotations

from shipper.entries.beside import backfill_labels, restamped_labels, with_original
from shipper.entries.stamp import ANSWER_RESIDUE, STEP_NS
from shipper.entries.streams import Stream
from shipper.keeping.record import Moved
from shipper.push.answer import Verdict
from shipper.sending.batch import Batch
from shipper.sending.lanes import Lanes
from shipper.state import Common
from shipper.times import hour

CLOCKS_DIFFER_NS = 10 * 60 * 10**9
"""Loki takes what is ten minutes ahead of its own clock."""


class Elsewhere:
    """Moves lines to other streams."""

    def __init__(self, common: Common, lanes: Lanes) -> None:
        self._common = common
        self._lanes = lanes

    def is_room_for(self, batch: Batch) -> bool:
        """Tell whether the `backfill` streams of these lines are known, or may be made."""
        hours = {hour(stamp): stamp for stamp in batch.stamps()}
        return all(
            self._common.registry.admits_backfill(backfill_labels(batch.stream.labels, stamp))
            for stamp in hours.values()
        )

    def is_stamped_now(self, batch: Batch) -> bool:
        """Tell whether the stamps are of the present: else our clock was wrong when they were given."""
        now_ns = self._common.clock.time_ns()
        return all(abs(now_ns - stamp) < CLOCKS_DIFFER_NS for stamp in batch.stamps())

    def to_backfill(self, batch: Batch) -> None:
        """Move lines to the streams of their hours, where nothing is too far behind."""
        self._common.meter.add("backfilled", batch.entries)
        version = self._common.saves.now()
        for segment, first, last in batch.slices:
            tracked = self._lanes.file_of(segment)
            tracked.course.moved.append(
                Moved(segment.stream.index, segment.starts[first], segment.starts[last - 1], "backfill")
            )
            hours: dict[Stream, list[int]] = {}
            for index in range(first, last):
                labels = backfill_labels(segment.stream.labels, segment.stamps[index])
                hours.setdefault(self._common.registry.stream(labels, version), []).append(index)
            for stream, indexes in hours.items():
                self._lanes.move(segment, stream, indexes, version)
            self._lanes.moved_away(segment, first, last)

    def to_restamped(self, batch: Batch) -> None:
        """Move lines to the stream for the time of reading; each gets a stamp that is written down."""
        self._common.meter.add("restamped", batch.entries)
        version = self._common.saves.now()
        now_ns = self._common.clock.time_ns()
        for segment, first, last in batch.slices:
            tracked = self._lanes.file_of(segment)
            base = {k: v for k, v in segment.stream.labels.items() if k != "backfill"}
            stream = self._common.registry.stream(restamped_labels(base), version)
            noted = {
                moved.first: at for at, moved in enumerate(tracked.course.moved) if moved.to == "restamped"
            }
            stamps = []
            metas = []
            for index in range(first, last):
                stamp = now_ns - now_ns % STEP_NS + tracked.slot + ANSWER_RESIDUE
                if tracked.answer_last < now_ns + CLOCKS_DIFFER_NS:
                    stamp = max(stamp, tracked.answer_last + STEP_NS)
                tracked.answer_last = stamp
                start = segment.starts[index]
                # A line has one such note, however often it is stamped anew.
                if start in noted:
                    before = tracked.course.moved[noted[start]]
                    tracked.course.moved[noted[start]] = Moved(
                        before.stream, start, start, "restamped", stamp
                    )
                else:
                    tracked.course.moved.append(Moved(segment.stream.index, start, start, "restamped", stamp))
                stamps.append(stamp)
                metas.append(with_original(segment.metas[index], segment.stamps[index]))
            self._lanes.move(segment, stream, list(range(first, last)), version, stamps, metas)
            self._lanes.moved_away(segment, first, last)


def refused_lines(batch: Batch, verdict: Verdict) -> list[bool] | None:
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
