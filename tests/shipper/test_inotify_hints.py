"""inotify is a hint: what it tells, and what happens without it."""

from __future__ import annotations

import errno
import pathlib
from typing import Any

import pytest
from inotify_simple import INotify, flags

from shipper.follow.files import Files
from shipper.follow.inotify import Watcher
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
