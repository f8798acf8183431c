from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from exporter.files import record_folder
from exporter.files.jsonvalue import TornJsonError
from exporter.files.record_folder import READ_BUDGET_S, RecordFolder, Records
from exporter.files.tree import Reason, Tree

NOW_S = 1e9


def parse(text: bytes) -> int:
    """Return the number in a record."""
    if not text:
        raise TornJsonError("empty")
    return int(text)


class Folder:
    """A folder of numbers, and the one that reads it."""

    def __init__(self, root: Path, monotonic: Callable[[], float] = lambda: 0.0) -> None:
        self.root = root
        self.now_s = NOW_S
        self.path = root / "numbers"
        self.path.mkdir()
        self.records = RecordFolder("numbers", "n-", ".txt", parse, 60.0, 100, monotonic=monotonic)

    def write(self, name: str, text: str, *, age_s: float = 10.0) -> None:
        """Write a record as of some seconds ago."""
        (self.path / name).write_text(text, "utf-8")
        os.utime(self.path / name, (self.now_s - age_s, self.now_s - age_s))

    def read(self, after_s: float = 1.0) -> Records[int]:
        """Read the folder a moment later."""
        self.now_s += after_s
        with Tree(str(self.root)) as tree:
            return self.records.read(tree, self.now_s)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder with two records."""
    made = Folder(tmp_path)
    made.write("n-1.txt", "1")
    made.write("n-2.txt", "2", age_s=5)
    return made


def test_records_are_those_of_the_names(folder: Folder) -> None:
    """Only names that begin and end right are records; the newest mtime is that of one of them."""
    folder.write("n-3.txt.tmp", "3", age_s=0)
    folder.write("x-3.txt", "3", age_s=0)

    assert folder.read() == Records({"n-1.txt": 1, "n-2.txt": 2}, True, NOW_S - 5)


def test_unchanged_folder_is_not_read_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged names with unchanged stats: the same values, no file opened."""
    first = folder.read()

    def refuse(*_args: object) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr(record_folder, "read_text", refuse)
    again = folder.read()

    assert not again.is_changed
    assert again.by_name == first.by_name
    assert again.newest_mtime_s == first.newest_mtime_s


def test_only_the_touched_record_is_read_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them rewritten: one file opened."""
    folder.read()
    opened = []
    real = record_folder.read_text

    def note(tree: Tree, path: str, limit_bytes: int) -> object:
        opened.append(path)
        return real(tree, path, limit_bytes)

    monkeypatch.setattr(record_folder, "read_text", note)
    folder.write("n-1.txt", "10")

    assert folder.read().by_name == {"n-1.txt": 10, "n-2.txt": 2}
    assert opened == ["numbers/n-1.txt"]


def test_record_rewritten_within_a_clock_tick_is_noticed(folder: Folder) -> None:
    """Same size, same mtime, a moment after it was read: young files are read again."""
    folder.write("n-3.txt", "3", age_s=-0.01)
    folder.read(after_s=0.01)
    found = (folder.path / "n-3.txt").stat()
    (folder.path / "n-3.txt").write_text("4", "utf-8")
    os.utime(folder.path / "n-3.txt", ns=(found.st_atime_ns, found.st_mtime_ns))

    assert folder.read().by_name["n-3.txt"] == 4


@pytest.mark.parametrize("text", ["", "x" * 101])
def test_damaged_record_holds_its_last_value_for_a_while(folder: Folder, text: str) -> None:
    """Torn or too large: told once, held for 60 s, then gone; the others stand."""
    folder.read()
    folder.write("n-2.txt", text)
    held, later, gone, after = (folder.read(after_s) for after_s in (30, 29, 2, 1))

    assert [len(reading.problems) for reading in (held, later, gone, after)] == [1, 0, 0, 0]
    assert [reading.by_name.get("n-2.txt") for reading in (held, later, gone, after)] == [2, 2, None, None]
    assert gone.is_changed
    assert gone.newest_mtime_s == NOW_S - 10
    assert not after.is_changed


def test_damaged_record_heals(folder: Folder) -> None:
    """The next good content counts at once, and a later damage is another one."""
    folder.write("n-2.txt", "")
    first = folder.read()
    folder.write("n-2.txt", "22")
    healed = folder.read()
    folder.write("n-2.txt", "")
    second = folder.read()

    assert [len(reading.problems) for reading in (first, healed, second)] == [1, 0, 1]
    assert healed.by_name["n-2.txt"] == 22


def test_records_come_and_go_with_their_names(folder: Folder) -> None:
    """Added, removed, both at once."""
    folder.read()
    (folder.path / "n-1.txt").rename(folder.path / "n-3.txt")
    assert folder.read().by_name == {"n-3.txt": 1, "n-2.txt": 2}
    (folder.path / "n-3.txt").unlink()
    assert folder.read().by_name == {"n-2.txt": 2}
    (folder.path / "n-2.txt").unlink()
    assert folder.read() == Records({}, True, None)


def test_folder_that_is_gone_has_no_records(folder: Folder) -> None:
    """No problem, and the records are not held: they were deleted, not torn."""
    folder.read()
    folder.path.rename(folder.root / "aside")
    gone = folder.read()
    again = folder.read()
    (folder.root / "aside").rename(folder.path)

    assert gone == Records({}, True, None)
    assert again == Records({}, False, None)
    assert folder.read().by_name == {"n-1.txt": 1, "n-2.txt": 2}


def test_folder_with_too_many_names_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum over some of its records would be a wrong number: none at all, told once."""
    folder.read()
    monkeypatch.setattr(record_folder, "MAX_RECORDS", 2)
    assert len(folder.read().by_name) == 2
    folder.write("n-3.txt", "3")
    refused, again = folder.read(), folder.read()

    assert [problem.reason for problem in refused.problems] == [Reason.TOO_LARGE]
    assert (refused.by_name, again.by_name, again.problems) == ({}, {}, ())


def test_reading_that_takes_too_long_goes_on_next_time(tmp_path: Path) -> None:
    """Each reading says whether it had time for all; what was read is not read again."""
    ticks = count(step=READ_BUDGET_S / 4)
    folder = Folder(tmp_path, monotonic=lambda: next(ticks))
    for number in range(10):
        folder.write(f"n-{number}.txt", str(number))
    readings = [folder.read() for _ in range(4)]

    assert [reading.is_complete for reading in readings] == [False, False, True, True]
    assert [len(reading.by_name) for reading in readings] == [4, 8, 10, 10]
    assert [reading.is_changed for reading in readings] == [True, True, True, False]


def test_record_that_leaves_the_tree_by_a_link_is_refused(folder: Folder) -> None:
    """A link to another record is followed, one that leads out is damage."""
    (folder.path / "n-3.txt").symlink_to("n-1.txt")
    outside = folder.root.with_name(f"{folder.root.name}-outside.txt")
    outside.write_text("4", "utf-8")
    (folder.path / "n-4.txt").symlink_to(outside)
    reading = folder.read()

    assert reading.by_name == {"n-1.txt": 1, "n-2.txt": 2, "n-3.txt": 1}
    assert [problem.reason for problem in reading.problems] == [Reason.SYMLINK]
