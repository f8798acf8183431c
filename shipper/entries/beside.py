"""The streams beside a line's own: `restamped` by the time of reading, `backfill` for what is far behind."""

from __future__ import annotations

from shipper.entries.streams import Stream
from shipper.sources.base import Meta
from shipper.times import hour, rfc3339


def restamped_labels(labels: dict[str, str]) -> dict[str, str]:
    """Return the labels of the stream for lines with the time of reading."""
    return {**{k: v for k, v in labels.items() if k != "backfill"}, "restamped": "true"}


def is_restamped(stream: Stream) -> bool:
    """Tell whether the lines of the stream have the time of reading."""
    return "restamped" in stream.labels


def backfill_labels(labels: dict[str, str], stamp_ns: int) -> dict[str, str]:
    """Return the labels of the stream for lines that are too far behind; one for each hour of line time."""
    return {**labels, "backfill": hour(stamp_ns)}


def with_original(meta: Meta | None, own_ns: int | None) -> Meta | None:
    """Return the metadata with the line's own time, where it has one."""
    return meta if own_ns is None else {**(meta or {}), "original_timestamp": rfc3339(own_ns)}
