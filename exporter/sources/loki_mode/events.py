"""Tallies the records of `events.jsonl`: pure, a block of lines in, counts and session marks out.

Loki Mode's bash emitters append without a lock and escape badly, so some lines are no JSON (a line break in a
value, `007`, `5.`, backslashes): these count as events, since a writer meant one, and as rejected.

Speed: kinds are counted a block at a time; only the records that move a session's marks are looked at one by
one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress, repeat
from operator import attrgetter

from exporter.files.growing_file import BLANKS, LineSink
from exporter.files.jsonvalue import as_count
from exporter.sources.loki_mode.event_records import Data, Record, decode_block, decode_line
from shared.models import event_kind

DURATION_BUCKETS_S = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
OUTCOMES = ("completed", "failed", "other")
VOTES = ("approve", "reject")
_MAX_OPEN_ITERATIONS = 64


@dataclass(frozen=True, slots=True)
class SessionMarks:
    """What the events tell of the last session; times in Unix seconds, None where nothing tells.

    `ended`: a `session_end` came after the last `session_start`. `iteration`: the last `iteration_start`
    after it, with its time.
    """

    started_s: float | None = None
    ended: bool = False
    iteration: int | None = None
    iteration_s: float | None = None


@dataclass(frozen=True, slots=True)
class EventTotals:
    """The tally at one moment; `duration_counts` has one bucket more than `DURATION_BUCKETS_S`, for +Inf.

    `last_s`: the time that the last record with one tells, Unix seconds; None where none does.
    """

    events: int
    rejected: int
    kinds: Mapping[str, int]
    outcomes: Mapping[str, int]
    votes: Mapping[str, int]
    duration_counts: Sequence[int]
    duration_sum_s: float
    marks: SessionMarks
    last_s: float | None = None


@dataclass(slots=True)
class EventTally(LineSink):
    """Running totals over all lines ever read; they never fall."""

    events: int = 0
    rejected: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    votes: Counter[str] = field(default_factory=Counter)
    duration_counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS_S) + 1))
    duration_sum_s: float = 0.0
    _open_iterations: dict[int | None, datetime | None] = field(default_factory=dict)
    _started_at: datetime | None = None
    _ended: bool = False
    _iteration: int | None = None
    _iteration_at: datetime | None = None
    _last_at: datetime | None = None

    def totals(self) -> EventTotals:
        """Return a copy that later lines do not change."""
        return EventTotals(
            self.events,
            self.rejected,
            dict(self.kinds),
            dict(self.outcomes),
            dict(self.votes),
            tuple(self.duration_counts),
            self.duration_sum_s,
            SessionMarks(
                _epoch_s(self._started_at), self._ended, self._iteration, _epoch_s(self._iteration_at)
            ),
            _epoch_s(self._last_at),
        )

    def continue_from(self, earlier: EventTally) -> None:
        """Take over where another tally's lines left the session; its counts are not taken over."""
        self._open_iterations = earlier._open_iterations
        self._started_at, self._ended = earlier._started_at, earlier._ended
        self._iteration, self._iteration_at = earlier._iteration, earlier._iteration_at

    def lines(self, block: bytes) -> None:
        """Take a block of complete lines."""
        records = decode_block(block)
        if records is None:
            records = self._decode_lines(block)
        else:
            self.events += len(records)
        self._last_at = next(filter(None, map(_TIME, reversed(records))), self._last_at)
        types = list(map(_TYPE, records))
        by_type = Counter(types)
        for type_, count in by_type.items():
            if type_ is not None:
                self.kinds[event_kind(type_)] += count
        if None in by_type:
            self.kinds.update(event_kind(None, r.event) for r in records if r.type is None)
        if not _MARKING.isdisjoint(by_type):
            self._mark(compress(records, map(_MARKING.__contains__, types)))

    def overlong_line(self, *, blank: bool) -> None:
        """Count a line that is too long to be looked at."""
        if not blank:
            self.events += 1
            self.rejected += 1

    def _decode_lines(self, block: bytes) -> list[Record]:
        """Decode line by line, counting events and rejected lines."""
        records: list[Record] = []
        for line in block.split(b"\n"):
            text = line.strip(BLANKS)
            if not text:
                continue
            self.events += 1
            record = decode_line(text)
            if record is None:
                self.rejected += 1
            else:
                records.append(record)
        return records

    def _mark(self, records: Iterable[Record]) -> None:  # noqa: C901 (one loop, for speed)
        """Follow sessions and iterations through records of the marking types, in file order.

        One loop with plain attributes, because it runs for most lines of a long history; what needs no order
        is collected and added up behind it.
        """
        open_iterations = self._open_iterations
        outcomes: list[str] = []
        durations_s: list[float] = []
        approvals = rejections = 0
        for record in records:
            data = record.data if type(record.data) is Data else _NO_DATA
            type_ = record.type
            if type_ == "iteration_start":
                number = as_count(data.iteration)
                if number is None:
                    continue
                self._iteration = number
                self._iteration_at = record.timestamp
                if len(open_iterations) < _MAX_OPEN_ITERATIONS:
                    open_iterations[number] = record.timestamp
            elif type_ == "iteration_complete":
                outcomes.append(data.status if data.status in _NAMED_OUTCOMES else "other")
                number = as_count(data.iteration)
                if number is not None and number != self._iteration and number not in open_iterations:
                    # Its start was a line that could not be read (v5 does not escape a path in it).
                    self._iteration, self._iteration_at = number, record.timestamp
                began, ended = open_iterations.pop(number, None), record.timestamp
                if began is not None and ended is not None and ended >= began:
                    durations_s.append((ended - began).total_seconds())
            elif type_ == "council_vote":
                approvals += as_count(data.approve) or 0
                rejections += as_count(data.reject) or 0
            elif type_ == "session_start":
                self._started_at, self._ended = record.timestamp, False
                self._iteration = self._iteration_at = None
                open_iterations.clear()
            else:
                self._ended = True
        self.votes.update(approve=approvals, reject=rejections)
        self.outcomes.update(outcomes)
        self.duration_sum_s += sum(durations_s)
        for bucket, count in Counter(map(bisect_left, repeat(DURATION_BUCKETS_S), durations_s)).items():
            self.duration_counts[bucket] += count


_MARKING = frozenset(
    {"session_start", "session_end", "iteration_start", "iteration_complete", "council_vote"}
)


_NO_DATA = Data()
_NAMED_OUTCOMES = ("completed", "failed")
_TYPE = attrgetter("type")
_TIME = attrgetter("timestamp")


def _epoch_s(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
