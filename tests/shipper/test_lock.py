"""One shipper for a state directory, also where somebody removes it under a running one."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from shipper.keeping import positions
from shipper.keeping.lock import AlreadyRunning, Lock
from shipper.keeping.positions import Positions
from shipper.keeping.saver import BackgroundSaver

DATA = positions.encode(Positions())


def saved(directory: pathlib.Path, lock: Lock) -> str:
    """Save once in a thread of its own; return the problem."""
    saver = BackgroundSaver(directory, lock, lambda: None)
    saver.submit(DATA, 1)
    saver.close()
    done = saver.done()
    assert done is not None
    return done[1]


def test_a_held_directory_is_refused_to_a_second(tmp_path: pathlib.Path) -> None:
    """And free again when the first one ends."""
    first = Lock(tmp_path / "state")
    with pytest.raises(AlreadyRunning, match="pid"):
        Lock(tmp_path / "state")
    first.close()

    Lock(tmp_path / "state").close()


@pytest.mark.parametrize("what", ["directory", "lock"])
def test_a_removed_directory_is_made_anew_and_held(tmp_path: pathlib.Path, what: str) -> None:
    """Nobody was there: all that is known is in memory, and is saved again."""
    state = tmp_path / "state"
    lock = Lock(state)
    before = saved(state, lock)
    shutil.rmtree(state) if what == "directory" else (state / "lock").unlink()
    noticed = not lock.stands()
    after = saved(state, lock)

    assert (before, noticed, after, lock.usurped) == ("", True, "", "")
    assert positions.load(state).source == "positions.json"
    with pytest.raises(AlreadyRunning):
        Lock(state)


def test_a_directory_that_another_took_is_lost_for_good(tmp_path: pathlib.Path) -> None:
    """Nothing is written over the other's positions, not even after it has ended."""
    state = tmp_path / "state"
    lock = Lock(state)
    saved(state, lock)
    shutil.rmtree(state)
    other = Lock(state)
    while_it_runs = saved(state, lock)
    theirs = positions.encode(Positions(next_id=99))
    positions.save(state, theirs)
    other.close()
    after = saved(state, lock)

    assert "another shipper" in while_it_runs
    assert after == while_it_runs == lock.usurped
    assert positions.load(state).positions.next_id == 99


def test_positions_of_another_that_came_and_went_are_not_written_over(tmp_path: pathlib.Path) -> None:
    """It sent lines that this one knows nothing of."""
    state = tmp_path / "state"
    lock = Lock(state)
    saved(state, lock)
    shutil.rmtree(state)
    other = Lock(state)
    saved(state, other)
    other.close()

    assert "positions of another shipper" in saved(state, lock)
    assert lock.usurped


def test_a_directory_that_cannot_be_made_anew_is_tried_again(tmp_path: pathlib.Path) -> None:
    """A disk that is away for a while: the saves fail until it is back."""
    state = tmp_path / "disk" / "state"
    lock = Lock(state)
    shutil.rmtree(tmp_path / "disk")
    (tmp_path / "disk").touch()
    meanwhile = saved(state, lock)
    (tmp_path / "disk").unlink()
    after = saved(state, lock)

    assert "lock is lost" in meanwhile
    assert (after, lock.usurped) == ("", "")
