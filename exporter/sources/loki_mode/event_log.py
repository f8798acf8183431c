"""Follows `events.jsonl`, a little in each scrape and the long history outside of them.

A first reading of ten million lines takes seconds. A scrape reads a bounded piece and goes on; whoever calls
`catch_up` (a thread of the collector) does the rest. Until the end was reached once, there are no totals.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from exporter.files.document import read_tail
from exporter.files.growing_file import GrowingFile
from exporter.files.tree import Refused, Tree
from exporter.sources.loki_mode.events import EventTally, EventTotals

SCRAPE_BUDGET_BYTES = 8 << 20
"""What one scrape reads at most, about 20 ms of work."""

SLICE_BYTES = 1 << 20
"""What is read at a time outside a scrape; a scrape that comes meanwhile waits for one slice (about 3 ms)."""

SCRAPE_BUDGET_S = 0.1
SLICE_S = 0.02
"""Where lines are absurdly short or broken, the time ends the reading before the bytes do."""


_LOOK_BACK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class EventLogReading:
    """`totals` is None while they are unknown; `mtime_s` is that of what was read.

    `was_there`: there has ever been a log; without one the totals are zeros.
    """

    totals: EventTotals | None
    unread_bytes: int
    was_there: bool
    mtime_s: float | None = None
    problem: Refused | None = None


class EventLog:
    """The event log of one project. Safe to be used by a scrape and a catch-up thread at once."""

    def __init__(self, *, keep_s: float) -> None:
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._tally = EventTally()
        self._file = GrowingFile("events.jsonl", self._tally)
        self._has_looked_back = False
        self._totals: EventTotals | None = None
        self._true_at_s = float("-inf")

    def read(self, tree: Tree, now_s: float) -> EventLogReading:
        """Read on within a scrape's budget; the totals are those of the last complete reading.

        An incomplete one leaves the last totals standing for `keep_s` seconds: late, but never falling.
        """
        with self._lock:
            self._look_back(tree)
            progress = self._file.advance(tree, SCRAPE_BUDGET_BYTES, SCRAPE_BUDGET_S)
            if progress.is_readable and progress.caught_up:
                if self._totals is None or self._totals.events != self._tally.events:
                    self._totals = self._tally.totals()
                self._true_at_s = now_s
            is_known = now_s - self._true_at_s <= self._keep_s
            return EventLogReading(
                self._totals if is_known else None,
                progress.unread_bytes,
                self._file.was_there,
                self._file.mtime_s,
                progress.problem,
            )

    def catch_up(self, tree: Tree) -> int:
        """Read one slice more; return the bytes that are left."""
        with self._lock:
            self._look_back(tree)
            return self._file.advance(tree, SLICE_BYTES, SLICE_S).unread_bytes

    def _look_back(self, tree: Tree) -> None:
        """Learn from the end of the rotated log, once, which session goes on in the one at hand.

        The log may have been rotated in the middle of a session, before this process began. Its lines are not
        counted: a count begins with the file that is there.
        """
        if self._has_looked_back or isinstance(tree.stat(self._file.path), Refused):
            return
        self._has_looked_back = True
        tail = read_tail(tree, "events.jsonl.1", _LOOK_BACK_BYTES)
        if tail:
            earlier = EventTally()
            earlier.lines(tail)
            self._tally.continue_from(earlier)

    @property
    def lines_rejected(self) -> int:
        """Lines so far that are no JSON object."""
        return self._tally.rejected

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            self._file.close()
