"""What is decided of lines: by their own time or the clock's, elsewhere, to the dead letters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from shipper.entries.beside import backfill_labels, restamped_labels, with_original
from shipper.entries.grouping import File, Grouping, StreamOf
from shipper.entries.picking import extremes
from shipper.entries.segment import Chunk, Segment
from shipper.entries.stamp import StampState, stamp_all
from shipper.entries.streams import Stream
from shipper.follow.framing import Framed
from shipper.keeping.record import Moved

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


TooOld = list[tuple[int, Stream, bytes]]
"""Lines for the dead-letter file: offset, stream, line."""


class Sorted(NamedTuple):
    """The outcome for one chunk."""

    segments: list[Segment]
    too_old: TooOld
    """None but with the policy `dead-letter`."""
    chunk: Chunk
    own_state: StampState
    clock_state: StampState
    context: str
    hung_on_clock: bool
    malformed: int
    taken: int
    """How many of the lines; fewer than given where `until_ns` cut."""


def sort_lines(  # noqa: PLR0917 - all that the lines' decisions hang on
    framed: Framed,
    file: File,
    chunk: Chunk,
    now_ns: int,
    policy: Policy,
    stream_of: StreamOf,
    *,
    until_ns: float = float("inf"),
    entry_bytes: int = ENTRY_BYTES,
) -> Sorted:
    """Return the chunk's lines as one segment for each stream; longer ones than `entry_bytes` in parts.

    `now_ns` is the time of reading, the remembered one for a chunk that is read again. Lines after the
    first whose own time is past `until_ns` are not taken (never none at all); one that is re-stamped for
    being in the future ends nothing.
    """
    parsed = file.source.parse(framed.lines, file.info, chunk.context)
    cut = _cut(parsed.owns, until_ns, now_ns + policy.future_ns)
    if cut < len(framed.lines):
        framed = _first(framed, cut)
        parsed = file.source.parse(framed.lines, file.info, chunk.context)
    owns = parsed.owns
    # No time is 0.
    known = cast("list[int]", owns) if all(owns) else [own for own in owns if own is not None]
    complete = len(known) == len(owns)
    low, high = extremes(known) if known else (now_ns, now_ns)
    sure_age_ns = min(_SURE_AGE_NS, policy.max_age_ns)
    hung = not complete or high > now_ns + _SURE_AHEAD_NS or low < now_ns - sure_age_ns
    work = Grouping(file, chunk, framed, parsed, stream_of, entry_bytes=entry_bytes)
    too_old: TooOld
    if (
        complete
        and high <= now_ns + policy.future_ns
        and low >= now_ns - policy.max_age_ns
        and not file.moved
    ):
        stamps, own_state = stamp_all(known, file.slot, chunk.own_state, work.long_sizes())
        segments, too_old, clock_state = work.by_key(stamps), [], chunk.clock_state
    else:
        segments, too_old, own_state, clock_state = _one_by_one(work, owns, now_ns, policy)
    return Sorted(
        segments,
        too_old,
        chunk,
        own_state,
        clock_state,
        parsed.context,
        hung,
        parsed.malformed,
        len(framed.lines),
    )


def _cut(owns: list[int | None], until_ns: float, future_ns: int) -> int:
    for index, own in enumerate(owns) if until_ns < future_ns else ():
        if own is not None and until_ns < own <= future_ns:
            return max(1, index)
    return len(owns)


def _first(framed: Framed, count: int) -> Framed:
    """Return so many lines; where they end is asked of no one here."""
    sizes = None if framed.sizes is None else framed.sizes[:count]
    return framed._replace(starts=framed.starts[:count], lines=framed.lines[:count], sizes=sizes)


def _one_by_one(
    work: Grouping, owns: list[int | None], now_ns: int, policy: Policy
) -> tuple[list[Segment], TooOld, StampState, StampState]:
    """Decide for each line alone."""
    by_clock = [
        own is None or own > now_ns + policy.future_ns or own < now_ns - policy.max_age_ns for own in owns
    ]
    line_stamps, own_state, clock_state = _stamped(work, owns, by_clock, now_ns)
    buried = _buried(owns, by_clock, now_ns, policy)
    too_old = [
        (work.starts[index], work.stream_of(work.labels_of(work.keys[index])), work.lines[index])
        for index in sorted(buried)
    ]
    return _placed(work, owns, by_clock, line_stamps, buried), too_old, own_state, clock_state


def _stamped(
    work: Grouping, owns: list[int | None], by_clock: list[bool], now_ns: int
) -> tuple[list[int], StampState, StampState]:
    """Return a stamp for each line.

    Each time that a line has takes its place, also where the line goes by the clock: what later lines get
    then hangs on the file alone, and `verify` finds the same.
    """
    slot, chunk, sizes = work.file.slot, work.chunk, work.sizes()
    own_stamps, own_state = stamp_all(
        [own for own in owns if own is not None],
        slot,
        chunk.own_state,
        [size for size, own in zip(sizes, owns, strict=True) if own is not None],
    )
    clock_stamps, clock_state = stamp_all(
        [now_ns] * sum(by_clock),
        slot,
        chunk.clock_state,
        [size for size, clock in zip(sizes, by_clock, strict=True) if clock],
    )
    next_own, next_clock = iter(own_stamps), iter(clock_stamps)
    by_own = [None if own is None else next(next_own) for own in owns]
    stamps = [
        next(next_clock) if clock or own is None else own for own, clock in zip(by_own, by_clock, strict=True)
    ]
    return stamps, own_state, clock_state


def _buried(owns: list[int | None], by_clock: list[bool], now_ns: int, policy: Policy) -> set[int]:
    if policy.old_lines != "dead-letter":
        return set()
    return {
        index
        for index, (own, clock) in enumerate(zip(owns, by_clock, strict=True))
        if clock and own is not None and own <= now_ns
    }


def _placed(
    work: Grouping, owns: list[int | None], by_clock: list[bool], line_stamps: list[int], buried: set[int]
) -> list[Segment]:
    """Return the lines that are not buried in their streams: their own, or where an answer sent them."""
    stamps, lines_of = work.split(line_stamps)
    metas = list(work.metas)
    groups: dict[Stream, list[int]] = {}
    for index, line in enumerate(lines_of):
        if line in buried:
            continue
        own, clock = owns[line], by_clock[line]
        labels = work.labels_of(work.keys[index])
        if clock:
            labels = restamped_labels(labels)
            metas[index] = with_original(metas[index], own)
        stream = work.stream_of(labels)
        while (moved := moved_by(work.file.moved, stream, work.starts[index])) is not None:
            if moved.to == "backfill":
                stream = work.stream_of(backfill_labels(stream.labels, stamps[index]))
            elif moved.to == "restamped":
                stream = work.stream_of(restamped_labels(stream.labels))
                metas[index] = with_original(metas[index], None if clock else own)
                stamps[index] = moved.stamp
                break
            else:
                break
        if moved is not None and moved.to == "dead":
            continue
        groups.setdefault(stream, []).append(index)
    return work.segments(groups, stamps, metas)


def moved_by(moved: Sequence[Moved], stream: Stream, start: int) -> Moved | None:
    """Return what an answer of Loki decided for the line of `stream` at this offset."""
    for entry in moved:
        if entry.stream == stream.index and entry.first <= start <= entry.last:
            return entry
    return None
