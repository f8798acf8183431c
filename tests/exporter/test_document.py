from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.files import document
from exporter.files.document import Document, Reading, ShapeError, Standing
from exporter.files.jsonvalue import TornJsonError
from exporter.files.tree import Reason, Tree

NOW_S = 1e9
LIMIT_BYTES = 20


def parse(text: bytes) -> str:
    """Return the text; empty is torn, a question mark is another shape."""
    if not text:
        raise TornJsonError("empty")
    if text == b"?":
        raise ShapeError("a question")
    return text.decode()


class Paper:
    """A file and the document that reads it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_s = NOW_S
        self.file = root / "paper"
        self.document = Document("paper", parse, keep_s=60.0, limit_bytes=LIMIT_BYTES)

    def write(self, text: str, *, age_s: float = 10.0) -> None:
        """Write it as of some seconds ago."""
        self.file.write_text(text, "utf-8")
        os.utime(self.file, (self.now_s - age_s, self.now_s - age_s))

    def read(self, after_s: float = 1.0) -> Reading[str]:
        """Read it a moment later."""
        self.now_s += after_s
        with Tree(str(self.root)) as tree:
            return self.document.read(tree, self.now_s)


@pytest.fixture
def paper(tmp_path: Path) -> Paper:
    """Return a document without a file."""
    return Paper(tmp_path)


def test_missing_is_no_problem(paper: Paper) -> None:
    """No file: no value, no problem."""
    reading = paper.read()

    assert reading == Reading(Standing.MISSING)
    assert not reading.exists


def test_good_has_the_value_and_its_mtime(paper: Paper) -> None:
    """What it says, and when that was written."""
    paper.write("one")

    assert paper.read() == Reading(Standing.GOOD, "one", NOW_S - 10)


def test_unchanged_is_not_read_again(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stat answers that nothing is new."""
    paper.write("one")
    first = paper.read()

    def refuse(*_args: object) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr(document, "read_text", refuse)
    assert paper.read() == first


def test_rewritten_within_a_clock_tick_is_noticed(paper: Paper) -> None:
    """Same size, same mtime, a moment after it was read: a young file is read again."""
    paper.write("one", age_s=-0.01)
    paper.read(after_s=0.01)
    found = paper.file.stat()
    paper.file.write_text("two", "utf-8")
    os.utime(paper.file, ns=(found.st_atime_ns, found.st_mtime_ns))

    assert paper.read().value == "two"


def test_rewritten_with_its_old_mtime_is_noticed(paper: Paper) -> None:
    """`cp -p` and `touch -r` set the mtime back; the ctime tells."""
    paper.write("one")
    paper.read()
    found = paper.file.stat()
    while True:
        # Until the file system's clock has gone on by a tick.
        paper.file.write_text("two", "utf-8")
        os.utime(paper.file, ns=(found.st_atime_ns, found.st_mtime_ns))
        if paper.file.stat().st_ctime_ns != found.st_ctime_ns:
            break

    assert paper.read().value == "two"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", Reason.TORN), ("?", Reason.SHAPE), ("x" * (LIMIT_BYTES + 1), Reason.TOO_LARGE)],
    ids=["torn", "shape", "too large"],
)
def test_damage_is_told_once_and_bridged_for_a_while(paper: Paper, text: str, reason: Reason) -> None:
    """The last good value stands for 60 s after it was last known good, then there is none."""
    paper.write("one")
    paper.read()
    paper.write(text)
    readings = [paper.read(after_s) for after_s in (30, 30, 1, 1)]

    assert [r.standing for r in readings] == [Standing.HELD, Standing.HELD, Standing.BROKEN, Standing.BROKEN]
    assert [r.value for r in readings] == ["one", "one", None, None]
    assert [r.mtime_s for r in readings] == [NOW_S - 10, NOW_S - 10, None, None]
    assert [r.problem.reason if r.problem else None for r in readings] == [reason, None, None, None]


def test_damage_from_the_start_has_nothing_to_bridge_it(paper: Paper) -> None:
    """Never known good: broken at once."""
    paper.write("")

    assert paper.read().standing is Standing.BROKEN
    assert paper.read().exists


def test_damage_that_is_read_twice_for_its_youth_is_one(paper: Paper) -> None:
    """A file torn a moment ago is read again next time, and is still the same damage."""
    paper.write("", age_s=0)
    readings = [paper.read(after_s) for after_s in (0.01, 0.01, 15, 15)]

    assert [r.problem is not None for r in readings] == [True, False, False, False]


def test_other_damage_is_told_again(paper: Paper) -> None:
    """Torn, then of another shape, then a directory, then torn: four damages."""
    told = []
    for text in ("", "?"):
        paper.write(text)
        told.append(paper.read().problem)
    paper.file.unlink()
    paper.file.mkdir()
    told.extend([paper.read().problem, paper.read().problem])
    paper.file.rmdir()
    paper.write("")
    told.append(paper.read().problem)

    reasons = [Reason.TORN, Reason.SHAPE, Reason.NOT_REGULAR, None, Reason.TORN]
    assert [problem.reason if problem else None for problem in told] == reasons


def test_good_again_ends_it(paper: Paper) -> None:
    """The next whole content counts, whatever was before."""
    paper.write("")
    paper.read()
    paper.write("two")

    assert paper.read().value == "two"


def test_removed_is_forgotten(paper: Paper) -> None:
    """A file that was deleted is not torn: nothing bridges it, also when it comes back broken."""
    paper.write("one")
    paper.read()
    paper.file.unlink()
    gone = paper.read()
    paper.write("")

    assert gone == Reading(Standing.MISSING)
    assert paper.read().standing is Standing.BROKEN


def test_largest_allowed_is_read(paper: Paper) -> None:
    """The limit itself is within it."""
    paper.write("x" * LIMIT_BYTES)

    assert paper.read().value == "x" * LIMIT_BYTES


def test_growing_while_it_is_read_is_not_cut(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is appended between looking at the size and reading is read, or refused, but never cut short."""
    paper.write("12345")
    real = os.fstat

    def older(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[6] = 3
        return os.stat_result(found)

    monkeypatch.setattr("exporter.files.document.os.fstat", older)

    assert paper.read().value == "12345"
