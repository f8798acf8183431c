"""A file that has lost its path is held for an hour: whoever has it open may write into it at any time."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from typing import IO

import pytest
from shipper_world import World

from shipper.follow.held import HOLD_S
from shipper.state import Options

Make = Callable[..., World]


def texts(world: World) -> list[str]:
    """Return the `text` of each line that arrived."""
    return sorted(line.split('"text": "')[1].split('"')[0] for line in world.arrived() if '"text"' in line)


def append(file: IO[str], text: str) -> None:
    """Write into an open file, as a logger does that knows nothing of renames."""
    file.write(text)
    file.flush()


@pytest.mark.parametrize("how", ["renamed", "moved", "deleted", "directory moved", "directory deleted"])
@pytest.mark.parametrize("pause_s", [14.0, 300.0, HOLD_S - 60.0])
def test_what_is_written_long_after_a_file_lost_its_path_arrives(
    world: Make, how: str, pause_s: float
) -> None:
    """A writer that has it open does not see the rename; it may be quiet for long."""
    one = world()
    path = one.write("d/a.jsonl", one.line("a"))
    one.start()
    one.settle()
    with path.open("a") as held:
        if how == "renamed":
            path.rename(f"{path}.1")
        elif how == "moved":
            path.rename(one.root / "elsewhere")
        elif how == "deleted":
            path.unlink()
        elif how == "directory moved":
            path.parent.rename(one.root / "elsewhere")
        else:
            shutil.rmtree(path.parent)
        one.pump(pause_s)
        append(held, one.line("b") + "\n")
        one.pump(pause_s)
        append(held, one.line("c") + "\n")
        one.settle()

    assert texts(one) == ["a", "b", "c"]
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


def test_a_directory_that_goes_and_comes_back_as_a_copy_repeats_nothing(world: Make) -> None:
    """Its files are still held, and what stands at their paths now are other inodes with the same content."""
    one = world()
    path = one.write("d/a.jsonl", one.line("a"))
    one.start()
    one.settle()
    away = one.root / "elsewhere"
    path.parent.rename(away)
    one.pump(60.0)
    shutil.copytree(away, path.parent)
    one.write("d/a.jsonl", one.line("b"))
    one.settle()

    assert texts(one) == ["a", "b"]
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


def test_more_files_renamed_at_once_than_may_be_held_open_no_more_than_that(world: Make) -> None:
    """All were at rest and closed; a rotation of all of them takes no descriptor beyond the limit."""
    one = world(max_open=4)
    paths = [one.write(f"{n}.jsonl", one.line(str(n))) for n in range(20)]
    engine = one.start()
    one.settle()
    for path in paths:
        path.rename(f"{path}.1")
    one.pump(11.0)
    held = engine.files.open_count
    one.settle()

    assert held <= 4
    assert (len(one.arrived()), one.lost_bytes) == (20, 0)


def test_a_renamed_file_is_found_by_a_restart_long_after(world: Make) -> None:
    """Its record is kept as long as the file would be held: what was written meanwhile is sent, no more."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    with path.open("a") as held:
        path.rename(f"{path}.1")
        one.write("a.jsonl", one.line("new"))
        one.pump(600.0)
        one.crash()
        append(held, one.line("b") + "\n")
        one.start()
        one.settle()
        one.pump(600.0)
        append(held, one.line("c") + "\n")
        one.settle()

    assert texts(one) == ["a", "b", "c", "new"]
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


@pytest.mark.parametrize("deleted", [False, True])
def test_a_file_without_a_path_is_let_go_after_an_hour_without_growth(
    world: Make,
    deleted: bool,  # noqa: FBT001 - two cases
) -> None:
    """Neither its descriptor nor its record is kept for ever."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    engine = one.start()
    one.settle()
    path.unlink() if deleted else path.rename(f"{path}.1")
    one.pump(HOLD_S - 60.0)
    held = engine.files.open_count
    one.pump(120.0)

    assert held == 1
    assert engine.files.open_count == 0
    assert not engine.files.all
    assert not engine.files.records()


def test_a_deleted_file_that_is_settled_has_no_record(world: Make) -> None:
    """No restart could find it, and thousands of such records would be written at each save."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    engine = one.start()
    one.settle()
    with path.open("a") as held:
        path.unlink()
        one.pump(30.0)
        before = len(engine.files.records())
        append(held, one.line("b") + "\n")
        one.pump(1.5)
        after = len(engine.files.records())
        one.settle()

    assert (before, after) == (0, 1)
    assert texts(one) == ["a", "b"]


def test_what_comes_after_an_unfinished_line_that_was_sent_is_a_line_of_its_own(world: Make) -> None:
    """After ten seconds the unfinished last line of a file without a path is not waited for any more."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    with path.open("a") as held:
        append(held, "begun, ")
        path.rename(f"{path}.1")
        one.settle()
        append(held, "and ended\n" + one.line("b") + "\n")
        one.settle()

    assert sorted(one.arrived())[:2] == ["and ended", "begun, "]
    assert (texts(one), len(one.arrived())) == (["a", "b"], 4)
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


@pytest.mark.parametrize("crash", [False, True])
def test_an_unfinished_line_that_was_sent_is_read_again_as_it_was(
    world: Make,
    crash: bool,  # noqa: FBT001 - two cases
) -> None:
    """A push whose answer was lost is repeated with the same lines, though the file has grown since."""
    one = world(options=Options(batch_wait_s=1.0))
    path = one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.script = lambda _labels: "stored-reset"
    with path.open("a") as held:
        append(held, one.line("b") + "\nbegun, ")
        path.rename(f"{path}.1")
        one.pump(15.0)
        append(held, "and ended\n")
        one.pump(15.0)
        if crash:
            one.crash()
            one.script = lambda _labels: None
            one.start()
        one.script = lambda _labels: None
        one.settle()

    assert sorted(one.arrived())[:2] == ["and ended", "begun, "]
    assert len(one.arrived()) == 4
    assert one.lost_bytes == 0


def test_an_unpacked_rotation_is_not_held(world: Make) -> None:
    """Nobody writes into it, and it takes room on the disk of the state directory."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    engine = one.start()
    one.settle()
    one.crash()
    one.write("a.jsonl", one.line("b"))
    path.with_name("a.jsonl.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    engine = one.start()
    one.settle()

    assert texts(one) == ["a", "b"]
    assert engine.files.open_count == 0


def test_where_descriptors_are_short_the_longest_quiet_file_is_let_go_first(world: Make) -> None:
    """It is said, and those that are let go are those that nobody has written into for longest."""
    one = world(max_open=4)
    one.start()
    held = []
    for name in "abcd":
        path = one.write(f"{name}.jsonl", one.line(name))
        held.append(path.open("a"))
        one.pump(11.0)
        path.rename(f"{path}.1")
        one.pump(20.0)
    one.write("e.jsonl", one.line("e"))
    one.settle()
    told = [fields["path"] for event, fields in one.told if event == "held_file_let_go"]
    for file in held:
        append(file, one.line("later " + file.name[-7]) + "\n")
        file.close()
    one.settle()

    assert [path[-7] for path in told] == ["a"]
    assert texts(one) == ["a", "b", "c", "d", "e", "later b", "later c", "later d"]
    assert one.engine is not None
    assert one.engine.files.open_count <= 4


def test_files_that_are_held_cost_no_look_at_each_turn(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand turns of a second look at each of them once in ten seconds."""
    one = world()
    paths = [one.write(f"{n}.jsonl", one.line(str(n))) for n in range(20)]
    one.start()
    one.settle()
    for path in paths:
        path.rename(f"{path}.1")
    one.pump(120.0)
    looks = []
    fstat = os.fstat
    monkeypatch.setattr("shipper.follow.rotation.os.fstat", lambda fd: looks.append(fd) or fstat(fd))  # type: ignore[func-returns-value]
    one.write("busy.jsonl", one.line("busy"))
    one.pump(100.0)

    assert len(looks) <= 20 * 13


def test_a_new_file_that_begins_like_one_deleted_long_ago_is_read_whole(world: Make) -> None:
    """Only what was deleted a moment ago can have a copy that goes on in its place."""
    one = world()
    first = one.line("head")
    path = one.write("a.jsonl", first)
    one.start()
    one.settle()
    path.unlink()
    one.pump(60.0)
    one.write("a.jsonl", first, one.line("b"))
    one.settle()

    assert texts(one) == ["b", "head", "head"]


def test_catching_up_does_not_wait_for_the_hour(world: Make) -> None:
    """`run --once` ends as soon as all that is there was sent."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    engine = one.start()
    one.settle()
    path.rename(f"{path}.1")
    begun_s = one.clock.elapsed_s
    one.settle()

    assert one.clock.elapsed_s - begun_s < 30.0
    assert engine.caught_up


def test_an_unfinished_line_is_not_sent_before_its_end_is_saved(world: Make) -> None:
    """Else a restart would read more of it, and Loki would hold the half and the whole."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.write("a.jsonl", one.line("half"), end=b"")
    path.rename(f"{path}.1")
    one.pump(5.0)
    one.saver.problem = "the disk is full"
    one.pump(25.0)
    before = texts(one)
    one.saver.problem = ""
    one.settle()

    assert before == ["a"]
    assert texts(one) == ["a", "half"]
