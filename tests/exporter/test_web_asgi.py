from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from exporter.logs import RepeatLimiter
from exporter.web.asgi import MAX_PAGES_IN_THE_MAKING, App, build_app
from exporter.web.connections import Limits
from exporter.web.stats import Route
from shared.healthcheck import Check, Report, State, decode

OK = Report("exporter", (Check("source", State.OK, "read", 10.0),))
DEGRADED = Report("exporter", (Check("source", State.DEGRADED, "torn file", 11.0),))
FAILING = Report("exporter", (Check("source", State.FAILING, "gone", 12.0),))


@dataclass
class Source:
    """A registry whose collecting a test can hold up, count and break."""

    gate: threading.Event = field(default_factory=threading.Event)
    collecting: threading.Event = field(default_factory=threading.Event)
    collections: int = 0
    threads: set[str] = field(default_factory=set)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge that counts the collections."""
        self.collections += 1
        self.threads.add(threading.current_thread().name)
        self.collecting.set()
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        yield GaugeMetricFamily("collections", "Collections so far.", value=self.collections)


@dataclass(frozen=True)
class Got:
    """An answer as the server would send it."""

    status: int
    headers: dict[str, str]
    body: bytes


async def request(app: App, path: str, method: str = "GET", query: str = "", **headers: str) -> Got:
    """Ask the app directly; header names come with underscores."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("no page reads a body")

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
    }
    await app(scope, receive, send)
    start, body = sent
    return Got(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body["body"])


@pytest.fixture
def source() -> Iterator[Source]:
    """Give a source, and let go whoever still waits in it afterwards."""
    made = Source()
    yield made
    made.gate.set()


@pytest.fixture
def make_app(source: Source) -> Iterator[Callable[..., App]]:
    """Give a function that builds an app; its threads end with the test."""
    apps: list[App] = []

    def make(**options: Any) -> App:
        settings: dict[str, Any] = {
            "health": lambda: OK,
            "version": "1.2.3",
            "now_s": lambda: 1000.0,
        } | options
        apps.append(build_app(source, **settings))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


def test_metrics_are_collected_outside_the_event_loop(make_app: Callable[..., App], source: Source) -> None:
    """A scrape answers with the page, made in a worker thread."""
    got = asyncio.run(request(make_app(), "/metrics"))

    assert got.status == 200
    assert b"collections 1.0\n" in got.body
    assert got.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert got.headers["content-length"] == str(len(got.body))
    assert got.headers["date"] == "Thu, 01 Jan 1970 00:16:40 GMT"
    assert source.threads == {"web-pages"}


def test_gzip_and_openmetrics_are_negotiated(make_app: Callable[..., App]) -> None:
    """The headers of the answer say what was chosen, and that it depends on the request."""
    got = asyncio.run(
        request(make_app(), "/metrics", accept="application/openmetrics-text", accept_encoding="gzip")
    )

    assert got.headers["content-encoding"] == "gzip"
    assert got.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert got.headers["vary"] == "Accept, Accept-Encoding"
    assert gzip.decompress(got.body).endswith(b"# EOF\n")


def test_name_filter_leaves_out_the_rest(make_app: Callable[..., App]) -> None:
    """`name[]` may be repeated and percent-encoded."""
    app = make_app()

    assert asyncio.run(request(app, "/metrics", query="name%5B%5D=other&name[]=collections")).body != b""
    assert asyncio.run(request(app, "/metrics", query="name[]=other")).body == b""


def test_scrapes_that_overlap_share_one_collection(make_app: Callable[..., App], source: Source) -> None:
    """Fifty equal scrapes at once cost one rendering, and each gets it."""
    app = make_app()
    source.gate.clear()

    async def scrape_together() -> list[Got]:
        scrapes = [asyncio.ensure_future(request(app, "/metrics")) for _ in range(50)]
        await asyncio.to_thread(source.collecting.wait, 10)
        source.gate.set()
        return await asyncio.gather(*scrapes)

    pages = {got.body for got in asyncio.run(scrape_together())}

    assert source.collections == 1
    assert len(pages) == 1


def test_different_pages_are_bounded_while_a_collection_hangs(
    make_app: Callable[..., App], source: Source
) -> None:
    """One selection too many is answered 503 at once; health and the whole page are not kept from anybody."""
    app = make_app()
    source.gate.clear()

    async def overload() -> tuple[Got, Got, Got, list[Got]]:
        held = [
            asyncio.ensure_future(request(app, "/metrics", query=f"name[]={n}"))
            for n in range(MAX_PAGES_IN_THE_MAKING)
        ]
        await asyncio.to_thread(source.collecting.wait, 10)
        refused = await request(app, "/metrics", query="name[]=one_more")
        health = await request(app, "/health")
        whole = asyncio.ensure_future(request(app, "/metrics"))
        source.gate.set()
        return refused, health, await whole, await asyncio.gather(*held)

    refused, health, whole, held = asyncio.run(overload())

    assert whole.status == 200
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert health.status == 200
    assert {got.status for got in held} == {200}


def test_a_scrape_that_takes_too_long_is_answered_503(make_app: Callable[..., App], source: Source) -> None:
    """Nobody waits longer than the service limit, and the collection is not begun twice meanwhile."""
    app = make_app(limits=Limits(service_s=0.05))
    source.gate.clear()

    async def scrape_twice() -> list[Got]:
        return [await request(app, "/metrics"), await request(app, "/metrics")]

    assert [got.status for got in asyncio.run(scrape_twice())] == [503, 503]
    assert source.collections == 1


def test_an_exception_in_a_collector_costs_that_page_only(
    make_app: Callable[..., App], source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered 500, counted, and logged with place and consequence, repeats only now and then."""
    now_s = 1000.0
    app = make_app(repeats=RepeatLimiter(every_s=60, monotonic=lambda: now_s))
    source.error = KeyError("planted")

    with caplog.at_level(logging.ERROR):
        failed = asyncio.run(request(app, "/metrics"))
        asyncio.run(request(app, "/metrics"))
        before = [vars(record)["fields"] for record in caplog.records]
        now_s += 60
        asyncio.run(request(app, "/metrics"))

    assert failed.status == 500
    assert b"planted" not in failed.body
    assert app.stats.failures[Route.METRICS] == 3
    assert app.stats.requests[Route.METRICS, 500] == 3
    assert len(before) == 1
    assert (
        before[0].items()
        >= {
            "page": "metrics",
            "error": "KeyError('planted')",
            "consequence": "this request was answered 500",
        }.items()
    )
    assert "test_web_asgi.py:" in before[0]["where"]
    assert [vars(record)["fields"]["repeats"] for record in caplog.records] == [0, 1]
    assert asyncio.run(request(app, "/-/healthy")).status == 200


def test_the_log_of_a_failure_holds_nothing_of_the_page(
    make_app: Callable[..., App], source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that carries the whole page, as encoding errors do, is cut to its first words."""
    app = make_app()
    source.error = UnicodeEncodeError("utf-8", "S3CRET" * 1000, 0, 1, "surrogates not allowed")

    asyncio.run(request(app, "/metrics"))

    fields = repr(vars(caplog.records[0])["fields"])
    assert "UnicodeEncodeError" in fields
    assert "S3CRET" not in fields


@pytest.mark.parametrize("path", ["/health", "/-/ready"])
@pytest.mark.parametrize(("report", "status"), [(OK, 200), (DEGRADED, 200), (FAILING, 503)])
def test_health_and_readiness_speak_the_healthcheck_protocol(
    make_app: Callable[..., App], path: str, report: Report, status: int
) -> None:
    """The report travels as JSON; only a failing one is a 503."""
    got = asyncio.run(request(make_app(health=lambda: report), path))

    assert got.status == status
    assert got.headers["content-type"] == "application/json"
    assert decode(got.body) == report


def test_healthy_answers_though_the_report_is_failing(make_app: Callable[..., App]) -> None:
    """Liveness asks only whether the process answers: restarting it would mend no source."""
    got = asyncio.run(request(make_app(health=lambda: FAILING), "/-/healthy"))

    assert got.status == 200
    assert decode(got.body) == Report("exporter", (Check("process", State.OK, "answers requests", 1000.0),))


def test_the_landing_page_runs_nothing_and_leads_on(make_app: Callable[..., App]) -> None:
    """It names the version, links to the pages, and its policy allows its own style alone."""
    got = asyncio.run(request(make_app(telemetry_path='/m"<b>'), "/"))
    text = got.body.decode()

    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; style-src 'sha256-" in got.headers["content-security-policy"]
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "1.2.3" in text
    assert 'href="/m&quot;&lt;b&gt;"' in text
    assert 'href="/health"' in text
    assert "<script" not in text


def test_the_callers_own_landing_page_is_used(make_app: Callable[..., App]) -> None:
    """A lone surrogate in it does no harm."""
    got = asyncio.run(request(make_app(landing=lambda: "<p>mine \udc80</p>"), "/"))

    assert got.body == b"<p>mine ?</p>"


def test_metrics_at_the_root_win_over_the_landing_page(make_app: Callable[..., App]) -> None:
    """With the telemetry path `/`, the root is the metrics page."""
    got = asyncio.run(request(make_app(telemetry_path="/"), "/"))

    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    "path", ["/nonsense", "/metrics/", "//metrics", "*", "host:443", "/\x00", "/<script>"]
)
def test_an_unknown_path_is_a_404_that_says_where_to_go(make_app: Callable[..., App], path: str) -> None:
    """The text lists the pages there are and repeats nothing of the request."""
    got = asyncio.run(request(make_app(), path))

    assert got.status == 404
    assert b"There are: /metrics, /, /health, /-/ready, /-/healthy" in got.body
    assert b"nonsense" not in got.body
    assert got.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get"])
@pytest.mark.parametrize("path", ["/metrics", "/", "/health"])
def test_other_methods_are_told_which_ones_there_are(
    make_app: Callable[..., App], source: Source, method: str, path: str
) -> None:
    """405 with `Allow`, and nothing is collected."""
    got = asyncio.run(request(make_app(), path, method=method))

    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
    assert source.collections == 0


def test_a_declared_huge_body_is_refused_unread(make_app: Callable[..., App]) -> None:
    """413 by the declared length alone."""
    app = make_app()

    assert asyncio.run(request(app, "/metrics", content_length=str(10**18))).status == 413
    assert asyncio.run(request(app, "/metrics", content_length=str(64 * 1024))).status == 200


def test_a_whole_url_as_the_target_is_understood(make_app: Callable[..., App]) -> None:
    """What a client sends to a proxy leads to the same page."""
    assert asyncio.run(request(make_app(), "http://exporter:57374/metrics")).status == 200


def test_every_answer_is_counted_by_route_and_status(make_app: Callable[..., App]) -> None:
    """The expected pairs are there from the start, at 0."""
    app = make_app()
    before = dict(app.stats.requests)

    for path in ("/metrics", "/metrics", "/", "/nonsense"):
        asyncio.run(request(app, path))

    assert set(before.values()) == {0}
    assert {key: count for key, count in app.stats.requests.items() if count} == {
        (Route.METRICS, 200): 2,
        (Route.LANDING, 200): 1,
        (Route.OTHER, 404): 1,
    }
