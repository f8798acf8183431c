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


def test_a_slice_of_lines_that_came_as_bytes_has_the_same_forms() -> None:
    """Bytes that are no text stay what they are."""
    part = Lines([b"a", b"\xff", b"c"])[1:]

    assert part == [b"\xff", b"c"]
    assert (len(part), part.sizes, part.piece, part.texts) == (2, [1, 1], b"\xff\nc", ["\ufffd", "c"])
    assert part[0] == b"\xff"


def test_lines_in_one_piece_are_the_same_whatever_holds_them() -> None:
    """A plain list is joined; what came in one piece is not made anew."""
    piece = b"a\nb"

    assert joined([b"a", b"b"]) == joined(Lines([b"a", b"b"])) == piece
    assert joined(Lines(None, ["a", "b"], piece)) is piece


def test_each_form_is_made_once() -> None:
    """Asking again costs nothing."""
    lines, texts = Lines([b"a", b"b"]), Lines(None, ["a", "b"])

    assert lines.each is lines.each
    assert lines.piece is lines.piece
    assert lines.texts is lines.texts
    assert texts.each is texts.each
    assert texts.piece is texts.piece
    assert (texts.each, texts.piece) == ([b"a", b"b"], b"a\nb")


@pytest.mark.parametrize("nothing", [Lines([]), Lines(None, [])])
def test_no_lines_are_empty_in_every_form(nothing: Lines) -> None:
    """And not one empty line."""
    assert (len(nothing), nothing.sizes, nothing.each, nothing.texts, nothing.piece) == (0, [], [], [], b"")
    assert list(nothing) == []
    assert nothing[:5] == []


def test_lines_are_equal_when_their_bytes_are() -> None:
    """Whatever form they came in; a list of the same bytes is equal as well."""
    assert Lines([b"a"]) == Lines(None, ["a"])
    assert Lines([b"a"]) != Lines([b"b"])
    assert Lines([b"a"]) == [b"a"]
    assert Lines([b"a"]) != [b"b"]
    assert repr(Lines(None, ["a"])) == "Lines([b'a'])"
