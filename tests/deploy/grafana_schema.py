"""Run with tests/deploy/tools: prints what of a `Dashboard` or alert `Rule` (stdin) Grafana does not know.

The types are generated from Grafana's schema of dashboards, panels and Prometheus queries. Reading is
lenient, so what counts is that nothing is lost or changed on the way through them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.alerting import Rule
from grafana_foundation_sdk.models.dashboard import Dashboard

TYPES: dict[str, Any] = {"Dashboard": Dashboard, "Rule": Rule}


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield the paths that are missing or different afterwards."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}/{index}")
    elif before != after:
        yield path


plugins.register_default_plugins()
given = json.load(sys.stdin)
known = json.loads(JSONEncoder(sort_keys=True).encode(TYPES[sys.argv[1]].from_json(given)))
print("\n".join(lost(given, known)))  # noqa: T201 (that is its answer)
