"""inotify is a hint: what it tells, and what happens without it."""

from __future__ import annotations

import errno
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from inotify_simple import INotify, flags

from shipper.follow.files import Files
from shipper.follow.inotify import Watcher, journeys
from shipper.sources.jsonl import Jsonl


def told() -> tuple[list[str], Any]:
    """Return a list of events and what appends to it."""
    events: list[str] = []

    def tell(event: str, *, level: str = "info", **fields: object) -> None:
        _ = level, fields
        events.append(event)

    return events, tell


def followed(root: pathlib.Path, watcher: Watcher | None) -> tuple[Files, list[str]]:
    """Return the files of a tree, and what they tell."""
    events, tell = told()
    files = Files([Jsonl(f"{root}/**/*.jsonl", "e", "m")], tell, lambda: 0.0, max_open=10, watcher=watcher)
    return files, events


def names(files: Files) -> list[str]:
    """Return which files are known."""
    return sorted(pathlib.Path(tracked.path).name for tracked in files.all.values())


def test_a_file_in_a_directory_that_was_just_made_is_found_without_a_rescan(tmp_path: pathlib.Path) -> None:
    """Directories are scanned again after they are watched, so no file falls in between."""
    watcher = Watcher()
    files, _ = followed(tmp_path, watcher)
    files.poll(0.0, 1)
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "x.jsonl").write_text("1\n")
    for turn in range(3):
        files.poll(0.1 * turn, 1)

    assert names(files) == ["x.jsonl"]
    assert files.rescans == 1
    watcher.close()


def test_a_write_is_told_and_a_directory_watch_is_all_there_is(tmp_path: pathlib.Path) -> None:
    """One watch for a directory of a thousand files."""
    for number in range(20):
        (tmp_path / f"{number}.jsonl").write_text("1\n")
    watcher = Watcher()
    files, _ = followed(tmp_path, watcher)
    files.poll(0.0, 1)
    files.ready.clear()
    with (tmp_path / "7.jsonl").open("a") as file:
        file.write("2\n")
    files.poll(0.1, 1)

    assert [pathlib.Path(tracked.path).name for tracked in files.ready.values()] == ["7.jsonl"]
    assert watcher.watches == 1
    watcher.close()


@pytest.fixture
def watched(tmp_path: pathlib.Path) -> Iterator[tuple[Files, list[str]]]:
    """Return files that watch the directory `logs`, and what they tell."""
    (tmp_path / "logs").mkdir()
    watcher = Watcher()
    files, events = followed(tmp_path / "logs", watcher)
    files.poll(0.0, 1)
    yield files, events
    watcher.close()


def test_a_file_that_came_and_was_renamed_before_any_look_is_read_where_it_is(
    tmp_path: pathlib.Path, watched: tuple[Files, list[str]]
) -> None:
    """No pattern covers the name it has now, but the kernel told both names."""
    files, events = watched
    path = tmp_path / "logs" / "a.jsonl"
    path.write_text("1\n")
    path.rename(f"{path}.1")
    files.poll(0.1, 1)

    (tracked,) = files.all.values()
    assert (tracked.path, os.pread(tracked.fd, 9, 0)) == (str(path), b"1\n")
    assert tracked.id in files.ready
    assert "missed_file" not in events


def test_several_rotations_before_any_look_are_told_apart(
    tmp_path: pathlib.Path, watched: tuple[Files, list[str]]
) -> None:
    """The known file, one that came and went, one that stands: three."""
    files, events = watched
    path = tmp_path / "logs" / "a.jsonl"
    path.write_text("1\n")
    files.poll(0.1, 1)
    (known,) = files.all.values()
    assert files.ensure_open(known, 0.1, 1)
    path.rename(f"{path}.1")
    path.write_text("2\n")
    (tmp_path / "logs" / "a.jsonl.1").rename(f"{path}.2")
    path.rename(f"{path}.1")
    path.write_text("3\n")
    files.poll(0.2, 1)
    for tracked in files.all.values():
        files.ensure_open(tracked, 0.2, 1)

    assert sorted(os.pread(tracked.fd, 9, 0) for tracked in files.all.values()) == [b"1\n", b"2\n", b"3\n"]
    assert "missed_file" not in events


def test_a_file_that_came_and_left_before_any_look_is_counted(
    tmp_path: pathlib.Path, watched: tuple[Files, list[str]]
) -> None:
    """It is out of sight; that there was one is known."""
    files, events = watched
    path = tmp_path / "logs" / "a.jsonl"
    path.write_text("1\n")
    path.rename(tmp_path / "elsewhere")
    files.poll(0.1, 1)

    assert files.all == {}
    assert events.count("missed_file") == 1


def test_a_file_that_came_from_elsewhere_under_another_name_and_left_is_counted(
    tmp_path: pathlib.Path, watched: tuple[Files, list[str]]
) -> None:
    """It had a covered name for a moment."""
    files, events = watched
    path = tmp_path / "logs" / "a.tmp"
    path.write_text("1\n")
    path.rename(tmp_path / "logs" / "a.jsonl")
    (tmp_path / "logs" / "a.jsonl").rename(tmp_path / "elsewhere")
    files.poll(0.1, 1)

    assert events.count("missed_file") == 1


def test_a_known_file_that_leaves_is_not_missed(
    tmp_path: pathlib.Path, watched: tuple[Files, list[str]]
) -> None:
    """Its descriptor is held; nor is one that no pattern covers, nor one that gets a covered name."""
    files, events = watched
    path = tmp_path / "logs" / "a.jsonl"
    path.write_text("1\n")
    (tmp_path / "logs" / "b.txt").write_text("1\n")
    files.poll(0.1, 1)
    (tracked,) = files.all.values()
    files.ensure_open(tracked, 0.1, 1)
    path.rename(tmp_path / "elsewhere")
    (tmp_path / "logs" / "b.txt").rename(tmp_path / "b")
    (tmp_path / "logs" / "c.jsonl").write_text("1\n")
    (tmp_path / "logs" / "c.jsonl").rename(tmp_path / "logs" / "d.jsonl")
    files.poll(0.2, 1)

    assert names(files) == ["a.jsonl", "d.jsonl"]
    assert "missed_file" not in events


@pytest.mark.parametrize(
    ("moves", "found"),
    [
        ([("a", "b")], [["a", "b"]]),
        ([("a", None)], [["a", None]]),
        ([("a", "b"), ("b", "c")], [["a", "b", "c"]]),
        ([("b", "c"), ("a", "b")], [["b", "c"], ["a", "b"]]),
        ([("a", "b"), ("c", "a"), ("b", None)], [["a", "b", None], ["c", "a"]]),
        ([("a", "b"), ("c", "b"), ("b", "d")], [["a", "b", None], ["c", "b", "d"]]),
    ],
)
def test_moves_become_journeys(moves: list[tuple[str, str | None]], found: list[list[str | None]]) -> None:
    """Each file's names in order; None where it was lost from sight, or another was moved over it."""
    assert journeys(moves) == found


def test_an_overflow_of_the_queue_scans_everything(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel could not keep is found by looking."""
    watcher = Watcher()
    files, events = followed(tmp_path, watcher)
    files.poll(0.0, 1)
    (tmp_path / "x.jsonl").write_text("1\n")
    monkeypatch.setattr(INotify, "read", lambda *_a, **_k: [(-1, int(flags.Q_OVERFLOW), 0, "")])
    files.poll(0.1, 1)

    assert names(files) == ["x.jsonl"]
    assert "inotify_overflow" in events
    assert files.rescans == 2
    watcher.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
def test_without_a_watch_the_rescan_finds_it_and_the_sysctl_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Slower, and nothing is missed."""

    def refuse(*_arguments: object) -> int:
        raise OSError(number, "No space left on device")

    monkeypatch.setattr(INotify, "add_watch", refuse)
    watcher = Watcher()
    files, _ = followed(tmp_path, watcher)
    files.poll(0.0, 1)
    (tmp_path / "x.jsonl").write_text("1\n")
    files.poll(1.0, 1)
    before = names(files)
    files.poll(10.5, 1)

    assert (before, names(files)) == ([], ["x.jsonl"])
    assert "fs.inotify.max_user_watches" in watcher.problem
    watcher.close()


def test_a_directory_that_is_renamed_away_takes_its_watch_along(tmp_path: pathlib.Path) -> None:
    """Its files have lost their paths, and a new one of its name is another directory."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.jsonl").write_text("1\n")
    watcher = Watcher()
    files, _ = followed(tmp_path, watcher)
    files.poll(0.0, 1)
    (tmp_path / "d").rename(tmp_path / ".hidden")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "y.jsonl").write_text("1\n")
    files.poll(0.1, 1)
    files.poll(10.5, 1)

    assert "y.jsonl" in names(files)
    assert watcher.watches == 2
    watcher.close()
