"""What lines say: times, labels, metadata."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from shipper_world import World

from shipper.cli import main
from shipper.config import ConfigError, load
from shipper.sources.base import Source
from shipper.sources.jsonl import Jsonl
from shipper.sources.llm_proxy import LlmProxy
from shipper.sources.loki_mode import LokiMode
from shipper.sources.rules import rules_of
from shipper.times import Times, number_ns, rfc3339

S = 1_795_222_949 * 10**9
PROXY_PATH = "/logs/api.anthropic.com/2026-11-20/20261120-090004-a87ff679.jsonl"


def loki_mode() -> LokiMode:
    """Return the source."""
    return LokiMode("/srv/demo/.loki", "prod", "u@h")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-11-21T01:02:29Z", S),
        ("2026-11-21T01:02:29.5Z", S + 5 * 10**8),
        ("2026-11-21T01:02:29.123456789Z", S + 123456789),
        ("2026-11-21T01:02:29.775494+00:00", S + 775494000),
        ("2026-11-20T17:02:29-08:00", S),
        ("2026-11-21 01:02:29", S),
        ("2026-11-21T01:02:60Z", None),
        ("2026-13-21T01:02:29Z", None),
        ("2026-11-21T01:02:29.Z", None),
        ("1969-12-31T23:59:59Z", None),
        ("9999-01-01T00:00:00Z", None),
        ("1795222949", S),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_time_is_read_to_the_nanosecond_or_not_at_all(text: str, ns: int | None) -> None:
    """Twice, because seconds seen before are remembered."""
    times = Times()

    assert (times.text_ns(text), times.text_ns(text)) == (ns, ns)


@pytest.mark.parametrize(
    ("number", "ns"),
    [
        (1795222949, S),
        (1795222949.5, S + 5 * 10**8),
        (1795222949123, S + 123 * 10**6),
        (1795222949123456, S + 123456000),
        (S + 7, S + 7),
        (0, None),
        (-1, None),
        (float("nan"), None),
        (10**30, None),
    ],
)
def test_an_epoch_number_has_the_unit_of_its_size(number: float, ns: int | None) -> None:
    """Seconds to nanoseconds; anything else is no time."""
    assert number_ns(number) == ns


@given(st.integers(10**9, 4 * 10**18))
def test_a_written_time_is_read_back(ns: int) -> None:
    """`rfc3339` and `text_ns` are each other's inverse."""
    assert Times().text_ns(rfc3339(ns)) == ns


def test_loki_mode_labels_are_the_event_kind_and_the_project() -> None:
    """Bounded kinds, level where the line names a known one."""
    source = loki_mode()
    info = source.describe("/srv/demo/.loki/events.jsonl")
    parsed = source.parse(
        [
            b'{"timestamp":"2026-11-21T01:02:29Z","type":"session_start","data":{}}',
            b'{"timestamp":"2026-11-21T01:02:29Z","type":"claude_hook_stop","level":"ERROR"}',
            b'{"event":"rollback","timestamp":"2026-11-21T01:00:00Z"}',
            b'{"type":"made up"}',
        ],
        info,
        "",
    )
    labels = [source.labels(info, key) for key in parsed.keys]

    assert [entry["log_type"] for entry in labels] == ["session_start", "claude_hook", "rollback", "other"]
    assert labels[1]["level"] == "error"
    assert {entry["project"] for entry in labels} == {"demo"}
    assert parsed.owns == [S, S, 1795222800 * 10**9, None]


@pytest.mark.parametrize(
    ("path", "log_type"),
    [
        ("/srv/demo/.loki/logs/agent-audit.jsonl", "agent_audit"),
        ("/srv/demo/.loki/metrics/tool-usage.jsonl", "tool_usage"),
    ],
)
def test_the_other_two_files_have_one_kind_each(path: str, log_type: str) -> None:
    """And the same project."""
    source = loki_mode()
    info = source.describe(path)
    (key,) = source.parse([b'{"timestamp":"2026-11-21T01:02:29Z"}'], info, "").keys

    assert source.labels(info, key)["log_type"] == log_type
    assert source.labels(info, key)["project"] == "demo"


def test_a_broken_event_keeps_its_time_and_costs_itself_only() -> None:
    """`007` is no JSON; a line that spans two is two lines, the second without a time."""
    source = loki_mode()
    parsed = source.parse(
        [
            b'{"timestamp":"2026-11-21T01:02:29Z","type":"iteration_start","data":{"iteration":007}}',
            b'{"timestamp":"2026-11-21T01:02:29Z","type":"watchdog_alert","data":{"note":"line one',
            b'line two"}}',
            b'{"timestamp":"2026-11-21T01:02:30Z","type":"session_end","data":{}}',
        ],
        source.describe("/srv/demo/.loki/events.jsonl"),
        "",
    )

    assert parsed.owns == [S, S, None, S + 10**9]
    assert parsed.malformed == 3
    assert parsed.keys[3] == ("session_end",)


def test_two_values_on_a_line_and_one_value_on_two_do_not_shift_times() -> None:
    """As many values as lines is no proof that each line is one."""
    source = loki_mode()
    lines = [
        b'{"timestamp":"2026-11-21T01:02:29Z"} {"timestamp":"2026-11-21T01:02:30Z"}',
        b'{"timestamp":"2026-11-21T01:02:31Z",',
        b'"type":"session_end"}',
    ]
    parsed = source.parse(lines, source.describe("/srv/demo/.loki/events.jsonl"), "")

    assert parsed.malformed >= 2
    assert parsed.owns[2] is None


def test_ids_are_metadata_wherever_they_stand() -> None:
    """At the top or in `data`, as text, never as labels."""
    source = loki_mode()
    info = source.describe("/srv/demo/.loki/events.jsonl")
    parsed = source.parse(
        [
            b'{"type":"x","data":{"iteration":3}}',
            b'{"type":"x","session_id":"s","data":{"iteration":"4","model":"m"}}',
            b'{"type":"x","data":"text"}',
        ],
        info,
        "",
    )

    assert parsed.metas == [{"iteration": "3"}, {"session_id": "s", "iteration": "4", "model": "m"}, None]


def test_llm_proxy_takes_the_provider_from_host_session_start_or_path() -> None:
    """In this order; chatgpt has a name of its own."""
    source = LlmProxy("/logs", "prod", "u@h")
    here = source.describe("/logs/127.0.0.1:9101/2026-11-20/s.jsonl")
    lines = [
        b'{"type":"request","path":"/v1/messages"}',
        b'{"type":"request","path":"/v1/chat/completions"}',
        b'{"type":"session_start","provider":"openai"}',
        b'{"type":"request","path":"/v1/messages"}',
        b'{"type":"nonsense"}',
    ]
    parsed = source.parse(lines, here, "")
    later = source.parse(lines[:1], here, parsed.context)
    chatgpt = source.parse(lines[:1], source.describe("/logs/chatgpt.com/2026-11-20/s.jsonl"), "")

    assert [key[0] for key in parsed.keys] == ["anthropic", "openai", "openai", "openai", "openai"]
    assert [key[2] for key in parsed.keys] == ["request", "request", "session_start", "request", "unknown"]
    assert later.keys[0][0] == "openai"
    assert chatgpt.keys[0][0] == "chatgpt"


def test_llm_proxy_lines_have_exactly_the_five_labels_and_ids_as_metadata() -> None:
    """Nothing with many values is a label."""
    source = LlmProxy("/logs", "prod", "u@h")
    info = source.describe(PROXY_PATH)
    record = {
        "_meta": {"ts": "2026-11-21T01:02:29Z", "machine": "dev@ws", "session": "s1", "request_id": "r1"},
        "type": "request",
        "body": json.dumps({"model": "claude", "messages": []}),
    }
    parsed = source.parse([json.dumps(record).encode(), b'{"type":"response"}'], info, "")

    assert source.labels(info, parsed.keys[0]) == {
        "app": "llm-proxy",
        "provider": "anthropic",
        "environment": "prod",
        "machine": "dev@ws",
        "log_type": "request",
    }
    assert parsed.metas[0] == {"session_id": "s1", "request_id": "r1", "model": "claude"}
    assert parsed.metas[1] == {"session_id": "20261120-090004-a87ff679"}
    assert parsed.owns == [S, None]


@pytest.mark.parametrize("field", ["timestamp", "ts", "time", "@timestamp"])
def test_jsonl_takes_the_first_usable_time(field: str) -> None:
    """Text or number; one that is not usable is passed over."""
    source = Jsonl("/x/*.jsonl", "prod", "u@h")
    info = source.describe("/x/a.jsonl")
    lines = [
        json.dumps({field: 1795222949}).encode(),
        json.dumps({"timestamp": "never", field: "x"}).encode(),
    ]
    parsed = source.parse(lines, info, "")

    assert parsed.owns == [S, None]
    assert parsed.metas[0] == {"filename": "/x/a.jsonl"}


@pytest.mark.parametrize(
    "source", [loki_mode(), LlmProxy("/logs", "p", "m"), Jsonl("/x/*.jsonl", "p", "m")], ids=lambda s: s.kind
)
@given(
    lines=st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=60),
            st.sampled_from(
                [
                    b"[" * 3000,
                    b'{"a":' * 3000,
                    b'{"timestamp":"\\ud800"}',
                    b'{"_meta":[1]}',
                    b'{"type":{"x":1}}',
                    b"null",
                    b"1e999",
                    b'{"timestamp":' + b"9" * 5000 + b"}",
                    b'{"type":"request","body":"{\\"model\\":\\"\\\\ud800\\"}"}',
                ]
            ),
        ),
        max_size=6,
    )
)
def test_no_line_whatever_it_holds_stops_a_source(source: Source, lines: list[bytes]) -> None:
    """Three lists in step with the lines, times that are usable or none, metadata that can be sent."""
    parsed = source.parse(lines, source.describe(PROXY_PATH), "")

    assert len(parsed.owns) == len(parsed.keys) == len(parsed.metas) == len(lines)
    for meta in parsed.metas:
        json.dumps(meta).encode()
        assert meta is None or all(isinstance(v, str) and v.encode() for v in meta.values())


def test_coo_llms_own_default_file_is_found_without_configuration(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`./logs/llm.log`, where it is a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "llm.log").touch()

    (source,) = load({"loki_url": "http://localhost:3100"}, (), None, {}, "u@h").sources

    assert (source.kind, source.patterns) == ("coo-llm", (f"{tmp_path}/logs/llm.log",))


def test_llm_proxy_lines_unsent_before_the_machine_changed_arrive_once_in_their_stream(
    world: Callable[..., World],
) -> None:
    """Lines that name no machine have the configured one, and keep the one that they were sent with."""
    machine = ["old@host"]
    shop = world(sources=lambda logs: [LlmProxy(str(logs), "test", machine[0])])
    path = "api.anthropic.com/2026-11-20/s.jsonl"

    def record(text: str, **meta: str) -> str:
        """Return a response without, or with, a machine of its own."""
        at = json.loads(shop.line(text))["timestamp"]
        return json.dumps({"type": "response", "_meta": {"ts": at, **meta}, "body": text})

    shop.start()
    shop.script = lambda _labels: "stored-reset"
    lines = [record("bare"), record("named", machine="dev@ws")]
    shop.write(path, *lines)
    shop.pump(20)
    shop.crash()
    shop.script = lambda _labels: None
    machine[0] = "new@host"
    shop.start()
    shop.settle()
    lines.append(record("after"))
    shop.write(path, lines[-1])
    shop.settle()

    found = {
        dict(labels)["machine"]: [text for _, text in kept] for labels, kept in shop.model.entries.items()
    }
    assert found == {"old@host": lines[:1], "dev@ws": lines[1:2], "new@host": lines[2:]}
    assert shop.meter.counts["internal_errors", ""] == 0


RULED = """
[[source]]
kind = "jsonl"
path = "/logs/*.jsonl"
app = "agents"
timestamp = "at"
labels = { region = { field = "region", max_values = 2 } }
"""


def test_rules_stand_in_the_table_of_their_source(tmp_path: pathlib.Path) -> None:
    """And hold for it alone."""
    file = tmp_path / "shipper.toml"
    file.write_text(RULED)

    (source,) = load({"loki_url": "http://localhost:3100"}, (), str(file), {}, "u@h").sources
    info = source.describe("/logs/a.jsonl")
    parsed = source.parse([b'{"at":1795222949,"region":"eu"}'], info, "")

    assert parsed.owns == [S]
    labels = source.labels(info, parsed.keys[0])
    assert (labels["app"], labels["region"]) == ("agents", "eu")


@pytest.mark.parametrize(
    ("kind", "more", "told"),
    [
        (
            "jsonl",
            "timestamp = 5\nlabels = { app = 'x' }\nfoo = 1",
            [
                "source jsonl=/logs: unknown foo",
                "source jsonl=/logs: timestamp: must name a field, not 5",
                "source jsonl=/logs: label app: the name is taken",
            ],
        ),
        ("llm-proxy", "timestamp = 'at'", ["source llm-proxy=/logs: unknown timestamp"]),
    ],
)
def test_bad_rules_are_told_all_at_once_with_their_source(
    kind: str, more: str, told: list[str], tmp_path: pathlib.Path
) -> None:
    """Other kinds have no rules: what they say is known."""
    file = tmp_path / "shipper.toml"
    file.write_text(f"[[source]]\nkind = '{kind}'\npath = '/logs'\n{more}\n")

    with pytest.raises(ConfigError) as raised:
        load({"loki_url": "http://localhost:3100"}, (), str(file), {}, "u@h")

    assert raised.value.problems == told


def test_values_above_a_rules_cap_are_other_also_after_a_restart(world: Callable[..., World]) -> None:
    """The first two that came keep their streams."""
    rules, problems = rules_of({"labels": {"region": {"field": "region", "max_values": 2}}})
    shop = world(sources=lambda logs: [Jsonl(f"{logs}/*.jsonl", "test", "u@h", rules=rules)])
    shop.start()
    for region in ("eu", "us", "mars"):
        shop.write("a.jsonl", shop.line(region, region=region))
    shop.settle()
    shop.crash()
    shop.start()
    for region in ("venus", "us", "eu"):
        shop.write("a.jsonl", shop.line(region, region=region))
    shop.settle()

    counts = {name: len(lines) for name, lines in shop.streams().items()}
    assert problems == []
    assert counts == {"region=eu": 2, "region=us": 2, "region=other": 2}


def test_dry_run_explains_the_rules_on_the_first_lines_of_the_newest_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent; secrets are masked here, too."""
    logs = tmp_path / "logs"
    logs.mkdir()
    line = {"at": 1795222949, "region": "eu", "key": f"sk-ant-api03-{'aB3' * 31}AA"}
    (logs / "old.jsonl").write_text("old\n")
    (logs / "new.jsonl").write_text(json.dumps(line) + "\nsecond\nthird\n")
    os.utime(logs / "old.jsonl", (1, 1))
    file = tmp_path / "shipper.toml"
    file.write_text(RULED.replace("/logs", str(logs)))
    monkeypatch.setenv("HOME", str(tmp_path))

    shown = CliRunner().invoke(main, ["dry-run", "--config", str(file), "--explain", "2"])

    assert shown.exit_code == 0, shown.output
    for text in (
        f"source jsonl={logs}/*.jsonl",
        "  label region from region: 2 values at most, else other",
        "    time 2026-11-21T01:02:29.000000000Z: at is 1795222949",
        '    label region: eu, region is "eu"',
        "  second",
        "    no JSON object: sent as it is; labels from fields, and metadata, are left out",
    ):
        assert text in shown.output.splitlines()
    assert not any(text in shown.output for text in ("old", "third", "aB3"))


def test_dry_run_says_where_there_is_nothing_to_explain(tmp_path: pathlib.Path) -> None:
    """No file, or none with a whole line."""
    (tmp_path / "a.jsonl").write_text("unfinished")

    shown = CliRunner().invoke(main, ["dry-run", "--source", f"jsonl={tmp_path}/*.jsonl", "--explain", "1"])

    assert shown.output.splitlines() == [f"source jsonl={tmp_path}/*.jsonl", "  no file with a whole line"]
