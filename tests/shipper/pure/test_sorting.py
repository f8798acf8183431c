from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from shipper.entries.grouping import File
from shipper.entries.ledger import Account
from shipper.entries.segment import Chunk
from shipper.entries.sorting import FUTURE_NS, MINUTE_NS, Policy, Sorted, sort_lines
from shipper.entries.stamp import FRESH, StampState
from shipper.entries.streams import Registry
from shipper.follow.framing import frame
from shipper.keeping.record import Moved
from shipper.sources.jsonl import Jsonl
from shipper.times import rfc3339

NOW_NS = 1_795_000_000 * 10**9
DAY_NS = 24 * 60 * MINUTE_NS
SOURCE = Jsonl("/logs/*.jsonl", "test", "u@h")
RESTAMP, BURY = Policy(7 * DAY_NS), Policy(7 * DAY_NS, "dead-letter")


def line(ago_ns: int | None, text: str = "x") -> bytes:
    """Return a line of a time before now, or without time."""
    time = {} if ago_ns is None else {"time": rfc3339(NOW_NS - ago_ns)}
    return json.dumps({**time, "text": text}).encode() + b"\n"


def sort(
    content: bytes,
    *,
    policy: Policy = RESTAMP,
    moved: tuple[Moved, ...] = (),
    registry: Registry | None = None,
    own: StampState = FRESH,
    clock: StampState = FRESH,
    until_ns: float = float("inf"),
    offset: int = 0,
) -> Sorted:
    """Sort the lines of a piece read now."""
    framed = frame(content, offset)
    file = File(SOURCE, SOURCE.describe("/logs/a.jsonl"), 3, Account(), moved)
    known = registry or Registry()
    return sort_lines(
        framed,
        file,
        Chunk(offset, framed.end, own, clock, ""),
        NOW_NS,
        policy,
        lambda labels: known.stream(labels, 0),
        until_ns=until_ns,
    )


def by_label(done: Sorted) -> dict[str, list[str]]:
    """Return lines by the one label that sets their stream apart."""
    return {
        next((f"{k}={v}" for k, v in s.stream.labels.items() if k in ("restamped", "backfill")), "own"): list(
            s.texts
        )
        for s in done.segments
    }


agos = st.none() | st.integers(-2 * FUTURE_NS, 8 * DAY_NS)


@given(st.lists(agos, max_size=20))
def test_every_line_goes_to_exactly_one_stream(times: list[int | None]) -> None:
    """With a stamp of its own, in the order of the file."""
    content = b"".join(line(ago, str(i)) for i, ago in enumerate(times))

    done = sort(content)

    starts = sorted(start for s in done.segments for start in s.starts)
    assert starts == frame(content, 0).starts
    for s in done.segments:
        assert list(s.starts) == sorted(s.starts)
        assert len(set(zip(s.stamps, s.texts, strict=True))) == len(s.starts)


@given(st.lists(agos, max_size=20), st.data())
def test_reading_in_two_chunks_decides_as_in_one(times: list[int | None], data: st.DataObject) -> None:
    """Streams and stamps are the same wherever the file is cut, given the same time of reading."""
    pieces = [line(ago, str(i)) for i, ago in enumerate(times)]
    cut = data.draw(st.integers(0, len(pieces)))
    registry = Registry()

    whole = sort(b"".join(pieces), registry=registry)
    first = sort(b"".join(pieces[:cut]), registry=registry)
    second = sort(
        b"".join(pieces[cut:]),
        registry=registry,
        own=first.own_state,
        clock=first.clock_state,
        offset=sum(map(len, pieces[:cut])),
    )

    def entries(*parts: Sorted) -> set[tuple[int, int, str]]:
        return {
            (s.stream.index, stamp, text)
            for part in parts
            for s in part.segments
            for stamp, text in zip(s.stamps, s.texts, strict=True)
        }

    assert entries(whole) == entries(first, second)
    assert (whole.own_state, whole.clock_state) == (second.own_state, second.clock_state)


def test_a_line_without_usable_time_gets_the_time_of_reading_in_a_stream_of_its_own() -> None:
    """In the lines' own stream it would shut out the rest of the backlog."""
    done = sort(line(0, "a") + line(None, "b") + line(MINUTE_NS, "c"))

    assert {name: len(found) for name, found in by_label(done).items()} == {"own": 2, "restamped=true": 1}
    assert done.hung_on_clock


def test_more_than_ten_minutes_ahead_is_the_time_of_reading_with_the_original_as_metadata() -> None:
    """Loki would refuse it; ten minutes it takes."""
    done = sort(line(-FUTURE_NS) + line(-FUTURE_NS - 1))

    (restamped,) = (s for s in done.segments if "restamped" in s.stream.labels)
    assert len(restamped.starts) == 1
    assert restamped.metas[0] == {
        "filename": "/logs/a.jsonl",
        "original_timestamp": rfc3339(NOW_NS + FUTURE_NS + 1),
    }
    assert restamped.stamps[0] // 1000 == NOW_NS // 1000


def test_lines_older_than_loki_takes_are_restamped_or_dead_letters() -> None:
    """As configured; the first is the default."""
    content = line(8 * DAY_NS, "old") + line(0, "new")

    restamped, buried = sort(content), sort(content, policy=BURY)

    assert set(by_label(restamped)) == {"own", "restamped=true"}
    assert set(by_label(buried)) == {"own"}
    assert [(offset, raw) for offset, _, raw in buried.too_old] == [(0, line(8 * DAY_NS, "old").rstrip())]


def test_lines_of_the_last_day_hang_on_no_clock() -> None:
    """So their chunks need no time written down before they are pushed."""
    assert not sort(line(0) + line(DAY_NS - 1) + line(-MINUTE_NS)).hung_on_clock
    assert sort(line(6 * DAY_NS)).hung_on_clock
    assert sort(line(-6 * MINUTE_NS)).hung_on_clock


def test_what_an_answer_decided_is_decided_again() -> None:
    """A line that was moved goes where it went before, with the stamp that it got."""
    content = b"".join(line(i * MINUTE_NS, str(i)) for i in range(5))
    starts = frame(content, 0).starts
    registry = Registry()
    own = sort(content, registry=registry).segments[0].stream.index
    moved = (
        Moved(own, starts[1], starts[2], "backfill"),
        Moved(own, starts[3], starts[3], "restamped", 12345),
        Moved(own, starts[4], starts[4], "dead"),
    )

    done = sort(content, registry=registry, moved=moved)

    found = {name: len(lines) for name, lines in by_label(done).items()}
    backfills = [name for name in found if re.fullmatch(r"backfill=2026-11-\d\dT\d\d", name)]
    assert sum(found[name] for name in backfills) == 2
    assert (found["own"], found["restamped=true"]) == (1, 1)
    assert next(s.stamps[0] for s in done.segments if "restamped" in s.stream.labels) == 12345


def test_reading_stops_where_another_files_turn_comes_but_takes_one_line_at_least() -> None:
    """Files that share a stream are merged by time."""
    content = line(3 * MINUTE_NS) + line(2 * MINUTE_NS) + line(MINUTE_NS)

    assert sort(content, until_ns=NOW_NS - 2 * MINUTE_NS).taken == 2
    assert sort(content, until_ns=0).taken == 1
    assert sort(content).taken == 3


def test_bytes_that_are_no_utf8_become_the_replacement_character() -> None:
    r"""A raw surrogate likewise; the six characters `\ud800` stay as they were written."""
    done = sort(b"\xff\n\xed\xa0\x80\n" + rb'{"a":"\ud800"}' + b"\n")

    (restamped,) = done.segments
    assert list(restamped.texts) == ["\ufffd", "\ufffd\ufffd\ufffd", r'{"a":"\ud800"}']
    assert done.malformed == 2


def test_a_time_that_has_not_come_yet_does_not_end_a_turn() -> None:
    """It is replaced by the time of reading, so it says nothing of the lines after it."""
    content = line(0, "now") + line(-60 * MINUTE_NS, "future") + line(0, "after")

    done = sort(content, until_ns=NOW_NS + FUTURE_NS)

    assert done.taken == 3


@given(st.lists(agos, min_size=1, max_size=40))
def test_stamps_by_own_time_are_the_same_whatever_other_lines_go_by_the_clock(agos: list[int | None]) -> None:
    """Such a line takes its place among the stamps all the same: who looks later finds what was pushed."""
    content = b"".join(map(line, agos))
    pushed, later = sort(content), sort(content, policy=Policy(2**62, future_ns=2**62))
    found = {start: stamp for s in later.segments for start, stamp in zip(s.starts, s.stamps, strict=True)}
    for segment in pushed.segments:
        if "restamped" not in segment.stream.labels:
            assert list(segment.stamps) == [found[start] for start in segment.starts]
    assert pushed.own_state == later.own_state
