"""What the exporter says of itself: how each source stood, and how the reading went; rows only, no I/O."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from exporter.files.tree import Reason
from exporter.source import Family, Kind, Row, Source, SourceReading

_P = "tallyship_exporter_"

BUILD = Family(f"{_P}build_info", Kind.INFO, "Version of the exporter and of its Python.")
SCRAPES = Family(f"{_P}readings_total", Kind.COUNTER, "Readings of all sources; scrapes may share one.")
SCRAPE_DURATION = Family(f"{_P}reading_duration_seconds", Kind.GAUGE, "Time the last reading took.")
SEARCH_FAILURES = Family(
    f"{_P}search_failures_total", Kind.COUNTER, "Searches for sources that failed; the last known were read."
)
UP = Family(f"{_P}source_up", Kind.GAUGE, "Whether the source could be read (0 or 1).")
DURATION = Family(f"{_P}source_duration_seconds", Kind.GAUGE, "Time the last reading of the source took.")
ERRORS = Family(f"{_P}source_errors_total", Kind.COUNTER, "Files of the source that could not be read.")
MTIME = Family(
    f"{_P}source_mtime_seconds", Kind.GAUGE, "Modification time of a file, as long as what it holds is good."
)
REJECTED = Family(f"{_P}lines_rejected_total", Kind.COUNTER, "Lines that are no JSON object.")
UNPRICED = Family(f"{_P}records_unpriced", Kind.GAUGE, "Records with tokens of a model without a price.")
UNMEASURED = Family(f"{_P}records_unmeasured", Kind.GAUGE, "Records that tell neither cost nor tokens.")
UNREAD = Family(f"{_P}unread_bytes", Kind.GAUGE, "Bytes of history that are still to be read.")


@dataclass(slots=True)
class SourceAccount:
    """One source's standing: its last reading (at `read_at_s`, Unix seconds), errors that never fall."""

    source: Source
    reading: SourceReading = field(default_factory=SourceReading)
    duration_s: float = 0.0
    read_at_s: float = 0.0
    lines_rejected: int = 0
    errors: Counter[Reason] = field(default_factory=lambda: Counter(dict.fromkeys(Reason, 0)))

    def take(self, reading: SourceReading, duration_s: float, read_at_s: float) -> None:
        """Enter a reading."""
        self.reading = reading
        self.duration_s = duration_s
        self.read_at_s = read_at_s
        self.lines_rejected = max(self.lines_rejected, reading.lines_rejected)
        self.errors.update(problem.reason for problem in reading.problems)


def self_rows(
    accounts: Sequence[SourceAccount], readings: int, search_failures: int, duration_s: float
) -> Iterator[Row]:
    """Yield the rows about the exporter and its sources."""
    yield Row(BUILD, {"version": package_version(), "python": platform.python_version()}, 1)
    yield Row(SCRAPES, {}, readings)
    yield Row(SCRAPE_DURATION, {}, duration_s)
    yield Row(SEARCH_FAILURES, {}, search_failures)
    for account in accounts:
        reading = account.reading
        labels = {"source": account.source.name, **account.source.labels}
        yield Row(UP, labels, reading.is_up)
        yield Row(DURATION, labels, account.duration_s)
        for reason, count in account.errors.items():
            yield Row(ERRORS, {**labels, "reason": reason.value}, count)
        for path, mtime_s in reading.mtimes_s.items():
            yield Row(MTIME, {**labels, "file": path}, mtime_s)
        yield Row(REJECTED, labels, account.lines_rejected)
        if reading.is_up:
            yield Row(UNREAD, labels, reading.unread_bytes)
            yield Row(UNPRICED, labels, reading.records_unpriced)
            yield Row(UNMEASURED, labels, reading.records_unmeasured)


@cache
def package_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("tallyship")
    except PackageNotFoundError:
        return "unknown"
