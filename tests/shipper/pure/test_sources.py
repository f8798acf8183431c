from __future__ import annotations

import itertools
import json
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.models import EVENT_KINDS, OTHER
from shipper.sources.base import LEVELS, META_CHARS, FileInfo, Parsed, Source, clean
from shipper.sources.coo_llm import CooLlm
from shipper.sources.jsonl import Jsonl
from shipper.sources.llm_proxy import LOG_TYPES, LlmProxy
from shipper.sources.loki_mode import LokiMode
from shipper.times import rfc3339

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"
RECORDED = sorted(path for path in FIXTURES.rglob("*.jsonl") if "tests/fixtures" in path.as_posix())
AT = "2026-11-21T01:02:29Z"
AT_NS = 1795222949 * 10**9
EVENTS = "/srv/shop/.loki/events.jsonl"
SESSION = "/logs/api.anthropic.com/2026-11-20/20261120-090003-eccbc87e.jsonl"
PATHS = {
    "loki-mode": EVENTS,
    "llm-proxy": SESSION,
    "jsonl": "/var/log/agents/a.jsonl",
    "coo-llm": "/srv/coo/logs/llm.log",
}


def made() -> list[Source]:
    """Return one source of each kind."""
    return [
        LokiMode("/srv/*/.loki", "test", "u@h"),
        LlmProxy("/logs", "test", "u@h"),
        Jsonl("/var/log/agents/*.jsonl", "test", "u@h"),
        CooLlm("/srv/coo/logs/llm.log", "test", "u@h"),
    ]


sources = pytest.mark.parametrize("source", made(), ids=lambda source: source.kind)


def said(source: Source, *lines: object, path: str = "") -> tuple[Parsed, FileInfo]:
    """Return what lines say, given as bytes or as what becomes JSON."""
    info = source.describe(path or PATHS[source.kind])
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return source.parse(raw, info, ""), info


def labels(source: Source, line: object, path: str = "") -> dict[str, str]:
    """Return the labels of one line."""
    parsed, info = said(source, line, path=path)
    return source.labels(info, parsed.keys[0])


FRAGMENTS = [
    b"",
    b"{",
    b"}",
    b"{}",
    b"{}{}",
    b'{"data":',
    b"1}",
    b'{"timestamp":"2026-11-21T01:02:29Z","type":"session_end","data":{"iteration":1}}',
    b'{"timestamp":"2026-11-21T01:02:30Z","type":"session_stop","level":"error","iteration":2}',
    b'{"timestamp":1795222949,"model":"m","session_id":"s","request_id":"r"}',
    b'{"level":"info","entry":{"provider":"p","req_id":"1795222949000000007"},"time":5,"message":"request"}',
    b'{"level":"debug","time":1795222949,"message":"store operation"}',
    b'{"timestamp":true}',
    b'{"timestamp":1}',
    b'{"timestamp":""}',
    b'{"timestamp":null,"event":"rollback"}',
    b'{"type":"iteration_start","iteration":true}',
    b'{"type":"iteration_start","iteration":1}',
    b'{"_meta":{"ts":"2026-11-21T01:02:29.5Z","machine":"a@b","request_id":"q"},"type":"request"}',
    b'{"_meta":null,"ts":"2026-11-21T01:02:29Z","type":"fork","path":"/model/x/y"}',
    b'{"type":"response","body":"{\\"model\\":\\"\\\\ud800\\"}"}',
    b'{"timestamp":"2026-11-21T01:02:29Z","type":"a\x00b"}',
    b'{"timestamp":"\\ud800","session_id":"\\udfff"}',
    b'{"timestamp":"2026-11-21T01:02:29Z","broken":007}',
    b'{"a":' * 3000,
    b"[" * 100_000,
    b'{"iteration":' + b"9" * 5000 + b"}",
    b"\xff\xfe",
    b"null",
    b"1e999",
    b'{"_meta":[1]}',
    b'{"type":{"x":1}}',
    b'{"timestamp":' + b"9" * 5000 + b"}",
    b"[]",
    b'"x"',
    b" {} ",
]


@sources
@settings(max_examples=400)
@given(data=st.data())
def test_what_a_line_says_does_not_depend_on_its_neighbours(source: Source, data: st.DataObject) -> None:
    """A file that is read again may be cut elsewhere: the same line must come to the same stream and time.

    What earlier lines mean for it is in the context alone.
    """
    lines = data.draw(st.lists(st.sampled_from([f for f in FRAGMENTS if f]), min_size=1, max_size=8))
    info = source.describe(PATHS[source.kind])

    together = source.parse(lines, info, "")
    alone: list[Parsed] = []
    for line in lines:
        alone.append(source.parse([line], info, alone[-1].context if alone else ""))

    assert together.owns == [one.owns[0] for one in alone]
    assert together.keys == [one.keys[0] for one in alone]
    assert together.metas == [one.metas[0] for one in alone]
    assert together.malformed == sum(one.malformed for one in alone)


@sources
@given(line=st.binary(min_size=1, max_size=60).filter(lambda line: b"\n" not in line))
def test_no_bytes_raise(source: Source, line: bytes) -> None:
    """A line that is not understood is a line without time."""
    parsed, info = said(source, line)

    assert len(parsed.owns) == len(parsed.keys) == len(parsed.metas) == 1
    assert source.labels(info, parsed.keys[0])["environment"] == "test"


@sources
@pytest.mark.parametrize("line", FRAGMENTS, ids=range(len(FRAGMENTS)))
def test_labels_and_metadata_are_always_text_that_a_push_can_carry(source: Source, line: bytes) -> None:
    """No lone surrogate, no number, nothing long: one such value would cost the whole push."""
    parsed, info = said(source, line)

    values = [*source.labels(info, parsed.keys[0]).values(), *(parsed.metas[0] or {}).values()]
    assert all(isinstance(value, str) and value.encode() and len(value) <= META_CHARS for value in values)


@sources
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: str(path.relative_to(FIXTURES)))
def test_recorded_lines_that_are_json_are_not_called_malformed(source: Source, path: pathlib.Path) -> None:
    """Counted is what a strict reader refuses and a lenient one too, and nothing else."""
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    broken = 0
    for line in lines:
        try:
            broken += not isinstance(json.loads(line.decode("utf-8-sig"), strict=False), dict)
        except ValueError:
            broken += 1

    parsed, _ = said(source, *[line.removeprefix(b"\xef\xbb\xbf") for line in lines])

    assert (len(parsed.owns), parsed.malformed) == (len(lines), broken)


# ---- Loki Mode


@pytest.mark.parametrize("kind", sorted(EVENT_KINDS - {"claude_hook"}))
def test_a_known_kind_is_its_own_log_type(kind: str) -> None:
    """The bounded set that the exporter counts by, too."""
    line = {"timestamp": AT, "type": kind, "data": {}}

    assert labels(made()[0], line) == {
        "app": "loki-mode",
        "environment": "test",
        "machine": "u@h",
        "project": "shop",
        "log_type": kind,
    }


@pytest.mark.parametrize(
    ("line", "log_type"),
    [
        ({"event": "rollback", "timestamp": AT}, "rollback"),
        ({"type": "claude_hook_PostToolUse"}, "claude_hook"),
        ({"type": "made up just now"}, OTHER),
        ({"type": ["session_end"]}, OTHER),
        ({}, OTHER),
        (b"no json", OTHER),
    ],
)
def test_the_log_type_of_events_is_bounded(line: object, log_type: str) -> None:
    """What is not known is `other`."""
    assert labels(made()[0], line)["log_type"] == log_type


@pytest.mark.parametrize(
    ("level", "label"), [("ERROR", "error"), ("warn", "warn"), ("loud", None), (5, None), (["error"], None)]
)
def test_a_level_is_a_label_where_it_is_a_known_one(level: object, label: str | None) -> None:
    """In small letters; anything else is no label."""
    assert labels(made()[0], {"type": "session_end", "level": level}).get("level") == label
    assert label is None or label in LEVELS


@pytest.mark.parametrize(
    ("path", "project", "log_type"),
    [
        ("/srv/shop/.loki/events.jsonl", "shop", "session_end"),
        ("/srv/shop/.loki/logs/agent-audit.jsonl", "shop", "agent_audit"),
        ("/srv/shop/.loki/metrics/tool-usage.jsonl", "shop", "tool_usage"),
        ("/srv/my shop/.loki/events.jsonl", "my_shop", "session_end"),
        ("/.loki/events.jsonl", OTHER, "session_end"),
    ],
)
def test_project_and_file_come_from_the_path(path: str, project: str, log_type: str) -> None:
    """The directory that holds `.loki` names the project."""
    found = labels(made()[0], {"type": "session_end"}, path)

    assert (found["project"], found["log_type"]) == (project, log_type)


@pytest.mark.parametrize("place", ["top", "data"])
def test_ids_are_metadata_wherever_a_version_puts_them(place: str) -> None:
    """v5 has them in `data`, v9 at the top; never a label."""
    ids: dict[str, Any] = {"session_id": "s1", "request_id": "r1", "iteration": 3, "model": "m"}
    line = {"type": "session_end", **(ids if place == "top" else {"data": ids})}
    parsed, info = said(made()[0], line)

    assert parsed.metas == [{"session_id": "s1", "request_id": "r1", "iteration": "3", "model": "m"}]
    assert not set(made()[0].labels(info, parsed.keys[0])) & set(ids)


def test_every_broken_line_of_the_bash_emitter_keeps_its_time_where_it_has_one() -> None:
    """Unescaped backslash, leading zeros, a record over two lines: only the tail of that has no time."""
    lines = (FIXTURES / "loki-mode/events-mixed/loki-dir/events.jsonl").read_bytes().splitlines()

    parsed, _ = said(made()[0], *lines)

    assert [index for index, own in enumerate(parsed.owns) if own is None] == [6]
    assert parsed.owns[:6] == [AT_NS] * 6
    assert parsed.malformed == 4


def test_a_time_that_could_be_another_lines_is_nobodys() -> None:
    """Two values on a line, and one on two: as many values as lines is no proof that each line is one."""
    lines = [
        b'{"timestamp":"2026-11-21T01:02:29Z"} {"timestamp":"2026-11-21T01:02:30Z"}',
        b'{"timestamp":"2026-11-21T01:02:31Z",',
        b'"type":"session_end"}',
    ]
    parsed, _ = said(made()[0], *lines)

    assert parsed.malformed >= 2
    assert parsed.owns[2] is None


# ---- llm-proxy


def test_lines_of_llm_proxy_carry_the_five_labels_of_its_specification() -> None:
    """And nothing with many values."""
    path = next((FIXTURES / "llm-proxy/same-timestamps").rglob("*.jsonl"))
    source = made()[1]
    parsed, info = said(source, *path.read_bytes().splitlines())

    found = [source.labels(info, key) for key in parsed.keys]

    fixed = {
        "app": "llm-proxy",
        "provider": "anthropic",
        "environment": "test",
        "machine": "dev@workstation-1",
    }
    types = ["session_start"] + ["request"] * 6 + ["response"] * 6 + ["fork"] * 3
    assert found == [{**fixed, "log_type": log_type} for log_type in types]
    assert all((meta or {})["session_id"] == "20261120-090004-a87ff679" for meta in parsed.metas)
    assert {(meta or {}).get("model") for meta in parsed.metas[1:13]} == {"claude-haiku-4-5-20251001"}


def test_old_and_broken_forms_of_meta_are_read_as_far_as_they_go() -> None:
    """`_meta.ts`, else `ts`, else nothing; session from the path; a machine that is no text is absent."""
    case = FIXTURES / "llm-proxy/no-meta"
    expected = json.loads((case / "expected.json").read_text())
    source = made()[1]
    lines = next(case.rglob("*.jsonl")).read_bytes().splitlines()

    parsed, info = said(source, *lines)

    times = ["time of reading" if own is None else own for own in parsed.owns]
    wanted = [
        text if text == "time of reading" else said(made()[2], {"ts": text})[0].owns[0]
        for text in expected["timestamps"]
    ]
    assert times == wanted
    assert {source.labels(info, key)["machine"] for key in parsed.keys} <= {"u@h", "dev@workstation-1"}
    assert {(meta or {})["session_id"] for meta in parsed.metas} == {"20261120-090003-eccbc87e"}


@pytest.mark.parametrize(
    ("host", "line", "provider"),
    [
        ("chatgpt.com", {"type": "session_start", "provider": "openai"}, "chatgpt"),
        ("127.0.0.1:9101", {"type": "session_start", "provider": "openai"}, "openai"),
        ("api.anthropic.com", {"type": "request"}, "anthropic"),
        ("bedrock-runtime.us-west-2.amazonaws.com", {"type": "request"}, "anthropic"),
        ("api.openai.com", {"type": "request"}, "openai"),
        ("10.0.0.1:80", {"type": "request", "path": "/v1/messages"}, "anthropic"),
        ("10.0.0.1:80", {"type": "request", "path": "/model/x/invoke"}, "anthropic"),
        ("10.0.0.1:80", {"type": "request", "path": "/v1/chat/completions"}, "openai"),
        ("10.0.0.1:80", {"type": "request", "path": "/else"}, "unknown"),
        ("10.0.0.1:80", {"type": "session_start", "provider": "made up"}, "unknown"),
        ("10.0.0.1:80", {"type": "session_start", "provider": ["openai"]}, "unknown"),
    ],
)
def test_the_provider_is_one_of_few(host: str, line: object, provider: str) -> None:
    """From the session's start, the host, or the path; never free text."""
    assert labels(made()[1], line, f"/logs/{host}/2026-11-20/s.jsonl")["provider"] == provider


def test_the_provider_of_the_session_start_holds_for_later_chunks() -> None:
    """It travels with the position, because later lines do not say it."""
    source = made()[1]
    info = source.describe("/logs/127.0.0.1:9101/2026-11-20/s.jsonl")

    first = source.parse([b'{"type":"session_start","provider":"openai"}'], info, "")
    later = source.parse([b'{"type":"response"}'], info, first.context)

    assert source.labels(info, later.keys[0])["provider"] == "openai"


def test_the_log_type_of_llm_proxy_is_one_of_five() -> None:
    """`unknown` is the fifth."""
    found = [labels(made()[1], {"type": kind})["log_type"] for kind in [*sorted(LOG_TYPES), "made up", 5]]

    assert found == [*sorted(LOG_TYPES), "unknown", "unknown"]


def test_ids_of_llm_proxy_are_metadata_and_come_before_those_of_the_path() -> None:
    """Session, request and model: too many values for labels. Without `_meta` the path names the session."""
    meta = {"ts": AT, "session": "s1", "request_id": "r1"}
    line = {"_meta": meta, "type": "request", "body": json.dumps({"model": "claude", "messages": []})}
    parsed, _ = said(made()[1], line, {"type": "response"})

    assert parsed.metas == [
        {"session_id": "s1", "request_id": "r1", "model": "claude"},
        {"session_id": "20261120-090003-eccbc87e"},
    ]


def test_a_model_in_the_path_comes_before_one_in_the_body() -> None:
    """Bedrock names it there."""
    line = {"type": "request", "path": "/model/anthropic.claude/invoke", "body": '{"model":"other"}'}

    assert (said(made()[1], line)[0].metas[0] or {})["model"] == "anthropic.claude"


# ---- any JSON lines


@pytest.mark.parametrize("name", ["timestamp", "ts", "time", "@timestamp"])
@pytest.mark.parametrize("value", [AT, "2026-11-21T02:02:29+01:00", 1795222949, 1795222949000, str(AT_NS)])
def test_jsonl_takes_the_time_from_the_usual_fields(name: str, value: object) -> None:
    """RFC 3339 or an epoch."""
    assert said(made()[2], {name: value})[0].owns == [AT_NS]


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.pairwise(["timestamp", "ts", "time", "@timestamp"]))
)
def test_jsonl_takes_the_first_usable_of_them(first: str, second: str) -> None:
    """One that is no time does not hide the next."""
    later = rfc3339(AT_NS + 5)

    assert said(made()[2], {first: AT, second: later})[0].owns == [AT_NS]
    assert said(made()[2], {first: "soon", second: later})[0].owns == [AT_NS + 5]


def test_jsonl_has_three_labels_and_the_path_as_metadata() -> None:
    """Paths are many; labels are few."""
    source = made()[2]
    parsed, info = said(source, {"time": AT, "session_id": "s", "level": "error"})

    assert source.labels(info, parsed.keys[0]) == {"app": "jsonl", "environment": "test", "machine": "u@h"}
    assert parsed.metas == [{"filename": "/var/log/agents/a.jsonl", "session_id": "s"}]


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())))
def test_metadata_is_text_that_is_not_empty_or_absent(value: object) -> None:
    """Loki refuses a push with anything else."""
    text = clean(value)

    assert text is None or (text.encode() and len(text) <= META_CHARS)


def test_surrogates_in_metadata_become_the_replacement_character() -> None:
    """However they were decoded."""
    assert clean("a\ud800b") == "a\ufffdb"
