from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.files.growing_file import BLANKS
from exporter.sources.loki_mode import events
from exporter.sources.loki_mode.events import DURATION_BUCKETS_S, EventTally, EventTotals, SessionMarks
from shared.models import EVENT_KINDS

START = "2026-11-21T00:41:35Z"
START_S = 1_795_221_695.0


def line(type_: object = None, /, at: object = START, **data: Any) -> bytes:
    """Return an event as a line."""
    record = {"timestamp": at, "type": type_, "data": data} if type_ is not None else {"timestamp": at}
    return json.dumps(record).encode() + b"\n"


def tally(*blocks: bytes) -> EventTotals:
    """Return the totals of blocks of lines."""
    sink = EventTally()
    for block in blocks:
        sink.lines(block)
    return sink.totals()


def slow_tally(block: bytes) -> EventTotals:
    """Return the totals as the line-by-line way alone makes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "decode_block", lambda _block: None)
        return tally(block)


USUAL = st.builds(
    line,
    st.sampled_from([*sorted(EVENT_KINDS), "claude_hook_stop", "invented", None, 7, ""]),
    at=st.sampled_from([START, "2026-11-21T00:42:35.5+00:00", "", None, 5]),
    iteration=st.integers(-2, 5) | st.sampled_from(["3", "x", None, 2.5, [1]]),
    status=st.sampled_from(["completed", "failed", "crashed", None, 1]),
)
ODD = st.sampled_from(
    [
        b"\n",
        b"  \r\n",
        b"\0\0\n",
        b"{}\n",
        b"{}\r\n",
        b"[]\n",
        b"null\n",
        b'{"type": "a"}{"type": "b"}\n',
        b'{"type":\n',
        b'{"type": {"x": 1}\n',
        b'{"type": "x"}}\n',
        b'{"type": "x"},\n',
        b'{"timestamp": "\n',
        b'"}\n',
        b'{"data": "text", "type": "code_review_start"}\n',
        b'{"event": "rollback", "checkpoint": "c"}\n',
        b'{"type": "caf\xe9"}\n',
        b'{"type": "iteration_start", "data": {"iteration": 007}}\n',
        b'{"type": "\\ud800"}\n',
        b'{"type": "x", "n": NaN}\n',
        b'{"type": "x", "n": 5.}\n',
        b'{"type": "x", "path": "C:\\new \\specs"}\n',
        b"\0\0" + line("session_start"),
        b" " + line("session_end"),
    ]
)
BLOCKS = st.lists(USUAL | ODD, max_size=12).map(b"".join)


class TestAnyBlock:
    """Whatever lines a block has."""

    @settings(max_examples=300)
    @given(BLOCKS)
    @example(b'{"type":\n{"type": "a"}{"type": "b"}}\n')
    @example(b'{"type": {"x": 1}\n{"type": "x"}}\n{"type": "a"}{"type": "b"}\n')
    def test_fast_way_counts_what_the_slow_way_does(self, block: bytes) -> None:
        """Decoding a block at once and line by line come to the same, to the last number."""
        assert tally(block) == slow_tally(block)

    @given(BLOCKS)
    def test_events_are_the_non_blank_lines(self, block: bytes) -> None:
        """Each non-blank line is one event, and either of a kind or rejected."""
        totals = tally(block)

        assert totals.events == sum(1 for text in block.split(b"\n") if text.strip(BLANKS))
        assert totals.events == totals.rejected + sum(totals.kinds.values())
        assert set(totals.kinds) <= EVENT_KINDS | {"other"}

    @given(st.lists(USUAL | ODD, max_size=12), st.integers(1, 4))
    def test_cutting_into_blocks_changes_nothing(self, lines: list[bytes], size: int) -> None:
        """The same lines in blocks of any number come to the same."""
        cut = [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]

        assert tally(*cut) == tally(b"".join(lines))

    @given(st.lists(st.binary(max_size=40), max_size=8))
    def test_random_bytes_are_counted_and_nothing_else(self, texts: list[bytes]) -> None:
        """No bytes raise anything."""
        block = b"".join(text + b"\n" for text in texts)
        totals = tally(block)

        assert totals.events == sum(1 for text in block.split(b"\n") if text.strip(BLANKS))


class TestKinds:
    """loki_mode_events_total."""

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            (line("phase_change"), "phase_change"),
            (line("claude_hook_post_tool"), "claude_hook"),
            (line("whatever_v10_brings"), "other"),
            (line(7), "other"),
            (b'{"event": "rollback"}\n', "rollback"),
            (b'{"event": "x"}\n', "other"),
            (b"{}\n", "other"),
            (b'{"type": null, "event": "rollback"}\n', "rollback"),
        ],
    )
    def test_are_a_bounded_vocabulary(self, text: bytes, kind: str) -> None:
        """A known type has a name of its own; v5's rollback has no type; all else is `other`."""
        assert tally(text).kinds == {kind: 1}

    def test_of_five_thousand_types_are_one(self) -> None:
        """Types that an agent invents do not multiply labels."""
        assert tally(*(line(f"type-{n}") for n in range(5_000))).kinds == {"other": 5_000}

    @pytest.mark.parametrize(
        "text",
        [
            b'{"type":"x","data":{"iteration":007}}\n',
            b'{"type":"x","v":5.}\n',
            b'{"type":"x","path":"a\\q"}\n',
            b'{"type":"x","note":"first\n',
            b'second"}\n',
            b"[1]\n",
            b"3\n",
            b"torn\n",
            b"[" * 100_000 + b"\n",
            b'{"a":' * 100_000 + b"\n",
        ],
        ids=lambda text: text[:24].decode(),
    )
    def test_of_what_bash_escapes_badly_are_none(self, text: bytes) -> None:
        """A line that is no JSON object is an event, rejected, of no kind."""
        totals = tally(text)

        assert (totals.events, totals.rejected, totals.kinds) == (1, 1, {})

    def test_of_odd_bytes_are_kinds(self) -> None:
        """NUL bytes before it, Latin-1 in it and CRLF after it do a record no harm."""
        text = b"\0\0\0" + line("session_stop")[:-1] + b"\r\n" + b'{"type":"rollback","by":"Ren\xe9"}\n'

        assert tally(text).kinds == {"session_stop": 1, "rollback": 1}
        assert tally(text).rejected == 0


class TestIterations:
    """Outcomes and durations."""

    def test_have_an_outcome(self) -> None:
        """Completed and failed have names; any other status is `other`, and so is a missing one."""
        statuses = ["completed", "completed", "failed", "interrupted", None, 3, ["completed"]]
        totals = tally(*(line("iteration_complete", status=status) for status in statuses))

        assert totals.outcomes == {"completed": 2, "failed": 1, "other": 4}

    def test_last_from_start_to_complete(self) -> None:
        """Each pair of one number is one observation, in its bucket."""
        totals = tally(
            line("iteration_start", at="2026-11-21T00:00:00Z", iteration=1)
            + line("iteration_complete", at="2026-11-21T00:00:10Z", iteration="1")
            + line("iteration_start", at="2026-11-21T00:00:10Z", iteration=2)
            + line("iteration_complete", at="2026-11-21T03:00:10Z", iteration=2)
        )

        assert totals.duration_sum_s == 10 + 3 * 3600
        assert totals.duration_counts == (1, *[0] * (len(DURATION_BUCKETS_S) - 1), 1)

    @pytest.mark.parametrize(
        "lines",
        [
            [line("iteration_complete", iteration=1)],
            [line("iteration_start", at="soon", iteration=1), line("iteration_complete", iteration=1)],
            [
                line("iteration_start", at="2027-01-01T00:00:00Z", iteration=1),
                line("iteration_complete", iteration=1),
            ],
            [
                line("iteration_start", iteration=1),
                line("session_start"),
                line("iteration_complete", iteration=1),
            ],
        ],
        ids=["never started", "start unreadable", "ended before it began", "a session in between"],
    )
    def test_without_a_true_duration_have_none(self, lines: list[bytes]) -> None:
        """An iteration whose duration is not known is not observed, but its outcome counts."""
        totals = tally(*lines)

        assert sum(totals.duration_counts) == 0
        assert sum(totals.outcomes.values()) == 1

    def test_that_never_complete_are_forgotten(self) -> None:
        """A million starts without an end hold no memory."""
        sink = EventTally()
        sink.lines(b"".join(line("iteration_start", iteration=n) for n in range(1_000)))

        assert len(sink._open_iterations) <= 64


class TestMarks:
    """What the events tell of the last session."""

    def test_are_those_of_the_last_session(self) -> None:
        """A session_start begins anew: what was before belongs to earlier sessions."""
        before = line("session_start") + line("iteration_start", iteration=9) + line("session_end")
        assert tally(before).marks == SessionMarks(START_S, ended=True, iteration=9, iteration_s=START_S)
        assert tally(before, line("session_start", at="2026-11-21T00:41:36Z")).marks == SessionMarks(
            START_S + 1
        )

    def test_ignore_numbers_that_are_none(self) -> None:
        """A negative, broken or missing number is no iteration."""
        lines = [line("iteration_start", iteration=n) for n in (4, -1, 2.5, "x", None, True, 10**400)]

        assert tally(*lines).marks.iteration == 4

    def test_take_times_as_they_are_written(self) -> None:
        """With Z, with microseconds and an offset, and without a zone, which is UTC."""
        times = ["2026-11-21T00:41:35Z", "2026-11-21T01:41:35.000000+01:00", "2026-11-21T00:41:35"]

        assert {tally(line("session_start", at=at)).marks.started_s for at in times} == {START_S}


def test_overlong_lines_are_events_that_were_rejected() -> None:
    """A line too long to be looked at counts, unless it is blank."""
    sink = EventTally()
    sink.overlong_line(blank=False)
    sink.overlong_line(blank=True)

    assert (sink.totals().events, sink.totals().rejected) == (1, 1)


def test_totals_do_not_change_later() -> None:
    """A page that is being written is not changed by lines that come meanwhile."""
    sink = EventTally()
    sink.lines(line("rollback"))
    before = sink.totals()
    sink.lines(line("rollback") + line("session_start"))

    assert before == tally(line("rollback"))
