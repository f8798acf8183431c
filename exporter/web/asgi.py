"""The routes: an ASGI app that answers metrics, health and landing page, and everything else politely."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from exporter.logs import RepeatLimiter, log_event
from exporter.web import landing as landing_page
from exporter.web.connections import Limits
from exporter.web.doorman import Doorman, Verdict
from exporter.web.exposition import EncodedFamilies, Registry, render, wanted
from exporter.web.stats import Route, WebStats
from exporter.web.worker import Busy, Worker
from shared import healthcheck

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Headers = Iterable[tuple[bytes, bytes]]

MAX_PAGES_IN_THE_MAKING = 32
"""Pages that differ (in format or `name[]`); beyond that the answer is 503."""
_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_RETRY = (("retry-after", "1"),)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, complete."""

    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


def build_app(
    registry: Registry,
    *,
    health: Callable[[], healthcheck.Report],
    version: str,
    landing: Callable[[], str] | None = None,
    telemetry_path: str = "/metrics",
    stats: WebStats | None = None,
    limits: Limits | None = None,
    now_s: Callable[[], float] = time.time,
    repeats: RepeatLimiter | None = None,
    doorman: Doorman | None = None,
    extra_headers: Callable[[], Iterable[tuple[str, str]]] = tuple,
) -> App:
    """Return the app.

    `registry.collect`, `health` and `landing` may block: they run in worker threads, `health` apart from the
    other two, so that a hanging collection does not hang the health report. `landing` returns HTML that uses
    no style but `landing.STYLE`. `now_s` is Unix seconds; `repeats` thins out the log of failing pages.
    `doorman` is asked before every page but `/-/healthy`. `extra_headers` (names in lower case) go with every
    answer that has no header of that name.
    """
    home = landing or partial(landing_page.default_page, version, telemetry_path)
    return App(
        registry=registry,
        health=health,
        landing=home,
        telemetry_path=telemetry_path,
        stats=stats or WebStats(),
        limits=limits or Limits(),
        now_s=now_s,
        repeats=repeats or RepeatLimiter(),
        doorman=doorman,
        extra_headers=extra_headers,
    )


class App:
    """An ASGI 3 application; one event loop only. `close()` lets its threads go."""

    def __init__(
        self,
        *,
        registry: Registry,
        health: Callable[[], healthcheck.Report],
        landing: Callable[[], str],
        telemetry_path: str,
        stats: WebStats,
        limits: Limits,
        now_s: Callable[[], float],
        repeats: RepeatLimiter,
        doorman: Doorman | None,
        extra_headers: Callable[[], Iterable[tuple[str, str]]],
    ) -> None:
        self.stats = stats
        self._registry = registry
        self._encoded = EncodedFamilies()
        self._health = health
        self._landing = landing
        self._telemetry_path = telemetry_path
        self._limits = limits
        self._now_s = now_s
        self._repeats = repeats
        self._doorman = doorman
        self._extra_headers = extra_headers
        self._started_s = now_s()
        self._pages = Worker("web-pages", MAX_PAGES_IN_THE_MAKING)
        self._checks = Worker("web-health", 1)
        self._routes: dict[str, tuple[Route, Callable[[Scope], Awaitable[Answer]]]] = {
            "/": (Route.LANDING, self._answer_landing),
            "/health": (Route.HEALTH, self._answer_health),
            "/-/ready": (Route.READY, self._answer_health),
            "/-/healthy": (Route.HEALTHY, self._answer_healthy),
        }
        self._routes[telemetry_path] = (Route.METRICS, self._answer_metrics)

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],  # noqa: ARG002 (ASGI passes it; no route reads a body)
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        route, handler = self._routes.get(_path(scope), (Route.OTHER, self._answer_not_found))
        answer = await self._refusal(route, scope) or await self._guarded(route, handler, scope)
        self.stats.answered(route, answer.status)
        headers = [
            ("content-type", answer.content_type),
            ("content-length", str(len(answer.body))),
            ("date", formatdate(self._now_s(), usegmt=True)),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            *answer.headers,
        ]
        own = {name for name, _ in headers}
        headers.extend(header for header in self._extra_headers() if header[0] not in own)
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})

    def close(self) -> None:
        """Let the worker threads end; a call that hangs is left behind and does not keep the process."""
        self._pages.close()
        self._checks.close()
        if self._doorman is not None:
            self._doorman.close()

    async def _refusal(self, route: Route, scope: Scope) -> Answer | None:
        """Return what somebody gets whom the doorman does not let in; None for everybody else."""
        if self._doorman is None or route is Route.HEALTHY:
            return None
        try:
            return _REFUSALS.get(await self._doorman.judge(*_claim(scope)))
        except Exception as error:  # noqa: BLE001 (the boundary: who cannot be judged does not come in)
            self._record_failure(route, error)
            return Answer(500, b"Credentials could not be checked because of a bug.\n")

    async def _guarded(
        self, route: Route, handler: Callable[[Scope], Awaitable[Answer]], scope: Scope
    ) -> Answer:
        """Refuse what no route takes, and turn an exception of ours into a 500, counted and logged."""
        if _content_length(scope["headers"]) > self._limits.body_bytes:
            return Answer(413, b"No page here takes a body.\n")
        if route is not Route.OTHER and scope["method"] not in {"GET", "HEAD"}:
            return Answer(405, b"Only GET and HEAD are answered here.\n", headers=(("allow", "GET, HEAD"),))
        try:
            return await handler(scope)
        except Busy:
            return Answer(503, b"Too many different pages are being made at once.\n", headers=_RETRY)
        except TimeoutError:
            return Answer(503, b"This page takes too long to make; it is still being made.\n", headers=_RETRY)
        except Exception as error:  # noqa: BLE001 (the boundary: a bug in one page costs that page only)
            self._record_failure(route, error)
            return Answer(
                500, b"This page could not be made because of a bug; the exporter's log has more.\n"
            )

    def _record_failure(self, route: Route, error: Exception) -> None:
        self.stats.failures[route] += 1
        held_back = self._repeats.admit(route)
        if held_back is not None:
            log_event(
                _log,
                logging.ERROR,
                "page failed",
                page=route.value,
                error=_brief(error),
                where=_where(error),
                repeats=held_back,
                consequence="this request was answered 500",
            )

    async def _answer_metrics(self, scope: Scope) -> Answer:
        headers = scope["headers"]
        query = parse_qs(scope["query_string"].decode("latin-1"))
        want = wanted(
            _header(headers, b"accept"), _header(headers, b"accept-encoding"), query.get("name[]", [])
        )
        make = partial(render, self._registry, want, self._encoded)  # in one thread, one page after the other
        page = await self._pages.run(
            # Whoever asks for many different selections must not keep others from the whole page.
            want,
            make,
            self._limits.service_s,
            is_bounded=not want.names,
        )
        extra = [("vary", "Accept, Accept-Encoding")]
        if want.gzip:
            extra.append(("content-encoding", "gzip"))
        return Answer(200, page, want.content_type, tuple(extra))

    async def _answer_landing(self, _scope: Scope) -> Answer:
        page = await self._pages.run("landing", self._landing, self._limits.service_s, is_bounded=True)
        policy = (
            ("content-security-policy", landing_page.CONTENT_SECURITY_POLICY),
            ("referrer-policy", "no-referrer"),
        )
        return Answer(200, page.encode(errors="replace"), "text/html; charset=utf-8", policy)

    async def _answer_health(self, _scope: Scope) -> Answer:
        report = await self._checks.run("health", self._health, self._limits.service_s)
        return Answer(healthcheck.http_status(report).value, healthcheck.encode(report), _JSON)

    async def _answer_healthy(self, _scope: Scope) -> Answer:
        check = healthcheck.Check("process", healthcheck.State.OK, "answers requests", self._started_s)
        return Answer(200, healthcheck.encode(healthcheck.Report("exporter", (check,))), _JSON)

    async def _answer_not_found(self, _scope: Scope) -> Answer:
        paths = ", ".join(dict.fromkeys((self._telemetry_path, *self._routes)))
        return Answer(404, f"There is no page at this path. There are: {paths}\n".encode())


_WHO = (
    ("www-authenticate", 'Basic realm="tallyship-exporter", charset="UTF-8"'),
    ("www-authenticate", 'Bearer realm="tallyship-exporter"'),
)
_REFUSALS = {
    Verdict.MISSING: Answer(401, b"Say who you are: user and password, or a bearer token.\n", headers=_WHO),
    Verdict.REFUSED: Answer(401, b"Wrong user, password or token.\n", headers=_WHO),
    Verdict.BUSY: Answer(429, b"Too many passwords are waiting to be checked.\n", headers=_RETRY),
}


def _claim(scope: Scope) -> tuple[list[bytes], str]:
    """Return the request's `Authorization` headers and its client's address."""
    claims = [value for name, value in scope["headers"] if name == b"authorization"]
    return claims, (scope.get("client") or ("unknown", 0))[0]


def _path(scope: Scope) -> str:
    """Return the request's path; a client that takes us for a proxy sends a whole URL, which is legal."""
    path: str = scope["path"]
    if path.startswith(("http://", "https://")):
        return unquote(urlsplit(scope["raw_path"].decode("latin-1")).path) or "/"
    return path


def _header(headers: Headers, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)


def _content_length(headers: Headers) -> int:
    """Return the declared length of the body, 0 when none is declared; the parser let only digits through."""
    return max((int(value) for key, value in headers if key == b"content-length"), default=0)


def _brief(error: Exception) -> str:
    """Return what is wrong, without the page, which prometheus_client and codecs put into the exception."""
    first = error.args[0] if error.args else ""
    return f"{type(error).__name__}({str(first)[:200]!r})"


def _where(error: Exception) -> str:
    """Return file and line of the innermost frame, for a log line that stays one line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "unknown" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
