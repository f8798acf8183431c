"""What was moved to another directory, or packed member by member, while the shipper was down goes on."""

from __future__ import annotations

import gzip
import os
import pathlib
import shutil
from collections.abc import Callable

import pytest
from shipper_world import World

from shipper.follow import identity, tree
from shipper.follow.known import Known
from shipper.follow.search import Search
from shipper.keeping import positions
from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl
from shipper.sources.loki_mode import LokiMode
from shipper.state import Options

Make = Callable[..., World]
LONG = "x" * 100


def texts(world: World) -> list[str]:
    """Return the `text` of each line that arrived."""
    return sorted(line.split('"text": "')[1].split('"')[0] for line in world.arrived())


def lines(world: World, first: int, last: int) -> list[str]:
    """Return lines numbered so, long enough that a dozen of them fill the fingerprint's head."""
    return [world.line(f"{number:03}", pad=LONG) for number in range(first, last)]


def numbers(last: int) -> list[str]:
    """Return the texts of the lines from 0."""
    return [f"{number:03}" for number in range(last)]


def loki_mode(logs: pathlib.Path) -> list[Source]:
    """Return the source of all projects."""
    return [LokiMode(f"{logs}/*/.loki", "test", "u@h")]


def saved(world: World) -> list[positions.FileRecord]:
    """Return the records on disk."""
    return positions.load(world.state, look_only=True).positions.files


def move(old: pathlib.Path, new: pathlib.Path) -> None:
    """Rename into a directory that is made for it."""
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)


def test_a_file_moved_to_another_directory_while_down_goes_on_there(world: Make) -> None:
    """What logrotate's `olddir` does: nothing is sent again, and what is new in both files arrives."""
    one = world()
    path = one.write("a.jsonl", *lines(one, 0, 30))
    one.start()
    one.settle()
    one.crash()
    one.write("a.jsonl", *lines(one, 30, 40))
    move(path, one.logs / "2026/a.jsonl")
    one.write("a.jsonl", *lines(one, 40, 45))
    one.start()
    one.settle()
    one.write("2026/a.jsonl", *lines(one, 45, 50))
    one.settle()

    assert texts(one) == numbers(50)
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


def test_a_project_renamed_while_down_is_not_sent_again_and_keeps_its_labels(world: Make) -> None:
    """What Loki may hold never changes its stream: its project is the one it had."""
    one = world(sources=loki_mode)
    one.write("app/.loki/events.jsonl", *lines(one, 0, 3))
    one.start()
    one.settle()
    before = one.streams()
    one.crash()
    (one.logs / "app").rename(one.logs / "app2")
    one.start()
    one.settle()
    one.write("app2/.loki/events.jsonl", *lines(one, 3, 4))
    one.settle()
    one.crash()
    one.start()
    one.settle()

    assert texts(one) == numbers(4)
    assert one.streams().keys() == before.keys()
    assert one.model.repeats == 0
    assert [record.path for record in saved(one)] == [f"{one.logs}/app2/.loki/events.jsonl"]


def test_a_project_renamed_after_its_records_came_to_rest_goes_on(world: Make) -> None:
    """It was away from the watched tree for longer than it was held, and comes back under another name."""
    one = world(sources=loki_mode, max_open=1)
    one.write("app/.loki/events.jsonl", *lines(one, 0, 3))
    one.write("b/.loki/events.jsonl", *lines(one, 3, 4))
    one.start()
    one.settle()
    (one.logs / "app").rename(one.root / "away")
    one.pump(8000.0)
    resting = [record.path for record in saved(one) if record.resting_since_s]
    (one.root / "away").rename(one.logs / "app2")
    one.write("app2/.loki/events.jsonl", *lines(one, 4, 5))
    one.settle()

    assert resting == [f"{one.logs}/app/.loki/events.jsonl"]
    assert texts(one) == numbers(5)
    assert one.model.repeats == 0


def test_what_was_unsettled_in_a_moved_file_is_sent_from_its_new_place(world: Make) -> None:
    """The push had no answer when the shipper died."""
    one = world(options=Options(window_entries=20))
    one.script = lambda _labels: "reset"
    path = one.write("a.jsonl", *lines(one, 0, 100))
    one.start()
    one.pump(30.0)
    one.crash()
    move(path, one.logs / "sub/b.jsonl")
    one.script = lambda _labels: None
    one.start()
    one.settle()

    assert texts(one) == numbers(100)
    assert one.lost_bytes == 0


def test_a_file_moved_to_another_filesystem_while_down_goes_on_there(world: Make) -> None:
    """It is another inode; its content, a whole head of it, says what it is."""
    one = world()
    path = one.write("a.jsonl", *lines(one, 0, 30))
    one.start()
    one.settle()
    one.crash()
    (one.logs / "far").mkdir()
    shutil.copyfile(path, one.logs / "far/a.jsonl")
    path.unlink()
    one.write("far/a.jsonl", *lines(one, 30, 40))
    one.start()
    one.settle()

    assert texts(one) == numbers(40)
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


def test_a_short_file_that_begins_like_a_missing_one_elsewhere_is_a_file_of_its_own(world: Make) -> None:
    """Many files begin with the same line: what is so little proves nothing in another directory."""
    one = world()
    begin = one.line("begin")
    path = one.write("a.jsonl", begin)
    one.start()
    one.settle()
    one.crash()
    one.write("sub/b.jsonl", begin, one.line("more"))
    path.unlink()
    one.start()
    one.settle()

    assert texts(one) == ["begin", "begin", "more"]


def test_another_content_in_the_inode_of_a_missing_file_is_a_file_of_its_own(world: Make) -> None:
    """Inodes are given again."""
    one = world()
    path = one.write("a.jsonl", *lines(one, 0, 5))
    one.start()
    one.settle()
    one.crash()
    os.truncate(path, 0)
    one.write("a.jsonl", *lines(one, 5, 15))
    move(path, one.logs / "sub/b.jsonl")
    one.start()
    one.settle()

    assert texts(one) == numbers(15)


def test_a_moved_file_is_not_taken_over_by_another_kind_of_source(world: Make) -> None:
    """It would go on with labels of another kind; there it is a file of its own."""
    one = world()
    one.make_sources = lambda logs: [
        LokiMode(f"{logs}/p/.loki", "test", "u@h"),
        Jsonl(f"{logs}/j/*.jsonl", "test", "u@h"),
    ]
    path = one.write("p/.loki/events.jsonl", *lines(one, 0, 3))
    one.start()
    one.settle()
    one.crash()
    move(path, one.logs / "j/events.jsonl")
    one.start()
    one.settle()

    assert texts(one) == sorted(numbers(3) * 2)
    assert len({dict(labels)["app"] for labels in one.model.entries}) == 2


@pytest.mark.parametrize("cut", [1, 500])
def test_a_packed_file_of_several_members_is_found_and_read_on(world: Make, cut: int) -> None:
    """What `gzip -c >>`, bgzip and `cat a.gz b.gz` leave is one content."""
    one = world()
    path = one.write("a.jsonl", *lines(one, 0, 20))
    one.start()
    one.settle()
    one.crash()
    one.write("a.jsonl", *lines(one, 20, 40))
    content = path.read_bytes()
    members = gzip.compress(b"") + gzip.compress(content[:cut]) + gzip.compress(content[cut:])
    (one.logs / "a.jsonl.1.gz").write_bytes(members)
    path.unlink()
    one.write("a.jsonl", *lines(one, 40, 45))
    one.start()
    one.settle()

    assert texts(one) == numbers(45)
    assert one.lost_bytes == 0


def test_many_files_moved_while_down_are_sought_in_a_directory_that_is_read_once(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand of them among a thousand new ones would otherwise be a million files opened."""
    one = world()
    count = 60
    paths = [one.write(f"{number:03}.jsonl", *lines(one, number, number + 1)) for number in range(count)]
    one.start()
    one.settle()
    one.crash()
    for path in paths:
        move(path, one.logs / "2026" / path.name)
        one.write(path.name, *lines(one, count, count + 1))
    opened = []

    def open_regular(path: str, root: str) -> int:
        opened.append(path)
        return tree.open_regular(path, root)

    monkeypatch.setattr("shipper.follow.search.open_regular", open_regular)
    one.start()
    one.settle()

    assert len(texts(one)) == 2 * count
    assert len(opened) <= 5 * count


@pytest.mark.parametrize("again", [False, True])
def test_what_comes_into_a_directory_between_two_searches_is_found(world: Make, again: bool) -> None:  # noqa: FBT001 - two cases
    """What was listed is not listed again within a turn, unless a name has come or gone."""
    one = world()
    path = one.write("a.jsonl", *lines(one, 0, 20))
    search = Search(Known(), one.tell, None)
    wanted = identity.fingerprint(path.read_bytes(), 100, path.read_bytes()[:100])
    path.rename(one.root / "away")
    assert search.beside(str(path), wanted) is None
    os.utime(one.logs, ns=(0, 0))
    search.begin_turn()
    assert search.beside(str(path), wanted) is None
    (one.root / "away").rename(one.logs / "b.jsonl")
    if again:
        search.begin_turn()
    found = search.beside(str(path), wanted)

    assert found is not None
    os.close(found.fd)
    assert found.path == f"{one.logs}/b.jsonl"


@pytest.mark.parametrize("held", [512, 1])
def test_a_file_moved_to_another_directory_while_it_runs_goes_on_there(world: Make, held: int) -> None:
    """Whether it is held open, or was closed for others."""
    one = world(max_open=held)
    path = one.write("a.jsonl", *lines(one, 0, 30))
    one.start()
    one.settle()
    one.write("c.jsonl", *lines(one, 30, 35))
    one.settle()
    move(path, one.logs / "z/2026/a.jsonl")
    one.write("a.jsonl", *lines(one, 35, 40))
    one.settle()

    assert texts(one) == numbers(40)
    assert (one.model.repeats, one.lost_bytes) == (0, 0)


def test_what_was_unread_of_a_file_that_is_nowhere_is_lost_before_all_is_said_to_be_done(world: Make) -> None:
    """It was not held when it was deleted; it might have been moved, until everything was looked at."""
    one = world(max_open=1, options=Options(window_entries=10))
    one.script = lambda _labels: "hang"
    for number in range(3):
        one.write(f"{number}.jsonl", *lines(one, 30 * number, 30 * number + 30))
    engine = one.start()
    one.pump(1.0)
    gone = next(t for t in engine.files.all.values() if t.fd < 0 and not t.read)
    pathlib.Path(gone.path).unlink()
    one.pump(9.5)
    one.script = lambda _labels: None
    while not engine.caught_up:
        one.pump(0.1)

    assert len(texts(one)) == 60
    assert one.lost_bytes == gone.size


def test_nothing_is_caught_up_while_a_file_that_was_not_held_is_missing(world: Make) -> None:
    """The look at everything that finds it, or counts what it had as lost, is still to come."""
    one = world(max_open=1)
    path = one.write("a.jsonl", *lines(one, 0, 3))
    one.write("b.jsonl", *lines(one, 3, 6))
    engine = one.start()
    one.settle()
    one.write("b.jsonl", *lines(one, 6, 7))
    one.settle()
    assert engine.caught_up
    path.unlink()
    one.pump(10.0)
    missing = bool(engine.files.missing)
    before = engine.caught_up
    one.pump(11.0)

    assert (missing, before) == (True, False)
    assert engine.caught_up
    assert not engine.files.missing


def test_nothing_is_caught_up_while_the_last_line_of_a_renamed_file_waits_for_its_end(world: Make) -> None:
    """It is sent after ten seconds without growth, and nobody is told before that all was sent."""
    one = world()
    path = one.write("a.jsonl", *lines(one, 0, 3))
    engine = one.start()
    one.settle()
    one.write("a.jsonl", *lines(one, 3, 4), end=b"")
    path.rename(f"{path}.1")
    engine.files.rescan(one.clock.monotonic(), 1)
    one.pump(1.0)
    before = engine.caught_up
    while not engine.caught_up:
        one.pump(0.1)

    assert not before
    assert texts(one) == numbers(4)
