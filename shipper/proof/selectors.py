"""Families of streams: one stream, and those into which lines of it go by an answer or the clock. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

Family = tuple[tuple[str, str], ...]

OUTCOMES = ("backfill", "restamped")
"""Labels that the shipper adds when a line cannot go where it belongs."""
_OF_LOKI = ("__stream_shard__", "service_name", "detected_level")
"""Labels that Loki adds."""


def family(labels: Mapping[str, str]) -> Family:
    """Return what the streams of a line have in common, wherever it went."""
    return tuple(sorted((k, v) for k, v in labels.items() if k not in OUTCOMES and k not in _OF_LOKI))


def selector(wanted: Family, others: Iterable[Family], *, restamped: bool) -> str:
    """Return the LogQL selector of a family's streams, those with the time of reading or the others.

    Labels that only other families have must be absent: a selector alone would match those as well.
    """
    names = {name for name, _ in wanted}
    absent = sorted({name for other in others for name, _ in other} - names)
    matchers = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in wanted]
    matchers += [f'{name}=""' for name in absent]
    matchers.append('restamped="true"' if restamped else 'restamped=""')
    return "{" + ",".join(matchers) + "}"
