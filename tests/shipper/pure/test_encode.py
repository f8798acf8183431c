from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.push import encode

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
metas = st.none() | st.dictionaries(texts.filter(bool), texts, max_size=3)
entries = st.lists(st.tuples(st.integers(0, 2**63 - 1), texts, metas), max_size=8)


@given(lines=entries, with_metadata=st.booleans())
def test_a_body_holds_one_stream_with_every_line_in_order(
    *, lines: list[tuple[int, str, dict[str, str] | None]], with_metadata: bool
) -> None:
    """Times are text, metadata an object of texts, nothing is lost or changed."""
    stamps, said, meta = [s for s, _, _ in lines], [t for _, t, _ in lines], [m for _, _, m in lines]

    body = json.loads(encode.body({"app": "x"}, stamps, said, meta if with_metadata else None))

    (stream,) = body["streams"]
    assert stream["stream"] == {"app": "x"}
    assert [(int(v[0]), v[1]) for v in stream["values"]] == list(zip(stamps, said, strict=True))
    got = [v[2] if len(v) > 2 else {} for v in stream["values"]]
    assert got == ([m or {} for m in meta] if with_metadata else [{}] * len(lines))


def test_without_metadata_no_line_has_a_third_element() -> None:
    """A Loki older than 3.0 refuses the whole push for it."""
    body = json.loads(encode.body({}, [1, 2], ["a", "b"], None))

    assert body["streams"][0]["values"] == [["1", "a"], ["2", "b"]]


def test_the_six_characters_of_an_escaped_surrogate_stay_as_written() -> None:
    r"""`\ud800` in a line is a backslash, a `u` and four digits; only a bare escape would cost the push."""
    body = encode.body({}, [1], [r'{"a":"\ud800"}'], None)

    assert rb"\\ud800" in body
    assert json.loads(body)["streams"][0]["values"][0][1] == r'{"a":"\ud800"}'


@given(
    labels=st.dictionaries(texts, texts, max_size=3),
    pieces=st.lists(
        st.sampled_from([b'["1","a"]', b'["2","b",{"c":"d"}]', b'["3","e"],["4",""]']), max_size=5
    ),
)
def test_a_body_of_pieces_is_as_large_as_those_a_comma_each_and_what_it_is_without_entries(
    labels: dict[str, str], pieces: list[bytes]
) -> None:
    """By this is told what fits into a push; the last piece has no comma."""
    body = encode.joined(labels, pieces)

    assert json.loads(body) == {
        "streams": [{"stream": labels, "values": json.loads(b"[%b]" % b",".join(pieces))}]
    }
    commas = max(0, len(pieces) - 1)
    assert len(body) == encode.overhead_bytes(labels) + sum(map(len, pieces)) + commas


def test_a_body_without_entries_is_a_stream_without_values() -> None:
    """Neither a comma nor a bracket too many."""
    assert encode.joined({"a": "b"}, []) == b'{"streams":[{"stream":{"a":"b"},"values":[]}]}'
    assert encode.body({"a": "b"}, [], [], None) == encode.joined({"a": "b"}, [])


@pytest.mark.parametrize("pack", [encode._igzip, encode._zlib])
def test_what_is_packed_is_gzip(pack: object) -> None:
    """By igzip, or by zlib where that is missing; not the zlib wrapping that Loki answers with 400."""
    data = b"tallyship " * 1000

    packed = pack(data)  # type: ignore[operator]

    assert gzip.decompress(packed) == data
    assert len(packed) < len(data) / 10
