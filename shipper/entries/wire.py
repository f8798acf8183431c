"""Entries as the JSON that a push carries, there and back. Pure.

Lines become JSON as soon as they are sorted, while they are in the processor's caches; what is kept of them
until they are acknowledged is one piece of bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shipper.sources.base import Meta

_NO_METADATA: Meta = {}


def to_json(
    stamps: Sequence[int], texts: Sequence[str], metas: Sequence[Mapping[str, str] | None] | None
) -> bytes:
    """Return `[stamp,text],[stamp,text,metadata]…`, no brackets around all; `metas` None: without any."""
    numbers = _numbers(stamps)
    values: list[Any]
    if metas is None or not any(metas):
        values = list(zip(numbers, texts, strict=True))
    elif all(metas):
        values = list(zip(numbers, texts, metas, strict=True))
    else:
        values = [
            (stamp, text, meta or _NO_METADATA)
            for stamp, text, meta in zip(numbers, texts, metas, strict=True)
        ]
    return orjson.dumps(values)[1:-1]


def from_json(entries: bytes) -> tuple[list[int], list[str], list[Meta | None]]:
    """Return the stamps, texts and metadata of what `to_json` made; empty metadata is none."""
    values: list[list[Any]] = orjson.loads(b"[%b]" % entries)
    return (
        [int(value[0]) for value in values],
        [value[1] for value in values],
        [(value[2] or None) if len(value) > 2 else None for value in values],  # noqa: PLR2004 - stamp, text, and metadata
    )


def _numbers(stamps: Sequence[int]) -> list[str]:
    """Return the stamps as text: one call for all takes a fifth of the time of `str` on each."""
    return orjson.dumps(stamps).decode()[1:-1].split(",") if stamps else []
