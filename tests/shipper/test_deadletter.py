from __future__ import annotations

import json
import os
import pathlib

import pytest

from shipper.keeping.deadletter import DeadLetters


@pytest.fixture(name="path")
def _path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return where dead letters go."""
    return tmp_path / "dead-letters.jsonl"


def records(path: pathlib.Path) -> list[object]:
    """Return what stands in the file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_dead_letters_are_json_lines_for_the_owner_only(path: pathlib.Path) -> None:
    """They hold what the agents wrote."""
    dead = DeadLetters(path, 1000)

    assert dead.write([{"line": "a"}, {"line": "b\né"}])
    assert dead.write([{"line": "c"}])

    assert records(path) == [{"line": "a"}, {"line": "b\né"}, {"line": "c"}]
    assert path.stat().st_mode & 0o777 == 0o600
    assert dead.size_bytes == path.stat().st_size


def test_a_full_file_takes_nothing_and_says_so(path: pathlib.Path) -> None:
    """All records or none; the stream waits, and the state is a clear one."""
    dead = DeadLetters(path, 40)
    assert dead.write([{"line": "x" * 10}])
    before = path.read_bytes()

    assert not dead.write([{"line": "y"}, {"line": "z" * 30}])

    assert path.read_bytes() == before
    assert "is full (22 of 40 bytes)" in dead.problem


def test_room_made_by_hand_ends_the_problem(path: pathlib.Path) -> None:
    """Somebody looked at the letters and removed the file; nothing needs a restart."""
    dead = DeadLetters(path, 40)
    dead.write([{"line": "x" * 20}])
    assert not dead.write([{"line": "y" * 20}])

    path.unlink()

    assert dead.write([{"line": "y" * 20}])
    assert (dead.problem, len(records(path))) == ("", 1)


def test_a_letter_torn_by_a_crash_spoils_no_other(path: pathlib.Path) -> None:
    """The next one begins a line of its own."""
    path.write_bytes(b'{"line":"torn')

    assert DeadLetters(path, 1000).write([{"line": "whole"}])

    assert path.read_bytes() == b'{"line":"torn\n{"line":"whole"}\n'


def test_a_link_is_not_written_through(path: pathlib.Path) -> None:
    """Nor is it a crash: the lines wait."""
    victim = path.with_name("victim")
    victim.write_text("")
    path.symlink_to(victim)
    dead = DeadLetters(path, 1000)

    assert not dead.write([{"line": "a"}])

    assert victim.read_text() == ""
    assert dead.problem


def test_a_disk_that_fills_in_the_middle_leaves_no_half_letter(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of it is cut off again."""
    dead = DeadLetters(path, 1000)
    dead.write([{"line": "a"}])
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))

    assert not dead.write([{"line": "b"}])

    assert (records(path), "disk is full" in dead.problem) == ([{"line": "a"}], True)


def test_a_sync_that_fails_settles_nothing(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written is not durable."""

    def fsync(_fd: int) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "fsync", fsync)
    dead = DeadLetters(path, 1000)

    assert not dead.write([{"line": "a"}])
    assert "Input/output error" in dead.problem


def test_no_file_is_no_bytes(path: pathlib.Path) -> None:
    """Nothing was dead-lettered yet."""
    assert DeadLetters(path, 1000).size_bytes == 0
