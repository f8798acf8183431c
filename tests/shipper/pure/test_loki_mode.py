"""What Loki Mode's lines say hangs on no line before them, whatever was remembered of those."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.sources import loki_mode
from shipper.sources.base import META_CHARS, FileInfo, Parsed, clean
from shipper.sources.loki_mode import FILES, LokiMode
from shipper.times import Seen, Times

AT = "2026-11-21T01:02:29Z"
HUGE = b"9" * 400
scalars = st.sampled_from(
    [
        b"null",
        b"true",
        b"false",
        b"0",
        b"1",
        b"1.0",
        b"-1",
        b'"1"',
        b'""',
        b"2",
        b'"2"',
        b"18446744073709551616",
        HUGE,
    ]
)
nested = st.sampled_from([b"[]", b"[1]", b"{}", b'{"a":1}'])
values = scalars | nested
times = st.sampled_from(
    [
        json.dumps(AT).encode(),
        b'"2026-11-21T01:02:30Z"',
        b"1795222949",
        b"1795222949.0",
        b'"1795222949"',
        b'"\\ud800"',
    ]
)
kinds = st.sampled_from(
    [b'"iteration_start"', b'"agent_audit"', b'"claude_hook_stop"', b'"rollback"', b'"mystery"']
)
levels = st.sampled_from([b'"info"', b'"ERROR"', b'"loud"'])
data = values | st.dictionaries(
    st.sampled_from([b"iteration", b"session_id", b"model", b"request_id", b"other"]), values, max_size=3
).map(lambda found: _object(found))  # noqa: PLW0108 - it is defined below, callers above callees
fields = st.fixed_dictionaries(
    {},
    optional={
        b"timestamp": times | values,
        b"type": kinds | values,
        b"event": kinds | values,
        b"level": levels | values,
        b"iteration": values,
        b"session_id": values,
        b"request_id": values,
        b"model": values,
        b"data": data,
    },
)


def _object(found: dict[bytes, bytes]) -> bytes:
    return b"{" + b",".join(b'"%b":%b' % pair for pair in found.items()) + b"}"


def _source() -> LokiMode:
    return LokiMode("/srv/*/.loki", "test", "u@h")


def _alone(line: bytes, info: FileInfo) -> Parsed:
    """Return what a line says to a source that has seen no other."""
    return _source().parse([line], info, "")


@settings(max_examples=300)
@given(
    chunks=st.lists(
        st.tuples(st.sampled_from(sorted(FILES)), st.lists(fields.map(_object), min_size=1, max_size=6)),
        min_size=1,
        max_size=3,
    ),
)
def test_a_line_says_the_same_whatever_was_read_before_it(chunks: list[tuple[str, list[bytes]]]) -> None:
    """To a dict 1, true and 1.0 are one; lists and objects are in none. Each line is as if it were alone."""
    source = _source()

    for name, lines in chunks:
        info = source.describe(f"/srv/shop/.loki/{name}")
        together = source.parse(lines, info, "")
        alone = [_alone(line, info) for line in lines]

        assert together.owns == [one.owns[0] for one in alone]
        assert together.keys == [one.keys[0] for one in alone]
        assert together.metas == [one.metas[0] for one in alone]
        assert together.malformed == sum(one.malformed for one in alone)


@settings(max_examples=300)
@given(st.lists(fields.map(_object), min_size=1, max_size=6))
def test_metadata_is_what_stands_at_the_top_or_else_in_data(lines: list[bytes]) -> None:
    """Field by field, whatever is remembered of the usual lines."""
    source = _source()

    metas = source.parse(lines, source.describe("/srv/shop/.loki/events.jsonl"), "").metas

    assert metas == [_plainly(json.loads(line)) for line in lines]


@pytest.mark.parametrize("name", ["session_id", "request_id", "model"])
@pytest.mark.parametrize("place", [b'{"%b":"x"}', b'{"data":{"%b":"x","iteration":3}}'])
def test_a_line_with_more_than_an_iteration_tells_all_of_it(place: bytes, name: str) -> None:
    """One field is enough to be no usual line."""
    source = _source()

    parsed = source.parse([place % name.encode()], source.describe("/srv/shop/.loki/events.jsonl"), "")

    assert parsed.metas == [{name: "x", **({"iteration": "3"} if b"data" in place else {})}]


def _plainly(found: dict[str, Any]) -> dict[str, str] | None:
    inner = found.get("data")
    meta = {}
    for name in ("session_id", "request_id", "iteration", "model"):
        value = found.get(name)
        if value is None and isinstance(inner, dict):
            value = inner.get(name)
        text = clean(value)
        if text is not None:
            meta[name] = text
    return meta or None


def test_a_kind_that_is_remembered_is_one_of_its_type_and_its_file() -> None:
    """A line without a type has its event's kind; in the other files the file tells it."""
    source = _source()
    kinds = []
    for name, line in [
        ("events.jsonl", b'{"event":"rollback","level":"info"}'),
        ("events.jsonl", b'{"event":"session_end","level":"info"}'),
        ("events.jsonl", b'{"type":"session_stop","level":"info"}'),
        ("logs/agent-audit.jsonl", b'{"type":"session_stop","level":"info"}'),
        ("metrics/tool-usage.jsonl", b'{"type":"session_stop","level":"info"}'),
        ("events.jsonl", b'{"type":"session_stop","level":"info"}'),
    ]:
        kinds += source.parse([line], source.describe(f"/srv/shop/.loki/{name}"), "").keys

    names = ["rollback", "session_end", "session_stop", "agent_audit", "tool_usage", "session_stop"]
    assert kinds == [(name, "info") for name in names]


@pytest.mark.parametrize("place", [b'{"iteration":%b}', b'{"data":{"iteration":%b}}'])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"1", "1"),
        (b"1.0", "1.0"),
        (b'"1"', "1"),
        (b"-7", "-7"),
        (b"0", "0"),
        (b"true", None),
        (b"null", None),
        (b"[1]", None),
        (HUGE, "9" * META_CHARS),
    ],
)
def test_an_iteration_is_told_as_it_is_written_wherever_it_stands(
    place: bytes, value: bytes, text: str | None
) -> None:
    """Cut where it is longer than metadata may be."""
    source = _source()
    lines = [place % other for other in (b"1", b"true", b"1.0", b'"1"', value)]

    metas = source.parse(lines, source.describe("/srv/shop/.loki/events.jsonl"), "").metas

    assert metas[-1] == (None if text is None else {"iteration": text})


def test_what_is_remembered_stays_bounded_and_is_right_after_it_was_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Iterations of a long run, and times of a long file."""
    monkeypatch.setattr(loki_mode, "_REMEMBERED", 3)
    monkeypatch.setattr("shipper.times._CACHE_LIMIT", 3)
    source = _source()
    info = source.describe("/srv/shop/.loki/events.jsonl")
    lines = [b'{"timestamp":"2026-11-21T01:02:%02dZ","data":{"iteration":%d}}' % (n, n) for n in range(10)]

    parsed = source.parse(lines + lines, info, "")

    assert parsed.metas == [{"iteration": str(n)} for n in range(10)] * 2
    assert parsed.owns == [(1795222920 + n) * 10**9 for n in range(10)] * 2
    assert (len(source._iterations) <= 3, len(source._seen) <= 3) == (True, True)


def test_only_texts_are_remembered_as_times() -> None:
    """A number is looked at each time: it could be true, which equals 1 and is no time."""
    asked: list[object] = []

    def time_of(value: object) -> int | None:
        asked.append(value)
        return Times().value_ns(value)

    seen = Seen(time_of)

    found = [seen[value] for value in (1, True, 1.0, AT, AT, None, True, 1)]

    assert found == [10**9, None, 10**9, 1795222949 * 10**9, 1795222949 * 10**9, None, None, 10**9]
    assert asked == [1, True, 1.0, AT, None, True, 1]
