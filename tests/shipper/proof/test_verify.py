"""The comparison of what is on disk with what Loki holds."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from queried import Queried
from receiver import Answer
from shipper_world import START_S, World

from shipper.entries.sorting import Policy
from shipper.keeping import positions
from shipper.proof.book import Outcome
from shipper.proof.letters import places
from shipper.proof.loki_query import Loki
from shipper.proof.on_disk import Reading, find
from shipper.proof.verify import Comparison, Gap, Report, Window
from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl
from shipper.state import Options

HOUR_NS = 3600 * 10**9
Make = Callable[..., World]


class Verified:
    """One run of the comparison."""

    def __init__(
        self,
        world: World,
        *,
        hours: float = 24,
        letters: dict[tuple[int, int], bool] | None = None,
        resent: dict[tuple[int, int], int] | None = None,
        sources: list[Source] | None = None,
        queried: Queried | None = None,
    ) -> None:
        for path in world.logs.rglob("*"):
            os.utime(path, (START_S + world.clock.elapsed_s,) * 2)
        now_ns = world.clock.time_ns()
        found = positions.load(world.state, look_only=True).positions
        on_disk = find(found, sources or [Jsonl(f"{world.logs}/**/*.jsonl", "test", "u@h")])
        self.queried = queried or Queried(world.model)
        comparison = Comparison(
            Loki(self.queried, lambda _s: None, lambda: 0.5),
            Reading(found, None, 64 << 20, 256 << 10, now_ns),
            on_disk,
            Window(now_ns - round(hours * HOUR_NS), None, now_ns, 7 * 24 * HOUR_NS, now_ns),
            letters or {},
            resent or {},
            lambda _text: None,
        )
        self.report: Report = comparison.compare()
        self.gaps: list[Gap] = list(comparison.gaps())
        comparison.close()
        self.texts = [gap.text for gap in self.gaps]

    def count(self, outcome: Outcome) -> int:
        """Return how many lines came out so."""
        return self.report.outcomes.get(outcome, 0)


def shipped(make: Make, *lines: str, name: str = "a.jsonl", **options: object) -> World:
    """Return a world in which these lines were shipped."""
    world = make(**options)
    world.start()
    world.write(name, *lines)
    world.settle()
    return world


def forget(world: World, text: str) -> None:
    """Delete a line from Loki."""
    for kept in world.model.entries.values():
        for key in [key for key in kept if text in key[1]]:
            del kept[key]


def test_what_was_shipped_whole_has_no_gap(world: Make) -> None:
    """Lines of two files, equal ones among them."""
    made = world()
    made.start()
    lines = [made.line(f"line {n // 3}") for n in range(60)]
    made.write("a.jsonl", *lines)
    made.write("b.jsonl", *lines)
    made.settle()

    done = Verified(made)

    assert not done.gaps
    assert done.report.outcomes == {Outcome.THERE: 120}


@pytest.mark.parametrize("at", [0, 7, 29])
def test_each_planted_gap_is_found_with_file_and_offset(world: Make, at: int) -> None:
    """A line deleted from Loki: at the start, in the middle, at the end."""
    made = world()
    made.start()
    lines = [made.line(f"line <{n}>") for n in range(30)]
    path = made.write("a.jsonl", *lines)
    made.settle()
    forget(made, f"<{at}>")

    done = Verified(made)

    assert [(str(path), sum(len(line) + 1 for line in lines[:at]), lines[at])] == [
        (gap.file.path, gap.offset, gap.text) for gap in done.gaps
    ]


def test_one_of_several_equal_lines_is_missed(world: Make) -> None:
    """Five lines that are equal to the letter: four are not five."""
    made = world()
    line = made.line("equal")
    shipped(lambda **_: made, *[line] * 5)
    (kept,) = made.model.entries.values()
    del kept[sorted(kept)[2]]

    done = Verified(made)

    assert done.texts == [line]


def test_lines_that_are_not_settled_are_under_way_and_no_gap(world: Make) -> None:
    """Loki answers 500: nothing is expected of it yet."""
    made = world()
    made.start()
    made.write("a.jsonl", made.line("one"))
    made.settle()
    made.script = lambda _labels: Answer(500, "away")
    made.write("a.jsonl", made.line("two"))
    made.pump(30)

    done = Verified(made)

    assert not done.gaps
    assert done.report.under_way == 1


def test_backfilled_lines_are_recognised(world: Make) -> None:
    """Lines of another file, four hours behind: they stand under `backfill`."""
    made = world()
    made.start()
    made.write("new.jsonl", made.line("now"))
    made.settle()
    made.write("old.jsonl", made.line("old <1>", ago_s=4 * 3600), made.line("old <2>", ago_s=4 * 3600))
    made.settle()
    assert any("backfill" in dict(labels) for labels in made.model.entries)

    assert not Verified(made).gaps
    forget(made, "<1>")
    made.clock.elapsed_s += 3 * 3600
    done = Verified(made)

    assert done.count(Outcome.BACKFILLED) == 1
    assert done.report.gaps + done.count(Outcome.UNSEEN) == 1


def test_restamped_lines_are_recognised(world: Make) -> None:
    """Too old for Loki, in the future, without a time, no JSON: all in the window, none missing."""
    made = world()
    made.start()
    made.write(
        "a.jsonl",
        made.line("eight days", ago_s=8 * 86400),
        made.line("now"),
        made.line("ahead", ago_s=-3600),
        '{"text": "no time"}',
        "no json",
    )
    made.settle()
    made.clock.elapsed_s += 7200

    done = Verified(made, hours=24 * 10)

    assert not done.gaps
    assert done.count(Outcome.RESTAMPED) == 4


def test_a_missing_line_without_a_time_is_found(world: Make) -> None:
    """Two equal lines without a time, one of which is gone."""
    made = world()
    shipped(lambda **_: made, made.line("now"), '{"text": "no time"}', '{"text": "no time"}')
    kept = next(kept for labels, kept in made.model.entries.items() if "restamped" in dict(labels))
    del kept[min(kept)]

    assert Verified(made).texts == ['{"text": "no time"}']


@pytest.mark.parametrize("file", [0, 1])
def test_of_equal_lines_without_a_time_the_right_files_is_missed(world: Make, file: int) -> None:
    """Stamps tell which file an entry came from."""
    made = world()
    made.start()
    made.write("a.jsonl", made.line("now"), '{"text": "tick"}')
    made.write("b.jsonl", made.line("now"), '{"text": "tick"}')
    made.settle()
    records = positions.load(made.state, look_only=True).positions.files
    slots = {record.path: record.slot for record in records}
    path = f"{made.logs}/{'ab'[file]}.jsonl"
    kept = next(kept for labels, kept in made.model.entries.items() if "restamped" in dict(labels))
    del kept[next(key for key in kept if key[0] % 1000 == slots[path])]

    assert [gap.file.path for gap in Verified(made).gaps] == [path]


def test_dead_letters_are_no_gaps(world: Make) -> None:
    """A line that Loki refuses for good stands in the dead-letter file."""
    made = world()
    made.start()
    made.script = lambda _labels: Answer(400, "invalid")
    made.write("a.jsonl", made.line("poison"))
    made.settle()

    done = Verified(made, letters=places(made.state / "dead-letters.jsonl"))

    assert not done.gaps
    assert done.count(Outcome.DEAD) == 1


def test_all_parts_of_a_line_whose_letter_is_whole_are_no_gaps(world: Make) -> None:
    """Too old, long, and not to be re-stamped: its letter is one, its parts would be three."""
    made = world(options=Options(policy=Policy(7 * 24 * HOUR_NS, "dead-letter")))
    shipped(lambda **_: made, made.line("x" * 600_000, ago_s=30 * 86400), made.line("now"))

    done = Verified(made, hours=24 * 40, letters=places(made.state / "dead-letters.jsonl"))

    assert not done.gaps
    assert done.count(Outcome.DEAD) == 3


def test_lines_under_labels_of_an_earlier_configuration_are_found(world: Make) -> None:
    """The environment was renamed after the lines were shipped."""
    made = world()
    shipped(lambda **_: made, made.line("one"), made.line("two"))
    renamed = Jsonl(f"{made.logs}/**/*.jsonl", "renamed", "u@h")

    done = Verified(made, sources=[renamed])

    assert not done.gaps
    assert done.count(Outcome.ELSEWHERE) == 2


def test_a_line_with_another_text_at_its_nanosecond_is_told_as_altered(world: Make) -> None:
    """Masked by other rules than now."""
    made = world()
    shipped(lambda **_: made, made.line("secret one"), made.line("two"))
    (kept,) = made.model.entries.values()
    key = next(key for key in kept if "secret" in key[1])
    kept[key[0], key[1].replace("secret", "[REDACTED]")] = kept.pop(key)

    done = Verified(made)

    assert not done.gaps
    assert done.count(Outcome.ALTERED) == 1


def test_what_loki_does_not_show_yet_is_no_gap(world: Make) -> None:
    """Pushed just now, four hours old, not flushed."""
    made = world()
    shipped(
        lambda **_: made, *[made.line(f"line {n}", ago_s=4 * 3600 - n) for n in range(5)], made.line("now")
    )
    hiding = Queried(made.model)
    hiding.hidden = lambda stamp: stamp < made.clock.time_ns() - 3 * HOUR_NS

    done = Verified(made, queried=hiding)

    assert not done.gaps
    assert done.count(Outcome.UNSEEN) == 5


def test_what_was_taken_three_hours_ago_and_is_not_shown_is_a_gap(world: Make) -> None:
    """By then Loki has flushed it; the positions say when a file's lines were taken last."""
    made = world()
    shipped(lambda **_: made, *[made.line(f"line <{n}>", ago_s=4 * 3600 - n) for n in range(5)])
    forget(made, "<4>")

    assert Verified(made).count(Outcome.UNSEEN) == 1

    made.clock.elapsed_s += 3 * 3600
    made.write("b.jsonl", made.line("now"))
    made.settle()

    assert len(Verified(made).gaps) == 1


def test_an_old_gap_is_a_gap_once_later_lines_of_the_stream_are_shown(world: Make) -> None:
    """One of five lines of four hours ago is missing, the others are shown: they were flushed together."""
    made = world()
    shipped(lambda **_: made, *[made.line(f"line <{n}>", ago_s=4 * 3600 - n) for n in range(5)])
    forget(made, "<2>")

    assert len(Verified(made).gaps) == 1


def test_what_is_older_than_the_window_is_not_compared(world: Make) -> None:
    """Deleted, but of the day before yesterday."""
    made = world()
    shipped(lambda **_: made, made.line("old", ago_s=40 * 3600), made.line("now"))
    forget(made, "old")

    done = Verified(made)

    assert not done.gaps
    assert done.report.lines == 1


@pytest.mark.parametrize("silent", [False, True])
def test_large_lines_are_found_whichever_way_loki_refuses_large_answers(world: Make, *, silent: bool) -> None:
    """Forty lines of 200 KB: a 500, or a 200 that ends early and says nothing of it."""
    made = world()
    shipped(lambda **_: made, *[made.line(f"<{n}>" + "x" * 200_000) for n in range(40)])
    forget(made, "<17>")

    done = Verified(made, queried=Queried(made.model, silent=silent))

    assert [text[:80] for text in done.texts] == [text[:80] for text in done.texts if "<17>" in text]
    assert len(done.gaps) == 1


def test_a_missing_part_of_a_long_line_is_a_gap_and_its_other_parts_are_not(world: Make) -> None:
    """A line of three parts, the second of which is gone."""
    made = world()
    shipped(lambda **_: made, made.line("x" * 600_000), made.line("short"))
    (kept,) = made.model.entries.values()
    del kept[next(key for key, meta in kept.items() if meta.get("part") == "2")]

    done = Verified(made)

    assert [gap.meta and gap.meta["part"] for gap in done.gaps] == ["2"]
    assert done.count(Outcome.THERE) == 3


def test_a_line_that_went_in_other_parts_than_now_is_recognised(world: Make) -> None:
    """It was split by a lower limit, as the name of the line in its parts' metadata tells."""
    made = world(options=Options(max_entry_bytes=100_000))
    shipped(lambda **_: made, made.line("x" * 600_000), made.line("short"))
    assert sum(map(len, made.model.entries.values())) == 8

    assert not Verified(made).gaps

    (kept,) = made.model.entries.values()
    del kept[next(key for key, meta in kept.items() if meta.get("part") == "7")]

    assert Verified(made).gaps


def test_a_file_renamed_within_its_directory_is_still_compared(world: Make) -> None:
    """The pattern covers it no more; the positions know it until it is finished."""
    made = world()
    shipped(lambda **_: made, made.line("one <1>"), made.line("two"))
    made.crash()
    (made.logs / "a.jsonl").rename(made.logs / "a.jsonl.1")
    forget(made, "<1>")

    done = Verified(made)

    assert [f"{made.logs}/a.jsonl.1"] == [gap.file.path for gap in done.gaps]


def test_what_lies_in_a_backfill_stream_that_is_not_flushed_is_no_gap(world: Make) -> None:
    """Later lines of the file, as old, are shown: they went into their own stream."""
    made = world()
    made.start()
    made.write("a.jsonl", *[made.line(f"line {n}", ago_s=4 * 3600 - n) for n in range(3)])
    made.settle()
    made.write("b.jsonl", made.line("late", ago_s=6 * 3600), made.line("line 4", ago_s=4 * 3600 - 100))
    made.settle()
    hiding = Queried(made.model)
    hiding.hidden = lambda stamp: stamp < made.clock.time_ns() - 5 * HOUR_NS

    done = Verified(made, queried=hiding)

    assert not done.gaps
    assert done.count(Outcome.UNSEEN) == 1


def test_a_part_that_was_found_in_another_stream_tells_nothing_of_older_lines(world: Make) -> None:
    """Middle parts of long lines are alike: those of a recent line are none of an old one's."""
    made = world()
    made.start()
    made.write("a.jsonl", made.line("now"))
    made.settle()
    long = "x" * 700_000
    made.write(
        "b.jsonl",
        made.line("ahead", ago_s=-3600),
        *[made.line(f"now {n}", ago_s=60 - n) for n in range(20)],
        *[made.line(f"old {n}", ago_s=5 * 3600 - n) for n in range(3)],
        made.line(long, ago_s=5 * 3600 - 4),
        made.line(long, ago_s=10),
    )
    made.settle()
    hiding = Queried(made.model)
    hiding.hidden = lambda stamp: stamp < made.clock.time_ns() - 3 * HOUR_NS

    done = Verified(made, queried=hiding)

    assert not done.gaps
    assert done.count(Outcome.UNSEEN) == 6


@pytest.mark.parametrize("alike", [0, 1])
def test_a_missing_part_is_missed_though_another_has_the_same_text(world: Make, alike: int) -> None:
    """Of another line, or of the same one; all have the time of reading."""
    made = world()
    old_s = 30 * 86400
    size = (600_000, 1_000_000)[alike]
    lines = [made.line("x" * size, ago_s=old_s - n) for n in range(2 - alike)]
    shipped(lambda **_: made, *lines)
    kept = next(kept for labels, kept in made.model.entries.items() if "restamped" in dict(labels))
    gone = next(key for key, meta in sorted(kept.items()) if meta.get("part") == "2")
    line_id = kept.pop(gone)["line_id"]

    done = Verified(made, hours=24 * 40)

    assert [(gap.meta["line_id"], gap.meta["part"]) for gap in done.gaps if gap.meta] == [(line_id, "2")]


def test_a_missing_line_beside_one_that_was_shifted_is_missed(world: Make) -> None:
    """What stands at its nanosecond is its equal neighbour's text, or that of a line expected elsewhere."""
    made = world()
    shipped(lambda **_: made, made.line("one <1>"), made.line("two"))
    (kept,) = made.model.entries.values()
    first, second = sorted(kept)
    del kept[first]
    kept[first[0], second[1]] = kept.pop(second)

    assert Verified(made).texts == [first[1]]


def test_what_was_sent_again_lately_may_be_unseen(world: Make) -> None:
    """A repaired line of four hours ago is not shown before it is flushed, though all others are."""
    made = world()
    shipped(lambda **_: made, *[made.line(f"line <{n}>", ago_s=4 * 3600 - n) for n in range(5)])
    forget(made, "<2>")
    (gap,) = Verified(made).gaps
    place = gap.file.record.id, gap.offset

    done = Verified(made, resent={place: made.clock.time_ns()})

    assert (len(done.gaps), done.count(Outcome.UNSEEN)) == (0, 1)


@pytest.mark.parametrize("text", ["ahead", "no time"])
def test_lines_ahead_of_the_clock_and_those_without_a_time_after_them_are_compared(
    world: Make, text: str
) -> None:
    """A year ahead: they stand under the time of reading, and one is missing there."""
    made = world()
    made.start()
    made.write("a.jsonl", made.line("ahead", ago_s=-365 * 86400), '{"text": "no time"}')
    made.settle()
    assert not Verified(made).gaps
    forget(made, text)

    done = Verified(made)

    assert done.report.lines == 2
    assert [text in line for line in done.texts] == [True]


def test_a_source_that_is_spelt_in_another_way_is_about_the_same_files(world: Make) -> None:
    """The pattern names the directory; what no source is about is named."""
    made = world()
    shipped(lambda **_: made, made.line("one"))

    assert Verified(made, sources=[Jsonl(f"{made.logs}/*.jsonl", "test", "u@h")]).report.lines == 1

    found = positions.load(made.state, look_only=True).positions
    other = find(found, [Jsonl("/elsewhere/*.jsonl", "test", "u@h")])
    assert [record.path for record in other.uncovered] == [f"{made.logs}/a.jsonl"]
