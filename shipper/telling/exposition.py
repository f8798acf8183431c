"""The page for Prometheus, of the shipper's numbers and those of its process.

Loaded by the first scrape: the library brings a web server and much else, and not every shipper is scraped.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from shipper.telling.metrics import COUNTERS, GAUGES, LAGS, PUSH_BOUNDS_S, Metrics

_PREFIX = "tallyship_shipper_"


def page(metrics: Metrics) -> bytes:
    """Return the page."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(namespace=_PREFIX.rstrip("_"), registry=registry)
    registry.register(_Families(metrics))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return families(self._metrics)


def families(metrics: Metrics) -> Iterator[Metric]:
    """Return all that the shipper counts and measures."""
    for name, (text, label) in COUNTERS.items():
        counter = CounterMetricFamily(_PREFIX + name, text, labels=[label[0]] if label else [])
        for value, amount, since_s in metrics.counted(name):
            counter.add_metric([value] if label else [], amount, created=since_s)
        yield counter
    for name, text in GAUGES.items():
        yield GaugeMetricFamily(_PREFIX + name, text, value=metrics.gauges[name].value)
    lags = metrics.lags
    for name, text in LAGS.items():
        gauge = GaugeMetricFamily(f"{_PREFIX}lag_{name}", text, labels=["source"])
        for source, lag in lags.items():
            gauge.add_metric([source], lag[name])
        yield gauge
    yield _push_durations(metrics)


def _push_durations(metrics: Metrics) -> Metric:
    name = f"{_PREFIX}push_duration_seconds"
    counts, sum_s = metrics.pushes()
    bounds = [*map(str, PUSH_BOUNDS_S), "+Inf"]
    family = HistogramMetricFamily(name, "From compressing a body to Loki's answer.")
    family.add_metric([], list(zip(bounds, map(float, counts), strict=True)), sum_s)
    family.add_sample(f"{name}_created", {}, metrics.since_s)
    return family
