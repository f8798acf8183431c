"""Lines of a chunk to segments of streams: the clock's and the answers' decisions, and the stamps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from shipper.entries import parts
from shipper.entries.beside import backfill_labels, restamped_labels, with_original
from shipper.entries.ledger import Account
from shipper.entries.picking import Pick, every, extremes, offsets_of, picker
from shipper.entries.segment import Chunk, Segment
from shipper.entries.stamp import STEP_BYTES, STEP_NS, StampState, stamp_all
from shipper.entries.streams import Stream
from shipper.entries.wire import Meta
from shipper.follow.framing import Framed
from shipper.follow.lines import Lines
from shipper.keeping.positions import Moved
from shipper.sources.base import FileInfo, Key, Source

ENTRY_BYTES = 256 * 1024
"""Loki's `max_line_size` at its default."""
MINUTE_NS = 60 * 10**9
FUTURE_NS = 10 * MINUTE_NS
_SURE_AHEAD_NS = 5 * MINUTE_NS
_SURE_AGE_NS = 24 * 60 * MINUTE_NS
"""Between these, no later look at the same line decides otherwise; outside, the reading time is written
down."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is done with lines whose own time Loki does not take."""

    max_age_ns: int
    old_lines: str = "restamp"
    """`restamp` or `dead-letter`."""
    future_ns: int = FUTURE_NS


BY_OWN_TIME = Policy(2**62, future_ns=2**62)
"""No line is too old or too new: how a chunk is read again in which no decision hung on the clock."""


class File(NamedTuple):
    """What sorting needs to know of a file."""

    source: Source
    info: FileInfo
    slot: int
    account: Account
    moved: Sequence[Moved]
    origin: str = ""
    """The path by which its lines are named."""


class Sorted(NamedTuple):
    """The outcome for one chunk."""

    segments: list[Segment]
    too_old: list[tuple[int, Stream, bytes]]
    """Lines for the dead-letter file: offset, stream, line. Only with the policy `dead-letter`."""
    chunk: Chunk
    own_state: StampState
    clock_state: StampState
    context: str
    hung_on_clock: bool
    malformed: int
    taken: int
    """How many of the lines; fewer than given where `until_ns` cut."""


def sort_lines(  # noqa: PLR0917 - the engine's wiring comes in as arguments
    framed: Framed,
    file: File,
    chunk: Chunk,
    now_ns: int,
    policy: Policy,
    stream_of: Callable[[dict[str, str]], Stream],
    *,
    until_ns: float = float("inf"),
    entry_bytes: int = ENTRY_BYTES,
) -> Sorted:
    """Return the chunk's lines as one segment for each stream; longer ones than `entry_bytes` in parts.

    `now_ns` is the time of reading, the remembered one for a chunk that is read again. Lines after the
    first whose own time is past `until_ns` are not taken (never none at all); one that is re-stamped for
    being in the future ends nothing.
    """
    lines, starts = framed.lines, framed.starts
    parsed = file.source.parse(lines, file.info, chunk.context)
    owns = parsed.owns
    cut = _cut(owns, until_ns, now_ns + policy.future_ns)
    if cut < len(lines):
        lines, starts = lines[:cut], starts[:cut]
        parsed = file.source.parse(lines, file.info, chunk.context)
        owns = parsed.owns
    # No time is 0.
    known = cast("list[int]", owns) if all(owns) else [own for own in owns if own is not None]
    complete = len(known) == len(owns)
    low, high = extremes(known) if known else (now_ns, now_ns)
    sure_age_ns = min(_SURE_AGE_NS, policy.max_age_ns)
    hung = not complete or high > now_ns + _SURE_AHEAD_NS or low < now_ns - sure_age_ns
    work = _Work(file, chunk, stream_of, entry_bytes, starts, lines, parsed.keys, parsed.metas)
    if framed.sizes is not None:
        work.written = framed.sizes[: len(lines)]
    if (
        complete
        and high <= now_ns + policy.future_ns
        and low >= now_ns - policy.max_age_ns
        and not file.moved
    ):
        stamps, own_state = stamp_all(known, file.slot, chunk.own_state, work.long_sizes())
        segments, clock_state = work.by_key(stamps), chunk.clock_state
        too_old: list[tuple[int, Stream, bytes]] = []
    else:
        segments, too_old, own_state, clock_state = work.one_by_one(owns, now_ns, policy)
    return Sorted(
        segments, too_old, chunk, own_state, clock_state, parsed.context, hung, parsed.malformed, len(lines)
    )


def _cut(owns: list[int | None], until_ns: float, future_ns: int) -> int:
    for index, own in enumerate(owns) if until_ns < future_ns else ():
        if own is not None and until_ns < own <= future_ns:
            return max(1, index)
    return len(owns)


class _Work:
    """The lists of one chunk, and the two ways through them."""

    def __init__(  # noqa: PLR0917 - the engine's wiring comes in as arguments
        self,
        file: File,
        chunk: Chunk,
        stream_of: Callable[[dict[str, str]], Stream],
        entry_bytes: int,
        starts: Sequence[int],
        lines: Lines,
        keys: list[Key],
        metas: list[Meta | None],
    ) -> None:
        self.file = file
        self.chunk = chunk
        self.stream_of = stream_of
        self.entry_bytes = entry_bytes
        self.starts = starts
        self.texts: list[str] = []
        self.longest = parts.longest_text(lines)
        self.written: list[int] | None = None
        """Bytes of the lines in the file, where masking changed them: by these stamps are reserved."""
        self.keys = keys
        self.metas = metas
        self.parts: list[int] | None = None
        self.lines = lines
        self.labels: dict[Key, dict[str, str]] = {}

    def sizes(self) -> list[int]:
        """Return the bytes by which stamps are reserved, of each line."""
        return parts.text_sizes(self.lines)[0] if self.written is None else self.written

    def long_sizes(self) -> list[int] | None:
        """Return them where a line is as long as a step."""
        longest = self.longest if self.written is None else max(self.written, default=0)
        return self.sizes() if longest >= STEP_BYTES else None

    def split(self, stamps: list[int]) -> tuple[list[int], Sequence[int]]:
        """Put parts in the place of long lines; return the stamps of all entries, and the line of each."""
        if self.longest <= self.entry_bytes:
            self.texts = self.lines.texts
            return stamps, range(len(stamps))
        metas: list[Meta | None] = []
        of: list[int] = []
        before: list[int] = []
        for index, line in enumerate(self.lines):
            found = parts.split(line, self.entry_bytes)
            self.texts += found
            of += [index] * len(found)
            before += range(len(found))
            if len(found) > 1:
                name = parts.line_id(self.file.origin, self.starts[index], found)
                metas += parts.metas(self.metas[index], name, len(found))
            else:
                metas.append(self.metas[index])
        self.metas, self.parts = metas, before
        self.keys = [self.keys[index] for index in of]
        self.starts = [self.starts[index] + part for index, part in zip(of, before, strict=True)]
        return [stamps[index] + STEP_NS * part for index, part in zip(of, before, strict=True)], of

    def by_key(self, line_stamps: list[int]) -> list[Segment]:
        """Group lines that all go to their own streams; a few C calls a line."""
        stamps, _ = self.split(line_stamps)
        if self.keys and self.keys.count(self.keys[0]) == len(self.keys):
            stream = self.stream_of(self.labels_of(self.keys[0]))
            return [self._segment(stream, None, stamps, self.metas)]
        groups: dict[Key, list[int]] = {}
        for index, key in enumerate(self.keys):
            try:
                groups[key].append(index)
            except KeyError:
                groups[key] = [index]
        streams: dict[Stream, list[int]] = {}
        for key, indexes in groups.items():
            stream = self.stream_of(self.labels_of(key))
            # Two keys can share a stream, where a cap made `other` of them; the file's order holds all the
            # same.
            streams[stream] = sorted(streams[stream] + indexes) if stream in streams else indexes
        return [self._segment(stream, indexes, stamps, self.metas) for stream, indexes in streams.items()]

    def one_by_one(
        self, owns: list[int | None], now_ns: int, policy: Policy
    ) -> tuple[list[Segment], list[tuple[int, Stream, bytes]], StampState, StampState]:
        """Decide for each line alone."""
        file, sizes = self.file, self.sizes()
        by_clock = [
            own is None or own > now_ns + policy.future_ns or own < now_ns - policy.max_age_ns for own in owns
        ]
        # Each time that a line has takes its place, also where the line goes by the clock: what later lines
        # get then hangs on the file alone, and `verify` finds the same.
        own_stamps, own_state = stamp_all(
            [own for own in owns if own is not None],
            file.slot,
            self.chunk.own_state,
            [size for size, own in zip(sizes, owns, strict=True) if own is not None],
        )
        clock_stamps, clock_state = stamp_all(
            [now_ns] * sum(by_clock),
            file.slot,
            self.chunk.clock_state,
            [size for size, clock in zip(sizes, by_clock, strict=True) if clock],
        )
        next_own, next_clock = iter(own_stamps), iter(clock_stamps)
        by_own = [None if own is None else next(next_own) for own in owns]
        buried = self._buried(owns, by_clock, now_ns, policy)
        too_old = [
            (self.starts[index], self.stream_of(self.labels_of(self.keys[index])), self.lines[index])
            for index in sorted(buried)
        ]
        stamps, lines_of = self.split(
            [
                next(next_clock) if clock or own is None else own
                for own, clock in zip(by_own, by_clock, strict=True)
            ]
        )
        metas = list(self.metas)
        groups: dict[Stream, list[int]] = {}
        for index, line in enumerate(lines_of):
            if line in buried:
                continue
            own, clock = owns[line], by_clock[line]
            labels = self.labels_of(self.keys[index])
            if clock:
                labels = restamped_labels(labels)
                metas[index] = with_original(metas[index], own)
            stream = self.stream_of(labels)
            while (moved := moved_by(file.moved, stream, self.starts[index])) is not None:
                if moved.to == "backfill":
                    stream = self.stream_of(backfill_labels(stream.labels, stamps[index]))
                elif moved.to == "restamped":
                    stream = self.stream_of(restamped_labels(stream.labels))
                    metas[index] = with_original(metas[index], None if clock else own)
                    stamps[index] = moved.stamp
                    break
                else:
                    break
            if moved is not None and moved.to == "dead":
                continue
            groups.setdefault(stream, []).append(index)
        segments = [self._segment(stream, indexes, stamps, metas) for stream, indexes in groups.items()]
        return segments, too_old, own_state, clock_state

    @staticmethod
    def _buried(owns: list[int | None], by_clock: list[bool], now_ns: int, policy: Policy) -> set[int]:
        if policy.old_lines != "dead-letter":
            return set()
        return {
            index
            for index, (own, clock) in enumerate(zip(owns, by_clock, strict=True))
            if clock and own is not None and own <= now_ns
        }

    def labels_of(self, key: Key) -> dict[str, str]:
        """Return the labels of a key; the same dict each time."""
        found = self.labels.get(key)
        if found is None:
            found = self.labels[key] = self.file.source.labels(self.file.info, key)
        return found

    def _segment(
        self, stream: Stream, indexes: list[int] | None, stamps: list[int], metas: Sequence[Meta | None]
    ) -> Segment:
        if indexes is None or len(indexes) == len(self.texts):
            pick: Pick = every
            starts = self.starts
        else:
            pick, starts = picker(indexes), offsets_of(self.starts, indexes)
        return Segment(
            self.file.account,
            self.chunk,
            stream,
            starts,
            pick(stamps),
            pick(self.texts),
            pick(metas),
            parts=None if self.parts is None else pick(self.parts),
        )


def moved_by(moved: Sequence[Moved], stream: Stream, start: int) -> Moved | None:
    """Return what an answer of Loki decided for the line of `stream` at this offset."""
    for entry in moved:
        if entry.stream == stream.index and entry.first <= start <= entry.last:
            return entry
    return None
