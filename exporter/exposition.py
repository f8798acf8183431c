"""Makes prometheus_client's metric objects of rows: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import Metric

from exporter.source import Family, Histogram, Kind, Row


def metrics_of(rows: Iterable[Row], order: Sequence[Family] = ()) -> list[Metric]:
    """Return one metric a family that has rows, those in `order` first; label names as in the rows."""
    by_family: dict[Family, list[Row]] = {family: [] for family in order}
    for row in rows:
        by_family.setdefault(row.family, []).append(row)
    return [_metric(family, its_rows) for family, its_rows in by_family.items() if its_rows]


def _metric(family: Family, rows: list[Row]) -> Metric:
    match family.kind:
        case Kind.COUNTER:
            metric = Metric(family.name.removesuffix("_total"), family.help, "counter")
        case Kind.INFO:
            metric = Metric(family.name.removesuffix("_info"), family.help, "info")
        case _:
            metric = Metric(family.name, family.help, family.kind.value)
    for row in rows:
        if isinstance(row.value, Histogram):
            _add_histogram(metric, row, row.value)
        else:
            metric.add_sample(family.name, dict(row.labels), float(row.value))
    return metric


def _add_histogram(metric: Metric, row: Row, histogram: Histogram) -> None:
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, accumulate(histogram.counts), strict=True):
        metric.add_sample(f"{metric.name}_bucket", {**row.labels, "le": bound}, float(count))
    metric.add_sample(f"{metric.name}_count", dict(row.labels), float(sum(histogram.counts)))
    metric.add_sample(f"{metric.name}_sum", dict(row.labels), histogram.sum)
