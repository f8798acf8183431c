from __future__ import annotations

import pathlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipper.follow.framing import BOM, Framed, frame

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"
RECORDED = sorted(
    path
    for folder in ("llm-proxy", "loki-mode")
    for path in (FIXTURES / folder).rglob("*")
    if path.suffix in (".jsonl", ".bin") and path.is_file()
)
PIECES = (1, 7, 4096)
FRAGMENTS = [
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\x00",
    b"\x00" * 9,
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\n\t\n",
    b"\n \n",
    BOM,
    b"{}",
    b'{"a":1}',
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"x" * 300,
]
contents = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=6), max_size=25).map(b"".join)


def fed(content: bytes, piece: int) -> list[tuple[int, bytes]]:
    """Return offset and text of each line, of a file that grows by `piece` bytes and is read each time."""
    found: list[tuple[int, bytes]] = []
    position = 0
    for size in range(piece, len(content) + piece, piece):
        got = frame(content[position : min(size, len(content))], position)
        found += zip(got.starts, got.lines, strict=True)
        position = got.end
    got = frame(content[position:], position, finished=True)
    return found + list(zip(got.starts, got.lines, strict=True))


def whole(content: bytes) -> list[tuple[int, bytes]]:
    """Return offset and text of each line of a finished file, by the rules and by nothing clever."""
    found = []
    at = 0
    for number, raw in enumerate(content.split(b"\n")):
        text = raw.removeprefix(BOM) if number == 0 else raw
        text = text.rstrip(b"\r\x00").lstrip(b"\x00")
        if text.strip(b" \t\n\r\x0b\x0c"):
            found.append((at, text))
        at += len(raw) + 1
    return found


@given(contents, st.sampled_from(PIECES))
@example(b"a\n\t\nb\n", 4096)
@example(b"a\n\x0b\nb\n", 4096)
@example(BOM + b"\n\x0c\n", 7)
def test_lines_are_the_same_however_the_bytes_arrive(content: bytes, piece: int) -> None:
    """One byte, seven bytes or a page at a time: same lines, same offsets, and the simple rules."""
    assert fed(content, piece) == whole(content)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: str(path.relative_to(FIXTURES)))
def test_every_recorded_file_frames_the_same_in_any_pieces(path: pathlib.Path, piece: int) -> None:
    """The recordings of both programs, odd ones included."""
    content = path.read_bytes()

    assert fed(content, piece) == whole(content)


@given(contents, st.integers(0, 10**12))
def test_what_is_taken_ends_after_a_newline(content: bytes, offset: int) -> None:
    """An unfinished last line waits; everything before it is taken, blank or not."""
    got = frame(content, offset)

    assert got.end == offset + content.rfind(b"\n") + 1
    assert all(offset <= start < got.end for start in got.starts)
    assert got.starts == sorted(set(got.starts))


def test_an_unfinished_line_waits_until_its_file_is_finished() -> None:
    """Half a line is nothing; when nothing more can come it is a line."""
    assert frame(b'{"a"', 10) == Framed([], [], 10)
    assert frame(b'{"a"', 10, finished=True) == Framed([10], [b'{"a"'], 14)


def test_nuls_that_a_power_cut_left_are_no_line() -> None:
    """A page that was never written is NULs; alone they are nothing, at the ends of a line they are cut."""
    content = b"a\n" + b"\x00" * 4096 + b"\nb" + b"\x00" * 10 + b"\n" + b"\x00" * 7 + b"c\n"

    assert frame(content, 0).lines == [b"a", b"b", b"c"]


def test_a_nul_inside_a_line_stays() -> None:
    """It is content, whatever it is doing there."""
    assert frame(b'{"a":"\x00"}\n', 0).lines == [b'{"a":"\x00"}']


def test_a_byte_order_mark_is_cut_at_the_start_of_the_file_only() -> None:
    """Elsewhere it is a character of the line."""
    assert frame(BOM + b"a\n" + BOM + b"b\n", 0).lines == [b"a", BOM + b"b"]
    assert frame(BOM + b"a\n", 5).lines == [BOM + b"a"]


def test_a_line_of_many_megabytes_is_one_line() -> None:
    """Nothing here limits a line; memory is bounded by who reads."""
    line = b"x" * (9 << 20)

    assert frame(line + b"\ny\n", 3) == Framed([3, 3 + len(line) + 1], [line, b"y"], 3 + len(line) + 3)


def test_bytes_that_are_no_utf8_pass_through_framing_unchanged() -> None:
    """What they become is decided later, for the body of the push."""
    assert frame(b"\xff\xfe\xed\xa0\x80\n", 0).lines == [b"\xff\xfe\xed\xa0\x80"]


def test_blanks_at_the_edges_of_a_line_that_says_something_stay() -> None:
    """Only a line of nothing but blanks is none."""
    assert frame(b"  indented \t\n", 0).lines == [b"  indented \t"]


def test_only_nuls_are_cut_from_the_begin_of_a_line() -> None:
    """What follows them stays, a carriage return too."""
    assert frame(b"\x00\x00X\x00a\r\n\x00\rb\n", 0) == Framed([0, 7], [b"X\x00a", b"\rb"], 11)


def test_a_usual_piece_is_never_split_as_bytes() -> None:
    """Its lines are text, and the piece is kept for whoever wants bytes: that costs least."""
    lines = frame(b"a\nb\n", 0).lines

    assert (lines._each, lines._texts, lines._piece) == (None, ["a", "b"], b"a\nb")
