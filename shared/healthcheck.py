"""The healthcheck protocol: what a process says of its own health, and how another asks.

A `Report` names a component and its checks; the worst check is the report's state. It travels as JSON
(`docs/health.schema.json`), HTTP 200 for ok and degraded, 503 for failing: a degraded process still does its
work, and restarting it would help nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from http.client import HTTPException
from ssl import SSLContext
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request

import msgspec

PROBE_LIMIT_BYTES = 1 << 20


class State(StrEnum):
    """How a check stands; ordered by `worst`, not by comparison."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


_SEVERITY = {State.OK: 0, State.DEGRADED: 1, State.FAILING: 2}


class Check(msgspec.Struct, frozen=True):
    """One thing that can go wrong: its state, a sentence for a person, and since when (Unix seconds)."""

    name: str
    state: State
    detail: str
    since: float


class Report(msgspec.Struct, frozen=True):
    """All checks of one component (`exporter`, `shipper`)."""

    component: str
    checks: tuple[Check, ...]

    @property
    def state(self) -> State:
        """The worst state among the checks."""
        return worst(check.state for check in self.checks)

    @property
    def since(self) -> float | None:
        """Unix seconds since when the worst state has held; None without checks."""
        return min((check.since for check in self.checks if check.state is self.state), default=None)


def worst(states: Iterable[State]) -> State:
    """Return the most severe of the states, ok when there is none."""
    return max(states, key=_SEVERITY.__getitem__, default=State.OK)


def http_status(report: Report) -> HTTPStatus:
    """Return 200 for ok and degraded, 503 for failing."""
    return HTTPStatus.SERVICE_UNAVAILABLE if report.state is State.FAILING else HTTPStatus.OK


class _Wire(msgspec.Struct):
    """The report's form on the wire; times are RFC 3339 in UTC."""

    state: State
    component: str
    since: str | None
    checks: list[_WireCheck]


class _WireCheck(msgspec.Struct):
    name: str
    state: State
    detail: str
    since: str


def encode(report: Report) -> bytes:
    """Return the report as JSON, ended by a newline; times are cut to milliseconds.

    What is no Unicode text (a file name in other bytes, as a lone surrogate) becomes question marks.
    """
    checks = [_WireCheck(_text(c.name), c.state, _text(c.detail), _rfc3339(c.since)) for c in report.checks]
    since = None if report.since is None else _rfc3339(report.since)
    return msgspec.json.encode(_Wire(report.state, _text(report.component), since, checks)) + b"\n"


def decode(body: bytes) -> Report:
    """Return the report that `encode` made; raises `ValueError` for anything else.

    A state that is not the worst of the checks is refused too: read either way, half of it would be ignored.
    """
    try:
        wire = msgspec.json.decode(body, type=_Wire)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    report = Report(
        wire.component, tuple(Check(c.name, c.state, c.detail, _epoch(c.since)) for c in wire.checks)
    )
    if report.state is not wire.state:
        raise ValueError(
            f"state {wire.state.value} contradicts the checks, the worst of which is {report.state.value}"
        )
    return report


def _rfc3339(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _epoch(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {text!r}")
    return moment.timestamp()


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()


class Tracker:
    """Remembers since when each check has been in its state, for one component.

    Not thread-safe: one owner calls `update`.
    """

    def __init__(self, component: str) -> None:
        self._component = component
        self._seen: dict[str, Check] = {}

    def update(self, now_s: float, found: Iterable[tuple[str, State, str]]) -> Report:
        """Return the report for the checks found now: `(name, state, detail)` each."""
        fresh: dict[str, Check] = {}
        for name, state, detail in found:
            before = self._seen.get(name)
            since = before.since if before is not None and before.state is state else now_s
            fresh[name] = Check(name, state, detail, since)
        self._seen = fresh
        return Report(self._component, tuple(fresh.values()))


class Unreachable(msgspec.Struct, frozen=True):
    """No report could be had: refused, timed out, or an answer that is none."""

    reason: str


def probe(
    url: str,
    timeout_s: float = 5.0,
    *,
    context: SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> Report | Unreachable:
    """Ask the process behind `url` (its `/health`) for its report.

    `context` says whom to trust for https, None: whom the system trusts. `headers` go with the request.

    Goes there directly: no proxy from the environment, no redirect. `timeout_s` is for each wait on the
    network. Expected failures come back as `Unreachable`; only a URL that is not http(s) raises `ValueError`.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"not an http or https address: {url!r}")
    opener = OpenerDirector()
    opener.add_handler(HTTPHandler())
    opener.add_handler(HTTPSHandler(context=context))
    try:
        request = Request(url, headers=dict(headers or {}))  # noqa: S310 (the scheme has been looked at)
        with opener.open(request, timeout=timeout_s) as answer:
            status: int = answer.status
            body: bytes = answer.read(PROBE_LIMIT_BYTES)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: no such port, no such host name
        return Unreachable(f"{url}: {getattr(error, 'reason', None) or str(error) or type(error).__name__}")
    try:
        return decode(body)  # whatever the status: 503 carries the report of a failing process
    except ValueError as error:
        if status == HTTPStatus.UNAUTHORIZED:
            return Unreachable(f"{url} answered 401: {refusal(headers or {})}")
        return Unreachable(f"{url} answered {status}, but not with a health report: {error}")


def refusal(headers: Mapping[str, str]) -> str:
    """Return what a 401 means to whoever sent these headers: nobody was named, or somebody was refused."""
    if "Authorization" in headers:
        return "it refused this user and password, or this token"
    return "it wants --user and --password-file, or --token-file"
