"""What is known of a file outlives its source's spelling, its source, and the directory it stands in."""

from __future__ import annotations

import errno
import os
import pathlib
from collections.abc import Callable

import pytest
from shipper_world import START_S, World

from shipper.keeping import positions
from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl
from shipper.sources.loki_mode import LokiMode
from shipper.state import Options

Make = Callable[..., World]
DAY_S = 24 * 3600.0


def texts(world: World) -> list[str]:
    """Return the `text` of each line that arrived."""
    return sorted(line.split('"text": "')[1].split('"')[0] for line in world.arrived())


def globs(*patterns: str) -> Callable[[pathlib.Path], list[Source]]:
    """Return what makes a source for each pattern below the logs."""
    return lambda logs: [Jsonl(f"{logs}/{pattern}", "test", "u@h") for pattern in patterns]


def saved(world: World) -> list[positions.FileRecord]:
    """Return the records on disk."""
    return positions.load(world.state, look_only=True).positions.files


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what takes the rights to paths that start so away, root's too; "" gives them back."""
    refused = [""]

    def guarded(call: Callable[..., object]) -> Callable[..., object]:
        def guard(path: object, *arguments: object, **named: object) -> object:
            if refused[0] and str(path).startswith(refused[0]):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *arguments, **named)

        return guard

    for name in ("open", "scandir", "lstat"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    return lambda start: refused.__setitem__(0, start)


@pytest.mark.parametrize("spelling", ["sub/*.jsonl", "sub//*.jsonl", "./sub/a.jsonl", "**/*.jsonl", "*/a*"])
def test_a_source_spelt_in_another_way_goes_on_where_it_was(world: Make, spelling: str) -> None:
    """It is the same file for the same kind of source, whichever pattern covers it."""
    one = world(sources=globs("sub/*.jsonl"))
    one.write("sub/a.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.crash()
    one.make_sources = globs(spelling)
    one.write("sub/a.jsonl", one.line("b"))
    one.start()
    one.settle()

    assert texts(one) == ["a", "b"]
    assert one.model.repeats == 0
    assert one.meter.counts["read_bytes", ""] == (one.logs / "sub/a.jsonl").stat().st_size


def test_a_renamed_file_is_found_by_its_directory_under_another_spelling(world: Make) -> None:
    """The pattern does not cover the name it has now, but its directory."""
    one = world(sources=lambda logs: [LokiMode(f"{logs}/p/.loki", "test", "u@h")])
    path = one.write("p/.loki/events.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.write("p/.loki/events.jsonl", one.line("b"))
    path.rename(f"{path}.1")
    one.crash()
    one.make_sources = lambda logs: [LokiMode(f"{logs}/p/../p/.loki/", "test", "u@h")]
    one.start()
    one.settle()

    assert texts(one) == ["a", "b"]
    assert one.lost_bytes == 0


def test_a_source_that_is_missing_at_one_start_goes_on_at_the_next(world: Make) -> None:
    """Its records are kept, through saves and starts, and nothing of it is called lost."""
    one = world(sources=globs("x/*.jsonl", "y/*.jsonl"))
    one.write("x/a.jsonl", one.line("a"))
    one.write("y/b.jsonl", one.line("b"))
    one.start()
    one.settle()
    one.crash()
    one.write("y/b.jsonl", one.line("c"))
    one.make_sources = globs("x/*.jsonl")
    for _ in range(3):
        one.write("x/a.jsonl", one.line("x"))
        one.start()
        one.settle()
        one.crash()
    kept = [record.path for record in saved(one)]
    one.make_sources = globs("x/*.jsonl", "y/*.jsonl")
    one.start()
    one.settle()

    assert texts(one) == ["a", "b", "c", "x", "x", "x"]
    assert len(kept) == 2
    assert (one.model.repeats, one.lost_bytes) == (0, 0)
    assert all(not record.resting_since_s for record in saved(one))


def test_a_source_that_covers_less_for_a_while_neither_reads_nor_forgets_the_rest(world: Make) -> None:
    """A file that stands where it stood, and is covered no more, is no renamed one."""
    one = world(sources=globs("*.jsonl"))
    one.write("a.jsonl", one.line("a"))
    one.write("b.jsonl", one.line("b"))
    one.start()
    one.settle()
    one.crash()
    one.write("b.jsonl", one.line("c"))
    one.make_sources = globs("a.jsonl")
    one.start()
    one.settle()
    before = texts(one)
    one.crash()
    one.make_sources = globs("*.jsonl")
    one.start()
    one.settle()

    assert (before, texts(one)) == (["a", "b"], ["a", "b", "c"])
    assert one.model.repeats == 0


def test_another_kind_of_source_does_not_take_over_a_record(world: Make) -> None:
    """It would give the lines other labels; the record waits for its own kind."""
    one = world(sources=globs("p/.loki/events.jsonl"))
    one.write("p/.loki/events.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.crash()
    one.make_sources = lambda logs: [LokiMode(f"{logs}/p/.loki", "test", "u@h")]
    one.start()
    one.settle()

    assert texts(one) == ["a", "a"]
    assert len({dict(labels)["app"] for labels in one.model.entries}) == 2


@pytest.mark.parametrize("what", ["x", "x/a.jsonl"])
@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("max_open", [512, 1])
def test_what_cannot_be_read_for_a_while_goes_on_where_it_was(
    world: Make,
    locked: Callable[[str], None],
    what: str,
    running: bool,  # noqa: FBT001 - two cases
    max_open: int,
) -> None:
    """A mistake of rights, mended an hour later, repeats nothing; and unread bytes are not lost."""
    one = world(max_open=max_open)
    one.write("x/a.jsonl", one.line("a"))
    one.write("y/b.jsonl", one.line("b"))
    one.start()
    one.settle()
    if not running:
        one.crash()
    one.write("x/a.jsonl", one.line("c"))
    locked(f"{one.logs}/{what}")
    if not running:
        one.start()
    one.pump(3600.0)
    before = texts(one)
    locked("")
    one.settle()

    held = running and max_open > 1
    assert (before, texts(one)) == (["a", "b", "c"] if held else ["a", "b"], ["a", "b", "c"])
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("max_open", [512, 1])
def test_a_directory_that_goes_and_comes_back_repeats_nothing(
    world: Make,
    running: bool,  # noqa: FBT001 - two cases
    max_open: int,
) -> None:
    """An unmounted disk: at a start, or while it runs, with descriptors held or not."""
    one = world(max_open=max_open)
    for name in "abc":
        one.write(f"disk/{name}.jsonl", one.line(name))
    one.start()
    one.settle()
    away = one.root / "unmounted"
    if running:
        (one.logs / "disk").rename(away)
        one.settle()
    else:
        one.crash()
        (one.logs / "disk").rename(away)
        one.start()
        one.settle()
    away.rename(one.logs / "disk")
    for name in "abc":
        one.write(f"disk/{name}.jsonl", one.line(f"{name}2"))
    one.settle()

    assert texts(one) == ["a", "a2", "b", "b2", "c", "c2"]
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


def test_a_file_that_was_cut_just_before_its_directory_went_is_not_sent_again(world: Make) -> None:
    """The cut is noticed while it is away; what was written after it is another file, which is away too."""
    one = world()
    path = one.write("disk/a.jsonl", one.line("a"), one.line("b"))
    one.start()
    one.settle()
    os.truncate(path, 0)
    one.write("disk/a.jsonl", one.line("c"))
    away = one.root / "unmounted"
    (one.logs / "disk").rename(away)
    one.pump(40.0)
    away.rename(one.logs / "disk")
    one.write("disk/a.jsonl", one.line("d"))
    one.settle()

    assert texts(one) == ["a", "b", "c", "d"]
    assert one.model.repeats == 0


def test_a_file_copied_and_deleted_once_its_directory_is_back_goes_on_in_the_copy(world: Make) -> None:
    """It was held all the time, and not seen at its path in between."""
    one = world()
    path = one.write("disk/a.jsonl", one.line("a"))
    one.start()
    one.settle()
    away = one.root / "unmounted"
    (one.logs / "disk").rename(away)
    one.pump(11.0)
    away.rename(one.logs / "disk")
    path.rename(path.with_name("b"))
    path.with_name("b.jsonl").write_bytes(path.with_name("b").read_bytes())
    path.with_name("b").unlink()
    one.settle()

    assert texts(one) == ["a"]


def test_unsettled_lines_of_a_directory_that_went_are_sent_when_it_is_back(world: Make) -> None:
    """A stream was refused when the disk went: what must be read again is still known."""
    one = world(max_open=1, options=Options(window_entries=20))
    one.script = lambda _labels: "reset"
    one.write("disk/a.jsonl", *(one.line(f"{n:03}") for n in range(100)))
    one.start()
    one.pump(30.0)
    one.crash()
    away = one.root / "unmounted"
    (one.logs / "disk").rename(away)
    one.start()
    one.pump(30.0)
    away.rename(one.logs / "disk")
    one.script = lambda _labels: None
    one.settle()

    assert texts(one) == [f"{n:03}" for n in range(100)]
    assert one.lost_bytes == 0


def test_an_empty_directory_in_the_place_of_a_mounted_one_is_not_where_the_files_were(world: Make) -> None:
    """What is left when a disk is unmounted: nothing, on another device."""
    one = world()
    one.write("disk/a.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.write("disk/a.jsonl", one.line("b"))
    one.crash()
    # The record as it would be had the file stood on another device than its directory's place.
    found = positions.load(one.state).positions
    found.files[0].dev += 1
    positions.save(one.state, positions.encode(found), sync=lambda _fd: None)
    away = one.root / "a.jsonl"
    (one.logs / "disk/a.jsonl").rename(away)
    one.start()
    one.settle()
    away.rename(one.logs / "disk/a.jsonl")
    one.settle()

    assert texts(one) == ["a", "b"]
    assert one.lost_bytes == 0


def test_what_is_missing_in_a_directory_that_can_be_listed_is_lost_and_said(world: Make) -> None:
    """Nothing is kept for a file that was deleted."""
    one = world(options=Options(window_entries=1))
    one.script = lambda _labels: "hang"
    path = one.write("a.jsonl", *(one.line(f"{n:04}", pad="x" * 1000) for n in range(600)))
    one.write("b.jsonl", one.line("b"))
    one.start()
    one.pump(1.0)
    one.crash()
    path.unlink()
    one.start()
    one.pump(1.0)

    assert one.lost_bytes > 0
    assert not [record for record in saved(one) if record.path == str(path)]


def test_a_record_that_nothing_covers_is_forgotten_after_a_fortnight(world: Make) -> None:
    """Not before, and it is said."""
    one = world(sources=globs("x/*.jsonl", "y/*.jsonl"))
    one.write("y/b.jsonl", one.line("b"))
    one.start()
    one.settle()
    one.crash()
    one.make_sources = globs("x/*.jsonl")
    one.start()
    one.pump(20.0)
    one.clock.elapsed_s += 13 * DAY_S
    one.pump(20.0)
    before = len(saved(one))
    one.clock.elapsed_s += 2 * DAY_S
    one.pump(20.0)

    assert (before, len(saved(one))) == (1, 0)
    assert "records_forgotten" in [event for event, _ in one.told]


def test_records_at_rest_are_bounded_in_number_and_the_oldest_go_first(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand directories that come and go must not fill the positions."""
    monkeypatch.setattr("shipper.follow.resting.MOST", 3)
    one = world(sources=globs("*/*.jsonl"))
    for number in range(5):
        one.write(f"{number}/a.jsonl", one.line(f"{number}"))
        one.start()
        one.settle()
        (one.logs / f"{number}").rename(one.root / f"{number}")
        one.settle()
        one.clock.elapsed_s += 60.0
        one.crash()
    one.start()
    one.settle()

    assert sorted(pathlib.Path(record.path).parent.name for record in saved(one)) == ["2", "3", "4"]


def test_positions_of_before_are_read_and_what_rests_in_them_gets_its_time(world: Make) -> None:
    """The field is new: a record without it was in use."""
    record = positions.FileRecord(1, "jsonl=/elsewhere/*", "/elsewhere/a", 2, 3, 4, 5, "h", 6, "t", [0] * 8)
    one = world()
    positions.save(one.state, positions.encode(positions.Positions(files=[record])), sync=lambda _fd: None)
    one.start()
    one.settle()

    (kept,) = saved(one)
    assert kept.resting_since_s == START_S
    kept.resting_since_s = 0
    assert kept == record
