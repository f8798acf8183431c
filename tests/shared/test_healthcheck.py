from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.healthcheck import (
    Check,
    Report,
    State,
    Tracker,
    Unreachable,
    decode,
    encode,
    http_status,
    probe,
    worst,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "health.schema.json").read_text(encoding="utf-8"))
OK = Report("exporter", (Check("source", State.OK, "read", 1_700_000_000.0),))
FAILING = Report(
    "shipper",
    (
        Check("push", State.FAILING, "Loki answers 500", 1_700_000_100.5),
        Check("positions", State.FAILING, "disk full", 1_700_000_050.25),
        Check("tree", State.OK, "", 1.0),
    ),
)

milliseconds = st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
checks = st.builds(Check, name=text, state=st.sampled_from(State), detail=text, since=milliseconds)
reports = st.builds(Report, component=text, checks=st.lists(checks, max_size=5).map(tuple))


_TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "null": type(None)}


def violations(value: Any, schema: dict[str, Any], where: str = "report") -> list[str]:
    """Check a value against the part of JSON Schema that our schema uses; an unknown keyword is a failure."""
    found: list[str] = []
    rules: dict[str, Callable[[Any], bool]] = {
        "type": lambda want: isinstance(value, _TYPES[want]),
        "enum": lambda want: value in want,
        "pattern": lambda want: re.search(want, value) is not None,
        "required": lambda want: set(want) <= set(value),
        "additionalProperties": lambda want: want or set(value) <= set(schema["properties"]),
        "anyOf": lambda want: any(not violations(value, option, where) for option in want),
        "$ref": lambda want: not violations(value, SCHEMA["$defs"][want.removeprefix("#/$defs/")], where),
    }
    for keyword, want in schema.items():
        if keyword in {"$schema", "$defs", "title", "description"}:
            continue
        if keyword == "properties":
            for name in want.keys() & value.keys():
                found += violations(value[name], want[name], f"{where}.{name}")
        elif keyword == "items":
            for number, item in enumerate(value):
                found += violations(item, want, f"{where}[{number}]")
        elif not rules[keyword](want):
            found.append(f"{where}: {keyword}")
            break  # the other rules take the type for granted
    return found


@given(reports)
def test_a_report_survives_the_wire(report: Report) -> None:
    """What one process encodes, another decodes to the same report."""
    assert decode(encode(report)) == report


@given(reports)
def test_every_report_follows_the_schema(report: Report) -> None:
    """The published schema describes whatever `encode` writes."""
    assert violations(json.loads(encode(report)), SCHEMA) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"state": "fine"}, "report.state: $ref"),
        ({"component": 7}, "report.component: type"),
        ({"since": "yesterday"}, "report.since: anyOf"),
        ({"checks": [{}]}, "report.checks[0]: $ref"),
        ({"extra": 1}, "report: additionalProperties"),
    ],
)
def test_the_schema_refuses_what_is_no_report(change: dict[str, Any], where: str) -> None:
    """Each kind of deviation is found, so the schema says something."""
    assert violations(json.loads(encode(OK)) | change, SCHEMA) == [where]


def test_the_form_on_the_wire_is_pinned() -> None:
    """Literally, so that a change of the format cannot pass unseen."""
    assert encode(FAILING) == (
        b'{"state":"failing","component":"shipper","since":"2023-11-14T22:14:10.250Z","checks":['
        b'{"name":"push","state":"failing","detail":"Loki answers 500","since":"2023-11-14T22:15:00.500Z"},'
        b'{"name":"positions","state":"failing","detail":"disk full","since":"2023-11-14T22:14:10.250Z"},'
        b'{"name":"tree","state":"ok","detail":"","since":"1970-01-01T00:00:01.000Z"}]}\n'
    )


def test_a_file_name_in_other_bytes_does_not_break_the_report() -> None:
    """A lone surrogate, which is how Python holds such a byte, becomes a question mark."""
    report = Report("exporter", (Check("a", State.OK, "no such file: \udcff", 1.0),))

    assert decode(encode(report)).checks[0].detail == "no such file: ?"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"\xff",
        b'{"status":"healthy","service":"loki-dashboard"}',
        encode(OK).replace(b'"state":"ok"', b'"state":"fine"'),
        encode(OK).replace(b"Z", b""),
        encode(OK).replace(b"2023", b"yesterday"),
        encode(OK).replace(b'{"state":"ok"', b'{"state":"failing"', 1),
        b'{"state":"failing","component":"x","since":null,"checks":[]}',
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_report_is_a_value_error(body: bytes) -> None:
    """Other JSON, broken JSON, a time without zone, a state that contradicts the checks."""
    with pytest.raises(ValueError):  # noqa: PT011 (the messages are the parsers')
        decode(body)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], State.OK),
        ([State.OK, State.OK], State.OK),
        ([State.OK, State.DEGRADED], State.DEGRADED),
        ([State.FAILING, State.DEGRADED, State.OK], State.FAILING),
    ],
)
def test_the_worst_check_is_the_state(states: list[State], state: State) -> None:
    """Nothing to check is nothing wrong."""
    assert worst(states) is state


def test_the_report_has_been_bad_since_its_oldest_bad_check() -> None:
    """A check that is fine, for however long, does not date the failure; no check, no date."""
    assert FAILING.since == 1_700_000_050.25
    assert Report("exporter", ()).since is None


def test_only_failing_is_an_http_error() -> None:
    """A degraded process still works, and restarting it would help nobody."""
    degraded = Report("exporter", (Check("a", State.DEGRADED, "", 1.0),))

    assert [http_status(report) for report in (OK, degraded, FAILING)] == [
        HTTPStatus.OK,
        HTTPStatus.OK,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ]


def test_a_check_keeps_the_time_of_its_last_change() -> None:
    """A new detail is no new state; a check that was away begins anew."""
    tracker = Tracker("exporter")
    tracker.update(10, [("a", State.OK, "fine"), ("b", State.OK, "")])

    assert tracker.update(20, [("a", State.OK, "finer")]) == Report(
        "exporter", (Check("a", State.OK, "finer", 10),)
    )
    assert tracker.update(30, [("a", State.FAILING, "no"), ("b", State.OK, "")]) == Report(
        "exporter", (Check("a", State.FAILING, "no", 30), Check("b", State.OK, "", 30))
    )


# The client


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """Give a function that answers one request with the given bytes, and returns the address to ask."""
    with ExitStack() as stack:

        def start(answer: bytes) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.settimeout(10)

            def run() -> None:
                client, _ = listener.accept()
                with client:
                    client.settimeout(10)
                    client.recv(65536)
                    client.sendall(answer)

            thread = threading.Thread(target=run)
            thread.start()
            stack.callback(thread.join, 10)
            return f"http://127.0.0.1:{listener.getsockname()[1]}/health"

        yield start


@pytest.mark.parametrize(("status", "report"), [(b"200 OK", OK), (b"503 Service Unavailable", FAILING)])
def test_probe_returns_the_report_whatever_the_status(
    answering: Callable[[bytes], str], status: bytes, report: Report
) -> None:
    """A failing process says so in the body of a 503."""
    url = answering(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n" + encode(report))

    assert probe(url) == report


def test_probe_ignores_a_proxy_in_the_environment(
    answering: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The health of this machine is no matter for the company's proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    assert probe(answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + encode(OK))) == OK


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b'HTTP/1.1 200 OK\r\n\r\n{"status":"healthy","service":"loki-dashboard"}',
            "answered 200, but not with",
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered 404, but not with"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n", "answered 302, but not with"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "not with a health report"),
        (b"", "closed connection"),
    ],
)
def test_an_answer_that_is_no_report_is_unreachable(
    answering: Callable[[bytes], str], answer: bytes, words: str
) -> None:
    """The reason names the address and what came instead; no redirect is followed."""
    url = answering(answer)

    found = probe(url)

    assert isinstance(found, Unreachable)
    assert url in found.reason
    assert words in found.reason


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "answered 401: it wants --user and --password-file, or --token-file"),
        ({"Authorization": "Basic YTpi"}, "answered 401: it refused this user and password, or this token"),
    ],
)
def test_a_refusal_says_whether_anybody_was_named(
    answering: Callable[[bytes], str], headers: dict[str, str], words: str
) -> None:
    """401 is no broken report: it wants a user, or a better one; what was sent is not repeated."""
    found = probe(answering(b"HTTP/1.1 401 Unauthorized\r\n\r\nSay who you are.\n"), headers=headers)

    assert isinstance(found, Unreachable)
    assert found.reason.endswith(words)
    assert "YTpi" not in found.reason


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "http://no-such-host.invalid/",
        "http://h:port/",
        "http://" + "a" * 300 + "/",
        "http:///",
    ],
)
def test_nobody_there_is_unreachable(url: str) -> None:
    """Refused, unknown, or no address at all: a value with a reason."""
    found = probe(url, timeout_s=5)

    assert isinstance(found, Unreachable)
    assert len(found.reason) > len(url) + 2


def test_a_process_that_hangs_is_unreachable_in_time() -> None:
    """It accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = probe(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=0.1)

    assert isinstance(found, Unreachable)
    assert "timed out" in found.reason


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/", "127.0.0.1:57374"])
def test_another_scheme_is_a_programming_error(url: str) -> None:
    """Nothing but http and https is opened."""
    with pytest.raises(ValueError, match="not an http or https address"):
        probe(url)
