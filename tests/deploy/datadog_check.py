"""Run with tests/deploy/tools: `datadog_check.py CONFIG URL` runs the Agent's own check class on an exporter.

Prints what arrives as JSON: `[[name, type, value, [tag, ...]], ...]`. URL replaces the one in the file,
nothing else is touched. Exit 1 and the check's own words when it failed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import yaml
from datadog_checks.base.checks.openmetrics import OpenMetricsBaseCheck
from datadog_checks.base.checks.openmetrics.v2.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator

TYPES = {value: name for name, value in aggregator.METRIC_ENUM_MAP.items()}


def check(instance: dict[str, Any], url: str) -> str:
    """Run the class that the Agent would choose: V2 where the instance has an `openmetrics_endpoint`."""
    if "openmetrics_endpoint" in instance:
        v2 = OpenMetricsBaseCheckV2("openmetrics", {}, [{**instance, "openmetrics_endpoint": url}])
        return str(v2.run())
    v1 = OpenMetricsBaseCheck("openmetrics", {}, [{**instance, "prometheus_url": url}], default_instances={})
    return str(v1.run())


path, url = sys.argv[1:]
with open(path, encoding="utf-8") as file:  # noqa: PTH123 (nothing but what is needed)
    (instance,) = yaml.safe_load(file)["instances"]
if failure := check(instance, url):
    sys.exit(failure)
arrived = [
    [name, TYPES[metric.type], metric.value, metric.tags]
    for name in sorted(aggregator.metric_names)
    for metric in aggregator.metrics(name)
]
print(json.dumps(arrived))  # noqa: T201 (that is its answer)
