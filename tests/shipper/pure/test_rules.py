"""What the rules of a `jsonl` source make of lines, and what is wrong with rules."""

from __future__ import annotations

import functools
import json
import pathlib
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.sources.base import Parsed
from shipper.sources.explain import explain
from shipper.sources.jsonl import Jsonl
from shipper.sources.loki_mode import LokiMode
from shipper.sources.rules import KEYS, MAX_LABELS, Rules, described, rules_of

AT_NS = 1795237567 * 10**9
FIXED = {"app": "jsonl", "environment": "test", "machine": "u@h"}
PATH = "/var/log/agents/a.jsonl"


def rules(toml: str) -> Rules:
    """Return the rules of a table that has no problem."""
    found, problems = rules_of(tomllib.loads(toml))
    assert problems == []
    return found


@functools.cache
def ruled(toml: str) -> Jsonl:
    """Return a source with rules; making one costs more than what the tests do with it."""
    return Jsonl("/var/log/agents/*.jsonl", "test", "u@h", rules=rules(toml))


def said(toml: str, *lines: object) -> tuple[Parsed, list[dict[str, str]]]:
    """Return what lines say under rules, and their labels."""
    source = ruled(toml)
    info = source.describe(PATH)
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    parsed = source.parse(raw, info, "")
    return parsed, [source.labels(info, key) for key in parsed.keys]


def label(toml: str, line: object, name: str) -> str | None:
    """Return one label of one line."""
    return said(toml, line)[1][0].get(name)


# ---- time


@pytest.mark.parametrize(
    ("form", "value", "past_ns"),
    [
        ("auto", "2026-11-21T05:06:07Z", 0),
        ("auto", 1795237567000, 0),
        ("rfc3339", "2026-11-21 07:06:07.5+02:00", 500_000_000),
        ("s", 1795237567, 0),
        ("s", 1795237567.5, 500_000_000),
        ("s", "1795237567.123456789", 123_456_789),
        ("ms", 1795237567250, 250_000_000),
        ("ms", "1795237567250.5", 250_500_000),
        ("us", 1795237567000001, 1000),
        ("ns", AT_NS + 7, 7),
        ("ns", str(AT_NS + 7), 7),
        ("%d.%m.%Y %H:%M:%S", "21.11.2026 05:06:07", 0),
        ("%d/%b/%Y:%H:%M:%S %z", "21/Nov/2026:06:06:07 +0100", 0),
        ("%Y%m%dT%H%M%S.%f", "20261121T050607.000123", 123_000),
        ("%Y-%j %H:%M:%S", "2026-325 05:06:07", 0),
    ],
    ids=repr,
)
def test_the_time_is_read_in_the_format_that_the_rule_names(form: str, value: object, past_ns: int) -> None:
    """A name, a unit, or strptime's directives; without a zone it is UTC."""
    parsed, _ = said(f"timestamp = 'at'\ntimestamp_format = '{form}'", {"at": value}, {"at": value})

    assert parsed.owns == [AT_NS + past_ns] * 2


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("rfc3339", 1795237567),
        ("rfc3339", "1795237567"),
        ("s", "2026-11-21T05:06:07Z"),
        ("s", 1795237567000),
        ("s", True),
        ("ns", -5),
        ("ms", "9" * 30),
        ("%d.%m.%Y %H:%M:%S", "2026-11-21T05:06:07Z"),
        ("%d.%m.%Y %H:%M:%S", 5),
        ("%d.%m.%Y %H:%M:%S", "31.02.2026 05:06:07"),
        ("%d.%m.%Y %H:%M:%S", "01.01.0001 00:00:00"),
        ("%d.%m.%Y %H:%M:%S", "9" * 100_000),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_not_in_the_named_format_is_no_time(form: str, value: object) -> None:
    """A wrong time would be worse than none."""
    assert said(f"timestamp = 'at'\ntimestamp_format = '{form}'", {"at": value})[0].owns == [None]


def test_the_first_usable_of_several_fields_is_the_time() -> None:
    """Dotted, or with a dot in the key itself."""
    toml = r"""timestamp = ["event.at", 'log\.at', "at"]"""
    late = 1795237568
    lines = [
        {"event": {"at": 1795237567}, "at": late},
        {"event": {"at": "never"}, "log.at": 1795237567, "at": late},
        {"event": 5, "log.at": None, "at": 1795237567},
        {"event": [1], "log": {"at": late}},
        {"timestamp": late},
    ]

    assert said(toml, *lines)[0].owns == [AT_NS, AT_NS, AT_NS, None, None]


@pytest.mark.parametrize("at", ["1795237567", "1795237567.0", '"2026-11-21T05:06:07Z"'])
def test_a_broken_line_keeps_the_time_that_its_rule_names(at: str) -> None:
    """It is no JSON, and its time can be seen all the same."""
    parsed, _ = said("timestamp = 'log.at'", f'{{"log":{{"at":{at}}},"n":007}}'.encode())

    assert (parsed.owns, parsed.malformed) == ([AT_NS], 1)


# ---- labels


def test_labels_come_from_fields_and_from_the_rules_themselves() -> None:
    """Dotted fields; text, whole numbers and switches."""
    toml = """
        static_labels = { team = "payments", tier = "a b" }
        labels = { service = "svc.name", shard = "shard", canary = { field = "canary" } }
    """
    _, labels = said(toml, {"svc": {"name": "api one"}, "shard": 3, "canary": True}, {"svc": "none"})

    fixed = {**FIXED, "team": "payments", "tier": "a_b"}
    assert labels == [{**fixed, "service": "api_one", "shard": "3", "canary": "true"}, fixed]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("eu", "eu"),
        (" us ", "us"),
        ("mars", "other"),
        (5, "other"),
        ("", None),
        (None, None),
        (["eu"], None),
        ({"x": "eu"}, None),
        (1.5, None),
        (10**30, None),
    ],
    ids=repr,
)
def test_a_value_that_is_not_allowed_is_other_and_one_that_is_none_is_no_label(
    value: object, text: str | None
) -> None:
    """The list bounds the streams."""
    toml = "labels = { region = { field = 'region', allow = ['eu', 'us'] } }"

    assert label(toml, {"region": value}, "region") == text


def test_a_labels_cap_is_the_rules_or_the_usual_one() -> None:
    """Who counts the values is the registry of streams, because which came first must be durable."""
    toml = "labels = { a = 'a', b = { field = 'b', max_values = 3 }, c = { field = 'c', allow = ['x'] } }"

    assert rules(toml).caps == {"a": 50, "b": 3}


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("INFO", "info"),
        ("Warning", "warn"),
        ("err", "error"),
        ("panic", "fatal"),
        ("trace", "debug"),
        (30, "info"),
        ("30", "info"),
        ("chatty", "debug"),
        ("Audit", "critical"),
        (99, None),
        ("loud", None),
        (None, None),
        (["info"], None),
    ],
    ids=repr,
)
def test_a_level_is_one_of_six_words(value: object, level: str | None) -> None:
    """The usual spellings are known, others are mapped; what is neither is no label."""
    toml = "level = 'log.level'\nlevel_map = { 30 = 'info', CHATTY = 'DEBUG', audit = 'critical' }"

    assert label(toml, {"log": {"level": value}}, "level") == level


def test_a_field_can_be_a_value_in_one_line_and_an_object_in_the_next() -> None:
    """Rules may name both."""
    toml = "labels = { a = 'x', b = 'x.y' }"
    _, labels = said(toml, {"x": "text"}, {"x": {"y": "inner"}}, {"x": [1]})

    assert labels == [{**FIXED, "a": "text"}, {**FIXED, "b": "inner"}, FIXED]


# ---- metadata


@pytest.mark.parametrize(
    ("toml", "meta"),
    [
        ("metadata = { session_id = 'ctx.sid', n = 'count' }", {"session_id": "s1", "n": "3"}),
        ("metadata = ['ctx.sid', 'count']", {"ctx_sid": "s1", "count": "3"}),
        ("metadata = []", {}),
        ("", {"model": "m"}),
    ],
)
def test_metadata_is_what_the_rules_name_else_the_usual_ids(toml: str, meta: dict[str, str]) -> None:
    """Beside the file's path."""
    parsed, _ = said(toml, {"ctx": {"sid": "s1"}, "count": 3, "model": "m"}, {"ctx": None})

    assert parsed.metas == [{"filename": PATH, **meta}, {"filename": PATH}]


# ---- what is wrong with rules


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("timestamp = 5", "timestamp: must name a field"),
        ("timestamp = ''", "timestamp: not a field"),
        ("timestamp = []", "timestamp: 1 to"),
        ("timestamp = 'a..b'", "timestamp: not a field"),
        ("timestamp = 'a.b.c.d.e.f.g.h.i'", "timestamp: more than 8 levels"),
        ("timestamp_format = 'iso'", "timestamp_format: must be one of auto, rfc3339, s, ms, us, ns"),
        ("timestamp_format = 5", "timestamp_format: must be text"),
        ("timestamp_format = '%H:%M'", "timestamp_format: must have year, month, day and hour"),
        ("timestamp_format = '%Y %m %d %H %Q'", "timestamp_format: cannot be used"),
        ("level = ['x']", "level: must name a field"),
        ("level_map = { a = 'info' }", "level_map: needs level"),
        ("level = 'l'\nlevel_map = { a = 'loud' }", "level_map: a: must become one of debug, info, warn"),
        ("level = 'l'\nlevel_map = 5", "level_map: must be a table"),
        ("labels = 5", "labels: must be a table"),
        ("labels = { a = 5 }", "label a: must name a field"),
        ("labels = { a = {} }", "label a: must name a field"),
        ("labels = { a = { field = 'x', foo = 1 } }", "label a: unknown foo"),
        ("labels = { a = { field = 'x', allow = [] } }", "label a: allow must be a list"),
        ("labels = { a = { field = 'x', allow = 'x' } }", "label a: allow must be a list"),
        ("labels = { a = { field = 'x', allow = [1] } }", "label a: allow must be a list"),
        ("labels = { a = { field = 'x', max_values = 0 } }", "label a: max_values must be 1 to"),
        ("labels = { a = { field = 'x', max_values = true } }", "label a: max_values must be 1 to"),
        ("labels = { a = { field = 'x', max_values = 5, allow = ['x'] } }", "label a: allow or max_values"),
        ("labels = { app = 'x' }", "label app: the name is taken"),
        ("labels = { backfill = 'x' }", "label backfill: the name is taken"),
        ("labels = { a-b = 'x' }", "label 'a-b': must be letters"),
        ("labels = { __a = 'x' }", "label '__a': must be letters"),
        ("level = 'l'\nlabels = { level = 'x' }", "label level: named twice"),
        ("labels = { a = 'x' }\nstatic_labels = { a = 'x' }", "label a: named twice"),
        ("static_labels = { a = 5 }", "static label a: must be text"),
        ("static_labels = { a = ' ' }", "static label a: must be text"),
        ("static_labels = { machine = 'x' }", "static label machine: the name is taken"),
        ("metadata = 5", "metadata: must be a table"),
        ("metadata = [5]", "metadata: must name a field"),
        ("metadata = ['a.b', 'a_b']", "metadata: two fields have one name"),
        ("metadata = { a = 5 }", "metadata a: must name a field"),
        ("metadata = { filename = 'x' }", "metadata filename: the name is taken"),
        (f"metadata = {[f'm{i}' for i in range(33)]}", "metadata: 32 fields at most"),
        (
            "static_labels = {" + ", ".join(f"l{i} = 'x'" for i in range(MAX_LABELS + 1)) + "}",
            "12 labels: 11 at most",
        ),
    ],
    ids=range(39),
)
def test_a_bad_rule_is_named_with_what_is_wrong(toml: str, problem: str) -> None:
    """One problem each."""
    found = rules_of(tomllib.loads(toml))[1]

    assert len(found) == 1
    assert problem in found[0]


def test_all_bad_rules_are_told_at_once() -> None:
    """One look is enough to mend them."""
    toml = "timestamp = 5\ntimestamp_format = 'x'\nlevel = 5\nlabels = { a = 5, app = 'x' }\nmetadata = 5"

    assert len(rules_of(tomllib.loads(toml))[1]) == 6


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abx.y"), below, max_size=3),
    max_leaves=8,
)


@given(
    table=st.dictionaries(
        st.sampled_from(["timestamp", "level", "labels", "metadata", "static_labels"]), JSON
    )
)
def test_no_table_raises(table: dict[str, Any]) -> None:
    """A configuration is written by people."""
    rules_of(table)


@given(line=JSON)
def test_no_line_raises_and_all_that_comes_of_it_can_be_pushed(line: object) -> None:
    """Whatever stands where the rules look."""
    toml = (
        "timestamp = ['a.b', 'a', 'x']\nlevel = 'b'\nlabels = { l = 'a.x', m = 'x' }\nmetadata = ['b.a', 'a']"
    )
    parsed, labels = said(toml, line, {"a": line, "b": line, "x": line})

    for meta, found in zip(parsed.metas, labels, strict=True):
        texts = [*(meta or {}).values(), *found.values()]
        assert all(isinstance(text, str) and text.encode() for text in texts)


# ---- the explanation


def explained(toml: str, *lines: object) -> list[str]:
    """Return the explanation of lines under rules, without the rules themselves."""
    source = ruled(toml)
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return list(explain(source, PATH, raw))[len(described(source.rules)) :]


def test_an_explanation_says_for_each_rule_what_it_found_and_what_came_of_it() -> None:
    """So that a rule that does not fit is seen before a line is sent."""
    toml = """
        timestamp = ["at", "log.at"]
        level = "sev"
        labels = { region = { field = "geo.region", allow = ["eu"] }, kind = "kind" }
        static_labels = { team = "a" }
        metadata = { session_id = "sid" }
    """
    line = {"at": "soon", "log": {"at": 1795237567}, "sev": "WARNING", "geo": {"region": "mars"}, "sid": "s"}

    assert explained(toml, line)[1:] == [
        '  time 2026-11-21T05:06:07.000000000Z: at is "soon", log.at is 1795237567',
        "  label app: jsonl",
        "  label environment: test",
        "  label machine: u@h",
        "  label team: a",
        '  label region: other, geo.region is "mars", which is not in the list',
        "  label kind: none, kind is not there",
        '  label level: warn, sev is "WARNING"',
        "  metadata session_id: s, from sid",
    ]


def test_a_line_without_time_or_json_is_explained_as_such() -> None:
    """The time of reading, and no labels from fields."""
    _, first, second, *_ = explained("timestamp = 'at'\nlevel = 'sev'", b"plain text")

    assert first == "  no JSON object: sent as it is; labels from fields, and metadata, are left out"
    assert second == "  no time of its own, so the time of reading: none of the fields is there"


def test_the_rules_are_told_first() -> None:
    """As they were understood."""
    toml = """
        timestamp = "a.b"
        timestamp_format = "ms"
        labels = { r = { field = "r", allow = ["y", "x"] }, s = "s" }
    """

    assert described(rules(toml))[:3] == [
        "time from the first usable of a.b (ms)",
        "label r from r: one of x, y, else other",
        "label s from s: 50 values at most, else other",
    ]


def test_sources_without_rules_are_explained_by_what_they_say() -> None:
    """Time, labels, metadata."""
    source = LokiMode("/srv/shop/.loki", "test", "u@h")
    line = b'{"timestamp":"2026-11-21T05:06:07Z","type":"session_end","data":{"iteration":3}}'

    assert list(explain(source, "/srv/shop/.loki/events.jsonl", [line])) == [
        line.decode()[:80],
        "  time 2026-11-21T05:06:07.000000000Z",
        "  label app: loki-mode",
        "  label environment: test",
        "  label machine: u@h",
        "  label project: shop",
        "  label log_type: session_end",
        "  metadata iteration: 3",
    ]


@given(line=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_every_line_can_be_explained(line: bytes) -> None:
    """Also those that nobody wrote on purpose."""
    assert explained("timestamp = ['a.b', 'x']\nlevel = 'b'\nlabels = { l = 'a.x' }", line)


def test_the_example_in_the_documentation_is_accepted_and_works() -> None:
    """docs/sources.md: one source table with every rule there is."""
    text = (pathlib.Path(__file__).parents[3] / "docs" / "sources.md").read_text("utf-8")
    (table,) = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])["source"]

    found, problems = rules_of(table)

    assert problems == []
    assert set(KEYS) < {*table, "app"}
    assert (found.timestamps, found.caps) == (
        (("event", "created"), ("at",)),
        {"service": 50, "tenant": 20},
    )
