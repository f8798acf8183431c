from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.files import growing_file
from exporter.files.growing_file import BLANKS, GrowingFile, LineSink, Progress
from exporter.files.tree import Reason, Tree

SMALL_BLOCK_BYTES = 16
SMALL_LINE_BYTES = 64
MANY = 1 << 30
LATER_S = 1e12

LINES = st.sampled_from(
    [
        *(b"", b" ", b"\r", b"\0\0", b"a", b"{}\r", b"caf\xe9", b"\0x"),
        *(b"y" * 15, b"z" * 16, b"w" * 63, b"o" * 64, b"p" * 200, b" " * 100),
    ]
)
CHUNKS = st.builds(
    lambda lines, rest: b"".join(line + b"\n" for line in lines) + rest,
    st.lists(LINES, max_size=4),
    st.sampled_from([b"", b"half", b"h" * 70, b" "]),
)
PIECES = st.sampled_from([1, 7, 4096])


@dataclass
class Recorder(LineSink):
    """Keeps what it is handed: lines without their newline, None for an overlong one that is not blank."""

    seen: list[bytes | None] = field(default_factory=list)

    def lines(self, block: bytes) -> None:
        """Keep the lines."""
        assert block.endswith(b"\n")
        self.seen.extend(line for line in block[:-1].split(b"\n") if line.strip(BLANKS))

    def overlong_line(self, *, blank: bool) -> None:
        """Keep that there was one."""
        if not blank:
            self.seen.append(None)


def complete_lines(content: bytes) -> list[bytes | None]:
    """Return the complete non-blank lines of a content, None for one that is too long to keep."""
    *lines, _unfinished = content.split(b"\n")
    limit = growing_file.MAX_LINE_BYTES
    return [line if len(line) < limit else None for line in lines if line.strip(BLANKS)]


def position(content: bytes) -> int:
    """Return how far a reader of all of it stands: after the last newline, or in an overlong line."""
    unfinished = len(content) - content.rfind(b"\n") - 1
    return len(content) if unfinished >= growing_file.MAX_LINE_BYTES else len(content) - unfinished


class Folder:
    """A folder with a log in it and a reader of that log."""

    def __init__(self, path: Path, clock: Callable[[], float] = lambda: LATER_S) -> None:
        self.path = path
        self.log = path / "log"
        self.sink = Recorder()
        self.file = GrowingFile("log", self.sink, clock=clock)

    def append(self, content: bytes) -> None:
        """Append as a writer does that opens the file for each record."""
        with self.log.open("ab") as log:
            log.write(content)

    def advance(self, budget_bytes: int = MANY) -> Progress:
        """Read on."""
        with Tree(str(self.path)) as tree:
            return self.file.advance(tree, budget_bytes)

    def read(self, budget_bytes: int = MANY) -> list[bytes | None]:
        """Read to the end, in pieces of the budget; return everything that was handed out so far."""
        for _ in range(10_000):
            if self.advance(budget_bytes).caught_up:
                return self.sink.seen
        raise AssertionError("the reader does not arrive")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """Return an empty folder and its reader."""
    made = Folder(tmp_path)
    yield made
    made.file.close()


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Have lines cross block limits all the time: blocks of 16 bytes, lines of at most 64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing_file, "BLOCK_BYTES", SMALL_BLOCK_BYTES)
        patch.setattr(growing_file, "MAX_LINE_BYTES", SMALL_LINE_BYTES)
        yield


class RotatedLog(RuleBasedStateMachine):
    """A log that is only appended to and rotated, read at any time in pieces of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.folder = Folder(self.path)
        self.written = [b""]
        self.is_opened = False

    @rule(content=CHUNKS)
    def append(self, content: bytes) -> None:
        """Append lines, the last one perhaps unfinished.

        Each file begins with a line of its own, as timestamps make it in life: one that begins as the last
        one did, byte for byte up to the position, is taken for a copy of it.
        """
        if not self.written[-1]:
            content = b"%d\n" % len(self.written) + content
        self.folder.append(content)
        self.written[-1] += content

    @rule(piece=PIECES)
    def read_on(self, piece: int) -> None:
        """Read one piece."""
        progress = self.folder.advance(piece)
        self.is_opened = self.is_opened or (progress.caught_up and self.folder.log.exists())

    @precondition(lambda self: self.is_opened)
    @rule()
    def rotate(self) -> None:
        """Rename the log away, as Loki Mode does at 50 MiB; the next append makes a new one."""
        self.folder.log.rename(self.path / "log.1")
        self.written.append(b"")
        self.is_opened = False

    @invariant()
    def nothing_is_invented(self) -> None:
        """Check that what was handed out is a beginning of what was written."""
        expected = [line for content in self.written for line in complete_lines(content)]
        assert self.folder.sink.seen == expected[: len(self.folder.sink.seen)]

    def teardown(self) -> None:
        """Every complete line was handed out once, in order, when all is read."""
        try:
            expected = [line for content in self.written for line in complete_lines(content)]
            assert self.folder.read() == expected
        finally:
            self.folder.file.close()
            shutil.rmtree(self.path)


class AnyHistory(RuleBasedStateMachine):
    """A log that is also truncated, replaced and removed, against a model in terms of contents."""

    @initialize()
    def begin(self) -> None:
        """Begin with nothing."""
        self.path = Path(tempfile.mkdtemp())
        self.folder = Folder(self.path)
        self.at_path: bytearray | None = None  # the content that lies at the path, by identity
        self.held: bytearray | None = None  # the content behind the reader's descriptor
        self.was_open = False
        self.read_bytes = b""  # what the reader has passed, of the content it believes to be in
        self.expected: list[bytes | None] = []

    @rule(content=CHUNKS)
    def append(self, content: bytes) -> None:
        """Append, to a new file where there is none."""
        self.folder.append(content)
        if self.at_path is None:
            self.at_path = bytearray()
        self.at_path += content

    @precondition(lambda self: self.at_path is not None)
    @rule(keep=st.integers(0, 300))
    def truncate(self, keep: int) -> None:
        """Cut the file in place."""
        keep = min(keep, len(self.at_path or b""))
        os.truncate(self.folder.log, keep)
        assert self.at_path is not None
        del self.at_path[keep:]

    @precondition(lambda self: self.at_path)
    @rule(by=st.sampled_from([b"Q", b"\n", b"R\n"]), in_place=st.booleans())
    def replace(self, by: bytes, *, in_place: bool) -> None:
        """Put another content of the same size there, in place or by rename."""
        assert self.at_path is not None
        size = len(self.at_path)
        content = (by * size)[:size]
        if in_place:
            with self.folder.log.open("r+b") as log:
                log.write(content)
            self.at_path[:] = content
        else:
            (self.path / "new").write_bytes(content)
            (self.path / "new").rename(self.folder.log)
            self.at_path = bytearray(content)

    @precondition(lambda self: self.at_path is not None)
    @rule()
    def copy(self) -> None:
        """Put the same content there as another file, as an editor or a backup does."""
        assert self.at_path is not None
        shutil.copy(self.folder.log, self.path / "new")
        (self.path / "new").rename(self.folder.log)
        self.at_path = bytearray(self.at_path)

    @precondition(lambda self: self.at_path is not None)
    @rule(keep=st.booleans())
    def leave(self, *, keep: bool) -> None:
        """Rename the file away, or remove it."""
        if keep:
            self.folder.log.rename(self.path / "log.1")
        else:
            self.folder.log.unlink()
        self.at_path = None

    @rule(piece=PIECES)
    def read(self, piece: int) -> None:
        """Read to the end: the model drains what is held, then goes to what is at the path."""
        if self.at_path is not self.held or self.at_path is None:
            if self.held is not None and self._is_continued(self.held):
                self._read_all_of(self.held)
            self.held = None
        if self.at_path is not None:
            if not (self.was_open and self._is_continued(self.at_path)):
                self.read_bytes = b""
            self.held, self.was_open = self.at_path, True
            self._read_all_of(self.at_path)

        assert self.folder.read(piece) == self.expected

    def _is_continued(self, content: bytearray) -> bool:
        return content.startswith(self.read_bytes)

    def _read_all_of(self, content: bytearray) -> None:
        known = complete_lines(self.read_bytes)
        self.expected += complete_lines(bytes(content))[len(known) :]
        self.read_bytes = bytes(content[: position(bytes(content))])

    def teardown(self) -> None:
        """Clean up."""
        self.folder.file.close()
        shutil.rmtree(self.path)


TestRotatedLog = RotatedLog.TestCase
TestRotatedLog.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


@settings(max_examples=60, deadline=None)
@given(contents=st.lists(CHUNKS, max_size=6), piece=PIECES)
def test_lines_do_not_depend_on_the_pieces(contents: list[bytes], piece: int) -> None:
    """Written piece by piece and read after each, or read at once at the end: the same lines."""
    whole = b"".join(contents)[:400]
    with tempfile.TemporaryDirectory() as name:
        at_once, bit_by_bit = Folder(Path(name)), Folder(Path(name))
        for start in range(0, len(whole), piece):
            bit_by_bit.append(whole[start : start + piece])
            bit_by_bit.read(piece)

        assert at_once.read() == bit_by_bit.read() == complete_lines(whole)
        at_once.file.close()
        bit_by_bit.file.close()


def test_torn_last_line_is_handed_out_when_it_is_finished(folder: Folder) -> None:
    """A line without its newline is none yet; when the rest comes, it is one."""
    folder.append(b"one\ntw")
    assert folder.read() == [b"one"]
    folder.append(b"o\n")
    assert folder.read() == [b"one", b"two"]


def test_replacement_by_equal_size_is_noticed_at_once(tmp_path: Path) -> None:
    """Rewritten in place within the same tick of the file system's clock, right after it was read."""
    folder = Folder(tmp_path, clock=lambda: (tmp_path / "log").stat().st_ctime + 0.001)
    folder.append(b"old\n")
    assert folder.read() == [b"old"]
    before = folder.log.stat()
    folder.log.write_bytes(b"new\n")
    os.utime(folder.log, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert folder.read() == [b"old", b"new"]
    assert folder.file.generations == 1
    folder.file.close()


def test_an_unchanged_file_is_not_opened_nor_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stat answers that nothing is new."""
    folder.append(b"one\n")
    folder.read()

    def refuse(*_args: object) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr("exporter.files.growing_file.os.pread", refuse)
    assert folder.advance() == Progress(0)


def test_a_deleted_file_gives_its_space_back(folder: Folder) -> None:
    """The descriptor is not kept once the file is gone from the path and read to its end."""
    folder.append(b"one\n")
    folder.read()
    folder.log.unlink()
    folder.read()

    held = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    assert not [target for target in held if target.startswith(str(folder.log))]
    folder.append(b"two\n")
    assert folder.read() == [b"one", b"two"]


def test_unread_bytes_say_how_much_is_left(folder: Folder) -> None:
    """Each piece leaves less, and at the end nothing."""
    folder.append(b"0123456\n" * 20)
    left = []
    while not (progress := folder.advance(40)).caught_up:
        left.append(progress.unread_bytes)

    assert left == sorted(left, reverse=True)
    assert left[0] == 160 - 48
    assert len(folder.sink.seen) == 20


def test_mtime_is_that_of_what_was_read(folder: Folder) -> None:
    """None before anything was read to its end, and then the file's."""
    assert folder.file.mtime_s is None
    folder.append(b"one\n")
    os.utime(folder.log, (5, 5))
    folder.read()

    assert folder.file.mtime_s == 5


def test_an_unreadable_file_is_one_problem(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission denied at every reading is told once, and again only after it was readable in between."""
    folder.append(b"one\n")
    real_open = os.open
    denied = True

    def deny(path: str, flags: int, *args: object, **kwargs: object) -> int:
        if denied and path == "log":
            raise PermissionError(13, "Permission denied")
        return real_open(path, flags, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("exporter.files.tree.os.open", deny)
    told = [folder.advance() for _ in range(3)]
    assert [p.problem.reason if p.problem else None for p in told] == [Reason.PERMISSION, None, None]
    assert not any(p.is_readable for p in told)
    denied = False
    assert folder.read() == [b"one"]


def test_a_failing_device_is_one_problem(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error in the middle costs nothing that was read, and reading goes on when the device is back."""
    folder.append(b"one\n")
    folder.read()
    folder.append(b"two\n")
    with monkeypatch.context() as patch:

        def fail(*_args: object) -> bytes:
            raise OSError(5, "Input/output error")

        patch.setattr("exporter.files.growing_file.os.pread", fail)
        told = [folder.advance() for _ in range(3)]

    assert [p.problem.reason if p.problem else None for p in told] == [Reason.IO, None, None]
    assert folder.read() == [b"one", b"two"]


def test_time_ends_a_reading_after_a_block(tmp_path: Path) -> None:
    """Lines may be of one byte each: a reading that takes too long ends, and the next one goes on."""
    ticks = itertools.count(step=10)
    recorder = Recorder()
    file = GrowingFile("log", recorder, monotonic=lambda: next(ticks))
    (tmp_path / "log").write_bytes(b"x\n" * SMALL_BLOCK_BYTES * 2)
    left = []
    with Tree(str(tmp_path)) as tree:
        while not (progress := file.advance(tree, MANY, budget_s=15)).caught_up:
            left.append(progress.unread_bytes)
    file.close()

    assert left == [32]
    assert len(recorder.seen) == SMALL_BLOCK_BYTES * 2
