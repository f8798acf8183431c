"""What lies in the state directory under our names, and is no file: nothing waits for it, and it is said."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest
from shipper_world import World

from shipper.keeping import positions
from shipper.keeping.deadletter import DeadLetters
from shipper.keeping.lock import Lock

Make = Callable[..., World]
Put = Callable[[pathlib.Path], None]


def put_directory(path: pathlib.Path) -> None:
    """Make a directory with something in it: it cannot be replaced by a rename."""
    path.mkdir()
    (path / "x").touch()


KINDS: dict[str, Put] = {
    "fifo": os.mkfifo,
    "link": lambda path: path.symlink_to("nowhere"),
    "directory": put_directory,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", [positions.GENERATIONS[:1], positions.GENERATIONS])
@pytest.mark.timeout(60)
def test_positions_that_are_no_file_are_set_aside_with_a_warning(
    world: Make, kind: str, names: tuple[str, ...]
) -> None:
    """The other generation is used; with neither the start is a fresh one. Both are saved again."""
    one = world()
    one.write("a.jsonl", one.line("a"))
    one.start()
    one.settle()
    one.crash()
    for name in names:
        (one.state / name).unlink()
        KINDS[kind](one.state / name)
    one.start()
    one.settle()

    told = [fields["detail"] for event, fields in one.told if event == "positions_damaged"]
    assert [name for name in names if any(f"/{name}:" in text for text in told)] == list(names)
    assert all((one.state / name).is_file() for name in positions.GENERATIONS)
    assert len(one.arrived()) == 1
    assert len(list(one.state.glob("*.corrupt-*"))) == len(names)


@pytest.mark.timeout(60)
def test_a_fifo_in_the_place_of_the_temporary_file_holds_up_no_save(tmp_path: pathlib.Path) -> None:
    """Opening it for writing would wait for a reader."""
    os.mkfifo(tmp_path / ".positions.json.tmp")
    positions.save(tmp_path, positions.encode(positions.Positions()))

    assert positions.load(tmp_path).source == "positions.json"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(60)
def test_a_lock_that_is_no_file_is_refused(tmp_path: pathlib.Path, kind: str) -> None:
    """As an outcome that `run` tells, not by waiting."""
    KINDS[kind](tmp_path / "lock")

    with pytest.raises(OSError, match=r"regular file|symbolic|[Dd]irectory"):
        Lock(tmp_path)


@pytest.mark.timeout(60)
def test_a_dead_letter_file_that_is_a_fifo_takes_nothing_and_says_so(tmp_path: pathlib.Path) -> None:
    """A full pipe would hold up everything; a pipe that somebody reads is not durable."""
    path = tmp_path / "dead-letters.jsonl"
    os.mkfifo(path)
    letters = DeadLetters(path, 1 << 20)

    assert not letters.write([{"line": "x" * 100_000}])
    assert "regular file" in letters.problem
