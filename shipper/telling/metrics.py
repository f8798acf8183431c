"""The shipper's own metrics, all present from the start at 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from shipper.push.answer import REASONS, Action
from shipper.redact.rules import NAMES

_PREFIX = "tallyship_shipper_"
_DEAD_REASONS = ("line_too_long", "too_large", "invalid", "labels", "too_old", "too_far_behind", "too_new")
_LOST_REASONS = ("truncated", "deleted", "missing")

_COUNTERS = {
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
}

_GAUGES = {
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


class Metrics:
    """A `Meter`, and the page for Prometheus. `values` is asked for the gauges at each scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(namespace=_PREFIX.rstrip("_"), registry=self.registry)
        self._counters: dict[str, Counter] = {}
        self._children: dict[tuple[str, str], Counter] = {}
        for name, (text, label) in _COUNTERS.items():
            counter = Counter(_PREFIX + name, text, [label[0]] if label else [], registry=self.registry)
            self._counters[name] = counter
            for value in label[1] if label else ():
                self._children[name, value] = counter.labels(value)
        self.gauges = {
            name: Gauge(_PREFIX + name, text, registry=self.registry) for name, text in _GAUGES.items()
        }
        self.gauges["config_last_reload_successful"].set(1)
        self._lag_bytes = Gauge(
            _PREFIX + "lag_bytes", "Bytes on disk that are not settled.", ["source"], registry=self.registry
        )
        self._lag_seconds = Gauge(
            _PREFIX + "lag_seconds",
            "Age of the write behind which the source's oldest unsettled file stays; 0 when all is settled.",
            ["source"],
            registry=self.registry,
        )
        self.rescans = Counter(_PREFIX + "rescans", "Full scans of the sources.", registry=self.registry)
        self.truncations = Counter(
            _PREFIX + "truncations", "Files found cut or replaced in place.", registry=self.registry
        )
        self._followed = (0, 0)
        self._push_seconds = Histogram(
            _PREFIX + "push_duration_seconds",
            "From compressing a body to Loki's answer.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Add to a counter."""
        if label:
            child = self._children.get((name, label))
            if child is None:
                # Reasons are a bounded set of ours; one that is not listed from the start shows when it
                # occurs.
                child = self._children[name, label] = self._counters[name].labels(label)
            child.inc(amount)
            if name == "dead_lettered":
                self._counters["entries_dropped"].inc(amount)
        elif amount:
            self._counters[name].inc(amount)

    def expect(self, name: str, labels: Iterable[str]) -> None:
        """Show a counter's labels from now on, at 0 where nothing is counted yet."""
        for label in labels:
            self._children.setdefault((name, label), self._counters[name].labels(label))

    def counts(self, name: str) -> dict[str, float]:
        """Return a counter's amounts by its label, 0 left out."""
        found = {}
        for (counter, label), child in list(self._children.items()):
            if counter == name:
                amount = next(
                    s.value for m in child.collect() for s in m.samples if s.name.endswith("_total")
                )
                if amount:
                    found[label] = amount
        return found

    def observe_push(self, seconds: float) -> None:
        """Note how long a push took."""
        self._push_seconds.observe(seconds)

    def follow(self, rescans: int, truncations: int) -> None:
        """Bring the two counters that others keep up to their numbers."""
        self.rescans.inc(max(0, rescans - self._followed[0]))
        self.truncations.inc(max(0, truncations - self._followed[1]))
        self._followed = (rescans, truncations)

    def lag(self, by_source: Mapping[str, Mapping[str, float]]) -> None:
        """Set how far each source is behind; one that is not named any more is forgotten."""
        for gauge, name in ((self._lag_bytes, "bytes"), (self._lag_seconds, "seconds")):
            gauge.clear()
            for source, lag in by_source.items():
                gauge.labels(source).set(lag[name])

    def page(self, refresh: Callable[[], None]) -> bytes:
        """Return the page."""
        refresh()
        return generate_latest(self.registry)
