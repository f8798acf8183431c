#!/usr/bin/env python3
"""Prints Loki Mode's metrics as JSON: `read_metrics.py [URL]`. Needs requests and prometheus-client.

The documented example split lines at blanks, which breaks on a label that holds one, and kept one number of
each name. Here a name has all its series, and a page that is an error is one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

URL = "http://localhost:57374/metrics"


def get_loki_metrics(url: str = URL, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """Return `{name: [{"labels": {...}, "value": number}, ...]}`; raises `requests.RequestException`.

    `options` go to requests: `auth=("user", "password")`, `verify="ca.crt"`.
    """
    response = requests.get(url, timeout=10, headers={"Accept": "text/plain"}, **options)
    response.raise_for_status()
    response.encoding = "utf-8"
    metrics: dict[str, list[dict[str, Any]]] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            if sample.name.startswith("loki_"):
                metrics.setdefault(sample.name, []).append({"labels": sample.labels, "value": sample.value})
    return metrics


if __name__ == "__main__":
    try:
        found = get_loki_metrics(*sys.argv[1:2])
    except requests.RequestException as error:
        sys.exit(f"read_metrics.py: {error}")
    print(json.dumps(found, indent=2))  # noqa: T201 (that is what it is for)
