"""The Loki that the other tests rely on is one, whether it was pulled or made here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

from integration.containers import SMALL_LIMITS, Loki, eventually

MINUTE_NS = 60 * 10**9


def push(loki: Loki, line: str, ns: int) -> requests.Response:
    """Push one line by Loki's JSON API."""
    body = {"streams": [{"stream": {"job": "smoke"}, "values": [[str(ns), line]]}]}
    return requests.post(loki.push_url, json=body, timeout=10)


def seen(loki: Loki, ns: int) -> list[dict[str, Any]]:
    """Return what a query finds within a minute of `ns`."""
    return loki.query('{job="smoke"}', start_ns=ns - MINUTE_NS, end_ns=ns + MINUTE_NS)


def test_a_line_pushed_to_a_fresh_loki_is_found_at_its_nanosecond(loki: Callable[..., Loki]) -> None:
    """Loki takes a push as soon as it listens, and a query gives the same line and time back."""
    server, now_ns = loki(), time.time_ns()

    eventually(
        lambda: push(server, "hello", now_ns).status_code == requests.codes.no_content,
        within_s=30,
        what="204",
    )

    (stream,) = eventually(lambda: seen(server, now_ns), within_s=30, what="the line is found")
    assert stream["values"] == [[str(now_ns), "hello"]]


def test_a_loki_that_was_stopped_and_started_keeps_its_lines_and_its_url(loki: Callable[..., Loki]) -> None:
    """A test may take Loki away and bring it back: the address stays, and so does what was acknowledged."""
    server, now_ns = loki(), time.time_ns()
    eventually(
        lambda: push(server, "before", now_ns).status_code == requests.codes.no_content,
        within_s=30,
        what="204",
    )

    server.stop()
    try:
        push(server, "while away", now_ns + 1)
    except requests.ConnectionError:
        refused = True
    else:
        refused = False
    server.start()
    eventually(
        lambda: push(server, "after", now_ns + 2).status_code == requests.codes.no_content,
        within_s=30,
        what="204",
    )

    assert refused
    (stream,) = eventually(lambda: seen(server, now_ns), within_s=30, what="the lines are found")
    assert stream["values"] == [[str(now_ns), "before"], [str(now_ns + 2), "after"]]


def test_small_limits_are_the_ones_loki_enforces(loki: Callable[..., Loki]) -> None:
    """A line of 2 KB is refused under SMALL_LIMITS, which shows that overrides arrive."""
    server, now_ns = loki(limits=SMALL_LIMITS), time.time_ns()

    eventually(
        lambda: push(server, "short", now_ns).status_code == requests.codes.no_content,
        within_s=30,
        what="204",
    )
    refused = push(server, "x" * 2048, now_ns + 1)

    assert refused.status_code == requests.codes.bad_request
    assert "max entry size" in refused.text.lower() or "exceeded" in refused.text.lower()
