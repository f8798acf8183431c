"""Copies that come while the shipper runs: one file that goes on, or two."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable

import pytest
from shipper_world import World

from shipper.follow.phase import Phase
from shipper.state import Options

Make = Callable[..., World]


def texts(world: World) -> list[str]:
    """Return the `text` of each line that arrived."""
    return sorted(line.split('"text": "')[1].split('"')[0] for line in world.arrived())


def rewritten(path: pathlib.Path, *more: str, beside: str = ".tmp") -> None:
    """Write a file's content and more beside it, and move that into its place."""
    other = path.with_name(path.name + beside)
    other.write_bytes(path.read_bytes() + "".join(f"{line}\n" for line in more).encode())
    other.rename(path)


@pytest.mark.parametrize("pause_s", [0.0, 0.5, 9.0])
@pytest.mark.parametrize("max_open", [512, 1])
def test_a_covered_copy_of_a_file_that_is_cut_is_not_sent_again(
    world: Make, pause_s: float, max_open: int
) -> None:
    """Copytruncate under a name that the pattern covers: the copy is the old file, the cut one is new."""
    one = world(max_open=max_open)
    path = one.write("a.jsonl", one.line("a"), one.line("b"))
    one.write("z.jsonl", one.line("z"))
    one.start()
    one.settle()
    one.write("a.jsonl", one.line("c"))
    shutil.copyfile(path, path.with_name("a-1.jsonl"))
    one.pump(pause_s)
    os.truncate(path, 0)
    one.write("a.jsonl", one.line("d"))
    one.settle()
    one.write("a.jsonl", one.line("e"))
    one.settle()

    assert texts(one) == ["a", "b", "c", "d", "e", "z"]
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


def test_a_copy_seen_while_it_is_being_made_waits_for_its_end(world: Make) -> None:
    """A large file takes a while to copy; what is there of the copy is the original's beginning."""
    one = world()
    path = one.write("a.jsonl", *(one.line(f"{n:03}", pad="x" * 500) for n in range(100)))
    one.start()
    one.settle()
    data = path.read_bytes()
    copy = path.with_name("a-1.jsonl")
    for end in range(0, len(data), 9000):
        copy.write_bytes(data[:end])
        one.pump(11.0)
    copy.write_bytes(data)
    one.pump(3.0)
    os.truncate(path, 0)
    one.write("a.jsonl", one.line("new"))
    one.settle()

    assert texts(one) == [*(f"{n:03}" for n in range(100)), "new"]
    assert one.model.repeats == 0


@pytest.mark.parametrize("beside", [".tmp", ".jsonl"])
@pytest.mark.parametrize("pause_s", [0.0, 0.5, 30.0])
@pytest.mark.parametrize("max_open", [512, 1])
def test_a_file_rewritten_beside_and_moved_into_its_place_goes_on(
    world: Make, beside: str, pause_s: float, max_open: int
) -> None:
    """The content is known, the inode is not; covered while it lay beside or not."""
    one = world(max_open=max_open)
    path = one.write("a.jsonl", one.line("a"))
    one.write("z.jsonl", one.line("z"))
    one.start()
    one.settle()
    rewritten(path, one.line("b"), beside=beside)
    one.pump(pause_s)
    one.write("a.jsonl", one.line("c"))
    one.settle()

    assert texts(one) == ["a", "b", "c", "z"]
    assert (one.model.repeats, one.lost_bytes) == (0, 0)
    assert one.engine is not None
    assert sum(t.phase is Phase.FOLLOWING for t in one.engine.files.all.values()) == 2


def test_a_rewritten_file_goes_on_within_the_line_that_is_being_written(world: Make) -> None:
    """An unfinished line is neither sent by half nor twice."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    whole = one.line("b") + "\n"
    one.write("a.jsonl", whole[:20], end=b"")
    one.start()
    one.settle()
    rewritten(path)
    one.pump(12.0)
    one.write("a.jsonl", whole[20:], end=b"")
    one.settle()

    assert texts(one) == ["a", "b"]


@pytest.mark.parametrize("pause_s", [1.0, 11.0])
def test_what_is_still_written_into_the_file_that_was_moved_over_arrives_too(
    world: Make, pause_s: float
) -> None:
    """A writer that holds it open does not know that its file was rewritten beside."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    with path.open("a") as held:
        rewritten(path, one.line("b"))
        one.pump(pause_s)
        held.write(one.line("c") + "\n")
        held.flush()
        one.settle()

    assert texts(one) == ["a", "b", "c"]
    assert one.model.repeats == 0


def test_a_file_rewritten_while_lines_are_unsent_sends_each_once(world: Make) -> None:
    """What was not read yet is read in the new one, from where the old one was."""
    one = world(options=Options(window_entries=5))
    one.script = lambda _labels: "hang"
    path = one.write("a.jsonl", *(one.line(f"{n:03}", pad="x" * 1000) for n in range(600)))
    one.start()
    one.pump(5.0)
    rewritten(path, one.line("600"))
    one.pump(20.0)
    one.script = lambda _labels: None
    one.settle()

    assert texts(one) == [f"{n:03}" for n in range(601)]
    assert one.lost_bytes == 0


def test_a_file_rewritten_again_and_again_sends_each_line_once(world: Make) -> None:
    """Each copy goes on with the file before it, not with what is left of the one before that."""
    one = world()
    path = one.write("a.jsonl", one.line("0"))
    one.start()
    one.settle()
    for number in range(1, 6):
        one.write("a.jsonl", one.line(f"{number}"))
        rewritten(path)
        one.pump(number * 2.5)
    one.settle()

    assert texts(one) == [f"{number}" for number in range(6)]
    assert one.model.repeats == 0


def test_a_file_rewritten_before_any_of_it_was_read_is_sent_once(world: Make) -> None:
    """It was opened, and the window was full."""
    one = world(options=Options(window_entries=1))
    one.script = lambda _labels: "hang"
    one.write("a.jsonl", one.line("a", ago_s=60.0))
    path = one.write("b.jsonl", one.line("b"))
    one.start()
    one.pump(11.0)
    rewritten(path)
    one.pump(11.0)
    one.script = lambda _labels: None
    one.settle()

    assert texts(one) == ["a", "b"]


def test_a_file_that_was_empty_and_is_copied_and_deleted_with_its_first_line_sends_it_once(
    world: Make,
) -> None:
    """It was open, and nothing was known of its content yet."""
    one = world()
    path = one.logs / "a.jsonl"
    path.touch()
    one.start()
    one.pump(11.0)
    one.write("a.jsonl", one.line("a"))
    shutil.copyfile(path, path.with_name("b.jsonl"))
    path.unlink()
    one.settle()

    assert texts(one) == ["a"]


@pytest.mark.parametrize("pause_s", [0.0, 0.5, 9.0])
def test_a_file_copied_and_deleted_goes_on_in_the_copy(world: Make, pause_s: float) -> None:
    """As a rename across file systems does it."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    shutil.copyfile(path, path.with_name("b.jsonl"))
    one.pump(pause_s)
    path.unlink()
    one.write("b.jsonl", one.line("b"))
    one.settle()

    assert texts(one) == ["a", "b"]
    assert one.model.repeats == 0


def test_a_copy_of_a_file_that_stays_is_a_file_of_its_own(world: Make) -> None:
    """Both may grow: it is sent whole, after it was waited for the original to be cut or deleted."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    shutil.copyfile(path, path.with_name("b.jsonl"))
    one.pump(21.0)
    before = texts(one)
    one.pump(5.0)
    one.write("a.jsonl", one.line("c"))
    one.write("b.jsonl", one.line("d"))
    one.settle()

    assert "a" in before
    assert texts(one) == ["a", "a", "c", "d"]


def test_a_copy_that_waits_when_the_shipper_is_killed_is_judged_anew(world: Make) -> None:
    """The original is cut while it is down: the copy is found by its content."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    shutil.copyfile(path, path.with_name("b.jsonl"))
    one.pump(11.0)
    one.crash()
    os.truncate(path, 0)
    one.write("a.jsonl", one.line("c"))
    one.start()
    one.settle()

    assert texts(one) == ["a", "c"]


def test_a_new_file_that_only_begins_alike_is_read_at_once(world: Make) -> None:
    """The same first kilobyte is no likeness when the bytes before the position are others."""
    one = world()
    first = one.line("first", pad="x" * 1100)
    one.write("a.jsonl", first, one.line("a"))
    one.start()
    one.settle()
    one.write("b.jsonl", first, one.line("bb"))
    one.pump(11.0)
    one.pump(6.0)

    assert texts(one) == ["a", "bb", "first", "first"]


def test_a_file_made_anew_with_the_same_first_line_after_a_rename_is_read_whole(world: Make) -> None:
    """Rotation by rename, with a header that never changes: the old file still is somewhere."""
    one = world()
    path = one.write("a.jsonl", '{"text": "header"}')
    one.start()
    one.settle()
    path.rename(one.root / "a.1")
    one.write("a.jsonl", '{"text": "header"}', one.line("a"))
    one.settle()

    assert texts(one) == ["a", "header", "header"]


def test_a_renamed_file_whose_lines_cannot_be_sent_does_not_keep_the_shipper_busy(world: Make) -> None:
    """It is quiet, and what it waits for is an answer: no turn is due because of it."""
    one = world()
    one.script = lambda _labels: "hang"
    path = one.write("a.jsonl", one.line("a"))
    engine = one.start()
    one.pump(11.0)
    path.rename(one.root / "elsewhere")
    one.pump(30.0)

    assert engine.pump() > 0.1


@pytest.mark.parametrize("backup", ["a.bak", "a-1.jsonl"])
@pytest.mark.parametrize("counts", [(3, 4, 5), (5, 4, 3), (2, 2, 2)])
@pytest.mark.parametrize("pause_s", [0.0, 0.5, 9.0])
@pytest.mark.parametrize("max_open", [512, 1])
@pytest.mark.parametrize("down", [False, True])
def test_a_copy_made_over_the_one_before_is_not_sent_again(
    world: Make, backup: str, counts: tuple[int, ...], pause_s: float, max_open: int, *, down: bool
) -> None:
    """`cp a.jsonl a.bak; : > a.jsonl`, again and again: the backup holds another content each time."""
    one = world(max_open=max_open)
    path = one.write("a.jsonl")
    one.start()
    names = iter(f"{number:02}" for number in range(99))
    for count in counts:
        one.write("a.jsonl", *(one.line(next(names)) for _ in range(count)))
        one.settle()
        if down:
            one.crash()
        shutil.copyfile(path, path.with_name(backup))
        if not down:
            one.pump(pause_s)
        os.truncate(path, 0)
        if down:
            one.start()
    one.write("a.jsonl", one.line("last"))
    one.settle()

    assert texts(one) == [*(f"{number:02}" for number in range(sum(counts))), "last"]
    assert (one.model.repeats, one.lost_bytes) == (0, 0)
