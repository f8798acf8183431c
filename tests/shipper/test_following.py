"""Following files through everything that loggers, administrators and attackers do to them."""

from __future__ import annotations

import gzip
import os
import pathlib
import shutil
from collections.abc import Callable

import pytest
from shipper_world import World

from shipper.follow.phase import TABLE, Happening, Phase, after
from shipper.follow.tree import pattern, walk
from shipper.sources.jsonl import Jsonl
from shipper.sources.loki_mode import LokiMode
from shipper.state import Options

Make = Callable[..., World]


def texts(world: World) -> list[str]:
    """Return the `text` of each line that arrived."""
    return sorted(line.split('"text": "')[1].split('"')[0] for line in world.arrived())


def loki_mode(logs: pathlib.Path) -> list[LokiMode]:
    """Return a source that covers exactly one file name."""
    return [LokiMode(f"{logs}/p/.loki", "test", "u@h")]


def test_a_file_renamed_away_is_read_to_its_end(world: Make) -> None:
    """Lines written after the last look, and after the rename, arrive; the new file is another one."""
    one = world(sources=loki_mode)
    path = one.write("p/.loki/events.jsonl", one.line("a"))
    one.start()
    one.pump(1.0)
    one.write("p/.loki/events.jsonl", one.line("b"))
    path.rename(f"{path}.1")
    with pathlib.Path(f"{path}.1").open("a") as file:
        file.write(one.line("c") + "\n")
    one.write("p/.loki/events.jsonl", one.line("d"))
    one.settle()

    assert texts(one) == ["a", "b", "c", "d"]


def test_two_rotations_while_a_push_is_slow_lose_nothing(world: Make) -> None:
    """Promtail loses the file in the middle; here its descriptor is held."""
    one = world(sources=loki_mode, options=Options(window_entries=2))
    one.script = lambda _labels: "hang"
    path = one.write("p/.loki/events.jsonl", one.line("a"), one.line("b"), one.line("c"))
    one.start()
    one.pump(11.0)
    path.rename(f"{path}.1")
    one.write("p/.loki/events.jsonl", one.line("d"), one.line("e"))
    one.pump(11.0)
    pathlib.Path(f"{path}.1").rename(f"{path}.2")
    path.rename(f"{path}.1")
    one.write("p/.loki/events.jsonl", one.line("f"))
    one.pump(11.0)
    one.script = lambda _labels: None
    one.settle()

    assert texts(one) == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_rotation_while_the_shipper_is_down_is_found_by_its_content(world: Make, packed: bool) -> None:  # noqa: FBT001 - two cases
    """The name is another, the inode may be another, and it may be compressed.

    The rest arrives, no repeat.
    """
    one = world(sources=loki_mode)
    path = one.write("p/.loki/events.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.write("p/.loki/events.jsonl", one.line("b"))
    one.crash()
    copy = path.with_name("events-2026.jsonl.gz" if packed else "elsewhere.txt")
    copy.write_bytes(gzip.compress(path.read_bytes()) if packed else path.read_bytes())
    path.unlink()
    one.write("p/.loki/events.jsonl", one.line("c"))
    one.start()
    one.settle()

    assert texts(one) == ["a", "b", "c"]
    assert one.model.repeats == 0


def test_a_renamed_file_keeps_its_stream_through_restarts(world: Make) -> None:
    """Its labels come from where it was first seen: a line that Loki may hold never changes its stream."""
    one = world(sources=loki_mode)
    path = one.write("p/.loki/events.jsonl", one.line("a"))
    one.start()
    one.settle()
    for generation in range(3):
        one.crash()
        here = path if generation == 0 else path.with_name(f"events.jsonl.{generation}")
        with here.open("a") as file:
            file.write(one.line(f"b{generation}") + "\n")
        here.rename(path.with_name(f"events.jsonl.{generation + 1}"))
        one.start()
        one.pump(1.0)
    one.settle()

    assert texts(one) == ["a", "b0", "b1", "b2"]
    assert len({dict(labels)["project"] for labels in one.model.entries}) == 1


def test_copytruncate_with_unread_lines_takes_them_from_the_copy(world: Make) -> None:
    """Better than counting them lost: the copy has the known head and the known bytes before the position."""
    one = world(sources=loki_mode)
    path = one.write("p/.loki/events.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.write("p/.loki/events.jsonl", one.line("b"))
    shutil.copyfile(path, f"{path}.1")
    os.truncate(path, 0)
    one.write("p/.loki/events.jsonl", one.line("c"))
    one.settle()

    assert texts(one) == ["a", "b", "c"]


def test_bytes_cut_off_before_they_were_read_are_counted_as_lost(world: Make) -> None:
    """What was seen by its size, was not read, and is in no copy, is said to be gone."""
    one = world(options=Options(window_entries=1))
    one.script = lambda _labels: "hang"
    path = one.write("a.jsonl", *(one.line(f"{n:04}", pad="x" * 1000) for n in range(600)))
    one.start()
    one.pump(1.0)
    assert one.engine is not None
    (tracked,) = one.engine.files.all.values()
    unread = path.stat().st_size - tracked.read
    os.truncate(path, 0)
    one.script = lambda _labels: None
    one.settle()

    assert unread > 0
    assert one.lost_bytes == unread


def test_a_file_deleted_while_unread_is_read_from_its_descriptor(world: Make) -> None:
    """The name is gone, the bytes are not."""
    one = world(options=Options(window_entries=1))
    one.script = lambda _labels: "hang"
    path = one.write("a.jsonl", *(one.line(f"{n:04}", pad="x" * 1000) for n in range(600)))
    one.start()
    one.pump(11.0)
    path.unlink()
    one.pump(11.0)
    one.script = lambda _labels: None
    one.settle()

    assert len(texts(one)) == 600


def test_a_replacement_of_equal_size_is_another_file(world: Make) -> None:
    """Neither the size nor, often, the inode number tells it."""
    one = world()
    path = one.write("a.jsonl", one.line("old"))
    one.start()
    one.settle()
    path.unlink()
    one.write("a.jsonl", one.line("new"))
    one.settle()

    assert texts(one) == ["new", "old"]


def test_content_written_over_in_place_with_equal_size_is_noticed(world: Make) -> None:
    """Same inode, same size, another content."""
    one = world()
    path = one.write("a.jsonl", one.line("old"))
    one.start()
    one.settle()
    path.write_text(one.line("new") + "\n")
    os.utime(path, (1, 1))
    one.settle()

    assert texts(one) == ["new", "old"]


def test_an_unfinished_line_of_a_finished_file_is_sent(world: Make) -> None:
    """A file that is gone from its path will not end its last line any more."""
    one = world()
    path = one.write("a.jsonl", one.line("whole"))
    one.write("a.jsonl", one.line("half"), end=b"")
    one.start()
    one.settle()
    assert texts(one) == ["whole"]
    path.rename(one.root / "moved-away")
    one.settle()

    assert texts(one) == ["half", "whole"]


def test_links_and_things_that_are_no_files_are_not_opened(world: Make) -> None:
    """A link out of the root shows nothing of what it points at, and a FIFO does not hang us."""
    one = world()
    secret = one.root / "secret.jsonl"
    secret.write_text(one.line("secret") + "\n")
    (one.logs / "link.jsonl").symlink_to(secret)
    outside = one.root / "outside"
    outside.mkdir()
    (outside / "x.jsonl").write_text(one.line("outside") + "\n")
    (one.logs / "dir").symlink_to(outside)
    os.mkfifo(one.logs / "fifo.jsonl")
    (one.logs / "directory.jsonl").mkdir()
    one.write("good.jsonl", one.line("good"))
    one.start()
    one.settle()

    assert texts(one) == ["good"]


def test_a_name_that_is_no_utf8_is_told_once_as_a_refused_file(world: Make) -> None:
    """Not at each rescan, and not as a directory that cannot be read: none is."""
    one = world()
    one.write("good.jsonl", one.line("good"))
    for name in (b"\xff.jsonl", b"\xfe.jsonl"):
        (one.logs / os.fsdecode(name)).write_text(one.line("bad") + "\n")
    one.start()
    one.settle()
    one.pump(60.0)

    told = [(event, fields["path"]) for event, fields in one.told if event.startswith(("refused", "unread"))]
    assert sorted(told) == [("refused_file", f"{one.logs}/\\udc{byte}.jsonl") for byte in ("fe", "ff")]
    assert texts(one) == ["good"]


@pytest.mark.parametrize("pattern_", ["**/*.json*", "state/*.jsonl", "*/p*.json"])
def test_the_state_directory_is_never_followed(world: Make, pattern_: str) -> None:
    """Each save would be something new to ship, and a dead letter would be shipped to be buried again."""
    one = world(sources=lambda logs: [Jsonl(f"{logs.parent}/{pattern_}", "test", "u@h")])
    (one.state / "deeper").mkdir()
    for path in (one.state / "dead-letters.jsonl", one.state / "deeper/x.jsonl"):
        path.write_text(one.line("state") + "\n")
    good = one.write("good.jsonl", one.line("good"))
    one.start()
    one.settle()
    warnings = [fields for event, fields in one.told if event == "state_directory_in_source"]

    assert texts(one) == (["good"] if pattern(f"{one.root}/{pattern_}").matches(str(good)) else [])
    assert len(warnings) == 1


def test_a_directory_beside_the_state_directory_is_followed(world: Make) -> None:
    """Its name begins like it, and no more."""
    one = world(sources=lambda logs: [Jsonl(f"{logs.parent}/state*/*.jsonl", "test", "u@h")])
    (one.root / "state-of-others").mkdir()
    (one.root / "state-of-others/a.jsonl").write_text(one.line("a") + "\n")
    one.start()
    one.settle()

    assert texts(one) == ["a"]


def test_more_files_than_descriptors_are_all_sent(world: Make) -> None:
    """Settled files that stand at their path are closed to make room, and followed on when they grow."""
    one = world(max_open=4)
    for number in range(40):
        one.write(f"{number:02}.jsonl", one.line(f"a{number:02}"))
    one.start()
    one.settle()
    for number in range(40):
        one.write(f"{number:02}.jsonl", one.line(f"b{number:02}"))
    one.settle()

    assert texts(one) == sorted(f"{letter}{number:02}" for letter in "ab" for number in range(40))
    assert one.engine is not None
    assert one.engine.files.open_count <= 4


def test_a_line_larger_than_the_window_is_sent_alone(world: Make) -> None:
    """Memory is bounded, and one long line still goes."""
    one = world(options=Options(window_bytes=1000))
    long = one.line("long", pad="x" * 100_000)
    one.write("a.jsonl", one.line("before"), long, one.line("behind"))
    one.start()
    one.settle()

    assert texts(one) == ["before", "behind", "long"]


def test_a_line_above_the_memory_limit_becomes_a_dead_letter_and_the_next_one_is_sent(world: Make) -> None:
    """With its head and its length; nothing is blocked."""
    one = world(options=Options(max_line_bytes=500_000))
    one.write("a.jsonl", one.line("x", pad="y" * 600_000), one.line("behind"))
    one.start()
    one.settle()

    assert texts(one) == ["behind"]
    (letter,) = one.buried()
    assert (letter["reason"], letter["truncated"]) == ("line_too_long", True)
    assert letter["bytes"] > 600_000


def test_the_tree_of_a_source_is_never_written_to(world: Make) -> None:
    """No lock, no file, no time is changed."""
    one = world()
    path = one.write("a.jsonl", one.line("a"))
    before = (sorted(one.logs.rglob("*")), path.stat())
    one.start()
    one.settle()

    after_ = (sorted(one.logs.rglob("*")), path.stat())
    assert [before[0], before[1].st_mtime_ns, before[1].st_size] == [
        after_[0],
        after_[1].st_mtime_ns,
        after_[1].st_size,
    ]


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/a/*.jsonl", "/a/b.jsonl", True),
        ("/a/*.jsonl", "/a/.b.jsonl", False),
        ("/a/*.jsonl", "/a/b/c.jsonl", False),
        ("/a/**/*.jsonl", "/a/b/c/d.jsonl", True),
        ("/a/**/*.jsonl", "/a/d.jsonl", True),
        ("/a/*/.loki/events.jsonl", "/a/b/.loki/events.jsonl", True),
        ("/a/b.jsonl", "/a/b.jsonl", True),
        ("/a/b.jsonl", "/a/b.jsonl.1", False),
    ],
)
def test_a_pattern_matches_what_a_shell_would(glob: str, path: str, matches: bool) -> None:  # noqa: FBT001 - a table
    """Hidden names only where the pattern says so."""
    assert pattern(glob).matches(path) is matches


def test_a_walk_finds_what_the_pattern_matches(tmp_path: pathlib.Path) -> None:
    """The two ways of asking agree, in a tree with a bit of everything."""
    for name in ("a.jsonl", "x/b.jsonl", "x/y/c.jsonl", "x/y/d.txt", ".h/e.jsonl", "x/.f.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for glob in ("**/*.jsonl", "*/*.jsonl", "*.jsonl", "x/y/*", "**/y/*.jsonl", ".h/*.jsonl"):
        wanted = pattern(f"{tmp_path}/{glob}")
        everything = {str(p) for p in tmp_path.rglob("*") if p.is_file()}

        assert set(walk(wanted).files) == {p for p in everything if wanted.matches(p)}, glob


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("happening", list(Happening))
def test_the_table_of_phases_is_walked_and_nothing_else(phase: Phase, happening: Happening) -> None:
    """An event that the table does not know is an error of ours."""
    if happening in TABLE[phase]:
        assert after(phase, happening) is TABLE[phase][happening]
    else:
        with pytest.raises(RuntimeError, match=phase.value):
            after(phase, happening)


def test_a_file_cut_before_it_was_read_counts_what_is_gone_and_no_line_twice(world: Make) -> None:
    """What was seen of it and never read is lost; what stands there now goes on, also in a copy."""
    shop = world(options=Options(max_line_bytes=50_000))
    path = shop.write("a.jsonl", shop.line("old", pad="x" * 60_000))
    shop.start()
    old_bytes = path.stat().st_size
    os.truncate(path, 0)
    shop.write("a.jsonl", shop.line("new"))
    new_bytes = path.stat().st_size
    shop.pump()
    shutil.copyfile(path, path.with_name("a.bak"))
    os.truncate(path, 0)
    shop.settle()

    assert texts(shop) == ["new"]
    assert shop.buried() == []
    assert shop.lost_bytes == old_bytes - new_bytes
