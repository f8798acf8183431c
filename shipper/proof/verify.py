"""The comparison: what the positions call settled, against what Loki shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shipper.entries.segment import Segment
from shipper.proof.book import Book, Line, Outcome, digest, part_number
from shipper.proof.loki_query import Loki
from shipper.proof.on_disk import Found, Known, Reading, under_way
from shipper.proof.pages import PAGE
from shipper.proof.resent import Place
from shipper.proof.selectors import Family, family, selector
from shipper.proof.visible import FLUSHED_NS, SHOWN_AT_ONCE_NS, may_be_unseen
from shipper.times import MAX_NS

HOUR_NS = 3600 * 10**9
READ_BACK_NS = 30 * 24 * HOUR_NS
"""A line with the time of reading is looked for this far before the window: when that was is not known."""
_SHIFT_NS = HOUR_NS // 60
"""A stamp can lie this far from where it is sought: lines that went by the clock shifted no other."""
_SLACK_NS = HOUR_NS
_BATCH = 20_000

Say = Callable[[str], None]
Letters = Mapping[Place, bool]
"""The lines in the dead-letter file, and whether each is there whole."""


class Window(NamedTuple):
    """Lines whose own time lies between these are compared."""

    since_ns: int
    until_ns: int | None
    """None: lines that are ahead of the clock as well."""
    now_ns: int
    max_age_ns: int
    """Lines that were older when they were read have the time of reading."""
    saved_ns: int
    """When the positions were saved last: nothing that they call settled was taken later."""


class Gap(NamedTuple):
    """A line that should be in Loki and is not."""

    file: Known
    offset: int
    labels: Mapping[str, str]
    stamp: int
    text: str
    meta: dict[str, str] | None


@dataclass(slots=True)
class Report:
    """What came out."""

    files: int = 0
    streams: int = 0
    lines: int = 0
    under_way: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=dict)

    @property
    def gaps(self) -> int:
        """How many lines are missing."""
        return self.outcomes.get(Outcome.MISSING, 0)


class Comparison:
    """One run. `compare`, then `gaps` as long as the book is open."""

    def __init__(  # noqa: PLR0917 - the comparison's wiring comes in as arguments
        self,
        loki: Loki,
        reading: Reading,
        found: Found,
        window: Window,
        letters: Letters,
        resent: Mapping[Place, int],
        say: Say,
    ) -> None:
        self._loki = loki
        self._reading = reading
        self._files = found.known
        self._window = window
        self._letters = letters
        self._resent = resent
        self._say = say
        self._held_hours: dict[int, set[str] | None] = {}
        """By family: asked before its lines are, so that what is flushed in between is shown."""
        self._book = Book()
        self._families: dict[Family, int] = {}
        self._read_since_ns = 0
        self.report = Report()

    def compare(self) -> Report:
        """Compare; raises `Unanswered` or `Incomplete` where Loki's answers do not suffice."""
        window = self._window
        for number, file in enumerate(self._files):
            self._say(f"reading {number + 1} of {len(self._files)} files")
            if file.mtime_ns >= window.since_ns - _SLACK_NS:
                self.report.files += 1
                self._expect(number, file)
        self._book.ready()
        self.report.lines = self._book.count()
        for stream in self._reading.streams:
            self._index(family(stream.labels))
        names = list(self._families)
        stretches = self._book.families()
        first_ns = min((first for _, first, _ in stretches if first), default=0)
        self._read_since_ns = max(1, max(window.since_ns, min(first_ns, window.now_ns)) - READ_BACK_NS)
        self.report.streams = len(stretches)
        for number, (index, first, last) in enumerate(stretches):
            self._say(f"asking Loki for {number + 1} of {len(stretches)} kinds of streams")
            self._ask(names[index], index, first, last)
        self._book.match_parts()
        self._look_elsewhere(names, {index for index, _, _ in stretches})
        self._judge()
        self.report.outcomes = self._book.outcomes()
        return self.report

    def gaps(self) -> Iterator[Gap]:
        """Yield what is missing, file by file."""
        by_file: dict[int, set[int]] = {}
        for line in self._book.missing():
            by_file.setdefault(line.file, set()).add(line.start)
        for number, starts in sorted(by_file.items()):
            file = self._files[number]
            for segments in self._reading.segments(file):
                found = [gap for segment in segments for gap in _picked(file, segment, starts)]
                yield from sorted(found, key=lambda gap: gap.offset)

    def close(self) -> None:
        """Let the book go."""
        self._book.close()

    def _index(self, name: Family) -> int:
        return self._families.setdefault(name, len(self._families))

    # ---- what should be there

    def _expect(self, at_file: int, file: Known) -> None:
        from_ = under_way(file.record, self._reading.streams)
        window = self._window
        since, until = window.since_ns, MAX_NS if window.until_ns is None else window.until_ns
        latest = file.mtime_ns
        lines: list[Line] = []
        slot = file.record.slot
        for segments in self._reading.segments(file):
            # A line without a time was written about when its neighbours were.
            latest = max((max(s.stamps) for s in segments if not _untimed(s)), default=latest)
            written = min(latest, window.now_ns)
            for segment in segments:
                name = family(segment.stream.labels)
                index = self._index(name)
                open_from = from_.get(name, file.record.read)
                untimed = _untimed(segment)
                for start, stamp, text, meta in zip(
                    segment.starts, segment.stamps, segment.texts, segment.metas, strict=True
                ):
                    if not since <= (written if untimed else stamp) <= until:
                        continue
                    if start >= open_from:
                        self.report.under_way += 1
                        continue
                    line_id, part = (
                        (meta.get("line_id", ""), part_number(meta.get("part"))) if meta else ("", 0)
                    )
                    at = 0 if untimed else stamp
                    lines.append(Line(index, at, digest(text), at_file, start, slot, line_id, part))
            if len(lines) >= _BATCH:
                self._book.expect(lines)
                lines.clear()
        self._book.expect(lines)

    # ---- what is there

    def _ask(self, name: Family, index: int, first_ns: int, last_ns: int) -> None:
        others = self._families
        query = selector(name, others, restamped=False)
        now_ns = self._window.now_ns
        if last_ns:
            if first_ns < now_ns - SHOWN_AT_ONCE_NS:
                self._held_hours[index] = self._loki.held_hours(query, now_ns)
            # No stream has an entry much ahead of the clock.
            last_ns = min(last_ns + _SHIFT_NS, now_ns + HOUR_NS)
            self._read(index, query, max(1, first_ns - _SHIFT_NS), last_ns, PAGE)
            self._book.match_spare(index)
            # With several ingesters an answer can have a hole: each missing stretch is asked for by itself.
            for start_ns, end_ns in self._book.runs(index):
                self._read(index, query, start_ns, min(end_ns, last_ns), self._loki.sure)
            self._book.match_spare(index)
        query = selector(name, others, restamped=True)
        for page in (PAGE, self._loki.sure):
            if next(self._book.missing(index), None) is None:
                return
            self._read(index, query, self._read_since_ns, now_ns + HOUR_NS, page)
            self._book.match_spare(index)

    def _read(self, index: int, query: str, first_ns: int, last_ns: int, page: int) -> None:
        for entries in self._loki.pages(query, first_ns, last_ns + 1, page=page):
            self._book.saw(index, entries)

    def _look_elsewhere(self, names: list[Family], expected: set[int]) -> None:
        """Look for what is missing under labels that the positions know and that now no line has."""
        missing = [line.stamp for line in self._book.missing() if line.stamp]
        for index, name in enumerate(names) if missing else ():
            if index not in expected:
                query = selector(name, names, restamped=False)
                last_ns = min(max(missing), self._window.now_ns + HOUR_NS)
                self._read(index, query, min(missing), last_ns, PAGE)
                self._book.match_elsewhere(index)

    def _judge(self) -> None:
        """Tell gaps from dead letters, and from what Loki may hold and not show."""
        ids = {file.record.id: number for number, file in enumerate(self._files)}
        for (file_id, offset), whole in self._letters.items():
            if file_id in ids:
                self._book.bury(ids[file_id], offset, whole=whole)
        now_ns = self._window.now_ns
        flushed: dict[tuple[int, int], int] = {}
        unseen = []
        for line in self._book.missing():
            if line.stamp < now_ns - 2 * self._window.max_age_ns:
                # It has no time, or went by the time of reading: that is shown at once.
                continue
            place = line.family, line.file
            if place not in flushed:
                flushed[place] = self._book.last_flushed(*place, now_ns - FLUSHED_NS)
            file = self._files[line.file]
            resent_ns = self._resent.get((file.record.id, line.start), 0)
            taken_by_ns = max(resent_ns, self._taken_by_ns(file))
            later_shown = not resent_ns and flushed[place] > line.start
            hours = self._held_hours.get(line.family)
            if may_be_unseen(line.stamp, now_ns, taken_by_ns, hours, later_shown=later_shown):
                unseen.append(line.id)
        self._book.unseen(unseen)

    def _taken_by_ns(self, file: Known) -> int:
        acked_at_s = file.record.counts.get("acked_at_s", 0)
        return acked_at_s * 10**9 if acked_at_s else self._window.saved_ns


def _untimed(segment: Segment) -> bool:
    """Tell whether its lines have no time of their own: decided by that, only these are restamped."""
    return "restamped" in segment.stream.labels


def _picked(file: Known, segment: Segment, starts: set[int]) -> Iterator[Gap]:
    for index, start in enumerate(segment.starts):
        if start in starts:
            yield Gap(
                file,
                start,
                segment.stream.labels,
                segment.stamps[index],
                segment.texts[index],
                segment.metas[index],
            )
