"""Entries become JSON and are made of it again: what is kept of lines is nothing but that."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shipper.entries.wire import from_json, to_json
from shipper.push import encode
from shipper.times import MAX_NS

Entry = tuple[int, str, dict[str, str] | None]
awkward = st.sampled_from(
    ["", '"', "\\", "\\u0000", "\x00", "\x1f\x7f", "\n\r\t", "\ufffd", "\u2028", "😀", "],["]
)
texts = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | awkward
    | st.tuples(awkward, awkward).map("".join)
)
metas = st.none() | st.dictionaries(texts, texts, max_size=2)
entries = st.lists(st.tuples(st.integers(0, MAX_NS + 10**12), texts, metas), max_size=8)


@given(entries)
def test_entries_come_back_as_they_were(given_entries: list[Entry]) -> None:
    """Stamps to the nanosecond, any text, and metadata; none is as good as an empty one."""
    stamps, said, beside = _lists(given_entries)

    assert from_json(to_json(stamps, said, beside)) == (stamps, said, [meta or None for meta in beside])


@given(entries)
def test_entries_without_metadata_come_back_without(given_entries: list[Entry]) -> None:
    """And nothing else of them is lost."""
    stamps, said, _ = _lists(given_entries)

    assert from_json(to_json(stamps, said, None)) == (stamps, said, [None] * len(stamps))


@given(entries)
def test_it_is_the_json_that_loki_reads(given_entries: list[Entry]) -> None:
    """A strict reader finds the same: times as text, no third element where no line has metadata."""
    stamps, said, beside = _lists(given_entries)

    values = json.loads(b"[%b]" % to_json(stamps, said, beside))

    third = [[meta or {}] if any(beside) else [] for meta in beside]
    assert values == [[str(s), t, *m] for s, t, m in zip(stamps, said, third, strict=True)]


@given(entries, st.data())
def test_a_body_of_pieces_says_what_a_body_of_all_says(
    given_entries: list[Entry], data: st.DataObject
) -> None:
    """Wherever the entries were cut; a line without metadata has none in either."""
    stamps, said, beside = _lists(given_entries)
    count = len(given_entries)
    cuts = sorted(data.draw(st.sets(st.integers(0, count))) | {0, count})
    with_metadata = data.draw(st.booleans())

    pieces = [
        to_json(stamps[a:b], said[a:b], beside[a:b] if with_metadata else None) for a, b in pairwise(cuts)
    ]
    cut = encode.joined({"app": '"x"'}, pieces)
    whole = encode.body({"app": '"x"'}, stamps, said, beside if with_metadata else None)

    assert _told(cut) == _told(whole)
    assert len(cut) >= encode.overhead_bytes({"app": '"x"'})


def _lists(found: list[Entry]) -> tuple[list[int], list[str], list[dict[str, str] | None]]:
    return [s for s, _, _ in found], [t for _, t, _ in found], [m for _, _, m in found]


def _told(body: bytes) -> object:
    (stream,) = json.loads(body)["streams"]
    return stream["stream"], [
        (stamp, text, *(meta for meta in rest if meta)) for stamp, text, *rest in stream["values"]
    ]
