"""The lines of a chunk are the same in each of their forms."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.follow.framing import frame
from shipper.follow.lines import Lines, braced, joined
from shipper.sources.base import lenient
from shipper.sources.decoding import decoded

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


edges = st.sampled_from(
    ["", "{", "}", "{}", "{a}", "}{", "{{", "[]", " {}", "{} ", "{}\r", "é", "{é}", "{é", "é}"]
)


@given(st.lists(edges, max_size=4))
def test_lines_are_braced_when_each_begins_and_ends_so(texts: list[str]) -> None:
    """In each form of them; no lines at all and blank ones are not."""
    wanted = bool(texts) and all(text[:1] == "{" and text[-1:] == "}" for text in texts)
    raw = [text.encode() for text in texts]

    assert braced(raw) is wanted
    assert Lines(raw).braced is wanted
    assert Lines(raw, texts).braced is wanted
    if all(text.isascii() for text in texts):
        assert Lines(None, texts).braced is wanted
    assert Lines([b"x", *raw])[1:].braced is wanted
    assert Lines([b"x", *raw]).braced is False


@given(
    st.lists(
        st.sampled_from(["", "{", "}", "{}", "{a}", "  ", "é{}", "{é}", "\ufffd"]), min_size=1, max_size=5
    )
)
def test_lines_as_they_are_framed_are_braced_when_each_begins_and_ends_so(texts: list[str]) -> None:
    """Blank ones are gone by then."""
    lines = frame("".join(f"{text}\n" for text in texts).encode(), 0).lines

    assert lines.braced is (len(lines) > 0 and all(one[:1] == b"{" and one[-1:] == b"}" for one in lines))


class One(msgspec.Struct):
    """What a line of the tests holds: one field that is looked at, and others that are not."""

    a: object = None


ONE = msgspec.json.Decoder(One)
torn = st.lists(
    st.sampled_from(
        [b"{}", b'{"a":', b'{"b":', b"[", b"]", b"{", b"}", b",", b'"', b'"x":', b"1", b"\n", b"\n", b" "]
    ),
    min_size=1,
    max_size=14,
).map(b"".join)


@given(torn)
def test_what_a_line_holds_is_what_it_holds_alone(chunk: bytes) -> None:
    """Two objects on a line and one over two lines are as many objects as lines, and no line's own."""
    lines = frame(chunk + b"\n", 0).lines

    assert decoded(ONE, lines, _loose, _broken) == _by_itself(lines)


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"a":1}{"a":2}', b'{"a":', b"3}"],
        [b'{"a":1}{"a":2}', b'{"a":{}', b"}"],
        [b'{"a":1}{"a":2}', b'{"a":[{}', b"{}]}"],
        [b'{"a":1}{"a":2}', b'{"b":"}', b'{"}'],
        [b'{"a":"}', b'{"}', b'{"a":1}{"a":2}'],
        [b'{"a":1} {"a":2}', b"{", b"}"],
        [b'{"a":1}\t{"a":2}', b'{"b":{}', b',"a":{}}'],
        [b"{}{}", b"{", b"}{}{}", b'{"a":', b"1}"],
        [b"{}1", b"{}"],
        [b"{}{}"],
        [b"{", b"}"],
    ],
)
def test_an_object_over_two_lines_makes_up_for_no_line_with_two(lines: list[bytes]) -> None:
    """Else each line between them would get the time of its neighbour."""
    assert (
        decoded(ONE, Lines(lines), _loose, _broken)
        == decoded(ONE, lines, _loose, _broken)
        == _by_itself(lines)
    )


def test_objects_one_a_line_are_read_at_once_and_none_is_missing() -> None:
    """Wide blanks within them or not."""
    lines = [b'{"a":1}', b'{ "a" : [2] }', b"{}"]

    assert decoded(ONE, lines, _loose, _broken) == ([One(1), One([2]), One()], 0)


def _by_itself(lines: Lines | list[bytes]) -> tuple[list[One], int]:
    found = []
    for line in lines:
        try:
            found.append(ONE.decode(line))
        except msgspec.MsgspecError:
            read = lenient(line)
            found.append(_broken(line) if read is None else _loose(read))
    return found, sum(one.a == "broken" for one in found)


def _loose(read: dict[str, object]) -> One:
    return One(["loose", read.get("a")])


def _broken(_line: bytes) -> One:
    return One("broken")
