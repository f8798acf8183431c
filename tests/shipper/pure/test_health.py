from __future__ import annotations

import json
from typing import Any

import pytest

from shared.healthcheck import State
from shipper.telling.health import Turning, checks
from shipper.telling.metrics import Metrics
from shipper.telling.pages import Published

FINE: dict[str, Any] = {
    "entries_sent": 3,
    "entries_dropped": 0,
    "last_error": None,
    "last_error_time": None,
    "refused_streams": [],
    "open_circuits": 0,
    "save_problem": "",
    "dead_letter_problem": "",
    "watch_problem": "",
    "reload_problem": "",
    "files": 1,
    "unreadable": [],
    "unreadable_count": 0,
    "oldest_unacked_seconds": 0.0,
    "window_entries": 0,
}


def state(turning: Turning, name: str = "loop", **changes: object) -> State:
    """Return the state of one check."""
    return next(state for found, state, _ in checks({**FINE, **changes}, turning) if found == name)


def test_all_checks_are_ok_where_nothing_is_wrong() -> None:
    """And each has a name of its own."""
    found = checks(FINE, Turning(0.5))

    assert {state for _, state, _ in found} == {State.OK}
    assert len({name for name, _, _ in found}) == len(found)


@pytest.mark.parametrize(
    ("ago_s", "expected"),
    [(0.0, State.DEGRADED), (599.0, State.DEGRADED), (601.0, State.OK), (None, State.OK)],
)
def test_an_internal_error_degrades_the_loop_for_ten_minutes(ago_s: float | None, expected: State) -> None:
    """It was caught and work goes on, but somebody should know."""
    assert state(Turning(0.0, "KeyError: 1 at x.py:3", ago_s)) is expected


@pytest.mark.parametrize(("ago_s", "expected"), [(29.0, State.OK), (31.0, State.FAILING)])
def test_a_loop_that_tells_nothing_for_half_a_minute_fails(ago_s: float, expected: State) -> None:
    """Whatever it said last."""
    assert state(Turning(ago_s)) is expected


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("loki", {"refused_streams": ["auth"]}, State.FAILING),
        ("loki", {"refused_streams": ["timeout"]}, State.DEGRADED),
        ("positions", {"save_problem": "no space"}, State.FAILING),
        ("dead_letters", {"dead_letter_problem": "full"}, State.FAILING),
        ("dead_letters", {"entries_dropped": 1}, State.DEGRADED),
        ("files", {"unreadable": ["/logs/a: Permission denied"], "unreadable_count": 1}, State.DEGRADED),
        ("watching", {"watch_problem": "no watches left"}, State.DEGRADED),
        ("configuration", {"reload_problem": "batch_size: nonsense"}, State.DEGRADED),
        ("progress", {"oldest_unacked_seconds": 301.0}, State.DEGRADED),
    ],
)
def test_each_trouble_shows_in_its_check(name: str, changes: dict[str, object], expected: State) -> None:
    """And in no other."""
    assert state(Turning(0.0), name, **changes) is expected
    assert state(Turning(0.0), "loop", **changes) is State.OK


def test_a_hanging_loop_shows_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last status stands, the health is judged at the request: 503, also for a liveness probe."""
    now_s = 100.0
    monkeypatch.setattr("shipper.telling.pages.time.monotonic", lambda: now_s)
    published = Published(Metrics())
    pages = published.pages()
    assert pages["/-/ready"]().status == 503
    published.tell(FINE, now_s)
    before = [pages[path]().status for path in ("/-/ready", "/-/healthy", "/health", "/health/loki")]
    now_s += 31.0
    after = [pages[path]().status for path in ("/-/ready", "/-/healthy", "/health", "/health/loki")]
    found = json.loads(pages["/status"]().body)

    assert (before, after) == ([200, 200, 200, 200], [200, 503, 503, 503])
    assert (found["age_seconds"], found["health"]) == (31.0, "failing")
    assert found["problems"] == ["loop: has not ended a turn for 31 s"]


def test_an_internal_error_is_in_the_health_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Degraded, so 200, with what happened and where."""
    monkeypatch.setattr("shipper.telling.pages.time.monotonic", lambda: 7.0)
    published = Published(Metrics())
    published.tell(FINE, 1.0)
    published.failed("KeyError: 1 at reading.py:7", 2.0)
    page = published.pages()["/health"]()

    assert page.status == 200
    assert "an internal error 5 s ago: KeyError: 1 at reading.py:7" in page.body.decode()
