from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipper.entries.parts import MIN_ENTRY_BYTES, line_id, metas, split, text_bytes, text_sizes, without_part
from shipper.follow.lines import Lines

lines = st.binary(max_size=80) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
limits = st.integers(4, 30)


@given(lines, limits)
@example("é€😀".encode() * 5, 4)
@example(b"\x80" * 20, 7)
@example(b"a" + b"\x80" * 20, 4)
@example(b"", 4)
def test_parts_joined_are_the_text_and_none_is_above_the_limit(line: bytes, limit: int) -> None:
    """Whatever the bytes; and no part is empty but that of an empty line."""
    parts = split(line, limit)

    assert "".join(parts) == line.decode("utf-8", "replace")
    assert all(0 < len(part.encode()) <= limit for part in parts) or parts == [""]


@given(lines, limits)
def test_parts_are_as_full_as_characters_allow(line: bytes, limit: int) -> None:
    """So that a line needs no more of them than the stamps it reserves."""
    parts = split(line, limit)

    assert all(len(part.encode()) > limit - 4 for part in parts[:-1])
    assert text_bytes(line) == len("".join(parts).encode())


@given(lines, limits, limits)
def test_a_line_has_one_name_however_it_is_split(line: bytes, limit: int, other: int) -> None:
    """Sixteen hexadecimal digits; another offset or file has another."""
    name = line_id("/a", 7, split(line, limit))

    assert name == line_id("/a", 7, split(line, other))
    assert len({name, line_id("/a", 8, split(line, limit)), line_id("/b", 7, split(line, limit))}) == 3
    assert len(name) == 16
    assert int(name, 16) >= 0


def test_each_part_has_the_metadata_of_the_line_and_its_number() -> None:
    """As text, counted from one."""
    made = metas({"session_id": "s"}, "00ff", 2)

    assert made == [
        {"session_id": "s", "line_id": "00ff", "part": "1", "parts": "2"},
        {"session_id": "s", "line_id": "00ff", "part": "2", "parts": "2"},
    ]
    assert without_part(made[0]) == {"session_id": "s"}
    assert without_part(metas(None, "00ff", 1)[0]) is None


@pytest.mark.parametrize("origin", ["/var/log/a.jsonl", "/var/log/\udcff.jsonl"])
def test_the_name_of_a_line_is_the_same_for_ever(origin: str) -> None:
    """A repeat after an upgrade must be the same entry; a file name need not be UTF-8."""
    raw = origin.encode("utf-8", "surrogateescape")
    expected = hashlib.blake2b(raw + b"\x00" + b"4711" + b"\x00" + "é€".encode(), digest_size=8)

    assert line_id(origin, 4711, ["é", "€"]) == expected.hexdigest()


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"a" * 3000, 3000),
        ("é".encode() * 3000, 6000),
        (b"\xff" * 3000, 9000),
        (b"a\xff" * 1500, 6000),
        (b"", 0),
    ],
)
def test_the_size_of_a_line_is_that_of_its_text(line: bytes, size: int) -> None:
    """A byte that is no UTF-8 is sent as three."""
    assert text_bytes(line) == size
    assert text_sizes(Lines([b"short", line]))[0] == [5, size]


def test_a_line_that_no_growth_makes_a_part_of_is_not_looked_at() -> None:
    """The bytes are near enough below a third of the lowest limit; at it they are counted."""
    below, at = b"\xff" * (MIN_ENTRY_BYTES // 3), b"\xff" * (MIN_ENTRY_BYTES // 3 + 1)

    assert text_sizes(Lines([below])) == ([len(below)], len(below))
    assert text_sizes(Lines([below, at])) == ([len(below), 3 * len(at)], 3 * len(at))
    assert text_sizes(Lines([])) == ([], 0)
    assert 3 * len(below) < MIN_ENTRY_BYTES <= 3 * len(at)


def test_a_line_at_the_limit_is_one_part_and_one_above_it_is_two() -> None:
    """In bytes of its text."""
    assert split(b"a" * 10, 10) == ["a" * 10]
    assert split(b"a" * 11, 10) == ["a" * 10, "a"]
    assert split("é".encode() * 5, 10) == ["é" * 5]
    assert split("é".encode() * 5, 9) == ["é" * 4, "é"]
