"""The shipper's own numbers, all present from the start at 0."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

from shipper.push.answer import REASONS, Action
from shipper.redact.rules import NAMES

_DEAD_REASONS = ("line_too_long", "too_large", "invalid", "labels", "too_old", "too_far_behind", "too_new")
_LOST_REASONS = ("truncated", "deleted", "missing")

COUNTERS: dict[str, tuple[str, tuple[str, tuple[str, ...]] | None]] = {
    "entries_sent": ("Lines that Loki has acknowledged with 204.", None),
    "entries_failed": ("Lines in rounds of tries that failed; they are kept and tried again.", None),
    "dead_lettered": ("Lines written to the dead-letter file.", ("reason", _DEAD_REASONS)),
    "entries_dropped": ("Lines that will not reach Loki: dead-lettered ones.", None),
    "batches": ("Pushes by what their answer meant.", ("outcome", tuple(a.value for a in Action))),
    "push_bytes": ("Bytes of push bodies before compression.", None),
    "push_compressed_bytes": ("Bytes of push bodies as sent.", None),
    "retries": ("Pushes that repeated an earlier one, by why that was not taken.", ("reason", REASONS)),
    "read_bytes": ("Bytes read from followed files.", None),
    "redactions": ("Secrets masked before their line was parsed or sent.", ("rule", NAMES)),
    "malformed_lines": ("Lines that are no JSON object; they are shipped all the same.", None),
    "backfilled": ("Lines moved to a backfill stream because they were too far behind.", None),
    "restamped": ("Lines given the time of reading because Loki refused their own.", None),
    "lost_bytes": ("Bytes that were gone before they could be read.", ("reason", _LOST_REASONS)),
    "position_saves": ("Durable saves of the positions.", None),
    "position_save_errors": ("Saves that failed.", None),
    "positions_damaged": ("Warnings about unusable positions at the start.", None),
    "refused_files": (
        "Files that are not opened: links out of the root, no regular files, unreadable.",
        None,
    ),
    "missed_files": ("Files that came and left the patterns before they were looked at.", None),
    "inotify_overflows": ("Overflows of inotify's queue; each leads to a full scan.", None),
    "log_lines_suppressed": ("Own log lines left out because they repeated.", None),
    "config_reloads": ("Times that SIGHUP brought another configuration into force.", None),
    "config_reload_failures": ("Times that a new configuration was refused; the old one stayed.", None),
    "internal_errors": ("Errors of the shipper itself that were caught at its boundary.", None),
    "rescans": ("Full scans of the sources.", None),
    "truncations": ("Files found cut or replaced in place.", None),
}
"""By name: the help, and the label with the values that are shown from the start."""

GAUGES = {
    "files": "Files that are followed.",
    "files_open": "Descriptors held for followed files.",
    "watches": "Directories watched by inotify.",
    "polling": "1 while some directories are only scanned, not watched.",
    "window_entries": "Lines in memory.",
    "window_bytes": "Bytes of lines in memory.",
    "streams": "Streams known.",
    "streams_refused": "Streams whose circuit is open.",
    "oldest_unacked_seconds": "Age of the oldest line in memory that waits for its ack; 0 for none.",
    "dead_letter_file_bytes": "Size of the dead-letter file.",
    "config_last_reload_successful": "0 after a refused reload, until one succeeds; 1 from the start.",
    "last_turn_seconds": "Unix time at which the loop last told how it stands; 0 before the first.",
    "last_save_seconds": "Unix time of the last durable save of the positions; 0 before the first.",
}
LAGS = {
    "bytes": "Bytes on disk that are not settled.",
    "seconds": (
        "Age of the write behind which the source's oldest unsettled file stays; 0 when all is settled."
    ),
}
_EVENTS = {
    "refused_file": "refused_files",
    "unreadable_file": "refused_files",
    "inotify_overflow": "inotify_overflows",
    "missed_file": "missed_files",
}
"""What is told that has a counter."""
PUSH_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Count:
    """A counter's amount for one value of its label, and since when it counts (Unix seconds)."""

    __slots__ = ("amount", "since_s")

    def __init__(self, amount: float, since_s: float) -> None:
        self.amount = amount
        self.since_s = since_s


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Take the number of now."""
        self.value = float(value)


class Metrics:
    """A `Meter`: the numbers, from any thread. `exposition` makes the page of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, Count]] = {}
        for name, (_, label) in COUNTERS.items():
            self._counts[name] = {}
            self.expect(name, label[1] if label else ("",))
        self.gauges = {name: Gauge() for name in GAUGES}
        self.gauges["config_last_reload_successful"].set(1)
        self.lags: dict[str, dict[str, float]] = {}
        """By source, and by what is in `LAGS`."""
        self._pushes = [0] * (len(PUSH_BOUNDS_S) + 1)
        self._push_seconds = 0.0
        self.since_s = time.time()

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Add to a counter."""
        with self._lock:
            self._count(name, label).amount += amount
            if name == "dead_lettered":
                self._count("entries_dropped", "").amount += amount

    def told(self, event: str, fields: Mapping[str, object]) -> None:
        """Count an event that was told, where it has a counter."""
        if event == "lost":
            self.add("lost_bytes", float(str(fields["lost_bytes"])), str(fields["reason"]))
        elif event in _EVENTS:
            self.add(_EVENTS[event])

    def expect(self, name: str, labels: Iterable[str]) -> None:
        """Show a counter's labels from now on, at 0 where nothing is counted yet."""
        with self._lock:
            for label in labels:
                self._count(name, label)

    def counted(self, name: str) -> list[tuple[str, float, float]]:
        """Return a counter's labels, each with its amount and since when it counts."""
        with self._lock:
            return [(label, count.amount, count.since_s) for label, count in self._counts[name].items()]

    def counts(self, name: str) -> dict[str, float]:
        """Return a counter's amounts by its label, 0 left out."""
        return {label: amount for label, amount, _ in self.counted(name) if amount}

    def observe_push(self, seconds: float) -> None:
        """Note how long a push took."""
        with self._lock:
            self._pushes[bisect_left(PUSH_BOUNDS_S, seconds)] += 1
            self._push_seconds += seconds

    def pushes(self) -> tuple[list[int], float]:
        """Return how many pushes took no longer than each bound and than any, and the seconds of them all."""
        with self._lock:
            return list(accumulate(self._pushes)), self._push_seconds

    def follow(self, rescans: int, truncations: int) -> None:
        """Bring the two counters that others keep up to their numbers."""
        with self._lock:
            for name, number in (("rescans", rescans), ("truncations", truncations)):
                count = self._count(name, "")
                count.amount = max(count.amount, number)

    def lag(self, by_source: Mapping[str, Mapping[str, float]]) -> None:
        """Set how far each source is behind; one that is not named any more is forgotten."""
        self.lags = {source: {name: lag[name] for name in LAGS} for source, lag in by_source.items()}

    def _count(self, name: str, label: str) -> Count:
        # Labels are a bounded set of ours; one that is not shown from the start is when it occurs.
        counts = self._counts[name]
        if label not in counts:
            counts[label] = Count(0.0, time.time())
        return counts[label]
