from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.web.exposition import Format, Wanted, accepts_gzip, negotiate, render, wanted

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"
    + PROMETHEUS_3
)
PROMETHEUS_3_TEXT_ONLY = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


class Sample:
    """A collector with one family of each kind that matters, names from the mission among them."""

    def describe(self) -> list[Metric]:
        """Describe nothing, as our collectors do."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        tasks = GaugeMetricFamily("loki_tasks_total", "Tasks by status.", labels=["status"])
        tasks.add_metric(["pending"], 3)
        tasks.add_metric(["failed"], 1)
        yield tasks
        yield CounterMetricFamily("loki_events", 'Events, with "quotes" and \\ in the help.', value=17)
        yield HistogramMetricFamily(
            "loki_mode_x_seconds", "Times.", buckets=[("1.0", 2), ("+Inf", 3)], sum_value=4
        )


@pytest.fixture
def registry() -> CollectorRegistry:
    """Give a registry with the sample collector, as a process would build it."""
    made = CollectorRegistry()
    made.register(Sample())
    return made


@pytest.mark.parametrize(
    ("accept", "form", "utf8_names"),
    [
        (PROMETHEUS_3, Format.OPENMETRICS, True),
        (PROMETHEUS_3_PROTOBUF_FIRST, Format.OPENMETRICS, True),
        (PROMETHEUS_3_TEXT_ONLY, Format.TEXT, False),
        (PROMETHEUS_2, Format.OPENMETRICS, False),
        ("application/openmetrics-text", Format.OPENMETRICS, False),
        ("text/plain", Format.TEXT, False),
        (
            "text/plain;version=0.0.4;q=0.9, application/openmetrics-text;version=1.0.0;q=0.1",
            Format.TEXT,
            False,
        ),
        ("application/openmetrics-text; version=0.0.1", Format.TEXT, False),
        ("application/openmetrics-text; version=2.0.0", Format.TEXT, False),
        ("application/openmetrics-text; version=1.0.0; q=0", Format.TEXT, False),
        ('APPLICATION/OpenMetrics-Text ; VERSION="1.0.0"', Format.OPENMETRICS, False),
        (BROWSER, Format.TEXT, False),
        ("", Format.TEXT, False),
        ("image/png", Format.TEXT, False),
        (";;;=,,q=", Format.TEXT, False),
        ("application/openmetrics-text;q=many, text/plain;q=nan", Format.TEXT, False),
    ],
)
def test_the_format_follows_the_accept_header(accept: str, form: Format, utf8_names: bool) -> None:  # noqa: FBT001
    """Each known client, and each malformed header, gets a format it can read."""
    assert negotiate(accept) == (form, utf8_names)


@given(st.text(alphabet="aeilnopqrstvxz/*;,=.0123456789\"' -", max_size=200))
def test_any_accept_header_at_all_leads_to_one_of_our_formats(accept: str) -> None:
    """No header makes the negotiation raise."""
    assert negotiate(accept)[0] in Format
    assert accepts_gzip(accept) in {True, False}


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("br", False),
        ("", False),
    ],
)
def test_gzip_is_used_only_where_it_is_accepted(accept_encoding: str, accepted: bool) -> None:  # noqa: FBT001
    """A coding with `q=0` is one the client refuses."""
    assert accepts_gzip(accept_encoding) is accepted


def test_the_text_page_is_what_prometheus_reads(registry: CollectorRegistry) -> None:
    """Text 0.0.4 parses back to every sample; counter and gauge named `_total` keep their types."""
    page = render(registry, Wanted(Format.TEXT)).decode()

    families = {family.name: family for family in parse_text(page)}
    assert families["loki_tasks_total"].type == "gauge"
    assert families["loki_events"].type == "counter"
    assert {sample.labels["status"]: sample.value for sample in families["loki_tasks_total"].samples} == {
        "pending": 3.0,
        "failed": 1.0,
    }
    assert families["loki_events"].samples[0].value == 17.0


@pytest.mark.parametrize("utf8_names", [True, False])
def test_the_openmetrics_page_is_what_prometheus_reads(
    registry: CollectorRegistry,
    utf8_names: bool,  # noqa: FBT001
) -> None:
    """OpenMetrics 1.0 parses back, has its end mark, and is the same under both ways of escaping."""
    page = render(registry, Wanted(Format.OPENMETRICS, utf8_names)).decode()

    families = {family.name: family for family in parse_openmetrics(page)}  # type: ignore[no-untyped-call]
    assert page.endswith("# EOF\n")
    assert families["loki_tasks_total"].type == "gauge"
    assert families["loki_events"].samples[0].name == "loki_events_total"
    assert page == render(registry, Wanted(Format.OPENMETRICS, not utf8_names)).decode()


def test_a_compressed_page_is_the_same_page(registry: CollectorRegistry) -> None:
    """Gzip changes the coding and nothing else."""
    plain = render(registry, Wanted(Format.TEXT))
    packed = render(registry, Wanted(Format.TEXT, gzip=True))

    assert packed[:2] == b"\x1f\x8b"
    assert gzip.decompress(packed) == plain


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("loki_events_total", ["loki_events_total 17.0"]),
        ("loki_events", ["loki_events_total 17.0"]),
        ("loki_mode_x_seconds_count", ["loki_mode_x_seconds_count 3.0"]),
        ("loki_nothing", []),
    ],
)
def test_name_filter_takes_sample_and_family_names(
    registry: CollectorRegistry, name: str, lines: list[str]
) -> None:
    """`name[]` leaves the samples or the family so named, though nothing is described in advance."""
    page = render(registry, wanted("", "", [name])).decode()

    assert [line for line in page.splitlines() if not line.startswith("#")] == lines


def test_the_content_type_names_format_and_asked_for_escaping() -> None:
    """Prometheus picks its parser by this header."""
    assert wanted("", "", []).content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert (
        wanted(PROMETHEUS_2, "", []).content_type
        == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )
    assert wanted(PROMETHEUS_3, "", []).content_type == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
    )
