"""Bytes become lines with the offsets at which they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.follow.framing import Framed, frame


@given(st.binary(max_size=300), st.integers(1, 50))
def test_lines_are_the_same_however_the_file_comes_in_pieces(data: bytes, size: int) -> None:
    """Feeding what is there so far, again and again.

    Gives the lines of the whole file at the same offsets.
    """
    whole = frame(data, 0)
    starts: list[int] = []
    lines: list[bytes] = []
    read = 0
    for seen in [*range(0, len(data), size), len(data)]:
        framed = frame(data[read:seen], read)
        starts += framed.starts
        lines += framed.lines
        read = framed.end

    assert (whole.starts, whole.lines, whole.end) == (starts, lines, read)


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line)))
def test_each_line_stands_at_its_offset(lines: list[bytes]) -> None:
    """The bytes at a start are the line, apart from what is cleaned off its edges."""
    data = b"".join(line + b"\n" for line in lines)

    framed = frame(data, 0)

    for start, line in zip(framed.starts, framed.lines, strict=True):
        assert line in data[start : data.index(b"\n", start)]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a"]),
        (b"\n\n  \n\t\na\n", [b"a"]),
        (b"\xef\xbb\xbfa\n", [b"a"]),
        (b"a\r\n\r\nb\r\n", [b"a", b"b"]),
        (b"\x00\x00\x00\n\x00\x00a\x00b\n", [b"a\x00b"]),
        (b"  indented\n", [b"  indented"]),
        (b"", []),
    ],
)
def test_what_carries_nothing_is_left_out_and_nothing_else_is_changed(
    data: bytes, lines: list[bytes]
) -> None:
    """Blank lines, a byte order mark, carriage returns and runs of NULs are no content; all else is."""
    assert frame(data, 0).lines == lines


def test_a_byte_order_mark_in_the_middle_of_a_file_is_content() -> None:
    """Only the very start of a file can have one."""
    assert frame(b"\xef\xbb\xbfa\n", 10).lines == [b"\xef\xbb\xbfa"]


def test_the_rest_of_a_finished_file_is_a_line() -> None:
    """A file that will not grow any more ends its last line."""
    assert frame(b"a\nb", 5, finished=True) == Framed([5, 7], [b"a", b"b"], 8)


def test_blanks_at_the_edges_of_a_line_that_says_something_stay() -> None:
    """Only a line of nothing but blanks is none."""
    assert frame(b"  indented \t\n", 0).lines == [b"  indented \t"]
