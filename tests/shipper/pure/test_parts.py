from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from shipper.parts import line_id, metas, split, text_bytes, without_part

lines = st.binary(max_size=80) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
limits = st.integers(4, 30)


@given(lines, limits)
@example("é€😀".encode() * 5, 4)
@example(b"\x80" * 20, 7)
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
