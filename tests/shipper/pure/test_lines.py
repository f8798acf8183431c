"""The lines of a chunk are the same in each of their forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.follow.framing import frame
from shipper.follow.lines import Lines, joined

ascii_lines = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), min_size=1)
raw_lines = st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line), min_size=1)


@given(ascii_lines | raw_lines.map(lambda lines: [str(line, "latin-1") for line in lines]))
def test_every_form_of_framed_lines_says_the_same(texts: list[str]) -> None:
    """Bytes, sizes, one piece and text agree, whichever is asked for first."""
    lines = frame("".join(f"{text}\n" for text in texts).encode(), 0).lines
    sizes = lines.sizes
    assert sizes == [len(line) for line in lines.each] == lines.sizes
    assert joined(lines) == b"\n".join(lines)
    assert lines.texts == [line.decode() for line in lines]


@given(raw_lines)
def test_what_is_not_utf8_becomes_the_replacement_character_in_its_own_line_only(raw: list[bytes]) -> None:
    """Decoding all at once gives what decoding each gives."""
    assert Lines(raw).texts == [str(line, "utf-8", "replace") for line in raw]


@given(ascii_lines, st.integers(0, 5))
def test_a_slice_of_lines_has_the_same_forms(texts: list[str], cut: int) -> None:
    """As if only these had been read."""
    part = frame("".join(f"{text}\n" for text in texts).encode(), 0).lines[:cut]
    assert (part.texts, part.sizes) == (texts[:cut], [len(text) for text in texts[:cut]])
    assert joined(part) == b"\n".join(part)
    assert len(part) == len(texts[:cut])


def test_lines_have_no_hash_as_the_lists_that_they_equal_have_none() -> None:
    """Equality with a list would make any hash wrong."""
    assert Lines([b"a"]) == [b"a"]
    with pytest.raises(TypeError):
        hash(Lines([b"a"]))
